"""Every notebook runs, says what it is for, and is stored as its source has it.

The edition of students runs in `test_notebooks_students.py`, which has a core of its own.
Pictures are not compared byte for byte: they change with matplotlib's version. The cells are.
"""

import re
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("jupytext", reason="the notebooks need jupytext (dependency group test)")

import render
from nbclient.exceptions import CellExecutionError

from qnn_ref.course.editions import Cell, of_student, read_cells, shows_nothing

HEADER = ("**Goal.**", "**Minutes.**", "**Prerequisites.**", "**Equations.**")
ABSOLUTE = re.compile(r"(?<![\w.~/:])/(?:\w[\w.-]*/){2,}|\b[A-Z]:\\\w+\\")

every_notebook = pytest.mark.parametrize("source", render.sources(), ids=lambda source: source.stem)


def stored(target: Path) -> nbformat.NotebookNode:
    assert target.exists(), f"{target.name} is missing: make notebooks"
    return nbformat.read(target, as_version=4)


def editions(source: Path) -> list[tuple[Path, list[Cell]]]:
    """Where each edition is stored, and the cells that it should have."""
    cells = read_cells(source)
    student, solutions = render.targets(source)
    solved = [
        Cell(cell.kind, render.from_below(cell.source), cell.tags)
        if cell.kind == "markdown"
        else cell
        for cell in cells
    ]
    return [(student, [of_student(cell) for cell in cells]), (solutions, solved)]


def outputs_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]


def text_of(output: nbformat.NotebookNode) -> str:
    """What a reader sees of an output, pictures apart."""
    data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
    return "\n".join([output.get("text", ""), *map(str, data.values())])


def test_links_from_the_folder_of_solutions_go_up_once_more():
    text = "[a](../docs/a.md) [b](README.md) [c](01_one_bit.ipynb) [d](labs/README.md)"
    moved = "[a](../../docs/a.md) [b](../README.md) [c](01_one_bit.ipynb) [d](../labs/README.md)"
    assert render.from_below(text) == moved


def test_there_are_notebooks():
    assert render.sources()


def run_of(notebook: nbformat.NotebookNode, source: Path) -> nbformat.NotebookNode:
    """The notebook after a run without warnings."""
    notebook = render.execute(notebook, source.parent)
    errors = [o.text for o in outputs_of(notebook) if o.get("name") == "stderr"]
    assert "Warning" not in "".join(errors), "".join(errors)
    return notebook


def said(cell: nbformat.NotebookNode) -> str:
    return "\n".join(map(text_of, cell.outputs))


@every_notebook
@pytest.mark.slow_without_jit
def test_runs_with_its_solutions(source):
    notebook = run_of(render.read(source), source)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", ())
        assert "exercise" not in tags or ": passed." in said(cell)
        assert "question" not in tags or "Yes: " in said(cell)


@every_notebook
def test_first_cell_says_what_it_is_for(source):
    first = render.read(source).cells[0]
    assert first.cell_type == "markdown"
    lines = first.source.splitlines()
    assert lines[0].startswith("# "), "the first line is the title"
    for start in HEADER:
        assert any(len(ln) > len(start) + 1 for ln in lines if ln.startswith(start)), start


@every_notebook
def test_stored_cells_are_those_of_the_source(source):
    for target, cells in editions(source):
        old = [(cell.cell_type, cell.source) for cell in stored(target).cells]
        assert old == [(cell.kind, cell.source) for cell in cells], "make notebooks"


@every_notebook
def test_stored_outputs_are_complete_and_clean(source):
    for target, cells in editions(source):
        notebook = stored(target)
        hidden = shows_nothing(cells) if target.parent == source.parent else [False] * len(cells)
        code = [(c, h) for c, h in zip(notebook.cells, hidden, strict=True) if "outputs" in c]
        counts = [None if h else count for count, (_, h) in enumerate(code, 1)]
        assert [cell.execution_count for cell, _ in code] == counts
        assert not any(cell.outputs for cell, h in code if h)
        kinds = {kind for o in outputs_of(notebook) for kind in o.get("data", {})}
        assert any(kind.startswith("image/") for kind in kinds), "no picture"
        texts = [text_of(o) for o in outputs_of(notebook)]
        assert not [text for text in texts if ABSOLUTE.search(text)], "a path of one machine"
        again = render.clean(nbformat.from_dict(notebook))
        assert nbformat.writes(again) + "\n" == target.read_text("utf-8")


@every_notebook
def test_the_student_edition_gives_nothing_away(source):
    text = render.targets(source)[0].read_text("utf-8")
    assert "SOLUTION" not in text
    cells = stored(render.targets(source)[0]).cells
    for cell in cells:
        answers = re.findall(r"(?m)^\*\*Answer\.\*\*", cell.source)
        assert len(answers) == cell.source.count("<details>") == cell.source.count("</details>")
    first, second = (stored(target) for target in render.targets(source))
    for student, solved in zip(first.cells, second.cells, strict=True):
        assert student.get("outputs") in (None, [], solved.get("outputs")), "make notebooks"


# The renderer itself, on a small notebook.

SMALL = """
# %% [markdown]
# # A title

# %% tags=["keep"] collapsed=true
import sys, warnings
print("one", flush=True); print("two", flush=True); print("progress 100%", file=sys.stderr)
object()

# %%
import ipywidgets
ipywidgets.IntSlider()

# %%
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()
sys.executable
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "01_small.py"
    path.write_text(SMALL.lstrip(), encoding="utf-8")
    return path


@pytest.mark.slow_without_jit
def test_rendering_twice_gives_the_same_bytes(small):
    texts = []
    for name in ("a.ipynb", "b.ipynb"):
        notebook = render.clean(render.execute(render.read(small), small.parent))
        render.write(notebook, small.with_name(name))
        texts.append(small.with_name(name).read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    assert not list(small.parent.glob("*.part"))

    cells = nbformat.reads(texts[0], as_version=4).cells
    assert [cell.id for cell in cells] == ["cell-01", "cell-02", "cell-03", "cell-04"]
    assert cells[1].metadata == {"tags": ["keep"]}
    assert cells[1].outputs[0].text == "one\ntwo\n"  # one stream, and no progress bar
    assert cells[1].outputs[1].data["text/plain"] == "<object>"  # no address
    assert cells[2].outputs == []  # a live widget cannot be stored
    assert any("image/png" in o.data for o in cells[3].outputs if "data" in o)
    assert cells[3].outputs[-1].data["text/plain"] == repr(sys.executable)


@pytest.mark.slow_without_jit
def test_a_failing_cell_is_reported_and_nothing_is_written(small, monkeypatch):
    small.write_text("# %%\n1 / 0\n", encoding="utf-8")
    monkeypatch.setattr(render, "FOLDER", small.parent)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        render.main([small.name])
    assert sorted(p.name for p in small.parent.iterdir()) == ["01_small.py"]
