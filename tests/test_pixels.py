"""Pixels times +-1 by lookup: the same integers as eight bit planes."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import pack, pack_panels, pixels_matmul, to_panels
from qnn_ref.bits.lookup import PIXEL_OUTPUTS, pixels_matmul_reference

SIZES = st.sampled_from([0, 1, 2, 3, 5, 17, 63, 64, 65, 130])


def check(images, w):
    K = images.shape[1]
    b = pack(w)
    expected = (2 * images.astype(np.int64) - 255) @ w.astype(np.int64).T
    result = pixels_matmul(images, b, K)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(pixels_matmul_reference(images, b, K), expected)


@given(M=SIZES, N=SIZES, K=st.integers(0, 200), seed=st.integers(0, 2**32))
@example(M=1, N=1, K=1, seed=0)
@example(M=65, N=3, K=64, seed=0)
def test_equals_the_product_of_integers_and_the_planes(M, N, K, seed):
    rng = np.random.default_rng(seed)
    M, N = (M, N) if not numba.config.DISABLE_JIT else (min(M, 3), min(N, 3))
    images = rng.choice(np.array([0, 1, 127, 128, 254, 255, *rng.integers(0, 256, 9)]), (M, K))
    check(images.astype(np.uint8), rng.choice(np.array([-1, 1], np.int8), (N, K)))


@pytest.mark.parametrize("pixel", [0, 255])
@pytest.mark.parametrize("weight", [-1, 1])
def test_extremes(pixel, weight):
    for K in (1, 31, 32, 33, 64, 65, 224, 225, 256, 257, 1000):
        for M in (2, 5):  # a few go as planes
            check(np.full((M, K), pixel, np.uint8), np.full((2, K), weight, np.int8))


@pytest.mark.slow_without_jit
def test_large_and_ragged():
    rng = np.random.default_rng(0)
    for M, K, N in ((129, 784, 70), (64, 3072, 5), (3, 40000, 2)):
        images = rng.integers(0, 256, (M, K), dtype=np.uint8)
        check(images, rng.choice(np.array([-1, 1], np.int8), (N, K)))


@pytest.mark.slow_without_jit
def test_threads_and_memory_layout_change_nothing():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 90), dtype=np.uint8)
    w = rng.choice(np.array([-1, 1], np.int8), (33, 45))
    strided = images[::2, ::2]
    expected = pixels_matmul(strided.copy(), pack(w), 45)
    threads = numba.get_num_threads()
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            np.testing.assert_array_equal(pixels_matmul(strided, pack(w), 45), expected)
    finally:
        numba.set_num_threads(threads)
    out = np.empty((150, 33), np.int32)
    assert pixels_matmul(strided, pack(w), 45, out) is out
    np.testing.assert_array_equal(out, expected)


IMAGES = np.zeros((2, 5), np.uint8)
WORDS = pack(np.ones((3, 5)))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((IMAGES.astype(np.int32), WORDS, 5), TypeError, "images: expected an array of uint8"),
        ((IMAGES, WORDS, 6), ValueError, r"images: expected shape \(M, 6\)"),
        ((IMAGES[0], WORDS, 5), ValueError, "images: expected shape"),
        ((IMAGES, WORDS.astype(np.int64), 5), TypeError, "b: "),
        ((IMAGES, np.full((3, 1), 2**63, np.uint64), 5), ValueError, "b: "),
        ((IMAGES, WORDS, 5, np.empty((2, 4), np.int32)), ValueError, "out: expected shape"),
        ((IMAGES, WORDS, 5, np.empty((2, 3), np.int64)), TypeError, "out: expected"),
    ],
    ids=["int32", "K", "one image", "int64 words", "padding", "out shape", "out dtype"],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        pixels_matmul(*arguments)


def test_sums_beyond_int32_are_refused():
    K = 2**31 // 1020 + 1
    images = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1, K), (0, 0))
    with pytest.raises(ValueError, match=f"K: sums of {K} products of up to 1020 do not fit"):
        pixels_matmul(images, np.zeros((1, -(-K // 64)), np.uint64), K)


# Both ways: a few images as bit planes, the others by lookup


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("K", [1, 4, 31, 32, 33, 64, 65, 127, 128, 129, 130, 256, 257, 1000])
def test_extremes_by_lookup(K):
    """128 pixels fill 16 bits, so they are emptied into 32 bits in time; five images are many."""
    for pixel in (0, 1, 128, 255):
        for weight in (-1, 1):
            check(np.full((5, K), pixel, np.uint8), np.full((2, K), weight, np.int8))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("M", [4, 15, 16, 17, 63, 64, 65, 81])
def test_blocks_of_images_and_of_outputs(M):
    rng = np.random.default_rng(M)
    for K, N in ((33, 1), (100, 16), (160, 17), (7, PIXEL_OUTPUTS), (40, PIXEL_OUTPUTS + 1)):
        images = rng.integers(0, 256, (M, K), dtype=np.uint8)
        check(images, rng.choice(np.array([-1, 1], np.int8), (N, K)))


@pytest.mark.parametrize("M", [1, 2, 3, 4, 5])
def test_every_form_of_the_weights_gives_the_same(M):
    """Words, their panels, and panels of a real matrix, which keep no rows."""
    rng = np.random.default_rng(M)
    images = rng.integers(0, 256, (M, 70), dtype=np.uint8)
    w = rng.choice(np.array([-1, 1], np.int8), (18, 70))
    expected = (2 * images.astype(np.int64) - 255) @ w.astype(np.int64).T
    for form in (pack(w), to_panels(pack(w), 70), pack_panels(w.T).columns):
        np.testing.assert_array_equal(pixels_matmul(images, form, 70), expected)
