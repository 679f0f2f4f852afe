"""Guides keep what they promise: links lead somewhere, commands and exercises exist."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from qnn_ref.cli.options import COMMANDS
from qnn_ref.course import registry
from qnn_ref.course.labs import LABS

ROOT = Path(__file__).parents[1]
GUIDES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/**/*.md")]
    + [*ROOT.glob("data/*.md"), *ROOT.glob("qnn_ref/**/*.md"), *ROOT.glob("tests/**/*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TEACHING, GLOSSARY = ROOT / "docs" / "teaching.md", ROOT / "docs" / "glossary.md"

every_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.relative_to(ROOT).as_posix())


def anchors(text: str) -> set[str]:
    """Names of a page's headings, as they are linked."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_guide
def test_links_lead_somewhere(guide):
    text = re.sub(r"```.*?```", "", guide.read_text("utf-8"), flags=re.S)
    missing = []
    for target in LINK.findall(text):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        page = (guide.parent / name).resolve() if name else guide
        if not page.exists() or (
            anchor and page.suffix == ".md" and anchor not in anchors(page.read_text("utf-8"))
        ):
            missing.append(target)
    assert not missing


@every_guide
def test_commands_exist(guide):
    named = re.findall(r"qnn-ref ([a-z][a-z-]+)", guide.read_text("utf-8"))
    assert set(named) <= COMMANDS.keys()


TEXTS = [*GUIDES, *sorted(ROOT.glob("notebooks/*.py"))]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.relative_to(ROOT).as_posix())
def test_files_of_the_package_that_are_named_exist(text):
    named = set(re.findall(r"`(qnn_ref/[\w/]+(?:\.py)?)`", text.read_text("utf-8")))
    named -= {"qnn_ref/data/models", "qnn_ref/cli/NAME.py", "qnn_ref/course/chapters/chNN.py"}
    assert not {name for name in named if not (ROOT / name).exists()}


def test_the_teaching_guide_names_exercises_that_exist():
    text = TEACHING.read_text("utf-8")
    known = {e.id for c in registry.chapter_names() for e in registry.exercises_of(c)}
    home = [row.split("|")[3] for row in re.findall(r"^\| [1-6] \|.*$", text, re.M)]
    assert len(home) == 6
    ids = {id for cell in home for id in re.findall(r"\b\d+\.\d\b", cell)}
    assert len(ids) > 15
    assert ids <= known
    labs = {
        int(n)
        for row in re.findall(r"^\| [1-6] \|.*$", text, re.M)
        for n in re.findall(r"\b([1-8]) [a-zA-Z]", row.split("|")[4])
    }
    assert labs == {int(known.id[3:]) for known in LABS}


def test_the_glossary_has_forty_words_in_order():
    words = re.findall(r"^\| (?!word|---)([^|]+?) \|", GLOSSARY.read_text("utf-8"), re.M)
    assert len(words) >= 40
    assert [w.lower() for w in words] == sorted(w.lower() for w in words)


def test_versions_that_were_run_stand_on_the_page_and_in_the_command(monkeypatch):
    """`coming_from.md` tells of no other version than `coming_from.py` asks and installs."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    for room in ("authors", "graphs", "keras", "torch"):
        importlib.import_module(f"rows.{room}")
    page = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
    command = (ROOT / "docs" / "coming_from.py").read_text(encoding="utf-8")
    asked = {(row.library, version) for row in sys.modules["rows"].ROWS for version in row.page}
    for library, version in asked - {("numpy", "")}:
        assert version in page, library
        assert f"{library}=={version}" in command
