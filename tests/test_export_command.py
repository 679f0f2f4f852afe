"""`qnn-ref export`: whatever is wrong is said before a file is written, and no file is left."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from qnn_ref import pack
from qnn_ref.cli import main
from qnn_ref.datasets import find_model
from qnn_ref.interop import FORMATS, export
from qnn_ref.packed import PackedNetwork
from tests.test_packed_file import dense_network


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a packed network, `net.qnn`, that is the current one."""
    monkeypatch.chdir(tmp_path)
    pack(dense_network()).save("net.qnn")
    return tmp_path


def called(capsys, *words):
    """Exit code and what was said: the answer, or the error."""
    capsys.readouterr()
    try:
        code = main(["export", *map(str, words)])
    except SystemExit as stopped:
        code = stopped.code
    return code, "".join(capsys.readouterr())


def test_the_format_is_that_of_the_ending_and_the_answer_says_it(capsys, folder):
    code, said = called(capsys, "net.qnn", "-o", "net.C", "--json")
    data = (folder / "net.C").read_bytes()
    assert data == export(PackedNetwork.load("net.qnn"), "c")
    assert (code, json.loads(said)) == (
        0,
        {
            "file": "net.C",
            "format": "c",
            "bytes": len(data),
            "packed_bytes": os.path.getsize("net.qnn"),
            "reader": FORMATS["c"].reader,
        },
    )


def test_another_ending_is_right_with_a_format_and_an_old_file_is_replaced(capsys, folder):
    (folder / "net.h").write_text("old")
    code, said = called(capsys, "net.qnn", "-o", "net.h", "--format", "c")
    assert (code, said.splitlines()[0][:6]) == (0, "net.h:")
    assert (folder / "net.h").read_bytes() != b"old"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_an_ending_and_a_module_that_knows_what_it_refuses(form):
    written, suffix, reader = FORMATS[form]
    assert suffix.startswith(".")
    assert written.startswith("qnn_ref.interop.")
    assert reader
    with pytest.raises(TypeError, match=r"^network: expected an object of PackedNetwork"):
        export(dense_network(), form)


WRONG = {
    "no ending": ("net.qnn", "-o net", "--output: expected a name that ends in .onnx, .c"),
    "another ending": ("net.qnn", "-o net.bin", "or --format beside it, got net.bin"),
    "the ending of another format": (
        "net.qnn",
        "-o net.c --format onnx",
        "--output: expected a name that ends in .onnx for --format onnx, got net.c",
    ),
    "an unknown format": ("net.qnn", "-o net.c --format qonx", "did you mean 'qonnx'?"),
    "the file itself": ("net.qnn", "-o net.qnn --format c", "net.qnn is the file that is read"),
    "a link to it": ("net.qnn", "-o link.c", "link.c is the file that is read"),
    "no such file": ("none.qnn", "-o net.c", "none.qnn: there is no such file"),
    "no such model": ("mnis", "-o net.c", "mnis"),
    "no such folder": ("net.qnn", "-o none/net.c", "none/net.c: cannot be written"),
    "a folder": ("empty", "-o net.c", "empty: cannot be read: it is a folder, not a file"),
    "a run": ("run", "-o net.c", "run: is a run; first pack it: `qnn-ref pack run -o FILE`"),
    "images": ("images.npy", "-o net.c", "images.npy: not a qnn_ref packed network file"),
    "other arrays": ("other.npz", "-o net.c", "other.npz: not a qnn_ref packed network file"),
    "a network for text": ("characters", "-o net.onnx", "export: step 1 (GridRecurrent): a recur"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_no_file_is_left(capsys, folder, name):
    (folder / "empty").mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}")
    (folder / "link.c").symlink_to(folder / "net.qnn")
    np.save(folder / "images.npy", np.zeros(3))
    np.savez(folder / "other.npz", a=np.zeros(3))
    before = sorted(os.listdir(folder)), (folder / "net.qnn").read_bytes()
    file, rest, words = WRONG[name]
    code, said = called(capsys, file, *rest.split())
    assert (code, "Traceback" in said) == (2, False)
    assert words in said
    assert (sorted(os.listdir(folder)), (folder / "net.qnn").read_bytes()) == before


@pytest.mark.parametrize("form", ["onnx", "qonnx"])
def test_without_onnx_the_extra_is_named_and_nothing_is_written(capsys, folder, monkeypatch, form):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, said = called(capsys, "net.qnn", "-o", "net.onnx", "--format", form)
    assert (code, (folder / "net.onnx").exists()) == (2, False)
    assert said == 'qnn-ref export: error: export: needs onnx: pip install "qnn-ref[interop]"\n'


@pytest.mark.other_side
@pytest.mark.parametrize("form", ["onnx", "qonnx"])
def test_a_network_that_comes_along_is_exported_by_its_name(capsys, folder, form):
    pytest.importorskip("onnx", reason="onnx is not installed")
    code, _ = called(capsys, "digits", "-o", "digits.onnx", "--format", form)
    assert code == 0
    expected = export(PackedNetwork.load(find_model("digits")), form)
    assert (folder / "digits.onnx").read_bytes() == expected
