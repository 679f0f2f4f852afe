"""This build beside an older one: turns, ratios, and what happens if one of the two cannot."""

import io
import json
import shutil
import subprocess
from functools import partial

import pytest

from qnn_ref.bench import against as module
from qnn_ref.bench import paired
from qnn_ref.bench.against import Build, Process, Turns, against, measure, older_build
from qnn_ref.bench.paired import WORKS, Answering, Work, serve
from qnn_ref.bench.rows import BEFORE, GOALS, Settings
from qnn_ref.cli import main

# The builds


def test_a_folder_with_a_build_is_one(tmp_path):
    (tmp_path / "qnn_ref").mkdir()
    (tmp_path / "qnn_ref" / "__init__.py").touch()
    with older_build(str(tmp_path)) as build:
        assert build == Build(f"folder {tmp_path.name}", tmp_path.resolve())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_a_commit_is_unpacked_and_taken_away_again(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    git("init", "-q")
    monkeypatch.setattr(module, "HERE", tmp_path)
    for name, text in (("README", ""), ("qnn_ref/__init__.py", "a = 1\n")):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        git("add", ".")
        git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", name)
    (tmp_path / "qnn_ref" / "__init__.py").write_text("a = 2\n")
    with older_build("HEAD") as build:
        assert build.name.startswith("commit ")
        assert len(build.name) == len(BEFORE)
        assert (build.folder / "qnn_ref" / "__init__.py").read_text() == "a = 1\n"
        folder = build.folder
    assert not folder.exists()
    with pytest.raises(ValueError, match=r"--against: there is no qnn_ref in HEAD~1"):
        older_build("HEAD~1").__enter__()
    for which in ("nothing", "a\0b", "--help", str(tmp_path / "none")):
        with pytest.raises(ValueError, match="--against: expected a folder that holds a qnn_ref"):
            older_build(which).__enter__()


# The process that answers

TINY = {
    paired.step: [
        (partial(paired.mlp, 8), "Adam", 4),
        (partial(paired.convolutional, (4,), (6,), 4), "ShiftAdaMax", 2),
    ],
    paired.prediction: [(partial(paired.mlp, 8), 3)],
    paired.product: [(3, 5, 70), (1, 5, 70)],
    paired.input_gradient: [(64, 4)],
    paired.weight_gradient: [(64, 4)],
    paired.packing: [(9,)],
    paired.convolution: [(4, 70, 2)],
}


def test_every_work_is_tried_below():
    assert {work.prepare.func for work in WORKS} == TINY.keys()
    assert len({(work.name, work.size) for work in WORKS}) == len(WORKS)


@pytest.mark.parametrize(
    ("prepare", "sizes"), [(prepare, sizes) for prepare, all_ in TINY.items() for sizes in all_]
)
def test_every_work_runs_twice(prepare, sizes):
    call = prepare(*sizes)
    call()
    call()


def test_every_goal_against_a_commit_belongs_to_a_work():
    goals = {(g.row, size) for g in GOALS if BEFORE in g.peers for size in g.sizes}
    works = {(work.name, work.size) for work in WORKS}
    assert {row for row, _ in goals} <= {name for name, _ in works}
    assert {("training step, Adam", "784-3x4096-10, batch 100")} <= goals & works


class Counting:
    """A work that counts what is asked of it."""

    def __init__(self):
        self.prepared = self.called = 0

    def prepare(self):
        self.prepared += 1
        return self.call

    def call(self):
        self.called += 1
        return bytes(1000)


def test_a_build_answers_with_times_peaks_and_errors():
    counting = Counting()

    def fail():
        raise ImportError("no pack here\nmore")

    works = Work("a", "b", "c", counting.prepare), Work("a", "d", "c", fail)
    answering = Answering(works)
    assert answering.answer("prepare", 0).keys() == {"wall", "processor"}
    assert (counting.prepared, counting.called) == (1, 2)
    assert answering.answer("time", 0, 5)["wall"] > 0
    assert counting.called == 7
    assert answering.answer("prepare", 1) == {"error": "ImportError: no pack here"}
    assert answering.answer("peak", 1) == {"error": "ImportError: no pack here"}
    assert answering.answer("peak", 0)["peak"] >= 1000
    assert (counting.prepared, counting.called) == (2, 9)


def test_it_says_where_it_lies_and_answers_line_by_line():
    orders = [{"order": "prepare", "number": 0}, {"order": "time", "number": 0, "loops": 2}]
    answers = io.StringIO()
    answering = Answering((Work("a", "b", "c", Counting().prepare),))
    serve(io.StringIO("".join(json.dumps(order) + "\n" for order in orders)), answers, answering)
    first, *others = map(json.loads, answers.getvalue().splitlines())
    assert first["file"].endswith("__init__.py")
    assert [answer.keys() for answer in others] == 2 * [{"wall", "processor"}]


# Turns and ratios


class Fake:
    """A process whose calls take the seconds it is given, and that notes when it is asked."""

    def __init__(self, name, seconds, notes, error=None):
        self.name, self.seconds, self.notes, self.error = name, iter(seconds), notes, error

    def ask(self, order, number, loops=1):
        self.notes.append((self.name, order, loops))
        if self.error:
            return {"error": self.error}
        if order == "peak":
            return {"peak": next(self.seconds)}
        seconds = 1.0 if order == "prepare" else next(self.seconds)
        return {"wall": seconds, "processor": 2 * seconds}


WORK = Work("a", "training step, Adam", "784-3x2048-10, batch 100", int)


def test_builds_take_turns_and_the_ratio_is_formed_in_each():
    """A machine that is slow for a while is so for both: the ratio stays 2 in every round."""
    notes, turns = [], Turns()
    both = Fake("ours", [1, 10, 1, 3], notes), Fake("older", [2, 20, 2, 6], notes)
    measure(turns, 7, WORK, both, 1, Settings(repeats=4, budget=9))
    assert [name for name, order, _ in notes if order == "time"] == [
        *("older", "ours", "ours", "older", "older", "ours", "ours", "older")
    ]
    row = turns.row(WORK, 1, BEFORE)
    assert (row.ratio, row.ratio_spread) == (2, (2, 2))
    assert (row.ours, row.peer) == (4, 8)  # of the processor's clock
    assert (row.goal, row.met, row.note) == (1.5, True, "processor time")


def test_with_several_threads_the_clock_is_on_the_wall():
    turns = Turns()
    both = Fake("ours", 3 * [1.0], []), Fake("older", 3 * [1.0], [])
    measure(turns, 0, WORK, both, 2, Settings(repeats=1, budget=0))
    row = turns.row(WORK, 2, BEFORE)
    assert (row.ours, row.note) == (1, "wall time")


def test_short_calls_are_repeated_in_a_turn():
    notes = []

    class Short(Fake):
        def ask(self, order, number, loops=1):
            return super().ask(order, number, loops) | {"wall": 1e-3}

    both = Short("ours", 3 * [1.0], notes), Short("older", 3 * [1.0], notes)
    measure(Turns(), 0, WORK, both, 1, Settings(repeats=3))
    assert {loops for _, order, loops in notes if order == "time"} == {10}


def test_the_ratio_of_bytes_is_ours_by_theirs():
    work, turns = Work("a", "memory of a training step", WORK.size, int, unit="bytes"), Turns()
    measure(turns, 0, work, (Fake("ours", [8], []), Fake("older", [10], [])), 1, Settings())
    row = turns.row(work, 1, BEFORE)
    assert (row.ratio, row.met, row.note) == (0.8, True, "")


def test_what_the_older_one_lacks_is_said():
    turns = Turns()
    both = Fake("ours", 3 * [1.0], []), Fake("older", [], [], "ImportError: no pack here")
    measure(turns, 0, WORK, both, 1, Settings(repeats=3))
    row = turns.row(WORK, 1, BEFORE)
    assert (row.peer, row.ratio, row.ratio_spread, row.met) == (None, None, None, None)
    assert row.note == "processor time; ImportError: no pack here"


def test_what_ours_lacks_is_a_fault():
    both = Fake("ours", [], [], "TypeError: b"), Fake("older", [1.0], [])
    with pytest.raises(RuntimeError, match=r"training step, Adam, .*: TypeError: b"):
        measure(Turns(), 0, WORK, both, 1, Settings())


# Real processes


def test_a_process_that_takes_another_build_is_refused(tmp_path):
    (tmp_path / "qnn_ref").mkdir()
    (tmp_path / "qnn_ref" / "__init__.py").write_text("__file__ = '/elsewhere/qnn_ref/a.py'\n")
    process = Process(Build("older", tmp_path), 1, tmp_path)
    with pytest.raises(RuntimeError, match="older: expected below"):
        process.check()
    process.close()
    assert process.process.returncode == 0


def test_a_process_that_ends_says_its_last_words(tmp_path):
    (tmp_path / "qnn_ref").mkdir()
    (tmp_path / "qnn_ref" / "__init__.py").write_text("raise SystemExit('no such luck')\n")
    process = Process(Build("older", tmp_path), 1, tmp_path)
    with pytest.raises(RuntimeError, match="older: its process has ended: no such luck"):
        process.check()
    with pytest.raises(RuntimeError, match="has ended"):
        process.ask("time", 0)
    process.close()


def small_build(folder, body):
    """A package that has nothing but `bits.pack`: nothing to compile."""
    (folder / "qnn_ref").mkdir(parents=True)
    (folder / "qnn_ref" / "__init__.py").touch()
    (folder / "qnn_ref" / "bits.py").write_text(f"def pack(x):\n    {body}\n")
    return folder


def test_two_builds_side_by_side(tmp_path, monkeypatch):
    """The whole way, with packages that are quick to start: the older one packs ten times."""
    monkeypatch.setattr(module, "HERE", small_build(tmp_path / "new", "x > 0"))
    older = small_build(tmp_path / "old", "[x > 0 for _ in range(10)]")
    lines = []
    settings = Settings(repeats=3, quick=True, threads=1, say=lines.append)
    found = against(["packing"], settings, str(older), pairs=2)
    (row,) = found["rows"]
    assert row["name"] == "packing"
    low, high = row["ratio_spread"]
    assert 0 < low <= row["ratio"] <= high
    assert row["peer_name"] == found["against"] == "folder old"
    assert any("pair 2 of 2" in line for line in lines)
    assert found["machine"]["cores"] >= 1


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", "nowhere/at/all"], "--against: expected a folder that holds a qnn_ref"),
        (["ladder", "--against", "."], "NAME: ladder cannot be measured with --against"),
        (["--plot", "a.png", "--against", "."], "--plot: there is no picture"),
    ],
)
def test_wrong_use_exits_with_2(capsys, arguments, words):
    code = main(["bench", *arguments])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert words in captured.err
