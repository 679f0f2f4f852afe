"""Every stored file of results, damaged in every column and entry: refused by its name, or read.

A new file, column or entry is found by itself. What is read holds finite numbers.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import math
import shutil
from dataclasses import replace

import pytest

from qnn_ref import datasets
from qnn_ref.cli import main
from qnn_ref.experiments import RECIPES, SWEEPS
from qnn_ref.experiments.adding import add_run
from qnn_ref.experiments.cells import real_cell, whole_cell
from qnn_ref.experiments.finished import RESULTS, read_curve, read_finished
from qnn_ref.experiments.runs import train_recipe, write_rows
from qnn_ref.files import FileError
from qnn_ref.report import build_report
from qnn_ref.report.measured import read_bench, section_6, training_hours
from qnn_ref.report.speed import speed_markdown
from qnn_ref.report.stored import BENCH, read_sweep
from tests.test_report import SHORT, a_run, store

TABLES = sorted(str(path.relative_to(RESULTS)) for path in RESULTS.rglob("*.csv"))
CELLS = "", "nan", "inf", "-1", "1e400", "1_0", " 1", "word", "9" * 400, "\u0661", "1\n2"
ENTRIES = None, "\n", -1, 1e308, [None], {}
TEXTS = "recipe", "data"


def read(folder, name):
    """Read one stored table as the report does."""
    path = folder / name
    if name == "runs.csv":
        return [run._asdict() for run in read_finished(folder)]
    if path.parent.name == "curves":
        run = next(r for r in read_finished(RESULTS) if r.curve == path.name)
        return read_curve(folder, run)
    return read_sweep(folder, path.stem)


@pytest.fixture
def results(tmp_path):
    return shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.png"))


def assert_refused(read, path, content):
    path.write_bytes(content)
    with pytest.raises(FileError, match=path.name):
        read()


def test_all_tables_are_known_to_the_report():
    names = {name for name in TABLES if "/" not in name} - {"runs.csv"}
    assert names <= {f"{sweep}.csv" for sweep in SWEEPS}
    assert len(TABLES) >= 10
    for name in TABLES:
        assert read(RESULTS, name)


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_named(results, name):
    path = results / name
    whole = path.read_bytes()
    head, *rows = list(csv.reader(io.StringIO(whole.decode())))

    def table(head, rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([head, *rows])
        return text.getvalue().encode()

    cut = whole[: whole.rindex(b",", 0, -len(whole) // 3)] + b"\n"  # a row lacks its end
    for content in (b"", b"\xff\xfe", cut, table(head, rows[:1] * 2)):
        assert_refused(lambda: read(results, name), path, content)
    for column, title in enumerate(head):
        if title not in ("training_error", "saturated", "flipped", "clipped", "learning_rate"):
            fewer = [row[:column] + row[column + 1 :] for row in rows]
            content = table(head[:column] + head[column + 1 :], fewer)
            assert_refused(lambda: read(results, name), path, content)
        for cell in CELLS:
            path.write_bytes(
                table(head, [[*rows[0][:column], cell, *rows[0][column + 1 :]], *rows[1:]])
            )
            try:
                found = read(results, name)
            except FileError as error:
                assert name in str(error)  # noqa: PT017 - most are refused, a few are right
                continue
            assert title in TEXTS or cell in ("", "-1"), (title, cell)
            for value in found[0].values():
                assert isinstance(value, str) or math.isfinite(value)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match="it is a folder, not a file"):
        read(results, name)


def places(value, before=()):
    """Every key and the first of every list, in depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, inner in items if isinstance(value, dict | list) else ():
        yield (*before, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*before, key))


def used(bench):
    """What is not refused can be read by all that reads it; a row may be missing by its name."""
    speed_markdown(bench)
    with contextlib.suppress(FileError):
        section_6(bench)
    with contextlib.suppress(FileError):
        training_hours(RECIPES["mnist-theano"], bench)


