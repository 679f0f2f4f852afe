"""The binary product: equal to its twin and to a plain integer product, for every size."""

import re

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import Panels, gemm, ladder, pack, planes_matmul, to_panels, unpack, xnor_matmul
from qnn_ref.bits.gemm import (
    LONG,
    kernel_for,
    kernel_names,
    run_few,
    run_panels,
    xnor_matmul_reference,
)
from qnn_ref.bits.panels import PANEL
from qnn_ref.grid import SIGNS

SIZES = [0, 1, 2, 3, 5, 17, 64, 65, 130]


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def product(x, y):
    """Rows of x times rows of y, in 64-bit integers."""
    return x.astype(np.int64) @ y.astype(np.int64).T


def check(x, y):
    """All forms of the product of +-1 matrices agree with the integer product."""
    a, b, K = pack(x), pack(y), x.shape[1]
    expected = product(x, y)
    for result in (
        xnor_matmul(a, b, K),
        xnor_matmul(a, to_panels(b, K), K),
        xnor_matmul_reference(a, b, K),
    ):
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected)


@given(st.integers(0, 200), st.integers(0, 6), st.integers(0, 70), st.integers(0, 2**32))
@example(K=64, M=1, N=64, seed=0)
@example(K=256, M=2, N=1, seed=0)
@example(K=320, M=17, N=65, seed=0)
def test_product_is_its_twin_and_the_integer_product(K, M, N, seed):
    rng = np.random.default_rng(seed)
    check(signs(rng, M, K), signs(rng, N, K))


def test_every_length_up_to_200():
    rng = np.random.default_rng(1)
    for K in range(201):
        check(signs(rng, 2, K), signs(rng, 3, K))


@pytest.mark.parametrize("M", SIZES)
def test_every_number_of_rows_and_columns(M):
    rng = np.random.default_rng(M)
    for N in SIZES:
        check(signs(rng, M, 70), signs(rng, N, 70))


@pytest.mark.parametrize(
    "K", [1, 2, 3, 63, 64, 65, 100, 127, 128, 129, 192, 300, 1000, 1192, 40000]
)
def test_all_equal_and_all_opposite(K):
    """Sums as large as they get: no narrow counter, no unsigned result, no padding counted."""
    up, down = np.ones((1, K), np.int8), np.full((2, K), -1, np.int8)
    assert (xnor_matmul(pack(up), pack(up), K) == K).all()
    assert (xnor_matmul(pack(down), pack(down), K) == K).all()
    assert (xnor_matmul(pack(up), pack(down), K) == -K).all()
    assert (xnor_matmul(pack(down), pack(up), K) == -K).all()
    rng = np.random.default_rng(K)
    check(signs(rng, 1, K), signs(rng, 2, K))


def test_three_elements_that_differ_give_minus_three():
    a, b = pack(np.array([[1, 1, 1]])), pack(np.array([[-1, -1, -1]]))
    for result in (xnor_matmul(a, b, 3), xnor_matmul_reference(a, b, 3)):
        assert result.tolist() == [[-3]]
        assert result.dtype == np.int32


def test_no_elements_give_zeros():
    a, b = np.empty((2, 0), np.uint64), np.empty((3, 0), np.uint64)
    assert xnor_matmul(a, b, 0).tolist() == [[0, 0, 0], [0, 0, 0]]


@given(st.integers(1, 150), st.integers(0, 2**32), st.data())
def test_flipping_one_element_moves_one_row_by_two(K, seed, data):
    """out[m, n] moves by 2 x[m, k] y[n, k], in row m only: indices and factor are right."""
    rng = np.random.default_rng(seed)
    x, y = signs(rng, 3, K), signs(rng, 4, K)
    m, k = data.draw(st.integers(0, 2)), data.draw(st.integers(0, K - 1))
    before = xnor_matmul(pack(x), pack(y), K)
    change = np.zeros_like(before)
    change[m] = -2 * x[m, k] * y[:, k]
    x[m, k] *= -1
    np.testing.assert_array_equal(xnor_matmul(pack(x), pack(y), K) - before, change)


