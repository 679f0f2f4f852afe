"""The faults that `make mutants` plants are real ones, and so are those of its table."""

import ast
import textwrap
from pathlib import Path

import pytest

from tests.mutation import workshop
from tests.mutation.__main__ import (
    CONTRIBUTING,
    RESULTS,
    equivalents,
    faults,
    files,
    identity,
)
from tests.mutation.changes import mutants
from tests.mutation.nearest import callers, nearest_tests
from tests.mutation.nursery import Nursery
from tests.mutation.tables import BEGIN, END, by_file, by_room, drawn, judged, rewritten

ROOT = Path(__file__).resolve().parents[1]

SOURCE = '''
"""Text of 1 module."""
import numpy as np
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import os
__all__ = ["f"]
LIMIT: tuple[int, ...] = 5

@decorated(1)
def f(x: Literal[1], y=True, unread=21) -> Literal[2]:
    """Docstring of 1 function."""
    assert x > 0, 3
    if flag(x):
        raise ValueError(f"{x + 1} is {y!r}" + words(17))
    for é in x:
        if x <= é and not y:
            continue
    total = x // 2 ** é
    total = total.reshape(-1)
    with threads_for(total * 23):
        pass
    total += min(total, 1.5)
    check(total, "text")
    return -total if total else total[0:1]
'''


def changed(source):
    return {(m.where, m.before, m.after) for m in mutants("a.py", source)}


def test_every_kind_of_fault_is_planted():
    found = {(before, after) for _, before, after in changed(SOURCE)}
    for pair in (
        ("LIMIT: tuple[int, ...] = 5", "LIMIT: tuple[int, ...] = (6)"),
        ("def f(x: Literal[1], y=True, unread=21) -> Literal[2]:", None),
        ("if flag(x):", "if (not flag(x)):"),
        ('raise ValueError(f"{x + 1} is {y!r}" + words(17))', "pass"),
        ("if x <= é and not y:", "if (x < é) and not y:"),
        ("if x <= é and not y:", "if (x <= é or not y):"),
        ("if x <= é and not y:", "if x <= é and (y):"),
        ("continue", "break"),
        ("total = x // 2 ** é", "total = (x * 2 ** é)"),
        ("total = x // 2 ** é", "total = x // (2 * é)"),
        ("total = x // 2 ** é", "total = x // (3) ** é"),
        ("total += min(total, 1.5)", "total -= min(total, 1.5)"),
        ("total += min(total, 1.5)", "total += (max(total, 1.5))"),
        ("total += min(total, 1.5)", "total += min(total, (3.0))"),
        ('check(total, "text")', "pass"),
        ("total = total.reshape(-1)", "total = total.reshape((1))"),
        ("return -total if total else total[0:1]", "return (total) if total else total[0:1]"),
        ("return -total if total else total[0:1]", "return -total if (not total) else total[0:1]"),
    ):
        before, after = pair
        if after is None:
            after = before.replace("y=True", "y=(False)")
        assert (before, after) in found


def test_what_is_left_alone():
    text = " ".join(after for _, _, after in changed(SOURCE))
    for untouched in (
        "Literal[(",
        "decorated(2",
        "Text",
        "Docstring",
        "assert",
        "TYPE",
        "__all__",
        "(18)",
    ):
        assert untouched not in text
    assert {where for where, _, _ in changed(SOURCE)} == {"module", "f"}


@pytest.mark.parametrize("file", ["qnn_ref/losses.py", "qnn_ref/products/by_bits.py"])
def test_each_can_be_parsed_and_is_another_program(file):
    source = (ROOT / file).read_text(encoding="utf-8")
    sound = ast.dump(ast.parse(source))
    found = mutants(file, source)
    assert len(found) > 20
    for mutant in found:
        assert ast.dump(ast.parse(mutant.planted(source))) != sound


def test_every_row_of_the_table_is_a_fault_that_there_is():
    rows = equivalents()
    known = {identity(mutant) for mutant in faults(ROOT, sorted({row[0] for row in rows})).values()}
    gone = [" | ".join(row) for row in rows - known]
    assert not gone, "their lines have changed: take them out of tests/mutation/equivalent.md"


def test_the_nearest_tests_are_those_that_name_the_file():
    near, far = nearest_tests(ROOT, "qnn_ref/losses.py")
    assert near[0] == "tests/test_losses.py"
    assert "tests/test_training.py" in near + far
    assert "tests/test_datasets_png.py" not in near + far
    for file in files()[::10]:
        assert nearest_tests(ROOT, file)[0]


