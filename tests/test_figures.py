"""Pictures of the course as files: found, named by notebook and section, in both forms."""

import base64

import nbformat
import pytest

pytest.importorskip("jupytext", reason="the notebooks need jupytext (dependency group test)")

import figures

PNG, PDF = b"\x89PNG and so on", b"%PDF and so on"


def output(*contents: bytes, text: str = "") -> nbformat.NotebookNode:
    kinds = {PNG: "image/png", PDF: "application/pdf"}
    data = {kinds[c]: base64.b64encode(c).decode() for c in contents} | {"text/plain": text}
    return nbformat.v4.new_output("display_data", data)


def code(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell("", outputs=list(outputs))


def markdown(text: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(text)


def test_each_picture_has_the_name_of_its_section_and_its_number_there():
    cells = [
        code(output(PNG)),
        markdown("# 5. Shifts\n\n**Goal.** Powers."),
        markdown("Text.\n\n## 5.2 By hand: eq. (9)\n\nText."),
        code(output(text="no picture"), output(PNG, PDF)),
        markdown("No heading; 5.9 is none."),
        code(output(PNG, PDF), output(PNG)),
        markdown("## 5.10 Many"),
        code(output(PNG)),
        markdown("## Summary"),
        code(output(PNG)),
    ]
    found = list(figures.pictures("05_shifts", nbformat.v4.new_notebook(cells=cells)))
    assert [name for name, _ in found] == [
        "05_begin_1.png",
        *("05_5.2_1.png", "05_5.2_1.pdf", "05_5.2_2.png", "05_5.2_2.pdf", "05_5.2_3.png"),
        "05_5.10_1.png",
        "05_summary_1.png",
    ]
    assert all(content == (PDF if name.endswith("pdf") else PNG) for name, content in found)


@pytest.mark.slow_without_jit
def test_a_notebook_is_drawn_in_both_forms(tmp_path):
    source = tmp_path / "01_small.py"
    source.write_text(
        "# %% [markdown]\n# ## 1.1 A line\n\n# %%\n# %matplotlib inline\n"
        "from matplotlib.figure import Figure\n\nfigure = Figure()\n"
        "figure.subplots().plot([1, 2])\nfigure\n"
    )
    written = figures.draw(source, tmp_path)
    assert [file.name for file in written] == ["01_1.1_1.png", "01_1.1_1.pdf"]
    assert [file.read_bytes()[:4] for file in written] == [b"\x89PNG", b"%PDF"]
