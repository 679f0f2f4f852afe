"""Build the wheel and the source archive and try them as a stranger would: `make release`.

A command, not a test: it asks the package index. What is built into dist/ is installed into empty
environments and called from an empty folder with an empty home: with the lowest libraries that
pyproject.toml allows on the first Python, with the newest on each, and on the last all notebooks
and tests of the unpacked archive as well (`--quick` leaves these out).

What is typed and what it prints goes to standard output; the exit code is 1 if anything differs
from what stands here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

import qnn_ref

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14", "python3.15")
LIBRARIES = ("numpy", "numba", "llvmlite", "matplotlib", "tqdm", "threadpoolctl")
QUIET = subprocess.DEVNULL
SHOWN = 7
"""Last lines of a command's answer that are shown."""

IMPORTS = (
    "import importlib, qnn_ref as q; [importlib.import_module('qnn_ref.' + r) for r in q._ROOMS]; "
    "print(len(q._ROOMS), 'rooms of', q.__version__)"
)
DIGITS = (
    "import numpy as np; from qnn_ref import datasets; "
    "np.save('digits.npy', datasets.load('digits').test_images[:5])"
)


class Step(NamedTuple):
    """What is typed, how it ends, and what its answer holds."""

    typed: str
    says: str
    code: int = 0


STEPS = (
    Step("python -W error -c 'import qnn_ref'", ""),
    Step(f'python -W error -c "{IMPORTS}"', f"rooms of {qnn_ref.__version__}"),
    Step("qnn-ref --version", f"qnn-ref {qnn_ref.__version__}"),
    Step("qnn-ref doctor", "fit: `qnn-ref demo` is a good first command"),
    Step("qnn-ref demo --dataset digits", "packed scores   450 of 450 equal"),
    Step("python -m qnn_ref equations AP2", "approximate power of two"),
    Step("qnn-ref equations", "Algorithm 5"),
    Step("qnn-ref check Dense Quantize LSTM", "passed"),
    Step("qnn-ref check", "passed"),
    Step("qnn-ref course list", "Compare in pairs"),
    Step("qnn-ref course hint 1.2", " "),
    Step("qnn-ref course check 01 --solution notebooks/solutions/01_one_bit.ipynb", "4 of 4"),
    Step("qnn-ref course check 01", "0 of 4", 1),
    Step("qnn-ref course check lab1 --solution notebooks/labs/lab1.py", "0 of 1", 1),
    Step("qnn-ref train digits --epochs 2 --out run --seed 1", "saved in run"),
    Step("qnn-ref evaluate run", "% of 450 images"),
    Step("qnn-ref pack run -o run.qnn --verify", "450 of 450"),
    Step(f'python -c "{DIGITS}"', ""),
    Step("qnn-ref predict run.qnn digits.npy", "class"),
    Step("qnn-ref predict digits digits.npy --json", '"classes"'),
    Step("qnn-ref generate characters --length 60 --seed 1", "Stay"),
    Step("qnn-ref export mnist -o mnist.c", "any compiler of C99"),
    Step("qnn-ref export mnist -o mnist.html", "any browser"),
    Step("qnn-ref export mnist -o mnist.onnx", 'pip install "qnn-ref[interop]"', 2),
    Step("qnn-ref cost mnist-theano", "multiply and add"),
    Step("qnn-ref recipes", "mnist-theano"),
    Step("qnn-ref report -o page", "report.html"),
)