def test_views_and_read_only_operands():
    rng = np.random.default_rng(2)
    a, b = pack(signs(rng, 10, 130)), pack(signs(rng, 12, 130))
    expected = xnor_matmul_reference(a, b, 130)
    a.flags.writeable = b.flags.writeable = False
    np.testing.assert_array_equal(xnor_matmul(a, b, 130), expected)
    np.testing.assert_array_equal(xnor_matmul(a[::-2], b[1::3], 130), expected[::-2, 1::3])
    fortran = xnor_matmul(np.asfortranarray(a), np.asfortranarray(b), 130)
    np.testing.assert_array_equal(fortran, expected)
    wide = np.full((10, 9), 2**64 - 1, np.uint64)
    wide[:, 1:8:3] = a
    np.testing.assert_array_equal(xnor_matmul(wide[:, 1:8:3], b, 130), expected)


def test_out_is_filled_and_returned():
    rng = np.random.default_rng(3)
    a, b = pack(signs(rng, 5, 70)), pack(signs(rng, 66, 70))
    out = np.full((5, 66), 99, np.int32)
    assert xnor_matmul(a, b, 70, out=out) is out
    np.testing.assert_array_equal(out, xnor_matmul_reference(a, b, 70))
    assert xnor_matmul(a, b, 70) is not xnor_matmul(a, b, 70)


def test_number_of_threads_does_not_matter():
    rng = np.random.default_rng(4)
    a, b = pack(signs(rng, 70, 200)), pack(signs(rng, 70, 200))
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results += [xnor_matmul(a, b, 200) for _ in range(3)]
    finally:
        numba.set_num_threads(before)
    for result in results:
        np.testing.assert_array_equal(result, xnor_matmul_reference(a, b, 200))


