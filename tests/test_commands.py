"""Every command, found from the parser: help, mistakes, paths, closed streams, Ctrl-C, imports.

A new command, option or path is covered as soon as `options.COMMANDS` has it.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import qnn_ref
from qnn_ref import cli
from qnn_ref.bench import NAMES
from qnn_ref.cli import dispatch, main
from qnn_ref.cli.options import BENCHES, COMMANDS, parser_of
from qnn_ref.cli.parser import WrongUse
from qnn_ref.cli.streams import Patient, to_json

ROOT = Path(__file__).resolve().parents[1]
NO_WHOLE_NUMBERS = ["", "nan", "inf", "1e3", "1.5", "0x10", "1_000", "--1", "١", " 5", "9" * 5000]
NO_PATHS = ["", "  ", "zero\0", "~nobody-of-that-name/file"]


@cache
def actions(command):
    """Arguments and options of a command, the same objects each time."""
    return parser_of(command)._actions


def needed(command):
    """Those that cannot be left out."""
    return [a for a in actions(command) if a.required and a.nargs not in ("*", "?")]


def plausible(command, chosen=None, value=None):
    """The fewest arguments that the parser takes, the chosen one with this value."""
    assert chosen is None or chosen in actions(command)
    words = []
    for action in actions(command):
        if action is not chosen and action not in needed(command):
            continue
        word = {"RECIPE": "digits", "ACTION": "list"}.get(action.metavar, "file")
        word = value if action is chosen else word
        words.append("=".join([*action.option_strings[-1:], str(word)]))
    return words


def chosen(test):
    """(command, action) pairs of all commands for which the test holds."""
    pairs = [(command, action) for command in COMMANDS for action in actions(command)]
    return [pytest.param(c, a, id=f"{c} {a.metavar or a.dest}") for c, a in pairs if test(a)]


def kind(action):
    """Name of the reader of an argument: whole, path, one_of."""
    return getattr(action.type, "__qualname__", "").partition(".")[0]


def outcome(capsys, arguments):
    """Exit code, standard output and error of a mistake, however `main` leaves."""
    capsys.readouterr()
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def assert_refused(capsys, arguments, words):
    """Exit code 2 and one line, and the same as JSON."""
    code, out, err = outcome(capsys, arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    code, out, err = outcome(capsys, [*arguments, "--json"])
    assert code == 2
    assert words in json.loads(out)["error"]
    assert list(json.loads(out)) == ["error"]
    assert words in err


KINDS = "whole", "real", "path", "one_of", "sizes", "address"


def test_there_are_commands_and_all_kinds_of_arguments():
    assert len(COMMANDS) >= 11
    for name in ("whole", "path", "one_of"):
        assert len(chosen(lambda action, name=name: kind(action) == name)) >= 3
    assert not chosen(lambda action: action.type and kind(action) not in KINDS)
    assert not chosen(lambda action: action.metavar == "N" and kind(action) != "whole")
    assert BENCHES == NAMES


# Help, version, mistakes


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(capsys, command):
    code, out, _ = outcome(capsys, [command, "--help"])
    assert code == 0
    assert f"examples:\n  qnn-ref {command}" in out
    for action in actions(command):
        assert action.help
        assert "_" not in (action.metavar or "")


def test_help_lists_every_command(capsys):
    code, out, _ = outcome(capsys, ["--help"])
    assert code == 0
    assert [name for name in COMMANDS if f"\n    {name}" in out] == list(COMMANDS)


def test_version(capsys):
    assert outcome(capsys, ["--version"])[:2] == (0, f"qnn-ref {qnn_ref.__version__}\n")
    for arguments in (["--version", "--json"], ["--json", "--version"]):
        code, out, _ = outcome(capsys, arguments)
        assert (code, json.loads(out)) == (0, {"version": qnn_ref.__version__})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_option_is_refused_and_the_near_one_named(capsys, command):
    assert_refused(capsys, [command, *plausible(command), "--elephant"], "--elephant")
    words = "unrecognized arguments: --jso; did you mean '--json'?"
    assert_refused(capsys, [command, *plausible(command), "--jso"], words)


def test_a_wrong_command_is_refused_and_the_near_one_named(capsys):
    assert_refused(capsys, ["trian"], "got 'trian'; did you mean 'train'?")
    assert_refused(capsys, ["--trian"], "--trian")
    code, out, err = outcome(capsys, [])
    assert (code, out) == (2, "")
    assert COMMANDS["demo"].summary[:20] in err


def test_json_may_stand_in_front(capsys):
    code, out, _ = outcome(capsys, ["--json", "equations", "eq. 4"])
    assert (code, json.loads(out)["entries"][0]["id"]) == (0, "2.3 eq. 4")


# Numbers, names, paths


@pytest.mark.parametrize(("command", "action"), chosen(lambda a: kind(a) == "whole"))
def test_what_is_no_whole_number_is_refused(capsys, command, action):
    least = {"--seed": 0}.get(action.option_strings[-1], 1)
    for value in [*NO_WHOLE_NUMBERS, str(least - 1), str(2**63)]:
        arguments = [command, *plausible(command, action, value)]
        words = f"expected a whole number of at least {least}, got {value!r}"
        assert_refused(capsys, arguments, f"{action.option_strings[-1]}: {words}")
    assert action.type(str(least)) == least
    assert action.type(str(2**63 - 1)) == 2**63 - 1


@pytest.mark.parametrize(("command", "action"), chosen(lambda a: kind(a) == "sizes"))
def test_what_is_no_shape_is_refused(capsys, command, action):
    for value in [*NO_WHOLE_NUMBERS, "0", "4,", "4,,5", "4x5"]:
        words = "expected whole numbers of at least 1, such as 4,5"
        assert_refused(capsys, [command, *plausible(command, action, value)], words)
    assert action.type("4,5") == (4, 5)


@pytest.mark.parametrize(("command", "action"), chosen(lambda a: kind(a) == "address"))
def test_what_is_no_address_is_refused(capsys, command, action):
    for value in ("", "1", "host", "host:0", "host:65536", "ftp://h:1", "h:1:2", "a b:1", "h:１"):
        words = f"expected an address such as tcp://10.0.0.1:8786, got {value!r}"
        assert_refused(capsys, [command, *plausible(command, action, value)], words)
    for value in ("host.local:1", "tcp://10.0.0.1:65535", "tls://[::1]:8786"):
        assert action.type(value) == value


@pytest.mark.parametrize(("command", "action"), chosen(lambda a: kind(a) == "one_of"))
def test_an_unknown_name_is_refused_with_those_there_are(capsys, command, action):
    for value in ("", "elephant"):
        words = f", got {value!r}"
        assert_refused(capsys, [command, *plausible(command, action, value)], words)


@pytest.mark.parametrize(("command", "action"), chosen(lambda a: kind(a) == "path"))
def test_what_is_no_path_is_refused_and_a_tilde_is_the_home_folder(
    capsys, monkeypatch, tmp_path, command, action
):
    for value in NO_PATHS:
        words = "no such home folder" if "~" in value else "expected a path"
        assert_refused(capsys, [command, *plausible(command, action, value)], words)
    monkeypatch.setenv("HOME", str(tmp_path))
    args = parser_of(command).parse(plausible(command, action, "~/run"))
    assert str(tmp_path / "run") in np.ravel(getattr(args, action.dest))


@pytest.mark.parametrize(
    ("command", "action"), chosen(lambda a: a.option_strings and a.nargs is None)
)
def test_two_dashes_are_no_value_of_an_option(command, action):
    """argparse takes them away, and passes an empty list on."""
    words = f"argument {action.option_strings[-1]}: expected one argument, got '--'"
    with pytest.raises(WrongUse, match=words):
        parser_of(command).parse(plausible(command, action, "--"))


def is_path(action):
    """Whether its name says that it is a file or a folder."""
    return action.metavar in ("FILE", "DIR", "RUN", "IMAGES") or "PATH" in (action.metavar or "")


def is_output(action):
    """Whether something is written there: an option that names a file or a folder, but the data."""
    return bool(action.option_strings) and is_path(action) and action.dest != "data"


@pytest.mark.parametrize(("command", "action"), chosen(is_path))
def test_every_path_is_read_as_one(command, action):
    assert kind(action) == "path"


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("command", "action"), chosen(is_output))
def test_an_output_that_cannot_be_is_refused_before_the_work(
    capsys, monkeypatch, tmp_path, command, action
):
    """Devices and pipes stay what they are; a folder is no file, and a file is no folder."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path))
    wrong = [tmp_path / "pipe", "/dev/null", tmp_path / "file" / "x", "/dev/full/x"]
    wrong.append(tmp_path / ("file" if action.metavar == "DIR" else "folder"))
    if action.metavar == "FILE":
        wrong += [tmp_path / "none" / "x"]
    no_data = ["--data=nowhere"] if any(a.dest == "data" for a in actions(command)) else []
    for path in wrong:
        arguments = [command, *plausible(command, action, path), *no_data]
        code, out, err = outcome(capsys, arguments)
        assert (code, out) == (2, "")
        assert str(path) in err  # nothing else was looked at before: no run, no data
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "file").read_text() == "mine"


