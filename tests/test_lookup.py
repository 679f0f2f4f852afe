"""Signs times real numbers by lookup: the sums of the twin, bit for bit, and the plain product."""

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import lookup, pack, pack_panels, signs_matmul, to_panels
from qnn_ref.bits.lookup import (
    FEW_ROWS,
    OUTPUTS,
    run_signs,
    signs_matmul_reference,
)

EDGES = [0, 1, 7, 8, 9, 31, 32, 33, 40, 63, 64, 65, 100]
COLUMNS = st.one_of(st.integers(0, 50), st.sampled_from(EDGES))
NUMBERS = [0, 1, 15, 16, 17, 100]
REAL = ["float32", "float64"]


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def bits_of(x):
    """The bits of floats, so that 0 and -0.0 differ."""
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


def multiply(b, x):
    """`signs_matmul` into an array with a border, which must stay as it is."""
    N = len(b) if isinstance(b, np.ndarray) else b.N
    border = np.full(N * x.shape[1] + 64, 77, x.dtype)
    out = border[32 : border.size - 32].reshape(N, x.shape[1])
    out[...] = np.nan
    assert signs_matmul(b, x, out=out) is out
    assert (border[:32] == 77).all()
    assert (border[border.size - 32 :] == 77).all()
    return out


def check(s, x):
    """Words or panels, new result or given: the twin bit for bit, the plain product to rounding."""
    b, K = pack(s), len(x)
    twin = signs_matmul_reference(b, x)
    for result in (signs_matmul(b, x), multiply(b, x), multiply(to_panels(b, K), x)):
        assert result.dtype == twin.dtype == x.dtype
        assert result.shape == (len(s), x.shape[1])
        np.testing.assert_array_equal(bits_of(result), bits_of(twin))
    exact = s.astype(np.float64) @ x.astype(np.float64)
    largest = np.abs(x.astype(np.float64)).sum(axis=0)
    assert np.all(np.abs(twin - exact) <= (K / 4 + 4) * np.finfo(x.dtype).eps * largest)


@given(
    st.integers(0, 200), st.integers(0, 70), COLUMNS, st.sampled_from(REAL), st.integers(0, 2**32)
)
@example(K=4, N=1, L=8, dtype="float32", seed=0)
@example(K=64, N=16, L=32, dtype="float32", seed=0)
@example(K=100, N=17, L=33, dtype="float64", seed=0)
def test_is_its_twin_and_the_product(K, N, L, dtype, seed):
    rng = np.random.default_rng(seed)
    check(signs(rng, N, K), rng.normal(size=(K, L)).astype(dtype))


@pytest.mark.parametrize("dtype", REAL)
def test_every_length_up_to_200(dtype):
    """All remainders of fours, half words and words, in blocks of one and of four vectors."""
    rng = np.random.default_rng(1)
    for K in range(201):
        check(signs(rng, 3, K), rng.normal(size=(K, 41)).astype(dtype))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("L", EDGES)
def test_every_number_of_columns_and_outputs(L, dtype):
    rng = np.random.default_rng(L)
    for N in NUMBERS:
        check(signs(rng, N, 70), rng.normal(size=(70, L)).astype(dtype))


@pytest.mark.parametrize("N", [OUTPUTS - 1, OUTPUTS, OUTPUTS + 1, 2 * OUTPUTS + 16])
def test_more_outputs_than_are_kept_together(N):
    rng = np.random.default_rng(N)
    check(signs(rng, N, 37), rng.normal(size=(37, 41)).astype(np.float32))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("L", [16, 32, 40, 48, 80])
def test_a_large_result_is_written_past_the_caches_from_any_place(L, dtype, monkeypatch):
    """Whole lines where they are, and the columns before the first and behind the last."""
    monkeypatch.setattr(lookup, "FAR", 0)
    rng = np.random.default_rng(L)
    for K, N in ((0, 3), (5, 1), (33, 17), (FEW_ROWS, 40), (FEW_ROWS + 1, 16)):
        s, x = signs(rng, N, K), rng.normal(size=(K, L)).astype(dtype)
        twin = signs_matmul_reference(pack(s), x)
        for place in range(17):
            room = np.full(N * L + 64, 77, x.dtype)
            first = -room.ctypes.data % 64 // room.itemsize + place
            out = room[first : first + N * L].reshape(N, L)
            signs_matmul(pack(s), x, out=out)
            np.testing.assert_array_equal(bits_of(out), bits_of(twin))
            assert (room[:first] == 77).all()
            assert (room[first + N * L :] == 77).all()


