"""The exercises of a notebook as nbgrader's or otter's source, for a course that uses one of them.

    python notebooks/assignments.py nbgrader 01_one_bit.py --out source/one_bit
    python notebooks/assignments.py otter 01_one_bit.py --out otter

Then `nbgrader generate_assignment one_bit`, or `otter assign otter/01_one_bit.ipynb dist`. Both
take the solutions out by the marks that stand in our sources. The check of an exercise becomes a
cell of its own that fails where the verdict is "not yet", since both tools go by exceptions.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from render import FOLDER, clean, read, write

from qnn_ref.course import registry
from qnn_ref.course.editions import Cell, of_student
from qnn_ref.files import make_folder

Node = nbformat.NotebookNode
CHECK = 'course.check("{id}", {name})'
TEST = "verdict = {check}\nassert verdict, verdict"


def exercise_of(cell: Node) -> str:
    """Id of the exercise that is written in a cell, or nothing."""
    return Cell(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ()))).exercise


def parts_of(cell: Node, id: str) -> tuple[str, str]:
    """The answer, and the check as a test that fails."""
    check = CHECK.format(id=id, name=registry.exercise(id).name)
    answer, found, rest = cell.source.partition(check)
    if not found or rest.strip():
        raise ValueError(f"{id}: expected {check} at the end of its cell")
    return answer.rstrip(), TEST.format(check=check)


def for_nbgrader(cell: Node, id: str) -> Iterator[Node]:
    """A solution cell and a locked cell of tests, with all metadata that nbgrader asks for."""
    answer, test = parts_of(cell, id)
    name, points = id.replace(".", "-"), registry.exercise(id).points
    common = {"schema_version": 3, "task": False}
    solution = common | {"solution": True, "grade": False, "locked": False}
    tests = common | {"solution": False, "grade": True, "locked": True, "points": points}
    solution["grade_id"], tests["grade_id"] = f"answer-{name}", f"check-{name}"
    yield nbformat.v4.new_code_cell(answer, metadata={"nbgrader": solution})
    yield nbformat.v4.new_code_cell(test, metadata={"nbgrader": tests})


def for_otter(cell: Node, id: str) -> Iterator[Node]:
    """A question between otter's raw cells; it takes solutions out of nothing else."""
    answer, test = parts_of(cell, id)
    name, points = f"exercise_{id.replace('.', '_')}", registry.exercise(id).points
    yield nbformat.v4.new_raw_cell(f"# BEGIN QUESTION\nname: {name}\npoints: {points}")
    yield nbformat.v4.new_raw_cell(SOLUTION[0])
    yield nbformat.v4.new_code_cell(answer)
    yield nbformat.v4.new_raw_cell(SOLUTION[1])
    yield nbformat.v4.new_raw_cell("# BEGIN TESTS")
    yield nbformat.v4.new_code_cell(test)
    yield nbformat.v4.new_raw_cell("# END TESTS")
    yield nbformat.v4.new_raw_cell("# END QUESTION")


SOLUTION = [f"# {word} SOLUTION" for word in ("BEGIN", "END")]
TOOLS: dict[str, Callable[[Node, str], Iterator[Node]]] = {
    "nbgrader": for_nbgrader,
    "otter": for_otter,
}


def assignment(notebook: Node, tool: str) -> Node:
    """The source as the tool wants it: answers to questions as dots, answers folded."""
    cells = []
    for cell in notebook.cells:
        id = exercise_of(cell)
        if id:
            cells += TOOLS[tool](cell, id)
            continue
        tags = tuple(cell.metadata.get("tags", ()))
        cell.source = of_student(Cell(cell.cell_type, cell.source, tags)).source
        cell.metadata = {}
        cells.append(cell)
    if tool == "otter":
        config = "# ASSIGNMENT CONFIG\ngenerate: true\nrun_tests: false"
        cells.insert(0, nbformat.v4.new_raw_cell(config))
    kept = [cell.metadata for cell in cells]
    notebook.cells = cells
    for cell, metadata in zip(clean(notebook).cells, kept, strict=True):
        cell.metadata = metadata
    return notebook


def main() -> None:
    """Write the notebook for a tool."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("source", metavar="NN_name.py")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    source = FOLDER / args.source
    target = make_folder(args.out) / f"{source.stem}.ipynb"
    write(assignment(read(source), args.tool), target)
    print(target)


if __name__ == "__main__":
    main()