# Answers in JSON


def test_a_number_that_is_none_is_null_with_its_reason():
    answer = {
        "a": math.nan,
        "b": [1.0, -math.inf],
        "c": {"d": np.float32("nan")},
        "e": np.arange(2.0) / np.array([1.0, 0.5]),
        "f": np.int64(3),
        "g": np.True_,
    }
    assert json.loads(to_json(answer)) == {
        "a": None,
        "a_reason": "not a number",
        "b": [1.0, None],
        "b_reason": "infinite",
        "c": {"d": None, "d_reason": "not a number"},
        "e": [0.0, 2.0],
        "f": 3,
        "g": True,
    }


# Errors that nobody expected, and Ctrl-C


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyError("x"), 2, "this is a fault of qnn-ref itself"),
        (AssertionError(), 2, "this is a fault of qnn-ref itself"),
        (MemoryError(), 2, "not enough memory"),
        (OSError(28, "No space left on device"), 2, "No space left"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_an_error_in_a_command_is_a_line_and_an_object(capsys, monkeypatch, error, code, words):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.dispatch.importlib, "import_module", lambda name: Fake(fail))
    found, out, err = outcome(capsys, ["recipes", "--json"])
    assert found == code
    assert words in json.loads(out)["error"]
    assert err.startswith("qnn-ref recipes: ")
    assert err.count("\n") == 1


