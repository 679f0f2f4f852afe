"""The kernel ladder: every rung gives the integers of the twin, for any shape."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qnn_ref.bits import (
    gemm,
    ladder,
    pack,
    pack_panels,
    planes_matmul,
    to_panels,
    to_planes,
    xnor_matmul,
)
from qnn_ref.bits.gemm import LONG, kernel_for, run_few, xnor_matmul_reference
from qnn_ref.bits.ladder import RUNGS, WIDE, carry_save, column_panels, vector_tiles
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.panels import PANEL
from qnn_ref.bits.planes import planes_matmul_reference
from qnn_ref.grid import Grid
from tests.conftest import JIT_IS_OFF

PANEL_KERNELS = [column_panels] if JIT_IS_OFF else [column_panels, vector_tiles, carry_save]
COMPILED_ONLY = ("vector_tiles", "carry_save")
PLAIN_RUNGS = [rung for rung in RUNGS if not JIT_IS_OFF or rung.name not in COMPILED_ONLY]
every_rung = pytest.mark.parametrize("rung", PLAIN_RUNGS, ids=lambda rung: rung.name)
every_panel_kernel = pytest.mark.parametrize("kernel", PANEL_KERNELS, ids=lambda k: k.__name__)

# Lengths in words around the turns of eight of the adders; the last word full, or not.
LONG_LENGTHS = [64 * W - rest for W in (7, 8, 9, 15, 16, 17, 24, 31, 32, 33) for rest in (0, 1, 63)]
LONG_LENGTHS += [512 + 8, 1000, 1192, 2112, 2200]


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def bordered(M, N, dtype):
    """Room for a result inside a border, which a kernel that checks no index must not touch."""
    border = np.full(M * N + 96, -77777, dtype)
    return border, border[48 : border.size - 48].reshape(M, N)


def check_border(border):
    assert (border[:48] == -77777).all()
    assert (border[-48:] == -77777).all()


def run(rung, x, y):
    """The product of +-1 matrices (M, K) and (N, K) by one rung."""
    K = x.shape[1]
    if rung.float_operands:
        operands = rung.prepare(x.astype(np.float32), y.T.astype(np.float32), K)
    else:
        operands = rung.prepare(pack(x), pack(y), K)
    operands = [read_only(o) if isinstance(o, np.ndarray) else o for o in operands]
    kind = np.float32 if rung.float_operands else np.int32
    border, out = bordered(len(x), len(y), kind)
    rung.run(*operands, out)
    check_border(border)
    return out


def check(rung, x, y):
    """Equal to the twin and to the integer product; sums of +-1 are exact in floats too."""
    twin = xnor_matmul_reference(pack(x), pack(y), x.shape[1])
    np.testing.assert_array_equal(twin, x.astype(np.int64) @ y.astype(np.int64).T)
    np.testing.assert_array_equal(run(rung, x, y), twin)


def test_rungs_have_a_name_and_a_sentence():
    assert [rung.name for rung in RUNGS] == [rung.run.__name__ for rung in RUNGS]
    assert len({rung.sentence for rung in RUNGS}) == len(RUNGS)
    assert all(rung.sentence.endswith(".") for rung in RUNGS)
    assert [rung.float_operands for rung in RUNGS] == [True] * 2 + [False] * 5


@every_rung
@given(
    K=st.integers(0, 200), M=st.integers(0, 20), N=st.integers(0, 70), seed=st.integers(0, 2**32)
)
@example(K=64, M=4, N=16, seed=0)
@example(K=65, M=5, N=17, seed=0)
@example(K=0, M=2, N=3, seed=0)
def test_every_rung_is_the_twin(rung, K, M, N, seed):
    rng = np.random.default_rng(seed)
    M, N = (M, N) if not JIT_IS_OFF else (min(M, 3), min(N, 5))
    check(rung, signs(rng, M, K), signs(rng, N, K))


@every_rung
def test_every_length_up_to_200(rung):
    rng = np.random.default_rng(1)
    for K in range(0, 201, 13 if JIT_IS_OFF else 1):
        check(rung, signs(rng, 2, K), signs(rng, 3, K))


@pytest.mark.slow_without_jit
@every_rung
def test_long_columns(rung):
    """Words in turns of eight, words that are left over, and a last word that is not full."""
    rng = np.random.default_rng(2)
    for K in LONG_LENGTHS:
        check(rung, signs(rng, 3, K), signs(rng, 17, K))
        check(rung, signs(rng, 6, K), signs(rng, 16, K))


@pytest.mark.slow_without_jit
@every_rung
def test_every_number_of_rows_and_columns(rung):
    """Tiles of four rows, tasks of sixteen, panels of 16 and of 256 columns: full or not."""
    rng = np.random.default_rng(3)
    for M in [*range(21), 33]:
        x = signs(rng, M, 70)
        for N in (0, 1, 7, 8, 9, 15, 16, 17, 70, WIDE - 1, WIDE, WIDE + 1):
            check(rung, x, signs(rng, N, 70))


@every_rung
@pytest.mark.parametrize("K", [1, 63, 64, 65, 511, 512, 513, 2048, 2200, 40000])
def test_all_equal_and_all_opposite(rung, K):
    """Sums as large as they get: no carry is lost, no padding counted."""
    if JIT_IS_OFF and K > 600:
        pytest.skip("long loops in plain Python")
    up, down = np.ones((2, K), np.int8), np.full((3, K), -1, np.int8)
    assert (run(rung, up, up) == K).all()
    assert (run(rung, down, down) == K).all()
    assert (run(rung, up, down) == -K).all()
    assert (run(rung, down, up) == -K).all()


@pytest.mark.slow_without_jit
@given(W=st.integers(1, 40), density=st.floats(0, 1), seed=st.integers(0, 2**32))
@settings(max_examples=50)
def test_carries_are_counted_at_every_density(W, density, seed):
    """From no difference, where nothing is carried, to all of them, where everything is."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((5, 64 * W)) < density, 1, -1).astype(np.int8)
    y = np.where(rng.random((19, 64 * W)) < density**2, 1, -1).astype(np.int8)
    for rung in RUNGS[3:]:
        check(rung, x, y)


