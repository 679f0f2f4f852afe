"""`qnn-ref data`, for the sets that lie nowhere at first."""

import json

import numpy as np
import pytest

from qnn_ref.cli import main
from qnn_ref.datasets import cifar10


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test looks into the cache of whoever runs it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def call(capsys, *arguments) -> tuple[int, str]:
    code = main(["data", *(str(argument) for argument in arguments)])
    return code, capsys.readouterr().out


def test_list_names_all_sets(capsys, tmp_path):
    code, out = call(capsys, "list")
    states = dict(line.split()[:2] for line in out.splitlines())
    assert code == 0
    assert list(states) == [
        *("digits", "mnist", "fashion-mnist", "cifar10", "svhn"),
        *("shakespeare", "ptb"),
    ]
    assert states["digits"] == "embedded"
    assert states["cifar10"] == states["svhn"] == "needs"  # needs fetch
    (tmp_path / "test_batch.bin").touch()
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "train_32x32.mat").touch()
    lines = call(capsys, "list", "--data", tmp_path)[1].splitlines()
    assert lines[3:5] == [
        f"cifar10         found        {tmp_path}",
        f"svhn            found        {tmp_path / 'svhn'}",
    ]


def test_verify_says_what_it_cannot_know(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "RECORDS", 1)
    for file in cifar10.FILES[1:]:
        (tmp_path / file).write_bytes(bytes(3073))
    code, out = call(capsys, "verify", "cifar10", "--data", tmp_path)
    lines = out.splitlines()
    assert code == 1
    assert lines[0] == f"WRONG   {tmp_path / 'data_batch_1.bin'}  is missing"
    assert lines[1].startswith(f"unknown {tmp_path / 'data_batch_2.bin'}  1 sound records, but a ")
    code, out = call(capsys, "verify", "cifar10", "--data", tmp_path, "--json")
    answer = json.loads(out)
    assert code == 1
    assert answer["passed"] is False
    assert [row["ok"] for row in answer["files"]] == [False, None, None, None, None, None]


def test_verify_of_what_is_not_here(capsys, tmp_path):
    for name in ("cifar10", "svhn"):
        code, out = call(capsys, "verify", name, "--data", tmp_path)
        assert code == 1
        assert out.startswith(f"WRONG   {name}  not found in {tmp_path}; fetch it first")
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02.")
    code, out = call(capsys, "verify", "cifar10", "--data", tmp_path)
    assert code == 1
    assert "get the binary version, cifar-10-binary.tar.gz" in out


def test_verify_of_an_archive_of_arrays(capsys, tmp_path):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    labels = np.zeros(2, np.uint8)
    arrays = {"train_images": images, "train_labels": labels}
    np.savez(tmp_path / "svhn.npz", **arrays, test_images=images, test_labels=labels)
    code, out = call(capsys, "verify", "svhn", "--data", tmp_path)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["unknown"] * 4
