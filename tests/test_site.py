"""The documentation site: its parts made from the package, and the reader of built pages.

`make docs` builds the site, refuses every warning of Sphinx and reads all pages. Here stands what
needs no Sphinx, and where it is installed one page is built.
"""

import importlib.util
import re
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

import qnn_ref
from qnn_ref.equations import EQUATIONS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def load(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made, read_pages = load("made"), load("read_pages")


def source_pages():
    """Pages of docs/, not those that a build has left there."""
    return [page for page in PAGES if "_build" not in page.parts]


def test_the_map_has_every_entry_with_its_file():
    rows = [line for line in made.paper_map().splitlines() if "{py:obj}" in line]
    assert len(rows) == len(EQUATIONS)
    for row, entry in zip(rows, EQUATIONS, strict=True):
        assert f"`{entry.function} <qnn_ref.{entry.function}>`" in row
        assert (ROOT / re.search(r"`(qnn_ref/[\w/]+\.py):\d+`", row).group(1)).exists()
    linked = re.findall(r"\]\((/notebooks/[^)]+)\)", made.paper_map())
    assert len(set(linked)) >= 11
    assert all((ROOT / link[1:]).exists() for link in linked)


def test_readings_come_from_docstrings():
    rows = made.readings().splitlines()
    assert "| `layers.shift_normalization.ratio` | Section 2.4, the ratio form of the" in "".join(
        rows
    )
    assert all(re.search("our|not in the paper", row, re.I) for row in rows[2:])
    assert not [row for row in rows if row.endswith("| Not in the paper. |")]


def test_every_room_stands_in_the_reference_once():
    text = "".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    assert sorted(re.findall(r"^```\{made\} room (\w+)$", text, re.M)) == sorted(qnn_ref._ROOMS)


def test_a_room_shows_what_the_map_names_in_it():
    text = made.room("packed")
    assert ".. automodule:: qnn_ref.packed\n" in text
    assert ".. autofunction:: qnn_ref.packed.thresholds.find_thresholds" in text
    assert ".. automethod:: qnn_ref.packed.thresholds.Threshold.run" in text
    assert ".. autoclass:: qnn_ref.packed.thresholds.Levels" in text
    assert ".. autodata:: qnn_ref.experiments.tables.TABLE_1" in made.room("experiments")
    inner = made.room("datasets")  # of a module that is public itself
    assert ".. autofunction:: qnn_ref.datasets.preprocessing.zca_fit" in inner


def test_commands_are_their_own_help():
    text = made.commands()
    for name in made.COMMANDS:
        assert f"## qnn-ref {name}\n" in text
        assert f"usage: qnn-ref {name} " in text


@pytest.mark.parametrize("page", source_pages(), ids=lambda p: p.relative_to(DOCS).as_posix())
def test_parts_that_a_page_asks_for_exist(page):
    text = page.read_text("utf-8")
    for part in re.findall(r"^```\{made\} (\w+)", text, re.M):
        assert part in made.PARTS


@pytest.mark.parametrize("page", source_pages(), ids=lambda p: p.relative_to(DOCS).as_posix())
def test_names_in_guides_are_public(page):
    for dotted in re.findall(r"\{py:obj\}`qnn_ref\.([\w.]+)`", page.read_text("utf-8")):
        resolve_name(f"qnn_ref.{dotted}")


def test_the_index_leads_to_every_page():
    listed = set(re.findall(r"^([./\w-]+)$", (DOCS / "index.md").read_text("utf-8"), re.M))
    own = {page.stem for page in source_pages() if page.parent == DOCS} - {"index"}
    assert own <= listed
    notebooks = {f"../notebooks/{file.stem}" for file in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks <= listed


def test_forty_questions():
    text = (DOCS / "faq.md").read_text("utf-8")
    questions = re.findall(r"^### (.+)$", text, re.M)
    assert len(questions) == len(set(questions)) == 40
    assert all(question.endswith("?") for question in questions)
    assert max(len(part.split()) for part in re.split(r"^###? .+$", text, flags=re.M)) < 130


GOOD = {
    "index.html": '<h1 id="top">A</h1><a href="a/b.html#there">b</a><a href="#top">up</a>',
    "a/b.html": '<p id="there"><a href="../index.html">back</a><img src="../p.png">',
    "p.png": "",
}


@pytest.mark.parametrize(
    "page, text, fault",
    [
        ("index.html", GOOD["index.html"], None),
        ("index.html", '<a href="a/c.html">', "index.html: no a/c.html"),
        ("index.html", '<a href="a/b.html#here">', "index.html: no a/b.html#here"),
        ("index.html", '<a href="#nowhere">', "index.html: no #nowhere"),
        ("a/b.html", '<p id="there"><img src="q.png">', "a/b.html: no q.png"),
        ("index.html", '<a href="https://example.org">', None),
        ("index.html", '<script src="//example.org/x.js"></script>', "loads //example.org/x.js"),
        ("index.html", '<link rel="stylesheet" href="https://example.org/x.css">', "loads https"),
    ],
)
def test_the_reader_of_pages_sees_what_is_missing(tmp_path, page, text, fault):
    read_pages.read.cache_clear()
    for name, content in (GOOD | {page: text}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    faults = read_pages.faults_of_links(tmp_path)
    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


@pytest.mark.slow_without_jit
def test_references_stand_in_a_built_page(tmp_path):
    pytest.importorskip("sphinx", reason="the site needs the dependency group docs")
    for name in ("myst_nb", "numpydoc", "furo"):
        pytest.importorskip(name)
    import subprocess

    only = "docs/index.md,docs/reference/shifts.md"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(DOCS)]
    command += ["-D", f"include_patterns={only}", "-D", "suppress_warnings=toc,myst"]
    subprocess.run([*command, str(ROOT), str(tmp_path)], check=True, timeout=300, cwd=ROOT)
    html = (tmp_path / "docs/reference/shifts.html").read_text("utf-8")
    assert "Section 2.4" in re.sub(r"<[^>]+>", "", html)
    shown = [f for f in read_pages.faults_of_references(tmp_path) if "reference: shifts." in f]
    assert shown == []