def test_a_damaged_bench_is_named(results):
    path = results / "bench.json"
    whole = json.loads(path.read_bytes())
    steps = [row for row in whole["rows"] if row["name"].startswith("training step")]
    wanted = [row for row in steps if (row["peer_name"], row["threads"]) == ("PyTorch float32", 1)]
    wanted.sort(key=lambda row: "4096" not in row["size"])  # the first one is read by the report
    whole["rows"] = [{key: row[key] for key in BENCH["rows"][0]} for row in wanted]
    whole["ladder"] = whole["ladder"][:2]
    whole["machine"] = {key: whole["machine"][key] for key in BENCH["machine"]}
    path.write_text(json.dumps(whole))
    expected = json.dumps(build_report(results).to_json())
    refused = 0
    for place in places(whole):
        for entry in (*ENTRIES, KeyError):
            changed = copy.deepcopy(whole)
            inside = changed
            for key in place[:-1]:
                inside = inside[key]
            if entry is KeyError:
                del inside[place[-1]]
            else:
                inside[place[-1]] = entry
            path.write_text(json.dumps(changed))
            try:
                read_bench(results)
            except FileError as error:
                refused += 1
                assert "bench.json: " in str(error)  # noqa: PT017 - most are refused
            else:
                used(changed)
    assert refused > 100
    path.write_text(json.dumps(whole | {"ceiling": {"tops": math.nan}}))
    with pytest.raises(FileError, match=r"bench\.json"):
        build_report(results)
    path.write_text(json.dumps(whole | {"rows": whole["rows"][:1]}))
    with pytest.raises(FileError, match=r"rows: none is of training step, "):
        build_report(results)
    path.write_text(json.dumps(whole))
    assert json.dumps(build_report(results).to_json()) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": "../mnist"}, "recipe: expected the name of a recipe"),
        ({"data": ""}, "data: expected the name of a data set"),
        ({"data": "mnist, a\nb"}, "data: expected the name of a data set"),
        ({"epochs": 101}, "epochs: expected a whole number from 1 to 100, got 101"),
        ({"best_epoch": 100}, "best_epoch: expected a whole number from 0 to 99, got 100"),
        ({"unit": "% right"}, "unit: expected"),
        ({"test": 100.5}, "test: expected a finite number at least 0 and at most 100, got 100.5"),
        ({"unit": "bits a word", "validation": 65.0}, "validation: expected"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(tmp_path, change, words):
    write_rows(tmp_path / "runs.csv", [a_run()._asdict() | change])
    with pytest.raises(FileError, match=r"runs\.csv: row 1: " + words):
        read_finished(tmp_path)


def test_a_cell_is_a_number_of_ascii_digits():
    assert (whole_cell("a", "-12"), real_cell("a", "1.5e-3")) == (-12, 0.0015)
    for text in CELLS:
        if text != "-1":
            with pytest.raises(ValueError, match=r"^a: expected a whole number"):
                whole_cell("a", text)
            with pytest.raises(ValueError, match=r"^a: expected a finite number"):
                real_cell("a", text)


def test_runs_on_other_data_have_histories_of_their_own(results):
    runs = [a_run()._replace(data=data) for data in ("mnist", "mnist, JPEG copy", "mnist, a/../b")]
    assert [run.curve for run in runs] == [
        f"mnist-torch{about}-100-of-100-seed-0.csv" for about in ("", "-jpeg-copy", "-a-b")
    ]
    store(results, *runs)
    assert len(read_finished(results)) == 3
    write_rows(results / "runs.csv", [runs[0]._asdict()] * 2)
    with pytest.raises(FileError, match="two rows have one history"):
        read_finished(results)


@pytest.mark.slow_without_jit
def test_an_added_run_replaces_no_longer_one_and_leaves_no_old_history(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "digits", SHORT)
    digits, folder, run = datasets.load("digits"), tmp_path / "results", tmp_path / "run"
    shorter = train_recipe(replace(SHORT, epochs=1), digits, run)
    (run / "history.csv").write_text("not,what\nthe,checkpoint says\n")
    first = add_run(run, folder)
    assert [row["loss"] for row in read_curve(folder, first)] == [shorter.history[0]["loss"]]
    longer = first._replace(epochs=5, schedule=5)
    store(folder, longer)
    for path in ("runs.csv", "curves"):
        there = (folder / path).rename(tmp_path / "away")
        (folder / path).mkdir() if path == "runs.csv" else (folder / path).write_text("")
        with pytest.raises(FileError, match=path):
            add_run(run, folder)
        (folder / path).rmdir() if path == "runs.csv" else (folder / path).unlink()
        there.rename(folder / path)
    same = first._replace(epochs=1, schedule=1)
    assert add_run(run, folder) == same
    assert sorted(r.schedule for r in read_finished(folder)) == [1, 5]
    (folder / "runs.csv").write_text("damaged\n")
    with pytest.raises(FileError, match=r"runs\.csv"):
        add_run(run, folder)


@pytest.mark.parametrize("about", ["a\nb", "\0", "x" * 61])
def test_what_is_said_about_the_data_is_one_line(tmp_path, about):
    with pytest.raises(ValueError, match=r"^about_data: expected up to 60 characters in one line"):
        add_run(tmp_path, tmp_path, about_data=about)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--about-data x", "--about-data: expected --add RUN beside it"),
        ("--data folder", "--data: expected --add RUN beside it"),
        ("--add run --out page", "--out: expected no --add beside it"),
        ("--add run --readme x", "--readme: expected no --add beside it"),
        ("--out page --readme none.md", "none.md: there is no such file"),
        ("--out page --readme other.md", "other.md: no README with marks: text: expected <!-- sp"),
        ("--out page --readme bytes.md", "bytes.md: no README with marks: 'utf-8' codec"),
    ],
)
def test_wrong_use_is_said_before_a_file_is_written(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.md").write_text("no marks")
    (tmp_path / "bytes.md").write_bytes(b"\xff")
    assert main(["report", *words.split(), "--json"]) == 2
    assert said in json.loads(capsys.readouterr().out)["error"]
    assert {path.name for path in tmp_path.iterdir()} == {"other.md", "bytes.md"}