def test_who_may_hold_a_compiled_function_is_known():
    assert "conv" in callers(ROOT, "qnn_ref/bits/lookup.py")
    assert not {"gemm", "powers"} & callers(ROOT, "qnn_ref/bits/lookup.py")
    # By `lanes`, which names it and imports it only with the first call.
    assert {"lookup", "ladder", "test_vectors"} <= callers(ROOT, "qnn_ref/bits/vectors.py")


SMALL = {
    "qnn_ref/__init__.py": "",
    "qnn_ref/small.py": """
        import numba

        def half(x):
            if x < 0:
                raise ValueError("x: negative")
            return x / 2

        def at_least_one(x):
            while x < 1:
                x += 1
            return x

        @numba.njit(cache=True)
        def twice(x):
            return x * 2
    """,
    "qnn_ref/third.py": """
        def third(x):
            return x // 3
    """,
    "tests/__init__.py": "",
    "tests/conftest.py": """
        from hypothesis import settings
        settings.register_profile("ci", derandomize=True, database=None, max_examples=20)
    """,
    "tests/test_small.py": """
        import os
        import subprocess
        import time
        from pathlib import Path
        import numba
        import pytest
        from hypothesis import given, strategies as st
        from qnn_ref.small import at_least_one, half, twice

        @given(st.integers(0, 1000))
        def test_half(x):
            assert half(x) + half(x) == x

        def test_negative():
            with pytest.raises(ValueError):
                half(-1)

        @pytest.mark.skipif(numba.config.DISABLE_JIT, reason="about compiled code")
        def test_twice():
            assert twice(3) == 6 and twice.signatures

        def test_at_least_one():
            assert at_least_one(0) == 1
    """,
    "tests/test_elsewhere.py": """
        import subprocess, time, pytest
        from pathlib import Path

        def test_skipped():
            pytest.skip("not here")

        @pytest.mark.xfail(strict=True)
        def test_expected():
            assert False

        def test_sleeps():
            process = subprocess.Popen(["sleep", "60"], start_new_session=True)
            Path("process").write_text(str(process.pid))
            time.sleep(60)
    """,
    "tests/test_third.py": """
        import subprocess, sys
        from qnn_ref.third import third

        def test_it_is_called():
            assert third(0) == 0

        def test_in_another_process():
            code = "from qnn_ref.third import third; assert third(9) == 3"
            subprocess.run([sys.executable, "-c", code], check=True)
    """,
    "data/README.md": "",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A repository with one module of a few lines."""
    root = tmp_path_factory.mktemp("small")
    for name, text in SMALL.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    return root


def test_each_fault_gets_the_verdict_that_it_deserves(small, monkeypatch):
    monkeypatch.setattr(workshop, "ROOT", small)
    monkeypatch.setattr(workshop, "AT_LEAST", (0.2, 60.0))
    source = (small / "qnn_ref/small.py").read_text()
    verdicts = {}
    place = workshop.Workshop({})
    try:
        faults = {mutant.after: mutant for mutant in mutants("qnn_ref/small.py", source)}
        for after, line in place.judged(faults, "all"):
            verdicts[after] = line["verdict"], line["stage"], line["by"]
            assert (place.copy / "qnn_ref/small.py").read_text() == source
        (fault,) = mutants("qnn_ref/third.py", (small / "qnn_ref/third.py").read_text())[-1:]
        ((_, third),) = place.judged({"third": fault}, "nearest")
    finally:
        place.close()
    assert not place.folder.exists()
    near = "tests/test_small.py"
    assert verdicts["if (x <= 0):"] == ("killed", "nearest", f"{near}::test_half")
    assert verdicts["pass"] == ("killed", "nearest", f"{near}::test_negative")
    assert verdicts["return (x * 2)"][2] == f"{near}::test_half"
    assert verdicts["x -= 1"] == ("killed", "nearest", f"{near}: time")
    # Twice what is compiled, each time anew; half of 3 is no less wrong than 3 thirds of it.
    assert verdicts["return (x / 2)"] == ("killed", "compiled", f"{near}::test_twice")
    assert verdicts["return x * (3)"] == ("killed", "compiled", f"{near}::test_twice")
    assert verdicts["while (x <= 1):"][0] == "killed"
    assert verdicts["if x < (1):"][0] == "killed"
    assert third["by"] == "tests/test_third.py::test_in_another_process"
    survivors = [after for after, verdict in verdicts.items() if verdict[0] == "survived"]
    assert survivors == ["while x < (2):"] or not survivors


def test_a_run_ends_with_all_that_it_has_started(small):
    nursery = Nursery(small, {"NUMBA_DISABLE_JIT": "1"})
    try:
        order = {"limit": 0.1, "each": 1, "temporary": str(small / "temporary")}
        assert nursery.run("tests/test_elsewhere.py", **order)["found"] == "time"
        pid = int((small / "process").read_text())
        assert not Path(f"/proc/{pid}").exists()
        order |= {"limit": 5, "first": ["tests/test_small.py::test_negative"]}
        assert nursery.run("tests/test_small.py", **order)["found"] is None
    finally:
        nursery.close()


def test_a_verdict_belongs_to_a_function_wherever_it_stands():
    def keys(source, where):
        return {m.key for m in mutants("a.py", source) if m.where == where}

    moved = SOURCE.replace("LIMIT", "import re\nMORE = 3\nLIMIT")
    changed_one = SOURCE.replace("1.5", "1.25")
    assert keys(SOURCE, "f") == keys(moved, "f")
    assert keys(SOURCE, "module") < keys(moved, "module")  # a number more
    assert not keys(SOURCE, "f") & keys(changed_one, "f")
    assert len(keys(SOURCE, "f")) == sum(m.where == "f" for m in mutants("a.py", SOURCE))


def counts(killed, survived, unknown=0, equivalent=0, sample=None):
    """A file's faults, and the verdicts on some of them."""
    words = ["killed"] * killed + ["survived"] * (survived + equivalent)
    known = {str(i): {"verdict": word, "sample": sample} for i, word in enumerate(words)}
    total = len(known) + unknown
    return {str(i): killed + survived <= i < len(known) for i in range(total)}, known


def test_shares_are_of_what_was_judged_whole_or_drawn():
    row = judged("a.py", *counts(3, 1, equivalent=2))
    assert (row.how, row.judged, row.equivalent, row.share) == ("whole", 6, 2, 75.0)
    row = judged("a.py", *counts(3, 1, unknown=1))
    assert (row.how, row.judged, row.share) == ("part", 4, None)
    row = judged("a.py", *counts(0, 0, unknown=3))
    assert (row.how, row.judged, row.share) == ("not judged", 0, None)
    faults = [str(i) for i in range(9)]
    assert drawn(faults, 4, 1) == drawn(reversed(faults), 4, 1) != drawn(faults, 4, 2)
    assert len(drawn(faults, 4, 1)) == 4
    assert drawn(faults, 99, 1) == set(faults)
    sample = {key: {"verdict": "killed", "sample": [4, 1]} for key in drawn(faults, 4, 1)}
    more = sample | {key: {"verdict": "survived"} for key in faults if key not in sample}
    more.popitem()
    row = judged("a.py", dict.fromkeys(faults, False), more)
    assert (row.how, row.judged, row.share) == ("sample of 4", 4, 100.0)
    sample.popitem()
    assert judged("a.py", dict.fromkeys(faults, False), sample).how == "part"


def test_the_tables_count_files_and_rooms():
    rows = [
        judged("qnn_ref/a/one.py", *counts(1, 1)),
        judged("qnn_ref/a/two.py", *counts(4, 0, unknown=1)),
        judged("qnn_ref/b.py", *counts(2, 0, equivalent=1)),
    ]
    lines = by_file(rows).splitlines()
    assert lines[2] == "| qnn_ref/a/one.py | 2 | 2 | whole | 1 | 0 | 1 | 50.0 % |"
    assert lines[3] == "| qnn_ref/a/two.py | 5 | 4 | part | 4 | 0 | 0 | - |"
    assert lines[-1] == "| all | 10 | 9 |  | 7 | 1 | 1 | 75.0 % |"
    lines = by_room(rows).splitlines()
    assert lines[2] == "| qnn_ref/a | 7 | 6 | 5 | 0 | 1 | 50.0 % | 50.0 % one.py |"
    assert lines[3] == "| qnn_ref/b.py | 3 | 3 | 2 | 1 | 0 | 100.0 % | 100.0 % b.py |"
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb"
    with pytest.raises(ValueError, match="expected a table between"):
        rewritten(f"a {BEGIN} b", "new")


def test_the_texts_have_a_place_for_the_tables():
    for path in (RESULTS, CONTRIBUTING):
        text = path.read_text(encoding="utf-8")
        assert rewritten(rewritten(text, "new"), "| ") == rewritten(text, "| ")
        assert text.count(BEGIN) == text.count(END) == 1
