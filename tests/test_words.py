"""Packing: the order of the bits, their meaning, the padding, and what has no sign."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.bits import pack, pack_thresholds, unpack, words_for
from qnn_ref.bits.words import (
    check_words,
    pack_bits,
    pack_bits_reference,
    pack_reference,
    pack_thresholds_reference,
)

REAL = ["float16", "float32", "float64", "longdouble", ">f4", ">f8"]
SIGNED = ["int8", "int16", "int32", "int64", ">i4"]
UNSIGNED = ["uint8", "uint64"]

# Shapes with a last axis around the word length; any number of leading axes, empty ones too.
SHAPES = st.tuples(st.lists(st.integers(0, 3), max_size=2), st.integers(0, 200)).map(
    lambda parts: (*parts[0], parts[1])
)


def bits_one_by_one(x):
    """The convention as a sum over single elements: bit i % 64 of word i // 64 is x[i] >= 0."""
    words = [0] * -(-len(x) // 64)
    for i, value in enumerate(x):
        words[i // 64] += int(value >= 0) << i % 64
    return words


def numbers(dtype):
    return hnp.from_dtype(np.dtype(dtype), allow_nan=False)


@given(st.data(), st.sampled_from(REAL + SIGNED + UNSIGNED), SHAPES)
def test_pack_is_its_twin_and_the_convention(data, dtype, shape):
    x = data.draw(hnp.arrays(np.dtype(dtype), shape, elements=numbers(dtype)))
    words = pack(x)
    assert words.dtype == np.uint64
    assert words.shape == (*shape[:-1], words_for(shape[-1]))
    np.testing.assert_array_equal(words, pack_reference(x))
    for place in np.ndindex(shape[:-1]):
        assert words[place].tolist() == bits_one_by_one(x[place])


@given(hnp.arrays(np.bool_, SHAPES))
def test_pack_bits_is_its_twin_and_the_convention(bits):
    words = pack_bits(bits)
    np.testing.assert_array_equal(words, pack_bits_reference(bits))
    np.testing.assert_array_equal(words, pack(np.where(bits, 1, -1)))


@given(st.integers(0, 300), st.integers(0, 2**32), st.sampled_from(["int8", "int32", "f4", "f8"]))
def test_unpack_undoes_pack(K, seed, dtype):
    x = np.random.default_rng(seed).choice(np.array([-1, 1], dtype), (3, K))
    back = unpack(pack(x), K, dtype)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("K", [*range(201), 1000, 1192, 40000])
def test_every_length_has_its_words_and_zero_padding(K):
    words = pack(np.ones(K, np.float32))
    assert len(words) == words_for(K) == (K + 63) // 64
    assert sum(int(word).bit_count() for word in words) == K
    assert not pack(np.full(K, -1.0)).any()
    check_words("words", words, K)


def test_bit_0_is_element_0():
    assert pack(np.array([1, -1, -1, -1, -1])).tolist() == [1]
    assert pack(np.array([-1] * 63 + [1])).tolist() == [2**63]
    assert pack(np.array([-1] * 64 + [1])).tolist() == [0, 1]
    assert unpack(np.array([1], np.uint64), 5).tolist() == [1, -1, -1, -1, -1]


@pytest.mark.parametrize("dtype", REAL)
def test_zero_of_either_sign_and_the_smallest_numbers(dtype):
    tiny = np.nextafter(np.zeros((), dtype), np.ones((), dtype))
    assert pack(np.array([-2, -0.0, 0.0, tiny, 3], dtype)).tolist() == [0b11110]
    assert pack(np.array([-tiny, tiny, -0.0], dtype)).tolist() == [0b110]
    assert pack(np.array([np.inf, -np.inf], dtype)).tolist() == [1]


def test_a_long_double_below_every_float64_keeps_its_sign():
    tiny = np.nextafter(np.longdouble(0), np.longdouble(1))
    assert pack(np.array([-tiny, tiny])).tolist() == [2]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("place", [0, 63, 64, 69])
@pytest.mark.parametrize("function", [pack, pack_reference])
def test_nan_is_refused_wherever_it_stands(function, place, dtype):
    x = np.ones((2, 70), dtype)
    x[1, place] = np.nan
    with pytest.raises(ValueError, match=r"^x: contains NaN"):
        function(x)


def test_views_are_packed_as_they_look():
    x = np.random.default_rng(0).standard_normal((70, 140))
    views = [
        x.T,
        x[::2, 1::2],
        x[:, ::-1],
        x[::-3],
        np.asfortranarray(x),
        np.broadcast_to(x, (2, 70, 140)),
    ]
    for view in views:
        np.testing.assert_array_equal(pack(view), pack(view.copy()))
        np.testing.assert_array_equal(pack(view), pack_reference(view))
        np.testing.assert_array_equal(pack_bits(view >= 0), pack(view))
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(pack(read_only), pack(x))
    words = pack(x.T)
    np.testing.assert_array_equal(unpack(words[::-2], 70), unpack(words, 70)[::-2])
    np.testing.assert_array_equal(unpack(words[::-2], 70), np.where(x.T[::-2] >= 0, 1, -1))


def test_lists_are_taken_and_the_argument_is_left_alone():
    assert pack([1.0, -1.0, 0.0]).tolist() == [5]
    assert pack_bits([True, False, True]).tolist() == [5]
    x = np.array([0.5, -0.5])
    pack(x)
    assert x.tolist() == [0.5, -0.5]


@given(st.integers(0, 10**6))
@example(0)
@example(64)
@example(65)
def test_words_for_is_the_smallest_number_that_holds_the_bits(K):
    assert 64 * (words_for(K) - 1) < K <= 64 * words_for(K)


WORDS = np.zeros((2, 3), np.uint64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: words_for(-1), ValueError, "K: expected a whole number of at least 0, got -1"),
        (lambda: words_for(1.5), TypeError, "K: expected a whole number .* got"),
        (lambda: pack(np.ones(3, bool)), TypeError, "x: a bool has no sign .* pack_bits"),
        (lambda: pack(np.ones(3, complex)), TypeError, "x: expected real or .* got dtype complex"),
        (lambda: pack(np.array(["a"])), TypeError, "x: expected real or integer numbers"),
        (lambda: pack(np.array([None])), TypeError, "x: expected real or integer numbers"),
        (lambda: pack(1.0), ValueError, r"x: expected shape \(..., K\), got \(\)"),
        (lambda: pack_bits(np.ones(3)), TypeError, "bits: expected dtype bool, got float64"),
        (lambda: pack_bits(np.True_), ValueError, r"bits: expected shape \(..., K\), got \(\)"),
        (lambda: unpack([1, 2], 70), TypeError, "words: expected an array of uint64 .* got list"),
        (
            lambda: unpack(WORDS.astype(int), 190),
            TypeError,
            "words: expected dtype uint64, got int",
        ),
        (lambda: unpack(WORDS, 193), ValueError, r"words: .* \(..., 4\) for K = 193, got \(2, 3\)"),
        (lambda: unpack(WORDS, 128), ValueError, r"words: .* \(..., 2\) for K = 128, got \(2, 3\)"),
        (lambda: unpack(WORDS[0, 0:1].reshape(()), 1), ValueError, r"words: .* got \(\)"),
        (lambda: unpack(WORDS, -1), ValueError, "K: expected a whole number of at least 0, got -1"),
        (lambda: unpack(WORDS, 190, np.uint8), TypeError, "dtype: expected a type that holds -1"),
        (lambda: unpack(WORDS, 190, bool), TypeError, "dtype: expected a type that holds -1"),
        (
            lambda: unpack(np.array([8], np.uint64), 3),
            ValueError,
            "words: a padding bit beyond K = 3 is set",
        ),
        (
            lambda: check_words("a", WORDS, 190, ndim=3),
            ValueError,
            r"a: expected shape \(planes, rows, 3\) for K = 190, got \(2, 3\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()


def test_words_of_a_file_that_is_mapped_are_words_too():
    class Mapped(np.ndarray):
        """As `numpy.memmap` is one."""

    words = np.array([[5, 3]], np.uint64).view(Mapped)
    check_words("a", words, 66, ndim=2)
    with pytest.raises(ValueError, match=r"^a: a padding bit beyond K = 65 is set"):
        check_words("a", words, 65)


# Thresholds


@given(
    st.integers(0, 5),
    st.integers(0, 200),
    st.integers(0, 2**32),
    st.sampled_from([1, 3, 2**31 - 1]),
)
def test_pack_thresholds_equals_its_twin(M, K, seed, size):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-size, size, (M, K), np.int32, endpoint=True)
    at = rng.integers(-size, size, K, np.int32, endpoint=True)
    flip = rng.integers(0, 2, K).astype(bool)
    sums[:, ::3] = at[::3]  # exactly on the threshold
    words = pack_thresholds(sums, at, flip)
    np.testing.assert_array_equal(words, pack_thresholds_reference(sums, at, flip))
    expected = [[(s >= t) != f for s, t, f in zip(row, at, flip, strict=True)] for row in sums]
    bits = unpack(words, K) > 0
    np.testing.assert_array_equal(bits, np.array(expected, bool).reshape(M, K))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((2, 3), np.int64), np.zeros(3, np.int32), np.zeros(3, bool)), "sums: expected"),
        ((np.zeros((2, 4), np.int32), np.zeros(3, np.int32), np.zeros(3, bool)), "at: expected"),
        (
            (np.zeros((2, 3), np.int32), np.zeros(3), np.zeros(3, bool)),
            "at: expected an array",
        ),
        ((np.zeros((2, 3), np.int32), np.zeros(3, np.int32), np.zeros(2, bool)), "flip: expected"),
    ],
    ids=["sums dtype", "sums shape", "at", "flip"],
)
def test_pack_thresholds_refuses_what_does_not_fit(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        pack_thresholds(*arguments)


# Floats in compiled code: eight comparisons at a time, the rest of a row one by one


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@given(
    M=st.integers(0, 9),
    K=st.one_of(st.integers(0, 200), st.sampled_from([63, 64, 65, 127, 128, 129, 192])),
    seed=st.integers(0, 2**32),
)
def test_rows_of_floats_are_their_twin(dtype, M, K, seed):
    """Rows begin anywhere in memory: no row takes bits of its neighbours."""
    rng = np.random.default_rng(seed)
    special = np.array([0, -0.0, np.inf, -np.inf, np.finfo(dtype).tiny / 2, -1e-40], dtype)
    x = np.where(rng.random((M, K)) < 0.5, rng.choice(special, (M, K)), rng.normal(size=(M, K)))
    x = x.astype(dtype)
    words = pack(x)
    np.testing.assert_array_equal(words, pack_reference(x))
    check_words("words", words, K)
    for row, packed in zip(x, words, strict=True):
        assert packed.tolist() == bits_one_by_one(row)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_of_either_sign_is_found_at_every_place(dtype, sign):
    x = np.ones((3, 70), dtype)
    for place in range(x.size):
        x.flat[place] = np.copysign(np.nan, sign)
        with pytest.raises(ValueError, match=r"^x: contains NaN"):
            pack(x)
        x.flat[place] = -1
    assert not pack(x).any()


def test_two_nan_do_not_cancel():
    x = np.zeros((4, 130), np.float32)
    for count in (2, 3, 8, 16, 256, x.size):
        x.flat[:count] = np.nan
        with pytest.raises(ValueError, match=r"^x: contains NaN"):
            pack(x)