class Trial:
    """An environment of its own, an empty folder and an empty home."""

    def __init__(self, python: str, place: Path) -> None:
        self.venv, self.folder, self.home = place / "venv", place / "work", place / "home"
        for folder in (self.folder, self.home):
            folder.mkdir(parents=True)
        subprocess.run([python, "-m", "venv", self.venv], check=True)

    def install(self, *wanted: object) -> None:
        """What is wanted, from the package index."""
        pip = [str(self.venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *map(str, wanted)], check=True, stderr=QUIET)

    def call(self, typed: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Type a line in a shell that knows nothing of this checkout."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA"))}
        path = f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            typed,
            shell=True,
            cwd=folder or self.folder,
            env=kept | {"PATH": path, "HOME": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def versions(self) -> str:
        """The Python and the libraries of this environment, in a line."""
        freeze = self.call("python --version; python -m pip list --format=freeze").stdout
        found = re.findall(r"^(Python [\d.]+|\S+==\S+)$", freeze, re.M)
        wanted = [f for f in found if f.startswith("Python") or f.split("==")[0] in LIBRARIES]
        return ", ".join(wanted).replace("==", " ")


def build(folder: Path) -> tuple[Path, Path]:
    """The source archive of the checkout, and the wheel that is built from the archive alone."""
    shutil.rmtree(folder, ignore_errors=True)
    hatchling = [sys.executable, "-m", "hatchling", "build"]
    subprocess.run([*hatchling, "-t", "sdist", "-d", folder], cwd=ROOT, check=True, stdout=QUIET)
    (archive,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as empty:
        source = unpacked(archive, Path(empty))
        subprocess.run(
            [*hatchling, "-t", "wheel", "-d", folder.resolve()],
            cwd=source,
            check=True,
            stdout=QUIET,
        )
    (wheel,) = folder.glob("*.whl")
    for file in (archive, wheel):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"{file.name}: {file.stat().st_size:,} bytes, sha256 {digest}")
    return archive, wheel


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder of the sources."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (source,) = (f for f in folder.iterdir() if f.name.startswith("qnn_ref-"))
    return source


def lowest() -> list[str]:
    """`numpy>=2` becomes `numpy==2`, and so on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [line.replace(">=", "==") for line in project["dependencies"]]


def try_steps(trial: Trial, steps: tuple[Step, ...], folder: Path | None = None) -> list[str]:
    """Type every step and show its answer; what went otherwise comes back."""
    faults = []
    for step in steps:
        answer = trial.call(step.typed, folder)
        lines = answer.stdout.rstrip().splitlines()
        print(f"$ {step.typed}", *(line[:160] for line in lines[-SHOWN:]), sep="\n")
        if answer.returncode != step.code or step.says not in answer.stdout:
            faults.append(f"{step.typed}: ended with {answer.returncode}, expected {step.code}")
            print(f"!! {faults[-1]}, and {step.says!r} in\n{answer.stdout[-3000:]}", flush=True)
        sys.stdout.flush()
    return faults


def notebook_steps(folder: Path) -> tuple[Step, ...]:
    """Each notebook as students get it, run from where it lies."""
    return tuple(
        Step(f"jupyter execute {file.name}", "") for file in sorted(folder.glob("[01]*.ipynb"))
    )


ARCHIVE_STEPS = (
    Step("python -m pip install --quiet --upgrade pip", ""),
    Step("python -m pip install --quiet --editable . --group test", ""),
    Step("qnn-ref report -o page", "report.html"),
    Step(
        "python -m pytest -q tests/test_quantizers.py tests/test_words.py tests/test_docs.py "
        "tests/test_readme.py tests/test_equations.py tests/test_report.py tests/test_about.py",
        " passed",
    ),
)


def pythons_here() -> list[str]:
    """Those of `PYTHONS` that run."""
    found = [name for name in PYTHONS if shutil.which(name)]
    return [
        name
        for name in found
        if not subprocess.run([name, "-c", ""], capture_output=True).returncode
    ]


def try_all(trial: Trial, source: Path, wheel: Path) -> list[str]:
    """The notebooks from another folder, with MNIST fetched; then tests of the unpacked archive."""
    trial.install(f"{wheel}[notebooks]")
    fetched = trial.home / ".cache" / "qnn-ref" / "mnist"  # as `qnn-ref data fetch mnist` would
    shutil.copytree(source / "data" / "mnist", fetched)
    notebooks = trial.folder / "notebooks"
    faults = try_steps(trial, notebook_steps(notebooks), notebooks)
    return faults + try_steps(trial, ARCHIVE_STEPS, source)


def main() -> int:
    """Build, try, and name what went otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", help="default: every one that is found")
    parser.add_argument(
        "--quick", action="store_true", help="no notebooks, no tests of the archive"
    )
    args = parser.parse_args()
    print(platform.platform())
    archive, wheel = build(ROOT / "dist")
    faults: list[str] = []
    pythons = args.python or pythons_here()
    for python, libraries in [(pythons[0], lowest()), *((python, []) for python in pythons)]:
        with tempfile.TemporaryDirectory() as place:
            trial = Trial(python, Path(place))
            trial.install(wheel, *libraries)
            source = unpacked(archive, Path(place))
            shutil.copytree(source / "notebooks", trial.folder / "notebooks")
            print(f"\n=== {trial.versions()}, in an empty folder", flush=True)
            # An old matplotlib uses names that the newest pyparsing calls old; that is not ours.
            faults += try_steps(trial, STEPS[:1] + STEPS[2:] if libraries else STEPS)
            if not args.quick and not libraries and python == pythons[-1]:
                faults += try_all(trial, source, wheel)
    print(f"\n{len(faults)} answers differ from what they should be", *faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