def test_every_entry_of_every_table():
    """All 16 patterns of four signs, in each of the eight tables of both halves of a word."""
    patterns = 2 * (np.arange(16)[:, None] >> np.arange(4) & 1) - 1
    rng = np.random.default_rng(2)
    for group in range(16):
        s = signs(rng, 16, 64)
        s[:, 4 * group : 4 * group + 4] = patterns
        x = np.zeros((64, 40), np.float32)
        x[4 * group : 4 * group + 4] = 2.0 ** (4 * np.arange(4))[:, None]
        check(s, x)
        # Digits of base 16: the sum tells every sign.
        np.testing.assert_array_equal(
            signs_matmul(pack(s), x)[:, 7], patterns @ x[4 * group :][:4, 7]
        )


@given(
    st.integers(0, 150), st.integers(0, 40), COLUMNS, st.sampled_from(REAL), st.integers(0, 2**32)
)
def test_whole_numbers_are_exact(K, N, L, dtype, seed):
    rng = np.random.default_rng(seed)
    s, x = signs(rng, N, K), rng.integers(-255, 256, (K, L))
    result = signs_matmul(pack(s), x.astype(dtype))
    np.testing.assert_array_equal(result, s.astype(np.int64) @ x)


@pytest.mark.parametrize("dtype", REAL)
def test_zeros_and_denormals(dtype):
    """No result is -0.0, and the smallest numbers are not lost."""
    rng = np.random.default_rng(3)
    tiny = np.nextafter(np.zeros((), dtype), np.ones((), dtype))
    s = signs(rng, 20, 70)
    for values in ([0.0, -0.0], [0.0, tiny, -tiny]):
        x = rng.choice(np.array(values, dtype), (70, 40))
        check(s, x)
        whole = np.rint(x / tiny).astype(np.int64)
        np.testing.assert_array_equal(signs_matmul(pack(s), x) / tiny, s.astype(np.int64) @ whole)
    assert not np.signbit(signs_matmul(pack(s), np.full((70, 40), -0.0, dtype))).any()


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_and_nan_spread_as_in_a_plain_sum(value, dtype):
    """One in a column gives s inf there, wherever it stands; other columns do not notice."""
    rng = np.random.default_rng(4)
    s = signs(rng, 33, 70)
    for k in (0, 1, 2, 3, 4, 31, 32, 63, 64, 68, 69):
        x = rng.normal(size=(70, 41)).astype(dtype)
        x[k, [0, 9, 33, 40]] = value
        with np.errstate(invalid="ignore"):
            result, twin = signs_matmul(pack(s), x), signs_matmul_reference(pack(s), x)
        expected = s.astype(np.float64)[:, [k]] * np.full(4, value)
        np.testing.assert_array_equal(result[:, [0, 9, 33, 40]], expected)
        assert np.isfinite(np.delete(result, [0, 9, 33, 40], axis=1)).all()
        np.testing.assert_array_equal(result, twin)


def test_infinities_of_both_signs_give_nan():
    s = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, -1]])
    x = np.zeros((5, 8), np.float32)
    x[0], x[4] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        result = signs_matmul(pack(s), x)
    assert np.isnan(result[0]).all()
    assert (result[1] == np.inf).all()