class Fake:
    """Stands for the module of a command."""

    def __init__(self, run):
        self.run = run


def python(code, *arguments, **more):
    """A new Python with the package on its path."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **more)


def test_ctrl_c_while_modules_are_imported_is_a_line_and_130():
    found = python(
        """
        import os, signal, sys

        class Impatient:
            def find_spec(self, name, path=None, target=None):
                if name == "numpy":
                    try:
                        os.kill(os.getpid(), signal.SIGINT)
                        sum(range(1000))
                    except KeyboardInterrupt:  # as a callback of the import system may lose it
                        sys.exit("swallowed")

        sys.meta_path.insert(0, Impatient())
        from qnn_ref.cli import main
        sys.exit(main())
        """,
        "recipes",
    )
    assert (found.returncode, found.stderr) == (130, "qnn-ref recipes: stopped\n")


def test_help_needs_nothing_heavy_and_nothing_needs_torch():
    found = python(
        """
        import contextlib, importlib, io, sys

        asked = set()

        class Clerk:
            def find_spec(self, name, path=None, target=None):
                asked.add(name.partition(".")[0])

        sys.meta_path.insert(0, Clerk())
        from qnn_ref.cli import main
        from qnn_ref.cli.options import COMMANDS

        with contextlib.redirect_stdout(io.StringIO()):
            for words in ([], *([name] for name in COMMANDS)):
                with contextlib.suppress(SystemExit):
                    main([*words, "--help"])
            main(["equations"])
        print(sorted(asked & {"numpy", "numba", "matplotlib", "tqdm", "typing_extensions"}))
        for name in COMMANDS:
            importlib.import_module(f"qnn_ref.cli.{name}")
        print(sorted(asked & {"torch", "faiss", "onnx", "onnxruntime", "hypothesis", "matplotlib"}))
        """
    )
    assert found.stdout.splitlines() == ["[]", "[]"], found.stderr


COMPUTING = {"demo", "train", "check", "bench", "doctor", "report"}
"""Commands that begin to compute with the fewest arguments they take."""

NOT_COMPUTING = (
    *([command, *plausible(command)] for command in COMMANDS if command not in COMPUTING),
    *([command, "--elephant"] for command in COMMANDS),
    *([action, *words] for action, *words in (["recipes", "--json"], ["bench", "--list"])),
    *(["course", "hint", "1.2"], ["course", "list", "03"], ["course", "list", "--json"]),
    *(["train", "elephant", "--out", "out"], ["check", "elephant"], ["demo", "--dataset", "mnist"]),
    *(["course", "check"], ["course", "grade"], ["data", "verify", "elephant"]),
)


def test_what_computes_nothing_imports_no_numba(tmp_path):
    """It takes half of the half second in which such a command has to answer."""
    found = python(
        f"""
        import contextlib, io, os, sys
        from qnn_ref.cli import main

        os.chdir({str(tmp_path)!r})
        for words in {NOT_COMPUTING!r}:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
                main([*words, "--data", "."] if words[0] == "demo" else words)
            heavy = {{"numba", "llvmlite", "matplotlib", "scipy", "hypothesis"}} & {{*sys.modules}}
            if heavy:
                sys.exit(f"qnn-ref {{' '.join(words)}}: imports {{', '.join(heavy)}}")
        """
    )
    assert found.returncode == 0, found.stderr


# Streams


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("equations >&-", 0),
        ("equations | head -0", 0),
        ("--help >&-", 0),
        ("equations zzz 2>&-", 2),
        ("equations zzz --json >&- 2>&- <&-", 2),
        ("equations 2>&1 >/dev/full | grep -q 'standard output: No space left'", 2),
    ],
)
def test_closed_streams_change_no_exit_code(command, code):
    line = f"set -o pipefail; {sys.executable} -m qnn_ref {command}"
    found = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == code
    assert "Traceback" not in found.stderr
    assert "Exception" not in found.stderr


def broken():
    """A stream that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", buffering=1, encoding="utf-8")