@given(st.integers(0, 130), st.integers(0, 140), st.integers(0, 2**32))
def test_panels_hold_the_weights_and_zeros(K, N, seed):
    y = signs(np.random.default_rng(seed), N, K)
    b = pack(y)
    panels = to_panels(b, K)
    W = b.shape[1]
    assert (panels.N, panels.K) == (N, K)
    assert panels.words.shape == (-(-N // PANEL), W, PANEL)
    assert panels.words.ctypes.data % 64 == 0 or not panels.words.size
    columns = panels.words.transpose(0, 2, 1).reshape(panels.words.shape[0] * PANEL, W)
    np.testing.assert_array_equal(unpack(columns[:N].copy(), K), y)
    assert not columns[N:].any()
    np.testing.assert_array_equal(panels.plus, (y == 1).sum(axis=1))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("several", [False, True])
def test_the_kernel_is_compiled_for_one_signature(several, monkeypatch):
    """Read-only or not, contiguous or not: no second compilation, which takes seconds."""
    monkeypatch.setattr(ladder, "worth_waking", lambda nanoseconds: several)
    rng = np.random.default_rng(5)
    a, b = pack(signs(rng, 4, 70)), pack(signs(rng, 4, 70))
    xnor_matmul(a, b, 70)
    a.flags.writeable = False
    xnor_matmul(a[::2], to_panels(b[::-1], 70), 70, out=np.empty((2, 4), np.int32))
    planes_matmul(a[None], to_panels(b, 70), 70, SIGNS)
    kernel = getattr(ladder, f"_{kernel_for(2).__name__}" + ("" if several else "_alone"))
    assert len(getattr(kernel, "compiled", kernel).signatures) == 1


A = np.zeros((2, 2), np.uint64)
B = np.zeros((3, 2), np.uint64)
DIRTY = np.array([[0, 2**6]], np.uint64)
LOCKED = np.empty((2, 3), np.int32)
LOCKED.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: xnor_matmul(A.astype(np.int64), B, 70), TypeError, "a: expected dtype uint64"),
        (lambda: xnor_matmul(A, B.astype(np.uint8), 70), TypeError, "b: expected dtype uint64"),
        (lambda: xnor_matmul([[1]], B, 70), TypeError, "a: expected an array .* got list"),
        (lambda: xnor_matmul(A, None, 70), TypeError, "b: expected an array .* got NoneType"),
        (lambda: xnor_matmul(A[0], B, 70), ValueError, r"a: expected shape \(rows, 2\) .* \(2,\)"),
        (lambda: xnor_matmul(A, B[None], 70), ValueError, r"b: .* got \(1, 3, 2\)"),
        (lambda: xnor_matmul(A[:, :1], B, 70), ValueError, r"a: .* for K = 70, got \(2, 1\)"),
        (lambda: xnor_matmul(A, B[:, :1], 70), ValueError, r"b: .* for K = 70, got \(3, 1\)"),
        (lambda: xnor_matmul(A, B, 64), ValueError, r"a: expected shape \(rows, 1\) for K = 64"),
        (lambda: xnor_matmul(A, B, 129), ValueError, r"a: expected shape \(rows, 3\) for K = 129"),
        (lambda: xnor_matmul(A, B, -1), ValueError, "K: expected a whole number of at least 0"),
        (lambda: xnor_matmul(A, B, 70.0), TypeError, "K: expected a whole number .* got"),
        (lambda: xnor_matmul(DIRTY, B, 70), ValueError, "a: a padding bit beyond K = 70 is set"),
        (lambda: xnor_matmul(A, DIRTY, 70), ValueError, "b: a padding bit beyond K = 70 is set"),
        (lambda: to_panels(DIRTY, 70), ValueError, "b: a padding bit beyond K = 70 is set"),
        (
            lambda: xnor_matmul(A, to_panels(B, 71), 70),
            ValueError,
            "b: expected panels of columns with K = 70 weights, got 71",
        ),
        (
            lambda: xnor_matmul(
                np.empty((0, 2**25), np.uint64), np.empty((0, 2**25), np.uint64), 2**31
            ),
            ValueError,
            "K: sums of 2147483648 products of up to 1 do not fit in int32",
        ),
        (
            lambda: xnor_matmul(A, B, 70, np.empty((3, 2), np.int32)),
            ValueError,
            r"out: expected shape \(2, 3\), got \(3, 2\)",
        ),
        (
            lambda: xnor_matmul(A, B, 70, np.empty((2, 3), np.int64)),
            TypeError,
            "out: expected an array of int32, got int64",
        ),
        (
            lambda: xnor_matmul(A, B, 70, [[0] * 3] * 2),
            TypeError,
            "out: expected an array of int32, got list",
        ),
        (
            lambda: xnor_matmul(A, B, 70, np.empty((3, 2), np.int32).T),
            ValueError,
            "out: expected a C-contiguous",
        ),
        (lambda: xnor_matmul(A, B, 70, LOCKED), ValueError, "out: .* can be written to"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_may_take_away_up_to_2_to_the_32(sign):
    planes, rows, limit = np.ones((1, 1, 1), np.uint64), np.zeros((1, 1), np.uint64), 2**32
    base, out = np.array([sign * limit + 5]), np.empty((1, 1), np.int32)
    for run, right in ((run_panels, to_panels(rows, 64)), (run_few, rows)):
        assert run(planes, right, base, sign * limit, out)[0, 0] == 5
        with pytest.raises(ValueError, match=r"^step: expected .* 4294967296, got -?4294967297"):
            run(planes, right, base, sign * (limit + 1), out)


@pytest.mark.parametrize(
    ("off", "vectors", "kernels", "names"),
    [
        (1, True, ["column_panels"] * 2, r"^column_panels, .*NUMBA_DISABLE_JIT is set"),
        (0, True, ["vector_tiles"] * 2, r"^vector_tiles \(the processor counts"),
        (0, False, ["vector_tiles", "carry_save"], rf"^vector_tiles; carry_save from {LONG} words"),
    ],
)
def test_the_kernels_that_are_named_are_those_that_run(off, vectors, kernels, names, monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", off)
    monkeypatch.setattr(gemm, "counts_vectors", lambda: vectors)
    assert re.search(names, kernel_names())
    for W, kernel in zip((LONG - 1, LONG), kernels, strict=True):
        assert kernel_for(W) is getattr(gemm, kernel)


def test_panels_are_compared_by_identity():
    """A field-wise == of arrays has no truth value, so a Panels object has none either."""
    one, other = to_panels(B, 70), to_panels(B, 70)
    assert one == one
    assert one != other
    assert isinstance(one, Panels)
