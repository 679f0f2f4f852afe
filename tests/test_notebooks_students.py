"""Every notebook runs as a student gets it. `make test` has a core free for this file."""

import pytest

pytest.importorskip("jupytext", reason="the notebooks need jupytext (dependency group test)")

import render

from tests.test_notebooks import every_notebook, run_of, said


@every_notebook
@pytest.mark.slow_without_jit
def test_runs_with_stubs(source):
    """An exercise that is not written stops nothing."""
    notebook = run_of(render.student_edition(render.read(source)), source)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", ())
        assert "exercise" not in tags or said(cell).endswith(": not written yet.")
        assert "question" not in tags or "in the place of the dots" in said(cell)
