"""CUDA: the kernels in Numba's simulator, what is refused before a launch, and no device.

The simulator is switched on before Numba is imported, so all that needs it runs in one process of
its own: `CASES` are functions without arguments, and `simulated` is what they found.
"""

import importlib.util
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.bench import Settings
from qnn_ref.bench import cuda as bench_cuda
from qnn_ref.bits import cuda as kernels
from qnn_ref.bits import device, pack
from qnn_ref.bits.cuda import (
    cuda_float_matmul,
    cuda_float_matmul_reference,
    cuda_pack,
    cuda_pack_reference,
    cuda_signs,
    cuda_signs_reference,
    cuda_xnor_matmul,
    cuda_xnor_matmul_reference,
)
from qnn_ref.bits.device import (
    BLOCKS_DOWN,
    NO_DEVICE,
    TILE,
    NoDeviceError,
    check_rows,
    to_cuda_words,
    to_device,
)
from tests.authors import vectors

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(8, 8, 64), (3, 5, 1), (9, 17, 33), (2, 3, 545)]  # M, N, K; more than a tile each way


def numbers(rows, K, seed=0):
    """Reals, among them zeros of both signs."""
    x = np.random.default_rng(seed).standard_normal((rows, K)).astype(np.float32)
    x[0, 0], x[-1, -1] = 0.0, -0.0
    return x


# In the simulator


def xnor(shape):
    M, N, K = shape
    x, w = numbers(M, K), numbers(N, K, 1)
    a, b = cuda_pack_reference(x), cuda_pack_reference(w)
    want = np.where(x >= 0, 1, -1) @ np.where(w >= 0, 1, -1).T
    for got in (cuda_xnor_matmul(a, b, K), cuda_xnor_matmul(a, b, K, tiled=False)):
        assert (type(got), got.dtype) == (np.ndarray, np.int32)
        np.testing.assert_array_equal(got, cuda_xnor_matmul_reference(a, b, K))
        np.testing.assert_array_equal(got, want)


def bits_beyond_K_are_not_looked_at():
    a, b = (np.random.default_rng(0).integers(0, 2**32, (2, 2), np.uint32) for _ in range(2))
    b[1] ^= np.uint32(2**32 - 1)
    clean = np.array([2**32 - 1, 2**9 - 1], np.uint32)  # K = 41
    want = cuda_xnor_matmul_reference(a & clean, b & clean, 41)
    for tiled in (True, False):
        np.testing.assert_array_equal(cuda_xnor_matmul(a, b, 41, tiled), want)
    np.testing.assert_array_equal(cuda_xnor_matmul_reference(a, b, 41), want)


def floats():
    for M, N, K in ((3, 17, 18), (8, 2, 1)):
        x, w = numbers(M, K), numbers(N, K, 1)
        np.testing.assert_array_equal(cuda_float_matmul(x, w), cuda_float_matmul_reference(x, w))
        np.testing.assert_allclose(cuda_float_matmul_reference(x, w), x @ w.T, 1e-5, 1e-5)


def packing_and_signs():
    x = numbers(17, 33)
    x[1, :3] = np.inf, -np.inf, -1e-45
    at = numbers(1, 33, 2)[0]
    at[5] = x[2, 5]  # equal: +1
    whole = np.random.default_rng(0).integers(-3, 4, (17, 33), np.int32)
    for given, limits in ((x, None), (x, at), (whole, None), (whole, whole[3])):
        got = cuda_pack(given, limits)
        np.testing.assert_array_equal(got, cuda_pack_reference(given, limits), strict=True)
        got = cuda_signs(given, limits)
        np.testing.assert_array_equal(got, cuda_signs_reference(given, limits), strict=True)


def not_a_number():
    x, nan = numbers(3, 33), numbers(3, 33)
    nan[2, 32] = np.nan
    for face in (cuda_pack, cuda_pack_reference, cuda_signs, cuda_signs_reference):
        for given in ((nan,), (x, nan[2])):
            with pytest.raises(ValueError, match="x, at: NaN has no sign"):
                face(*given)


def arrays_on_the_device_stay_there():
    x = numbers(3, 40)
    words = cuda_pack(to_device(x))
    assert not isinstance(words, np.ndarray)
    sums = cuda_xnor_matmul(words, cuda_pack_reference(x), 40)
    signs = np.where(x >= 0, 1, -1)
    np.testing.assert_array_equal(sums.copy_to_host(), signs @ signs.T)
    with pytest.raises(TypeError, match="a: expected an array of uint32, got float32"):
        cuda_xnor_matmul(to_device(x), words, 40)
    with pytest.raises(ValueError, match=r"b: expected shape \(N, 2\), got \(3, 40\)"):
        cuda_xnor_matmul(words, to_device(x.view(np.uint32)), 40)


