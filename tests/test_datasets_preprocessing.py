"""Contrast normalization, whitening and quantization against their definitions."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.datasets import preprocessing
from qnn_ref.datasets.preprocessing import (
    global_contrast_normalize,
    local_contrast_normalize,
    to_bytes,
    zca_apply,
    zca_fit,
)

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3]))
byte_images = hnp.arrays(np.uint8, shapes)
real_images = hnp.arrays(
    st.sampled_from([np.float32, np.float64]), shapes, elements=st.floats(-1000, 1000, width=32)
)
rng = np.random.default_rng(7)


def correlated(count: int, shape: tuple[int, int, int] = (3, 2, 3), dtype=np.float64):
    """Images whose neighbouring pixels are alike, of full rank, with a mean."""
    features = int(np.prod(shape))
    mixing = np.tril(rng.uniform(0.5, 1.0, (features, features)))
    return (rng.normal(size=(count, features)) @ mixing + 40).reshape(count, *shape).astype(dtype)


def covariance_of(images: np.ndarray) -> np.ndarray:
    return np.cov(images.reshape(len(images), -1), rowvar=False, bias=True)


@pytest.fixture(params=[7, 1000], ids=["blocks", "one block"])
def block(request, monkeypatch):
    """Sums over several blocks, the last one ragged, and over one."""
    monkeypatch.setattr(preprocessing, "_BLOCK", request.param)


# Global contrast normalization.


@given(byte_images | real_images, st.floats(0.01, 100), st.floats(0.01, 100))
@example(np.full((1, 2, 2, 3), 0.1), 1.0, 1e-30)
def test_gcn_is_its_formula(images, scale, bias):
    result = global_contrast_normalize(images, scale, bias)
    assert result.shape == images.shape
    assert result.dtype == (np.float64 if images.dtype == np.float64 else np.float32)
    for x, y in zip(images.astype(np.float64), result, strict=True):
        if x.min() == x.max():
            assert not y.any()
            continue
        right = scale * (x - x.mean()) / np.sqrt(bias + x.var())
        np.testing.assert_allclose(y, right, rtol=1e-5, atol=1e-6 * scale)


def test_gcn_by_default_has_bias_10_under_the_root():
    image = np.uint8([0, 4, 8, 12]).reshape(1, 2, 2, 1)  # mean 6, variance 20
    right = np.array([-6, -2, 2, 6]) / np.sqrt(30)
    np.testing.assert_allclose(global_contrast_normalize(image).ravel(), right, rtol=1e-6)


@pytest.mark.usefixtures("block")
def test_gcn_without_bias_gives_all_images_mean_0_and_one_deviation():
    images = rng.integers(0, 256, (30, 5, 4, 3), np.uint8) // rng.integers(1, 9, (30, 1, 1, 1))
    result = global_contrast_normalize(images.astype(np.float64), scale=55.0, bias=0.0)
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(result.std(axis=(1, 2, 3)), 55, rtol=1e-12)


@pytest.mark.parametrize("bias", [0.0, 10.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [0, 0.1, 1, 255])
def test_a_flat_image_becomes_zeros(bias, dtype, value):
    images = np.full((3, 7, 9, 3), value, dtype)
    images[1, 0, 0, 0] = 3
    result = global_contrast_normalize(images, bias=bias)
    assert not result[[0, 2]].any()
    assert np.isfinite(result).all()
    assert result[1].any()


def test_gcn_sums_in_float64():
    images = np.full((1, 300, 300, 1), 2.0**24, np.float32)
    images[0, ::2] += 2
    np.testing.assert_array_equal(np.unique(global_contrast_normalize(images, bias=0)), [-1, 1])


# Whitening.


@pytest.mark.usefixtures("block")
def test_whitened_images_have_the_identity_as_covariance():
    images = correlated(400)
    assert np.abs(covariance_of(images) - np.eye(18)).max() > 5
    whitened = zca_apply(images, *zca_fit(images, bias=0.0))
    assert whitened.shape == images.shape
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(covariance_of(whitened), np.eye(18), atol=1e-9)


def test_bytes_are_whitened_too():
    images = rng.integers(0, 256, (500, 2, 2, 3), np.uint8)
    images[..., 1] = images[..., 0] // 2 + images[..., 1] // 2
    whitened = zca_apply(images, *zca_fit(images, bias=0.0))
    assert whitened.dtype == np.float32
    np.testing.assert_allclose(covariance_of(whitened), np.eye(12), atol=1e-5)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("bias", [0.1, 3.0])
def test_with_a_bias_variances_become_l_over_l_plus_bias(bias):
    images = correlated(300)
    variances, directions = np.linalg.eigh(covariance_of(images))
    mean, matrix = zca_fit(images, bias)
    np.testing.assert_allclose(mean, images.reshape(300, -1).mean(axis=0), rtol=1e-12)
    left = covariance_of(zca_apply(images, mean, matrix))
    right = (directions * (variances / (variances + bias))) @ directions.T
    np.testing.assert_allclose(left, right, atol=1e-10)
    assert np.linalg.eigvalsh(left).max() < 1


@pytest.mark.parametrize("bias", [0.0, 0.1])
def test_the_matrix_is_the_symmetric_positive_root(bias):
    images = correlated(200)
    _, matrix = zca_fit(images, bias)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0
    regularized = covariance_of(images) + bias * np.eye(18)
    np.testing.assert_allclose(matrix @ regularized @ matrix, np.eye(18), atol=1e-9)


def test_zca_by_default_has_bias_a_tenth():
    images = correlated(100)
    np.testing.assert_array_equal(zca_fit(images)[1], zca_fit(images, bias=0.1)[1])


def test_other_parts_are_whitened_with_the_mean_of_the_training_part():
    train, test = correlated(200), correlated(20)[:3]
    mean, matrix = zca_fit(train)
    for x, y in zip(test, zca_apply(test, mean, matrix), strict=True):
        np.testing.assert_allclose(y.ravel(), matrix @ (x.ravel() - mean), atol=1e-10)


def test_the_covariance_is_summed_in_float64():
    images = correlated(4000, (1, 2, 1)).astype(np.float32) + np.float32(4096)
    whitened = zca_apply(images.astype(np.float64), *zca_fit(images, bias=0.0))
    np.testing.assert_allclose(covariance_of(whitened), np.eye(2), atol=1e-6)


def test_pixels_that_never_change_need_a_bias():
    images = correlated(100)
    images[:, 0, 0, 0] = 5
    with pytest.raises(ValueError, match=r"bias: expected more than 0, .* has rank 17 of 18, got"):
        zca_fit(images, bias=0)
    whitened = zca_apply(images, *zca_fit(images, bias=0.1))
    assert np.isfinite(whitened).all()
    np.testing.assert_allclose(whitened[:, 0, 0, 0], 0, atol=1e-9)
    # Roundings below 0 are no variances.
    assert np.isfinite(zca_fit(images[:9], bias=1e-30)[1]).all()
    for few in (images[:18], images[:1], np.zeros((4, 2, 2, 1), np.uint8)):
        with pytest.raises(ValueError, match="bias: expected more than 0"):
            zca_fit(few, bias=0)
        assert np.isfinite(zca_fit(few)[1]).all()


# Back to bytes.


@given(
    st.floats(-100, 100),
    st.floats(0.01, 100),
    hnp.arrays(np.float64, (2, 3, 4, 1), elements=st.floats(0, 1)),
    st.sampled_from([np.float32, np.float64]),
)
def test_bytes_are_the_nearest_of_256_levels(low, width, share, dtype):
    images = (low + share * width).astype(dtype)
    high = low + width
    pixels, used = to_bytes(images, (low, high))
    assert pixels.dtype == np.uint8
    assert pixels.shape == images.shape
    assert used == (low, high)
    back = low + pixels * ((high - low) / 255)
    np.testing.assert_allclose(back, images, atol=(high - low) / 510 * 1.0001 + 1e-5)


def test_halves_are_rounded_up_and_ends_cut_off():
    values = [-1e308, -1.0, -0.01, 0.0, 0.49, 0.5, 1.0, 1.5, 254.49, 254.5, 255.0, 256.0, 1e308]
    pixels, _ = to_bytes(np.reshape(values, (1, 1, -1, 1)), (0, 255))
    assert pixels.ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 254, 255, 255, 255, 255]


@given(byte_images)
def test_bytes_stay_as_they_are_in_their_own_range(images):
    pixels, _ = to_bytes(images, (0, 255))
    np.testing.assert_array_equal(pixels, images, strict=True)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("tail", [0, 0.1, 5, 49])
def test_without_a_range_percentiles_give_it(tail):
    images = rng.normal(size=(40, 5, 5, 3))
    pixels, (low, high) = to_bytes(images, tail=tail)
    assert (low, high) == tuple(np.percentile(images, (tail, 100 - tail)))
    for outside, end in ((images < low, 0), (images > high, 255)):
        assert outside.mean() == pytest.approx(tail / 100, abs=1 / images.size)
        assert (pixels[outside] == end).all()
    again, used = to_bytes(images, (low, high), tail=20)
    np.testing.assert_array_equal(again, pixels)
    assert used == (low, high)
    assert type(low) is type(high) is float


def test_the_usual_range_leaves_out_a_thousandth_at_each_end():
    images = np.arange(100_001.0).reshape(1, 1, -1, 1)
    assert to_bytes(images)[1] == pytest.approx((100, 99_900))


def test_whitened_images_come_close_to_themselves_as_bytes():
    train = correlated(300)
    whitened = zca_apply(train, *zca_fit(train))
    pixels, (low, high) = to_bytes(whitened, tail=0)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.abs(low + pixels * ((high - low) / 255) - whitened).max() <= (high - low) / 509


# What is refused.

FUNCTIONS = [
    global_contrast_normalize,
    zca_fit,
    lambda images: zca_apply(images, np.zeros(12), np.eye(12)),
    to_bytes,
]
NAMES = ["gcn", "zca_fit", "zca_apply", "to_bytes"]
GOOD = rng.normal(size=(3, 2, 2, 3))
COUNTED = np.arange(GOOD.size).reshape(GOOD.shape)


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (GOOD.astype(np.int64), r"images: expected dtype uint8 or float, got int64"),
        (GOOD > 0, r"images: expected dtype uint8 or float, got bool"),
        (GOOD[0], r"images: expected shape \(count, height, width, channels\), got \(2, 2, 3\)"),
        (GOOD[:0], r"channels\), got \(0, 2, 2, 3\)"),
        (np.where(COUNTED == 0, np.nan, GOOD), r"images: expected finite .* nan at \[0, 0, 0, 0\]"),
        (np.where(COUNTED == 35, -np.inf, GOOD), r"images: .* -inf at \[2, 1, 1, 2\]"),
    ],
)
def test_images_are_checked(function, images, words):
    with pytest.raises(ValueError, match=words):
        function(images)
    function(GOOD)


@pytest.mark.parametrize("function", [global_contrast_normalize, zca_fit])
@pytest.mark.parametrize("bias", [-0.1, np.nan, np.inf])
def test_a_bias_is_not_negative(function, bias):
    with pytest.raises(ValueError, match="bias: expected a finite number at least 0, got"):
        function(GOOD, bias=bias)


@pytest.mark.parametrize(
    ("mean", "matrix", "words"),
    [
        (np.zeros(11), np.eye(12), r"mean: expected shape \(12,\) for images of shape \(2, 2, 3\)"),
        (np.zeros((2, 2, 3)), np.eye(12), r"mean: expected shape \(12,\)"),
        (np.zeros(12), np.eye(11), r"matrix: expected shape \(12, 12\) .*, got \(11, 11\)"),
        (np.zeros(12), np.ones(12), r"matrix: expected shape \(12, 12\)"),
        (np.where(np.arange(12) == 5, np.nan, 0), np.eye(12), r"mean: .* nan at \[5\]"),
        (np.zeros(12), np.diag([*[1.0] * 11, np.inf]), r"matrix: .* inf at \[11, 11\]"),
        (np.full(12, 1e300), 1e300 * np.eye(12), "matrix: makes values that float64 cannot hold"),
    ],
)
def test_what_was_learned_must_fit(mean, matrix, words):
    with pytest.raises(ValueError, match=words):
        zca_apply(GOOD, mean, matrix)


@pytest.mark.parametrize(
    ("value_range", "words"),
    [
        ((1, 1), r"value_range: expected low < high, got \(1\.0, 1\.0\)"),
        ((1, 0), "value_range: expected low < high"),
        ((0, np.nan), "value_range: expected a finite number, got nan"),
        ((0, 1, 2), r"value_range: expected \(low, high\), got \(0, 1, 2\)"),
        ((-np.inf, 0), "value_range: expected a finite number, got -inf"),
        ((-1e308, 1e308), "value_range: expected low < high"),
    ],
)
def test_a_range_has_two_ends(value_range, words):
    with pytest.raises(ValueError, match=words):
        to_bytes(GOOD, value_range)
    with pytest.raises(ValueError, match="value_range: expected low < high"):
        to_bytes(np.ones((2, 2, 2, 1)))


@pytest.mark.parametrize("tail", [-1, 50, np.nan])
def test_a_tail_is_a_percentage_below_50(tail):
    with pytest.raises(
        ValueError, match="tail: expected a finite number at least 0 and below 50, got"
    ):
        to_bytes(GOOD, tail=tail)


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
def test_images_are_an_array(function):
    with pytest.raises(TypeError, match="images: expected a NumPy array, got list"):
        function(GOOD.tolist())


@pytest.mark.parametrize("function", [global_contrast_normalize, zca_fit])
def test_values_whose_squares_are_none(function):
    with pytest.raises(ValueError, match=r"images: expected values up to 1e\+100"):
        function(np.where(COUNTED == 3, -1e101, GOOD))


def test_a_result_that_its_type_cannot_hold():
    with pytest.raises(ValueError, match="scale: makes values that float32 cannot hold"):
        global_contrast_normalize(GOOD.astype(np.float32), scale=1e39)
    for scale in (np.nan, np.inf, 1e101):
        with pytest.raises(ValueError, match="scale: expected a finite number at most 1e"):
            global_contrast_normalize(GOOD, scale=scale)
    assert np.isfinite(global_contrast_normalize(1e100 * np.sign(GOOD), scale=1e100)).all()
    assert np.isfinite(zca_fit(1e100 * np.sign(GOOD))[1]).all()


def test_constant_images_stay_numbers():
    for images in (np.full((5, 3, 3, 3), 7, np.uint8), np.full((5, 3, 3, 3), 0.1)):
        assert not global_contrast_normalize(images, bias=0).any()
        mean, matrix = zca_fit(images)
        np.testing.assert_allclose(zca_apply(images, mean, matrix), 0, atol=1e-12)
        with pytest.raises(ValueError, match="bias: expected more than 0"):
            zca_fit(images, bias=0)
        with pytest.raises(ValueError, match="value_range: expected low < high"):
            to_bytes(images)
        assert len(np.unique(to_bytes(images, (0, 255))[0])) == 1


# Local contrast normalization.


def lcn_of(x: np.ndarray, size: int, deviation: float, least: float) -> np.ndarray:
    """One channel (height, width), pixel by pixel."""
    h = size // 2
    window = [(i, j) for i in range(-h, h + 1) for j in range(-h, h + 1)]
    weight = {at: np.exp(-(at[0] ** 2 + at[1] ** 2) / (2 * deviation**2)) for at in window}
    total = sum(weight.values())

    def around(values: np.ndarray, r: int, c: int) -> float:
        inside = [
            at for at in window if 0 <= r + at[0] < x.shape[0] and 0 <= c + at[1] < x.shape[1]
        ]
        return sum(weight[at] / total * values[r + at[0], c + at[1]] for at in inside)

    v = np.array([[x[r, c] - around(x, r, c) for c in range(x.shape[1])] for r in range(len(x))])
    s = np.array([[around(v**2, r, c) for c in range(x.shape[1])] for r in range(len(x))]) ** 0.5
    return v / np.maximum(s, max(s.mean(), least))


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (9, 1, 1, 1), (1, 2, 7, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.usefixtures("block")
def test_lcn_is_its_definition(size, shape, dtype):
    images = rng.integers(0, 256, shape).astype(dtype)
    result = local_contrast_normalize(images, size, 1.5, 0.01)
    assert result.shape == shape
    assert result.dtype == (np.float64 if dtype == np.float64 else np.float32)
    for n, c in np.ndindex(shape[0], shape[3]):
        right = lcn_of(images[n, ..., c].astype(np.float64), size, 1.5, 0.01)
        np.testing.assert_allclose(result[n, ..., c], right, rtol=1e-5, atol=1e-5)


def test_lcn_takes_brightness_away_and_contrast_does_not_matter():
    """Inside, where the whole window lies in the image; a flat image stays finite."""
    image = rng.normal(size=(1, 30, 30, 1))
    plain = local_contrast_normalize(image)
    np.testing.assert_allclose(local_contrast_normalize(7 * image), plain, atol=1e-12)
    flat = local_contrast_normalize(np.full((1, 12, 12, 1), 0.0))
    assert not flat.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, "size: expected an odd number of pixels, got 4"),
        ({"size": 0}, "size: "),
        ({"deviation": 0}, "deviation: "),
        ({"least": 0}, "least: "),
    ],
)
def test_lcn_refuses_what_is_no_window(options, words):
    with pytest.raises(ValueError, match=words):
        local_contrast_normalize(np.ones((1, 3, 3, 1)), **options)