# Bit planes


def panels_for(kernel, b, K):
    """Weights as the kernel reads them, and the number of columns that they are padded to."""
    rung = next(rung for rung in RUNGS if rung.run is kernel)
    words = rung.prepare(np.empty((0, b.shape[1]), np.uint64), b, K)[1]
    return words, words.shape[0] * words.shape[2]


@every_panel_kernel
@given(
    P=st.integers(1, 8),
    K=st.one_of(st.integers(0, 200), st.sampled_from([512, 575, 1088, 2048, 2113])),
    M=st.integers(0, 9),
    N=st.integers(0, 40),
    step=st.sampled_from([1, 2, 3, 7, -2]),
    seed=st.integers(0, 2**32),
)
@example(P=8, K=2113, M=5, N=17, step=2, seed=0)
@settings(max_examples=10 if JIT_IS_OFF else 80)
def test_planes_count_double_from_plane_to_plane(kernel, P, K, M, N, step, seed):
    """out = base[n] - step sum_a 2^a popcount(planes[a, m] XOR b[n])."""
    if JIT_IS_OFF:
        P, K, M, N = min(P, 3), min(K, 130), min(M, 2), min(N, 5)
    rng = np.random.default_rng(seed)
    bits = signs(rng, P, M, K)
    weights = signs(rng, N, K)
    base = rng.integers(-(2**20), 2**20, N)
    differ = (bits[:, :, None] != weights).sum(axis=3)
    expected = base - step * np.tensordot(2 ** np.arange(P), differ, 1)
    planes, b = pack(bits), pack(weights)
    words, columns = panels_for(kernel, b, K)
    padded = np.zeros(columns, np.int64)
    padded[:N] = base
    border, out = bordered(M, N, np.int32)
    kernel(*(read_only(o) for o in (planes, words, padded)), np.int64(step), out)
    np.testing.assert_array_equal(out, expected)
    run_few(planes, b, base, step, out)
    np.testing.assert_array_equal(out, expected)
    check_border(border)


@every_panel_kernel
@given(
    grid=st.sampled_from(
        [(-1, 1, 2), (-7, 7, 2), (0, 1, 1), (-255, 255, 2), (-5, 4, 3), (0, 200, 50)]
    ),
    K=st.integers(1, 150),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=10 if JIT_IS_OFF else 60)
def test_integers_of_a_grid_times_signs(kernel, grid, K, seed):
    """`planes_matmul` with each kernel: the integer product, whichever form the weights have."""
    low, high, step = grid
    M, N = (4, 5) if JIT_IS_OFF else (7, 19)
    rng = np.random.default_rng(seed)
    codes = low + step * rng.integers(0, (high - low) // step + 1, (M, K))
    weights = signs(rng, N, K)
    planes, b = to_planes(codes, Grid(*grid)), pack(weights)
    expected = codes @ weights.T.astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "kernel_for", lambda W: kernel)
        for form in (b, to_panels(b, K), pack_panels(weights.T).columns):
            np.testing.assert_array_equal(planes_matmul(planes, form, K, Grid(*grid)), expected)
    np.testing.assert_array_equal(planes_matmul_reference(planes, b, K, Grid(*grid)), expected)