def test_views_read_only_operands_and_panels_of_both_directions():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(90, 90)).astype(np.float32)
    s = signs(rng, 40, 45)
    locked = x[:45].copy()
    locked.flags.writeable = False
    words = pack(s)
    words.flags.writeable = False
    for view in (x[::2], x[::2, ::2], x[:45, 5:46], x.T[:45, ::-1], locked):
        expected = signs_matmul_reference(words, view.copy())
        np.testing.assert_array_equal(signs_matmul(words, view), expected)
        np.testing.assert_array_equal(signs_matmul(pack_panels(s.T).columns, view), expected)
        np.testing.assert_array_equal(signs_matmul(words[::-3], view), expected[::-3])
    real = rng.normal(size=(40, 45)).astype(np.float32)
    both = pack_panels(real)
    np.testing.assert_array_equal(
        signs_matmul(both.rows, x[:45]), signs_matmul_reference(pack(real), x[:45])
    )
    np.testing.assert_array_equal(
        signs_matmul(both.columns, x[:40]), signs_matmul_reference(pack(real.T), x[:40])
    )


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("L", [1, 8, 31, 32, 40, 45])
def test_real_rows_may_lie_anywhere_and_overlap(L, dtype):
    """out[n, l] = sum_k s[n, k] x[starts[k] + l]: how a convolution moves its rows."""
    rng = np.random.default_rng(L)
    for K, N in ((1, 1), (35, 17), (64, 3), (99, 40)):
        x = rng.normal(size=100).astype(dtype)
        x.flags.writeable = False  # as `signs_matmul` passes it: no second compilation
        starts = rng.integers(0, 100 - L, K, endpoint=True)
        s, out = signs(rng, N, K), np.empty((N, L), dtype)
        run_signs(to_panels(pack(s), K), x, starts, out)
        rows = x[starts[:, None] + np.arange(L)]
        np.testing.assert_array_equal(out, signs_matmul_reference(pack(s), rows))


@pytest.mark.slow_without_jit
def test_number_of_threads_does_not_matter():
    rng = np.random.default_rng(6)
    s, x = signs(rng, OUTPUTS + 100, 100), rng.normal(size=(100, 300)).astype(np.float32)
    expected = signs_matmul_reference(pack(s), x)
    before = numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            for _ in range(3):
                np.testing.assert_array_equal(signs_matmul(pack(s), x), expected)
    finally:
        numba.set_num_threads(before)


B = np.zeros((3, 2), np.uint64)
X = np.zeros((70, 5), np.float32)


LOCKED = np.empty((3, 5), np.float32)
LOCKED.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: signs_matmul(B, [[1.0]]), TypeError, "x: expected an array .* got list"),
        (lambda: signs_matmul(B, X.astype(int)), TypeError, "x: expected .* float64, got int64"),
        (lambda: signs_matmul(B, X.astype("f2")), TypeError, "x: expected .* got float16"),
        (lambda: signs_matmul(B, X.astype(">f4")), TypeError, "x: expected .* got >f4"),
        (lambda: signs_matmul(B, X[0]), ValueError, r"x: expected shape \(K, L\), got \(5,\)"),
        (lambda: signs_matmul(B, X[None]), ValueError, r"x: expected shape \(K, L\), got \(1, 70"),
        (lambda: signs_matmul(B.astype(int), X), TypeError, "b: expected dtype uint64"),
        (lambda: signs_matmul([[1]], X), TypeError, "b: expected an array of uint64 words"),
        (
            lambda: signs_matmul(B[:, :1], X),
            ValueError,
            r"b: expected shape \(rows, 2\) for K = 70",
        ),
        (lambda: signs_matmul(B, X[:64]), ValueError, r"b: expected shape \(rows, 1\) for K = 64"),
        (
            lambda: signs_matmul(np.full((1, 2), 2**40, np.uint64), X),
            ValueError,
            "b: a padding bit beyond K = 70 is set",
        ),
        (
            lambda: signs_matmul(to_panels(B, 71), X),
            ValueError,
            "b: expected panels of columns with K = 70 weights, got 71",
        ),
        (
            lambda: signs_matmul(B, X, np.empty((5, 3), np.float32)),
            ValueError,
            r"out: expected shape \(3, 5\), got \(5, 3\)",
        ),
        (
            lambda: signs_matmul(B, X, np.empty((3, 5))),
            TypeError,
            "out: expected an array of float32, got float64",
        ),
        (lambda: signs_matmul(B, X, [[0.0]]), TypeError, "out: .* got list"),
        (
            lambda: signs_matmul(B, X, np.empty((5, 3), np.float32).T),
            ValueError,
            "out: expected a C-contiguous",
        ),
        (lambda: signs_matmul(B, X, LOCKED), ValueError, "out: .* can be written to"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
