"""How kernels are compiled: cached or not, in forked processes, with bounds checked; one line each.

Most of it can only be seen from outside, in a process with its own environment.
"""

import ast
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest

import qnn_ref
from qnn_ref import compiled, kernel_cache
from qnn_ref.bits import pack, xnor_matmul
from qnn_ref.compiled import parallel_kernel, serial_kernel

jit = pytest.mark.slow_without_jit
PACKAGE = Path(qnn_ref.__file__).parent

if not numba.config.DISABLE_JIT:
    numba.get_num_threads()  # starts them: now it is known of which kind they are
GNU_OPENMP = hasattr(os, "fork") and not compiled.forks_safely()
gnu_openmp = pytest.mark.skipif(not GNU_OPENMP, reason="threads of another kind")

KERNELS = """
import numpy as np
from numba import prange
from qnn_ref.bits.vectors import load, spread_from, store
from qnn_ref.compiled import parallel_kernel, serial_kernel

@serial_kernel
def twice(x):
    return x + x

@parallel_kernel
def fill(out, reach):
    for i in prange(reach):
        out[i] = twice(i)

@serial_kernel
def outer(out):
    fill(out, out.size)

@serial_kernel
def move(x, start, out, at):
    store(out, at, load(x, start))

@serial_kernel
def fill_from(x, start, out):
    store(out, 0, spread_from(x, start))
"""
FILL = "out = np.zeros(100, int); fill(out, 100); print(out.sum())\n"
LISTEN = "import logging; logging.basicConfig(level=logging.INFO)\n"