def the_authors_kernel():
    """Their file, run as it is: words of 32 bits, and products."""
    found = vectors("xnor_kernels")["outputs"][0]
    a = np.ascontiguousarray(found["A_sign_bits_uint32"], np.uint32)
    b = np.ascontiguousarray(found["B_sign_bits_uint32_by_column"].T, np.uint32)
    np.testing.assert_array_equal(cuda_xnor_matmul(a, b, found["n"]), found["xnor"])


def the_networks_of_the_benchmark():
    network = bench_cuda.network_of(8, 3, pixels=5)
    sums = network.images @ network.weights[0].T
    for w, limit in zip(network.weights[1:], network.thresholds, strict=True):
        sums = np.where(sums >= limit, np.float32(1), np.float32(-1)) @ w.T
    for prepare in (bench_cuda.xnor_network, bench_cuda.baseline_network):
        np.testing.assert_array_equal(prepare(network)().copy_to_host(), sums)


def the_products_of_the_benchmark():
    x, w = bench_cuda.signs(8, np.random.default_rng(0))
    ours, peers = bench_cuda.product_calls(x, w)
    for call in (ours, peers["one thread an output"](), peers["baseline kernel"]()):
        np.testing.assert_array_equal(call().copy_to_host(), x @ w.T)


def a_simulator_has_no_speed():
    assert {row.note for row in bench_cuda.rows(Settings())} == {bench_cuda.NO_SPEED}


FULL = {f"xnor {shape}": lambda shape=shape: xnor(shape) for shape in SHAPES}
FULL |= {f.__name__: f for f in (floats, bits_beyond_K_are_not_looked_at, the_authors_kernel)}
CASES = FULL | {
    case.__name__: case
    for case in (
        packing_and_signs,
        not_a_number,
        arrays_on_the_device_stay_there,
        the_networks_of_the_benchmark,
        the_products_of_the_benchmark,
        a_simulator_has_no_speed,
    )
}


def run_all():
    """What came of the cases, as JSON: nothing, or what went wrong."""
    found = {}
    for name, case in CASES.items():
        if name not in FULL:  # a block of 16 threads instead of 256: more blocks, less time
            kernels.TILE, kernels.PITCH, device.TILE = 4, 5, 4
        try:
            found[name] = case()
        except (Exception, pytest.fail.Exception):  # the second is no Exception
            found[name] = traceback.format_exc()
    return json.dumps(found, allow_nan=False)