@pytest.mark.parametrize("courtesy", [True, False])
def test_what_nobody_reads_is_dropped_and_the_work_goes_on(courtesy):
    with broken() as stream:
        patient = Patient(stream, courtesy)
        for _ in range(3):
            assert patient.write("line\n") == 5
        patient.flush()
        assert patient.encoding == "utf-8"


def test_an_answer_that_finds_a_full_disk_is_an_error_and_a_remark_is_none():
    for courtesy in (True, False):
        with open("/dev/full", "w", buffering=1) as stream:
            patient = Patient(stream, courtesy)
            if courtesy:
                patient.write("line\n")
            else:
                with pytest.raises(OSError, match="standard output: No space left"):
                    patient.write("line\n")
            patient.write("line\n")


@pytest.mark.slow_without_jit
def test_training_goes_on_when_nobody_watches(monkeypatch, tmp_path):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with broken() as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        words = ("train", "digits", "--epochs", "1", "--limit", "200", "--json", "--out")
        assert main([*words, str(tmp_path / "run")]) == 0
    assert json.loads(out.getvalue())["epochs"] == 1


def test_streams_are_given_back(capsys):
    before = sys.stdout, sys.stderr
    main(["equations", "4.4"])
    outcome(capsys, ["equations", "--elephant"])
    assert (sys.stdout, sys.stderr) == before
    assert dispatch.STOPPED == 130
