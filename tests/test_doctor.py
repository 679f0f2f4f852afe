"""`qnn-ref doctor`: what it says about this machine, and about machines that are not fit."""

import ctypes
import json
import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numba
import pytest

from qnn_ref.cli import doctor, main

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
jit = pytest.mark.slow_without_jit
ROOT = Path(__file__).resolve().parents[1]


def call(capsys, *arguments):
    code = main(["doctor", *arguments])
    return code, capsys.readouterr().out


def in_a_process(**variables):
    return subprocess.run(
        [sys.executable, "-m", "qnn_ref", "doctor", "--json"],
        env={k: v for k, v in (os.environ | variables).items() if v},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_this_machine_is_fit(capsys):
    code, answer = call(capsys, "--json")
    result = json.loads(answer)
    assert code == 0
    assert result["fit"] is True
    assert all(row["ok"] for row in result["checks"])
    facts = result["kernels"]
    assert facts["compiled"] is not JIT_IS_OFF
    assert facts["flush_to_zero"] is False
    if not JIT_IS_OFF:
        assert facts["threading_layer"] in ("omp", "tbb", "workqueue")
        assert facts["forks_safely"] in (True, False)
        assert facts["threads"] == numba.get_num_threads()
        assert os.path.isdir(facts["cache_folder"])


def test_the_text_says_the_same_in_lines_and_a_verdict(capsys):
    code, text = call(capsys)
    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith("[OK]   python")
    assert lines[-1].startswith("fit: ")
    words = ("compiler",) if JIT_IS_OFF else ("threads", "new processes", "kernel cache", "waiting")
    for word in (*words, "tiny numbers", "processor"):
        assert sum(line[7:].startswith(word) for line in lines) == 1, word


@contextmanager
def tiny_numbers_taken_for_zero():
    """Set the two bits of the processor that some libraries set, and take them back."""
    libm = ctypes.CDLL(None)
    sound = ctypes.create_string_buffer(64)
    libm.fegetenv(sound)
    changed = ctypes.create_string_buffer(sound.raw, 64)
    word = ctypes.c_uint32.from_buffer(changed, 28)  # MXCSR, in x86-64's fenv_t
    word.value |= 0x8040
    libm.fesetenv(changed)
    try:
        yield
    finally:
        libm.fesetenv(sound)


@pytest.mark.skipif(
    (platform.machine(), sys.platform) != ("x86_64", "linux"), reason="bits of another processor"
)
def test_a_process_that_takes_tiny_numbers_for_zero_is_not_fit(capsys):
    with tiny_numbers_taken_for_zero():
        code, answer = call(capsys, "--json")
    result = json.loads(answer)
    assert code == 1
    assert result["fit"] is False
    assert result["kernels"]["flush_to_zero"] is True
    assert [row["check"] for row in result["checks"] if not row["ok"]] == ["tiny numbers"]
    assert not doctor.flushes_to_zero()


@pytest.mark.parametrize("name", doctor.NEEDED)
def test_a_package_that_does_not_work_is_named(tmp_path, name):
    """As when the versions of two packages do not fit each other: no traceback, but a line."""
    (tmp_path / f"{name}.py").write_text("raise ImportError('needs another version of it')")
    process = in_a_process(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert process.returncode == 1
    assert process.stderr == ""
    answer = json.loads(process.stdout)
    assert answer["fit"] is False
    wrong = {row["check"]: row["message"] for row in answer["checks"] if not row["ok"]}
    assert wrong[name].endswith("does not work here: needs another version of it")


def test_a_package_that_is_missing_is_named(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "tqdm" else "1.0")
    code, text = call(capsys)
    assert code == 1
    assert "[FAIL] tqdm            not installed: pip install tqdm" in text
    assert text.splitlines()[-1] == "not fit: tqdm"


def test_a_kernel_that_differs_is_a_fault(capsys, monkeypatch):
    monkeypatch.setattr("qnn_ref.bits.xnor_matmul", lambda a, b, K: 0)
    code, text = call(capsys)
    assert code == 1
    assert "[FAIL] kernel" in text


@jit
def test_checked_indices_and_other_threads_are_said(tmp_path):
    variables = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_THREADING_LAYER": "workqueue"}
    process = in_a_process(NUMBA_CACHE_DIR=str(tmp_path), **variables)
    assert process.stderr.startswith("compiling kernels, once: bits.")
    answer = json.loads(process.stdout)
    assert answer["kernels"]["bounds_checked"] is True
    assert answer["kernels"]["threading_layer"] == "workqueue"
    assert answer["kernels"]["cache_folder"] == str(tmp_path)
    assert "NUMBA_BOUNDSCHECK" in answer["notes"]["indices"]
    assert "one thread of Python" in answer["notes"]["threads"]
    assert answer["notes"]["new processes"] == "may be forked"


@pytest.mark.parametrize(
    ("has", "words"),
    [
        (["avx512f", "avx2"], "as wide as a register"),
        (["avx2"], "two registers of 256"),
        ([], "four registers of 128"),
    ],
)
def test_the_width_of_vectors_is_said(monkeypatch, has, words):
    from llvmlite import binding

    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: dict.fromkeys(has, True))
    assert words in doctor.vector_words()