def other_process(code, **variables):
    """What a Python with other variables prints; warnings are errors there, too."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def simulated():
    code = "from tests import test_cuda; print(test_cuda.run_all())"
    return json.loads(other_process(code, NUMBA_ENABLE_CUDASIM="1"))


@pytest.mark.parametrize("name", CASES)
def test_the_simulator_gives_the_twins_bits(simulated, name):
    assert simulated[name] is None, simulated[name]


# Without it: nothing is launched


F, S, U = (np.ones((3, 40), dtype) for dtype in (np.float32, np.int32, np.uint32))
WORDS = U[:, :2].copy()
MANY = np.zeros((BLOCKS_DOWN * TILE + 1, 1), np.uint32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cuda_pack(F.tolist()), "x: expected an array of float32 or int32, got list"),
        (lambda: cuda_pack(F.astype(np.float64)), "x: expected an array of float32 or int32"),
        (lambda: cuda_pack(F[0]), r"x: expected shape \(M, K\), got \(40,\)"),
        (lambda: cuda_pack(F[:, :0]), r"x: expected at least one element, got shape \(3, 0\)"),
        (lambda: cuda_pack(F, F[0, 1:]), r"at: expected shape \(40,\), got \(39,\)"),
        (lambda: cuda_pack(F, S[0]), "at: expected an array of float32, got int32"),
        (lambda: cuda_signs(S, F[0]), "at: expected an array of int32, got float32"),
        (lambda: cuda_signs(F[:0]), "x: expected at least one element"),
        (lambda: cuda_float_matmul(F, F[:, 1:]), r"w: expected shape \(N, 40\), got \(3, 39\)"),
        (lambda: cuda_float_matmul(S, F), "x: expected an array of float32, got int32"),
        (lambda: cuda_float_matmul(MANY.view(np.float32), F[:, :1]), "x: expected at most 1048560"),
        (lambda: cuda_xnor_matmul(MANY, WORDS[:, :1], 9), "a: expected at most 1048560 rows"),
        (lambda: cuda_xnor_matmul(WORDS, WORDS, 65), r"a: expected shape \(M, 3\), got \(3, 2\)"),
        (lambda: cuda_xnor_matmul(WORDS, WORDS, 32), r"a: expected shape \(M, 1\)"),
        (lambda: cuda_xnor_matmul(WORDS, U, 64), r"b: expected shape \(N, 2\), got \(3, 40\)"),
        (lambda: cuda_xnor_matmul(WORDS, WORDS, 0), "K: expected"),
        (lambda: cuda_xnor_matmul(WORDS, WORDS, 2**31), "K: expected"),
        (lambda: cuda_xnor_matmul(WORDS, WORDS, 40.0), "K: expected"),
        (lambda: cuda_xnor_matmul(WORDS, WORDS, 40, tiled=1), "tiled: expected"),
        (lambda: cuda_xnor_matmul(pack(F), WORDS, 40), "a: expected an array of uint32"),
        (lambda: to_cuda_words(pack(F), 65), "words: expected shape"),
        (lambda: to_cuda_words(~pack(F), 40), "words: a padding bit beyond K = 40 is set"),
    ],
)
def test_wrong_sizes_are_refused_before_a_device_is_looked_for(call, words, monkeypatch):
    monkeypatch.setattr(kernels, "cuda_device", pytest.fail)
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_as_many_rows_as_a_grid_has_threads_are_taken():
    check_rows("x", len(MANY) - 1)
    with pytest.raises(ValueError, match="x: expected at most 1048560 rows, got 1048561"):
        check_rows("x", len(MANY))


@pytest.fixture
def no_device(monkeypatch):
    import numba.cuda

    monkeypatch.setattr(numba.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    "call",
    [
        lambda: cuda_pack(F),
        lambda: cuda_signs(F),
        lambda: cuda_float_matmul(F, F),
        lambda: cuda_xnor_matmul(WORDS, WORDS, 40),
        lambda: to_device(F),
    ],
)
def test_without_a_device_an_error_says_what_runs_instead(call, no_device):
    with pytest.raises(NoDeviceError) as error:
        call()
    assert str(error.value) == NO_DEVICE


def test_a_numba_without_cuda_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    with pytest.raises(NoDeviceError, match=r"no CUDA device was found.*pip install numba-cuda"):
        cuda_pack(F)


def test_the_benchmark_says_that_there_is_no_device(no_device):
    rows = bench_cuda.rows(Settings())
    assert [(row.size, row.peer_name) for row in rows] == [
        *(
            ("8192 x 8192 x 8192", peer)
            for peer in ("one thread an output", "baseline kernel", "cuBLAS float32")
        ),
        *(("784-3x4096-10, 10000 images", peer) for peer in ("baseline kernel", "cuBLAS float32")),
    ]
    assert {(row.ours, row.peer, row.ratio, row.note) for row in rows} == {
        (None, None, None, "no CUDA device")
    }


def test_words_are_those_of_the_package_in_halves():
    x = numbers(3, 70)
    np.testing.assert_array_equal(to_cuda_words(pack(x), 70), cuda_pack_reference(x), strict=True)
    assert to_cuda_words(pack(x), 70).shape == (3, 3)


# Machine code without a machine: the compiler for a device needs none

COMPILE = """
import re
from numba import cuda, float32, int32, int64, types, uint32
from qnn_ref.bits import cuda as kernels

kernels.cuda = cuda
def matrix(kind, axes=2): return types.Array(kind, axes, "C")
SIGNATURES = {
    "_sign_threads": (matrix(float32), matrix(float32, 1), matrix(float32), matrix(int32, 1)),
    "_pack_threads": (matrix(int32), matrix(int32, 1), matrix(uint32), matrix(int32, 1)),
    "_float_tiles": (matrix(float32), matrix(float32), matrix(float32)),
    "_xnor_threads": (matrix(uint32), matrix(uint32), int64, matrix(int32)),
    "_xnor_tiles": (matrix(uint32), matrix(uint32), int64, matrix(int32)),
}
for name, signature in SIGNATURES.items():
    code, _ = cuda.compile_ptx(getattr(kernels, name).py_func, signature, cc=(7, 5))
    print(name, *(len(re.findall(word, code)) for word in ("popc.b32", "popc.b64", "bar.sync")))
"""


def test_kernels_compile_for_a_device():
    for module in ("numba_cuda", "nvidia.cuda_nvcc"):
        try:
            there = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            there = None
        if there is None:
            pytest.skip("pip install numba-cuda nvidia-cuda-nvcc-cu12 nvidia-cuda-nvrtc-cu12")
    lines = [line.split() for line in other_process(COMPILE).splitlines()]
    found = {name: [*map(int, counts)] for name, *counts in lines}
    assert found["_xnor_tiles"] == [16, 0, 2]  # the inner loop, written out; two barriers
    assert found["_xnor_threads"][0] > 0
    assert found["_xnor_threads"][1:] == [0, 0]
    assert found["_float_tiles"] == [0, 0, 2]
    assert found["_pack_threads"] == found["_sign_threads"] == [0, 0, 0]