@every_panel_kernel
def test_sums_on_the_way_may_leave_32_bits(kernel):
    """base and step times count pass 2^31, the result does not."""
    low, high, K = -(2**29), 2**29 - 1, 3
    codes = np.array([[low] * 3, [high] * 3, [low, high, 0], [1, -1, high], [0, 0, 0]])
    weights = np.array([[1, 1, 1], [-1, -1, -1], [1, -1, 1], [-1, 1, 1]])
    planes, b = to_planes(codes, Grid(low, high, 1)), pack(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "kernel_for", lambda W: kernel)
        result = planes_matmul(planes, b, K, Grid(low, high, 1))
    np.testing.assert_array_equal(result, codes @ weights.T)


# The choice of a kernel


@pytest.mark.parametrize("counts_vectors", [False, True])
def test_the_processor_chooses_and_results_are_equal(counts_vectors, monkeypatch):
    monkeypatch.setattr(gemm, "counts_vectors", lambda: counts_vectors)
    rng = np.random.default_rng(4)
    for W in (LONG - 1, LONG):
        short = vector_tiles if counts_vectors or W < LONG else carry_save
        assert kernel_for(W) is (column_panels if JIT_IS_OFF else short)
        M, N = (4, 2) if JIT_IS_OFF else (9, 37)
        x, y = signs(rng, M, 64 * W - 5), signs(rng, N, 64 * W - 5)
        a, b = pack(x), pack(y)
        expected = xnor_matmul_reference(a, b, 64 * W - 5)
        np.testing.assert_array_equal(xnor_matmul(a, b, 64 * W - 5), expected)


@pytest.mark.slow_without_jit
def test_without_the_compiler_the_choice_is_plain_python(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert kernel_for(1) is kernel_for(LONG) is column_panels


@pytest.mark.parametrize("K", [70, 300] if JIT_IS_OFF else [1, 64, 70, 300, 2048, 2200])
def test_few_rows_give_the_same_in_every_form(K):
    """One to three rows go column by column where the words are at hand, else as tiles."""
    rng = np.random.default_rng(K)
    for M in (1, 2, 3, 4, 5):
        for N in (1, 5) if JIT_IS_OFF else (0, 1, 15, 16, 17, 70):
            x, y = signs(rng, M, K), signs(rng, N, K)
            a, b = pack(x), pack(y)
            expected = xnor_matmul_reference(a, b, K)
            for form in (b, to_panels(b, K), pack_panels(y.T).columns, pack_panels(y).rows):
                border, out = bordered(M, N, np.int32)
                assert xnor_matmul(a, form, K, out=out) is out
                np.testing.assert_array_equal(out, expected)
                check_border(border)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("counts_vectors", [False, True])
@pytest.mark.parametrize("M", [0, 1, 3, 4, 6, 16, 21])
def test_alone_or_together_every_ragged_size_gives_the_same(M, counts_vectors, monkeypatch):
    """Tiles of four rows and single rows, whole panels and one that is not, one thread or all."""
    monkeypatch.setattr(gemm, "counts_vectors", lambda: counts_vectors)
    rng = np.random.default_rng(M)
    for K, N in ((0, 17), (1, 1), (64, 16), (130, 33), (64 * LONG + 3, 7), (70, 0)):
        x, y = signs(rng, M, K), signs(rng, N, K)
        expected = x.astype(np.int64) @ y.T.astype(np.int64)
        for several in (False, True):
            monkeypatch.setattr(ladder, "worth_waking", lambda nanoseconds, s=several: s)
            border, out = bordered(M, N, np.int32)
            xnor_matmul(pack(x), to_panels(pack(y), K), K, out)
            np.testing.assert_array_equal(out, expected)
            check_border(border)


@pytest.mark.slow_without_jit
@every_panel_kernel
def test_number_of_threads_does_not_matter(kernel, monkeypatch):
    """Few rows are cut along the columns, many along the rows, and nothing is left out."""
    monkeypatch.setattr(ladder, "worth_waking", lambda nanoseconds: True)
    rng = np.random.default_rng(5)
    before = numba.get_num_threads()
    rung = next(rung for rung in RUNGS if rung.run is kernel)
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            for M, N in ((1, 16 * PANEL), (4, 17 * PANEL + 1), (16, 300), (17, 270), (300, 20)):
                check(rung, signs(rng, M, 130), signs(rng, N, 130))
    finally:
        numba.set_num_threads(before)