def run_in(folder, cache, text, **variables):
    """Run lines of Python behind an import of the kernels, in a process of its own."""
    drop = "NUMBA_CACHE_DIR", "NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT", "XDG_CACHE_HOME"
    environment = {k: v for k, v in os.environ.items() if k not in drop} | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(PACKAGE.parent)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_NUM_THREADS": "2",  # with one, kernels are others
    }
    return subprocess.run(
        [sys.executable, "-c", "from kernels import *\n" + textwrap.dedent(text)],
        env={k: v for k, v in (environment | variables).items() if v},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cache.parent,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three kernels and their cache."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "kernels").mkdir()
    (folder / "kernels" / "__init__.py").write_text(KERNELS)
    process = run_in(folder, folder / "cache", LISTEN + FILL)
    assert (process.returncode, process.stdout) == (0, "9900\n")
    assert process.stderr == "INFO:qnn_ref.compiled:compiling kernels, once: kernels\n"
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """Run lines behind an import of the kernels, with a copy of their cache."""
    shutil.copytree(folder / "cache", tmp_path / "cache")
    return lambda text, **variables: run_in(folder, tmp_path / "cache", text, **variables)


def cached(folder):
    return {f: f.stat().st_size for kind in ("*.nbi", "*.nbc") for f in folder.rglob(kind)}


# The cache: kept, damaged, in the way.


@jit
def test_kernels_are_stored_and_found_again(run, tmp_path):
    stored = cached(tmp_path)
    assert {file.name.partition("-")[0] for file in stored} == {"__init__.twice", "__init__.fill"}
    process = run(LISTEN + FILL)
    assert (process.stdout, process.stderr) == ("9900\n", "")
    assert cached(tmp_path) == stored


EDITED = {
    "__init__.py": "from kernels.far import following\nfrom kernels.sizes import STEP\n"
    "from qnn_ref.compiled import serial_kernel\n\n"
    "@serial_kernel\ndef near(x):\n    return following(x)\n\n"
    "@serial_kernel\ndef start(x):\n    return near(x) + STEP\n",
    "far.py": "from qnn_ref.compiled import serial_kernel\n\n"
    "@serial_kernel\ndef following(x):\n    return x + 1\n",
    "sizes.py": "STEP = 1\n",
}


@jit
def test_an_edit_in_another_file_is_seen(tmp_path):
    """Numba by itself goes on with what it compiled before."""
    (tmp_path / "kernels").mkdir()
    for edited, x in (None, 12), ("far.py", 16), ("sizes.py", 16):
        for file, text in EDITED.items():
            text = text.replace("1", "5") if file == edited else text
            (tmp_path / "kernels" / file).write_text(text)
        process = run_in(tmp_path, tmp_path / "cache", "print(start(10))")
        assert process.stdout == f"{x}\n", process.stderr


@jit
@pytest.mark.parametrize("kind, share", [("*.nbi", 0.7), ("*.nbc", 0)])
def test_a_cache_that_was_cut_short_is_made_anew(run, tmp_path, kind, share):
    sound = cached(tmp_path)
    for file in tmp_path.rglob(kind):
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    process = run(FILL)
    assert (process.returncode, process.stdout) == (0, "9900\n")
    assert process.stderr.count("cannot be read, compiling them again") == 1
    assert len(process.stderr.splitlines()) == 1
    again = cached(tmp_path)
    assert again.keys() == sound.keys()
    assert all(again[file] > 0.9 * sound[file] for file in sound)


@jit
def test_without_a_place_for_the_cache_kernels_are_compiled_each_time(run, folder):
    """A plain file stands where Numba would make its folder, and there is no home."""
    (folder / "kernels" / "__pycache__").write_text("")
    process = run(FILL, NUMBA_CACHE_DIR="", HOME=os.devnull)
    assert (process.returncode, process.stdout) == (0, "9900\n")
    assert process.stderr.startswith("compiling kernels in each run")
    assert "NUMBA_CACHE_DIR" in process.stderr
    assert len(process.stderr.splitlines()) == 1


@jit
def test_a_cache_that_cannot_be_written_any_more(run, tmp_path):
    lines = "fill.compiled, twice.signatures  # their places are chosen\n"
    lines += "import shutil; shutil.rmtree('cache'); open('cache', 'w').close()\n"
    process = run(lines + FILL)
    assert (process.returncode, process.stdout) == (0, "9900\n")
    assert "cannot be" in process.stderr
    assert len(process.stderr.splitlines()) <= 2


@jit
@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the sizes of files")
def test_a_disk_that_is_full(run, tmp_path):
    stored = cached(tmp_path)
    process = run(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        print(twice(np.float32(2)), twice(np.complex64(3)))
        """
    )
    assert process.stdout == "4.0 (6+0j)\n"
    assert process.stderr.count("cannot be written, compiling them again") == 1
    assert len(process.stderr.splitlines()) == 1
    assert cached(tmp_path) == stored


@jit
def test_a_kernel_may_call_a_parallel_one(run):
    assert run("outer(out := np.zeros(100, int)); print(out.sum())").stdout == "9900\n"


# Indices that are out of range, and forked processes.


@jit
def test_bounds_are_checked_on_one_thread_and_kept_apart(run):
    """In a share of another thread the error would be lost; both kinds lie in one cache."""
    kept = FILL + "print(fill.compiled.targetoptions['parallel'], *fill.compiled._cache_hits)\n"
    first = run(FILL + "fill(np.zeros(100, int), 101)", NUMBA_BOUNDSCHECK="1")
    assert first.stdout == "9900\n"
    assert "IndexError: index is out of bounds" in first.stderr
    assert run(kept).stdout.startswith("9900\nTrue (Array")
    assert run(kept, NUMBA_BOUNDSCHECK="1").stdout.startswith("9900\nFalse (Array")


@jit
def test_one_thread_needs_no_kernel_for_several(run):
    """It takes five times as long to compile."""
    words = FILL + "print(fill.compiled.targetoptions['parallel'])"
    assert run(words, NUMBA_NUM_THREADS="1").stdout == "9900\nFalse\n"


@jit
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_loop_over_prange_divides_as_numpy_does(run, threads):
    """On one thread too: Python's check of each divisor would keep it from being vectorized."""
    words = FILL + "print(fill.compiled.targetoptions['error_model'])"
    assert run(words, NUMBA_NUM_THREADS=threads).stdout == "9900\nnumpy\n"


@jit
def test_places_of_vectors_are_checked_as_well(run):
    """Eight of 16 numbers fit from 0 to 8, and one from 0 to 15: a place beside these does not."""
    process = run(
        """
        x, y = np.arange(16.0), np.zeros(16)
        move(x, 8, y, 8)
        for start, at in (-1, 8), (9, 8), (8, -1), (8, 9):
            try:
                move(x, start, y, at)
            except IndexError as error:
                print(error)
        print(y.sum() == x[8:].sum())
        fill_from(x, 15, y)
        for start in -1, 16:
            try:
                fill_from(x, start, y)
            except IndexError as error:
                print(error)
        print(y[:8].sum() == 8 * 15)
        """,
        NUMBA_BOUNDSCHECK="1",
    )
    assert process.stdout == "index is out of bounds\n" * 4 + "True\n" + (
        "index is out of bounds\n" * 2 + "True\n"
    )


@jit
@gnu_openmp
@pytest.mark.parametrize(
    ("layer", "words"), [("omp", "this process was forked"), ("workqueue", "9900")]
)
def test_a_forked_child_says_that_its_threads_are_gone(run, layer, words):
    """GNU OpenMP would end it; a pool would start another one and wait for ever."""
    process = run(
        """
        import multiprocessing
        def work(n):
            try:
                fill(out := np.zeros(n, int), n)
                return out.sum()
            except RuntimeError as error:
                return error
        work(100)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.apply_async(work, (100,)).get(timeout=60))
        """,
        NUMBA_THREADING_LAYER=layer,
        PYTHONWARNINGS="ignore",
    )
    assert process.stdout.startswith(words), process.stderr
    assert ("spawn" in process.stdout) == (layer == "omp")


@jit
@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_several_threads_of_python_may_call_kernels(run, layer):
    """Numba's work queue would end the process: "Concurrent access has been detected"."""
    process = run(
        """
        import os
        from concurrent.futures import ThreadPoolExecutor
        def work(_):
            fill(out := np.zeros(100_000, int), 100_000)
            return int(out.sum())
        with ThreadPoolExecutor(8) as threads:
            print(set(threads.map(work, range(400))))
            if os.environ["NUMBA_THREADING_LAYER"] == "workqueue":  # a lock may be held now
                busy = [threads.submit(work, 0) for _ in range(100)]
                for _ in range(5):
                    if (child := os.fork()) == 0:
                        os._exit(work(0) != 9_999_900_000)
                    assert os.waitpid(child, 0)[1] == 0
        """,
        NUMBA_THREADING_LAYER=layer,
        NUMBA_NUM_THREADS="2",
        PYTHONWARNINGS="ignore",
    )
    assert (process.returncode, process.stdout) == (0, "{9999900000}\n"), process.stderr


@jit
@gnu_openmp
def test_a_child_that_was_forked_before_the_first_kernel_runs_it(run):
    process = run(
        """
        import os
        twice(3)  # on the thread that calls: nothing to lose
        child = os.fork()
        fill(out := np.zeros(100, int), 100)
        if child == 0:
            os._exit(7 if out.sum() == 9900 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert process.stdout == "7\n"


@jit
@gnu_openmp
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_kernels_of_the_package_say_it_too():
    words = pack(np.ones((3, 70)))
    xnor_matmul(words, words, 70)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answer = pool.apply_async(xnor_matmul, (words, words, 70))
        with pytest.raises(RuntimeError, match="spawn"):
            answer.get(timeout=60)


# What is compiled how, and who hears of it.


def kernels_of(file):
    """Functions of a file that one of the two decorators compiles, by their syntax."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            names = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
            if names & {"parallel_kernel", "serial_kernel"}:
                yield node, names


@pytest.mark.parametrize(
    "file",
    [f for f in sorted(PACKAGE.rglob("*.py")) if list(kernels_of(f))],
    ids=lambda file: file.stem,
)
def test_a_loop_over_prange_is_in_a_parallel_kernel_and_nowhere_else(file):
    """In a serial kernel it would run on one thread without a word."""
    for node, names in kernels_of(file):
        assert ("prange(" in ast.unparse(node)) == ("parallel_kernel" in names), node.name


@jit
def test_a_kernel_keeps_its_name_and_its_text():
    @parallel_kernel
    def named(x):
        """A sentence."""

    assert (named.__name__, named.__doc__) == ("named", "A sentence.")
    assert named.__wrapped__ is named.compiled.py_func


def test_without_the_compiler_the_plain_function_comes_back(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)

    def plain(x):
        return x

    for decorator in (parallel_kernel, serial_kernel, serial_kernel(fastmath=True)):
        assert decorator(plain) is plain


@jit
def test_a_compilation_of_ours_is_told_once_a_module(caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    caplog.set_level(logging.INFO, "qnn_ref.compiled")
    kernel_cache.say_once.cache_clear()
    numba.njit(lambda x: x)(1)
    assert caplog.messages == []
    for _ in range(2):
        serial_kernel(lambda x: x)(1)
    inner = serial_kernel(lambda x: x)
    inner.ready()
    serial_kernel(lambda x: inner(x))(1)
    assert caplog.messages == [f"compiling kernels, once: {__name__}"]


@jit
def test_nobody_hears_of_compilations_who_did_not_ask(run):
    assert run("twice(np.float32(1))").stderr == ""
