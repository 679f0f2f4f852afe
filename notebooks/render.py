"""Run the notebooks' sources (py:percent) and store two editions of each as .ipynb.

    python notebooks/render.py                 every notebook
    python notebooks/render.py 01_one_bit.py   only this one

`solutions/NN_name.ipynb` is the source as it is, with all outputs. `NN_name.ipynb`, the student
edition, has stubs for solutions, dots for answers to questions, folded answers, and no output of
exercises and of cells that a question asks about; the other outputs are those of the same run.

The same source gives the same bytes each time: cell ids are numbers, and what changes from run to
run (times, widget ids, addresses, progress bars) is left out. A cell that fails stops the rendering
with its traceback and leaves the stored notebook as it was.
"""

import copy
import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient

from qnn_ref.course.editions import Cell, of_student, shows_nothing
from qnn_ref.files import atomic_write, make_folder

FOLDER = Path(__file__).resolve().parent
WIDGETS = "application/vnd.jupyter.widget"


class ThisPython(AsyncKernelManager):
    """The kernel is the Python that runs this file, whatever kernels a machine has registered."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[
                *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
                "--log-level=ERROR",
            ],
            display_name="Python 3",
            language="python",
        )


def sources() -> list[Path]:
    """All notebook sources, in order; they are named NN_name.py."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def targets(source: Path) -> tuple[Path, Path]:
    """Where the student edition and the solutions are stored."""
    name = f"{source.stem}.ipynb"
    return source.parent / name, source.parent / "solutions" / name


def read(source: Path) -> nbformat.NotebookNode:
    """The cells of a py:percent file as a notebook without outputs."""
    return jupytext.read(source, fmt="py:percent")


def execute(notebook: nbformat.NotebookNode, folder: Path = FOLDER) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel that works in `folder`; a failing cell raises."""
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}  # pictures inline
    environment["QNN_REF_COURSE_RESULTS"] = "none"
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisPython,
        timeout=600,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env={"OMP_WAIT_POLICY": "passive"} | environment)


def student_edition(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as a student gets it; outputs stay where they give nothing away."""
    cells = [
        Cell(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ())))
        for cell in notebook.cells
    ]
    student = copy.deepcopy(notebook)
    for cell, old, hidden in zip(student.cells, cells, shows_nothing(cells), strict=True):
        cell.source = of_student(old).source
        if hidden:
            cell.outputs, cell.execution_count = [], None
    return student


def from_below(text: str) -> str:
    """Markdown with its links as they lead from the folder of solutions, one below."""
    return re.sub(r"\]\((?=\.\./|README\.md|labs/)", "](../", text)


def with_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as it lies in the folder of solutions."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = from_below(cell.source)
    return notebook


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out everything that differs between two runs of the same source, in place."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count if cell.execution_count else None
        cell.outputs = [clean_output(o, count) for o in cell.outputs if is_stored(o)]
    return notebook


def is_stored(output: nbformat.NotebookNode) -> bool:
    """Progress bars (standard error) and live widgets mean nothing in a stored notebook."""
    live = any(kind.startswith(WIDGETS) for kind in output.get("data", {}))
    return not live and output.get("name") != "stderr"


def clean_output(output: nbformat.NotebookNode, count: int) -> nbformat.NotebookNode:
    if "execution_count" in output:
        output.execution_count = count
    if "metadata" in output:
        output.metadata = {}
    if "text/plain" in output.get("data", {}):
        output.data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", output.data["text/plain"])
    return output


def write(notebook: nbformat.NotebookNode, target: Path) -> None:
    """Write completely or not at all."""
    nbformat.validate(notebook)
    with atomic_write(target) as file:
        file.write(f"{nbformat.writes(notebook)}\n".encode())


def main(names: list[str]) -> None:
    for source in [FOLDER / name for name in names] or sources():
        print(source.relative_to(FOLDER), flush=True)
        notebook = clean(execute(read(source), source.parent))
        student, solutions = targets(source)
        make_folder(solutions.parent)
        write(student_edition(notebook), student)
        write(with_solutions(notebook), solutions)


if __name__ == "__main__":
    main(sys.argv[1:])
