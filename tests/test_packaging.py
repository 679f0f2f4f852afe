"""The wheel holds what a user needs and nothing else, and runs without checkout and network.

The installed package is tried in a fresh virtual environment outside the checkout. The required
libraries are lent to it from the running environment (one line in a .pth file), so that the test
needs no network; the package itself comes from the wheel alone.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

import qnn_ref

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEMO_KEYS = {
    "test_error_binary",
    "test_error_float",
    "gradient_check_worst",
    "scores_identical",
    "scores_total",
    "packed_bytes",
    "float_bytes",
    "speedup_packed",
}

pytestmark = pytest.mark.slow_without_jit  # nothing here depends on how kernels are run


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command away from the checkout; a failure shows everything that it said."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA_CACHE"))}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="building needs hatchling (dependency group test)")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts of an environment where only the wheel is installed."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    home = venv.parent
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=home)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    # After the installation, or pip would find the package of the checkout there. A .pth file in
    # a lent folder is not read, so an editable installation stays invisible.
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(scripts / "python", "-c", place, cwd=home).stdout.strip())
    lent = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (own / "lent.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    return scripts


def test_wheel_holds_the_package_its_digits_and_its_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "qnn_ref/__init__.py",
        "qnn_ref/py.typed",
        "qnn_ref/data/digits.npz",
        "qnn_ref/data/shakespeare.txt",
        "qnn_ref/data/README.md",
        "qnn_ref/data/models/mnist.qnn",
        "qnn_ref/data/models/models.json",
        "qnn_ref/interop/page/page.html",
        "qnn_ref/interop/page/page.css",
        "qnn_ref/interop/page/page.js",
        "qnn_ref/course/labs/programs/lab1.txt",
        "qnn_ref/experiments/results/bench.json",  # for `qnn-ref report` and notebook 12
        "qnn_ref/experiments/results/curves/fashion-small-20-of-20-seed-0.csv",
        "qnn_ref/experiments/results/filters/cifar10-small-jpeg-copy-16-of-16-seed-0.npz",
        f"qnn_ref-{qnn_ref.__version__}.dist-info/licenses/LICENSE",
        f"qnn_ref-{qnn_ref.__version__}.dist-info/entry_points.txt",
    ):
        assert name in names
    modules = {f.relative_to(ROOT).as_posix() for f in (ROOT / "qnn_ref").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules

    kinds = re.compile(
        r"(qnn_ref/.*\.py|qnn_ref/py\.typed|qnn_ref/data/.*|.*/programs/.*|.*\.dist-info/.*|"
        r"qnn_ref/interop/page/page\.(html|css|js)|qnn_ref/experiments/results/.*\.(csv|json|npz))"
    )
    assert [n for n in names if not kinds.fullmatch(n)] == []
    assert [n for n in names if "mnist" in n and n.endswith(".gz")] == []
    assert wheel.stat().st_size < 1_400_000


def test_wheel_states_licence_python_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"qnn_ref-{qnn_ref.__version__}.dist-info/METADATA").decode()
    assert "License-Expression: BSD-3-Clause" in metadata
    assert "Requires-Python: >=3.11" in metadata
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, flags=re.M)
    assert set(required) == {"numpy", "numba", "matplotlib", "threadpoolctl", "tqdm"}
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, flags=re.M)) == set(
        PROJECT["optional-dependencies"]
    )


def test_source_archive_is_the_checkout():
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="building needs hatchling")
    builder = sdist.SdistBuilder(str(ROOT))
    names = {f.distribution_path for f in builder.recurse_included_files()}
    for name in (
        "Makefile",
        "CITATION.cff",
        "data/mnist/train-images-idx3-ubyte.gz",
        "docs/about.md",
        "notebooks/01_one_bit.ipynb",
        "qnn_ref/experiments/results/bench.json",
        "tests/release.py",
    ):
        assert name in names
    assert not [name for name in names if name.startswith(("runs/", "dist/", ".venv/"))]


def test_classifiers_say_what_is_tried():
    """`make release` tries these; 3.14 and later join when it did."""
    said = [c for c in PROJECT["classifiers"] if re.search(r":: 3\.\d", c)]
    assert [c.rpartition(" ")[2] for c in said] == ["3.11", "3.12", "3.13"]


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "version" not in PROJECT  # one source of it
    assert re.search(r"^version: (.*)$", citation, flags=re.M).group(1) == qnn_ref.__version__
    assert re.search(r"^## \[(\d.*?)\]", changes, flags=re.M).group(1) == qnn_ref.__version__


def test_installed_package_does_not_use_the_checkout(installed, tmp_path):
    code = "import qnn_ref, numpy; print(qnn_ref.__file__)"
    place = Path(run(installed / "python", "-c", code, cwd=tmp_path).stdout.strip())
    assert place.is_relative_to(installed.parent)
    assert not place.is_relative_to(ROOT)


def test_installed_package_runs_the_demo(installed, tmp_path):
    answer = run(
        *(installed / "qnn-ref", "demo", "--dataset", "digits", "--epochs", "5", "--json"),
        cwd=tmp_path,
        NUMBA_CACHE_DIR=str(tmp_path.parent / "kernels"),
    )
    demo = json.loads(answer.stdout)
    assert set(demo) >= DEMO_KEYS
    assert demo["scores_identical"] == demo["scores_total"] > 0
    assert demo["gradient_check_worst"] < 1e-6
    assert demo["packed_bytes"] < demo["float_bytes"]


def test_stored_notebooks_say_this_version():
    for notebook in (ROOT / "notebooks").rglob("*.ipynb"):
        said = set(re.findall(r'"qnn_ref (\d[\d.]*)', notebook.read_text("utf-8")))
        assert said <= {qnn_ref.__version__}, notebook.name
