"""The convolution that computes each 2-D filter once a map: the sums of the plain one, always."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qnn_ref.bits import (
    KernelPanels,
    RepeatedKernel,
    operands,
    pack,
    pack_kernel,
    repeated_conv,
    repeated_filters,
    to_kernel_panels,
    unpack,
    xnor_conv,
)
from qnn_ref.bits.repeated_filters import repeated_conv_reference
from qnn_ref.cost import filter_operations
from tests.test_bits_conv import layers


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def check(x, w, stride=1, padding=0, pad=0):
    words, kernel, C = pack(x), pack_kernel(w), x.shape[3]
    at = stride, padding, pad
    expected = xnor_conv(words, kernel, C, *at)
    for found in (
        repeated_conv(words, kernel, C, *at),
        repeated_conv(words, RepeatedKernel(kernel, C), C, *at),
        repeated_conv_reference(words, kernel, C, *at),
    ):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=40)
@given(layers(most_channels=70), st.integers(0, 2**32))
@example(layer=((1, 2, 3, 65), (2, 3, 65, 3), (1, 1), (0, 0), 0), seed=0)
@example(layer=((2, 3, 1, 2), (2, 3, 2, 64), (2, 1), (0, 1), 1), seed=0)
@example(layer=((2, 2, 2, 3), (1, 1, 3, 5), (1, 1), (0, 0), 0), seed=0)
def test_it_is_its_twin_and_the_plain_convolution(layer, seed):
    images, weights, *at = layer
    rng = np.random.default_rng(seed)
    check(signs(rng, *images), signs(rng, *weights), *at)


@pytest.mark.slow_without_jit
def test_more_places_than_a_task_takes(monkeypatch):
    """The last task is not full; tasks lie across images."""
    rng = np.random.default_rng(0)
    side = int(repeated_filters.PLACES**0.5) // 2 + 3
    check(signs(rng, 5, side, side, 3), signs(rng, 3, 3, 3, 9), 1, 1)


@pytest.mark.slow_without_jit
def test_sums_beyond_int16_are_those_of_the_twin():
    """37 x 25 taps x 36 channels: 33,300 ones; and one tap more than an int8 holds."""
    for kernel, C in (((37, 25), 36), ((8, 16), 2)):
        x, w = np.ones((1, *kernel, C), np.int8), np.ones((*kernel, C, 2), np.int8)
        w[..., 1] = -1
        found = repeated_conv(pack(x), pack_kernel(w), C)
        assert found.ravel().tolist() == [x.size, -x.size]


def test_equal_filters_and_negatives_are_one_form():
    rng = np.random.default_rng(1)
    one = signs(rng, 3, 3, 2, 1)
    w = np.concatenate([one, -one, one, one], axis=-1)
    kernel = RepeatedKernel(pack_kernel(w), 2)
    assert len(kernel.forms) == 2
    assert kernel.share == 2 / 8
    assert (kernel.forms[:, 0] == 1).all()
    assert kernel.index.tolist() == [[0] * 4] * 2
    flipped = (kernel.negative[:, 0] ^ kernel.negative[:, 1]).tolist()
    assert flipped == [True, True]
    check(signs(rng, 2, 4, 5, 2), w, 1, 1)


def test_forms_are_those_that_are_counted():
    """`qnn_ref.cost` counts them in another way: by numbers of forms and their complements."""
    w = signs(np.random.default_rng(2), 3, 3, 5, 60)
    kernel = RepeatedKernel(pack_kernel(w), 5)
    assert 9 * len(kernel.forms) == filter_operations(w).per_map_up_to_sign
    ends = zip(kernel.starts[:-1], kernel.starts[1:], strict=True)
    rebuilt = [
        np.where(kernel.negative[c][:, None], -1, 1) * kernel.forms[a:b][kernel.index[c]]
        for c, (a, b) in enumerate(ends)
    ]
    np.testing.assert_array_equal(np.array(rebuilt).reshape(5, 60, 3, 3), w.transpose(2, 3, 0, 1))


def test_nothing_to_convolve():
    for B, C, N in ((0, 3, 2), (1, 3, 0), (1, 0, 2)):
        check(np.ones((B, 3, 3, C), np.int8), np.ones((2, 2, C, N), np.int8))


def test_the_kernel_is_a_copy():
    words = pack_kernel(np.ones((2, 2, 3, 1)))
    kernel = RepeatedKernel(words, 3)
    words[:] = 0
    assert unpack(kernel.words, 3).all()
    assert "1 filters on 3 maps, 3 of 3 forms of 2 x 2" in repr(kernel)


X, W = pack(np.ones((2, 4, 5, 3))), pack_kernel(np.ones((2, 2, 3, 4)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: repeated_conv(X, W, 70), ValueError, r"x: expected shape \(B, H, W, 2\)"),
        (lambda: repeated_conv(X, W, 2), ValueError, "x: .*bit"),
        (lambda: repeated_conv(X[0], W, 3), ValueError, "x: expected shape"),
        (lambda: repeated_conv(X, W[0], 3), ValueError, "w: expected shape"),
        (lambda: repeated_conv(X.astype(float), W, 3), TypeError, "x: "),
        (lambda: repeated_conv(X, W, 3, stride=0), ValueError, "stride: "),
        (lambda: repeated_conv(X, W, 3, padding=-1), ValueError, "padding: "),
        (lambda: repeated_conv(X, W, 3, pad_value=2), ValueError, "pad_value: "),
        (lambda: repeated_conv(X[:, :1], W, 3), ValueError, "kernel: 2 x 2 does not fit"),
        (lambda: repeated_conv(X, W, 3, out=np.empty((2, 3, 4, 3), np.int32)), ValueError, "out"),
        (lambda: repeated_conv(X, W, 3, out=np.empty((2, 3, 4, 4))), TypeError, "out"),
        (lambda: RepeatedKernel(W, 70), ValueError, "w: expected shape"),
        (lambda: RepeatedKernel("words", 3), TypeError, "w: "),
        (
            lambda: repeated_conv(pack(np.ones((1, 4, 4, 5))), RepeatedKernel(W, 3), 5),
            ValueError,
            "w: expected weights of 5 channels, got 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_prepared_weights_of_the_other_kernel_are_refused():
    other = to_kernel_panels(W, 3)
    assert isinstance(other, KernelPanels)
    with pytest.raises(TypeError, match="w: "):
        repeated_conv(X, other, 3)


def test_nobody_changes_where_the_kernel_reads():
    kernel = RepeatedKernel(W, 3)
    arrays = [v for v in vars(kernel).values() if isinstance(v, np.ndarray)]
    assert len(arrays) == 5
    assert not any(array.flags.writeable for array in arrays)


def test_the_twin_goes_on_by_one_place_unless_told():
    found = repeated_conv_reference(X, W, 3)
    np.testing.assert_array_equal(found, repeated_conv(X, W, 3))
    assert found.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("convolve", [repeated_conv, repeated_conv_reference])
def test_zeros_stand_outside_unless_told(convolve):
    found = convolve(X, W, 3, padding=1)
    np.testing.assert_array_equal(found, xnor_conv(X, W, 3, 1, 1, 0))
    assert not np.array_equal(found, convolve(X, W, 3, padding=1, pad_value=1))


def test_sums_that_may_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(operands, "INT32_END", 2 * 2 * 3)
    with pytest.raises(ValueError, match=r"^w: sums of 12 products"):
        repeated_conv(X, W, 3)
