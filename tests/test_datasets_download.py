"""Fetching, from a server of our own: mirrors in order, checked content, no half files."""

import gzip
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.datasets import DataError, download, fetch, known, load, verify
from qnn_ref.datasets.idx import idx_bytes
from qnn_ref.datasets.mnist import FILES
from qnn_ref.files import FileError

pytest.importorskip("pooch", reason="pooch is not installed")

rng = np.random.default_rng(3)
PARTS = {
    "train_images": rng.integers(0, 256, (6, 28, 28), np.uint8),
    "train_labels": rng.integers(0, 10, 6, np.uint8),
    "test_images": rng.integers(0, 256, (4, 28, 28), np.uint8),
    "test_labels": rng.integers(0, 10, 4, np.uint8),
}
CONTENT = {FILES[part]: idx_bytes(array) for part, array in PARTS.items()}
WRONG = gzip.compress(b"\0\0\x08\1\0\0\0\1\7")
# Files that are compared as they are, not by what they hold uncompressed.
WHOLE = {"cifar-10-binary.tar.gz": gzip.compress(b"an archive", mtime=0), "a.mat": b"MATLAB"}


class Mirrors(BaseHTTPRequestHandler):
    """The first part of the path says how the mirror behaves."""

    asked: list[str] = []  # noqa: RUF012 - emptied by the fixture

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, mirror, name = self.path.split("/")
        content = WHOLE.get(name) or CONTENT[name.removesuffix(".gz")]
        whole = content if name in WHOLE else gzip.compress(content)
        bodies = {
            "good": whole,
            "other-header": gzip.compress(content, 1, mtime=7),
            "unpacked": gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content,
            "wrong": WRONG,
            "cut": whole[: len(whole) // 2],
            "short": whole[: len(whole) // 2],
            "page": b"<html>sorry</html>",
            "empty": b"",
        }
        if mirror == "odd-length":
            self.send_response(200)
            self.send_header("Content-Length", "many")
            self.end_headers()
            return
        if mirror not in bodies:
            self.send_error(404 if mirror == "absent" else 503)
            return
        body = bodies[mirror]
        self.send_response(200)
        # A connection that breaks promises more than it sends.
        self.send_header("Content-Length", str(len(whole) if mirror == "short" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirrors)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mirrors(address, monkeypatch, tmp_path):
    """Let `fetch("mnist")` know small files and the given mirrors."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Mirrors.asked.clear()

    def choose(*names: str) -> None:
        entry = known.Known(
            image_shape=(28, 28, 1),
            classes=tuple("0123456789"),
            sha256={
                part: hashlib.sha256(CONTENT[stem]).hexdigest() for part, stem in FILES.items()
            },
            mirrors=tuple(f"{address}{name}/" for name in names),
        )
        whole = {name: hashlib.sha256(content).hexdigest() for name, content in WHOLE.items()}
        cifar10 = replace(known.KNOWN["cifar10"], sha256=whole, mirrors=entry.mirrors)
        for module in ("known", "download", "mnist", "catalog", "cifar10"):
            table = {**known.KNOWN, "mnist": entry, "cifar10": cifar10}
            monkeypatch.setattr(f"qnn_ref.datasets.{module}.KNOWN", table)

    return choose


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


ALL = sorted(f"{stem}.gz" for stem in FILES.values())


@pytest.mark.parametrize("mirror", ["good", "other-header", "unpacked"])
def test_what_is_fetched_can_be_loaded(mirrors, tmp_path, mirror):
    mirrors(mirror)
    target = fetch("mnist", tmp_path, progress=False)
    assert target == tmp_path / "mnist"
    assert files_in(tmp_path) == ALL
    assert sorted(path.name for path in target.iterdir()) == ALL
    dataset = load("mnist", tmp_path)
    np.testing.assert_array_equal(dataset.train_images[..., 0], PARTS["train_images"])
    assert all(check.ok for check in verify("mnist", tmp_path))


def test_files_that_are_compared_as_they_are(mirrors, tmp_path):
    mirrors("absent", "unpacked", "wrong", "empty", "good")
    target = fetch("cifar10", tmp_path, progress=False)
    assert target == tmp_path / "cifar10"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == WHOLE
    assert verify("cifar10", tmp_path)[0].ok
    Mirrors.asked.clear()
    (target / "a.mat").write_bytes(b"MATLAC")
    fetch("cifar10", tmp_path, progress=False)
    assert Mirrors.asked == ["/absent/a.mat", "/unpacked/a.mat"]
    assert (target / "a.mat").read_bytes() == b"MATLAB"


def test_a_whole_file_that_no_mirror_has(mirrors, tmp_path):
    mirrors("unpacked", "empty", "absent")
    with pytest.raises(DataError) as caught:
        fetch("cifar10", tmp_path, progress=False)
    message = str(caught.value)
    assert message.startswith("cifar-10-binary.tar.gz: no mirror has it; ")
    assert "/unpacked/: sha256: expected " in message
    assert "/empty/: is empty; " in message
    assert files_in(tmp_path) == []


def test_without_a_folder_the_cache_is_filled(mirrors, tmp_path):
    mirrors("good")
    assert fetch("mnist", progress=False) == tmp_path / "cache" / "qnn-ref" / "mnist"
    assert files_in(tmp_path) == ALL


@pytest.mark.parametrize(
    "broken", ["absent", "down", "wrong", "cut", "short", "page", "empty", "odd-length"]
)
def test_the_next_mirror_is_tried(mirrors, tmp_path, broken):
    mirrors(broken, "good", "never-asked")
    fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path) == ALL
    assert all(check.ok for check in verify("mnist", tmp_path))
    assert Mirrors.asked == [
        f"/{mirror}/{stem}.gz" for stem in FILES.values() for mirror in (broken, "good")
    ]


def test_a_server_that_is_not_there(mirrors, tmp_path, monkeypatch, address):
    mirrors("good")
    entry = download.KNOWN["mnist"]
    # Port 1 is closed; the second is no address at all.
    dead = ("http://127.0.0.1:1/", "http://[/", *entry.mirrors)
    monkeypatch.setitem(download.KNOWN, "mnist", known.Known((28, 28, 1), (), entry.sha256, dead))
    fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path) == ALL


@pytest.mark.parametrize(
    ("mirror", "words"),
    [
        ("absent", "404"),
        ("down", "503"),
        ("wrong", "sha256 of the content: expected "),
        ("cut", "compressed stream ends early"),
        ("short", "/short/: "),
        ("page", "sha256 of the content"),
        ("empty", "is empty"),
    ],
)
def test_no_mirror_has_it_and_nothing_is_left(mirrors, tmp_path, mirror, words):
    mirrors("absent", mirror)
    with pytest.raises(DataError) as caught:
        fetch("mnist", tmp_path, progress=False)
    message = str(caught.value)
    assert message.startswith("train-images-idx3-ubyte.gz: no mirror has it; http://127.0.0.1:")
    assert words in message
    assert "/absent/: 404" in message
    # A mirror that failed has one fault, not a second one for the empty file that it left.
    assert message.count("/absent/: ") == (2 if mirror == "absent" else 1)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_failed_fetch_leaves_old_files_alone(mirrors, tmp_path):
    mirrors("wrong")
    (tmp_path / "mnist").mkdir()
    old = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    old.write_bytes(b"old")
    with pytest.raises(DataError, match="no mirror has it"):
        fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path) == [old.name]
    assert old.read_bytes() == b"old"


def test_an_interrupt_leaves_whole_files_only(mirrors, tmp_path, monkeypatch):
    mirrors("good")
    calls = []

    def interrupted(progress):
        def get(url, path):
            calls.append(url)
            whole = gzip.compress(CONTENT[url.rpartition("/")[2].removesuffix(".gz")])
            Path(path).write_bytes(whole if len(calls) == 1 else whole[:9])
            if len(calls) == 2:
                raise KeyboardInterrupt

        return get

    monkeypatch.setattr(download, "_pooch_downloader", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", tmp_path)
    assert [path.name for path in (tmp_path / "mnist").iterdir()] == ["train-images-idx3-ubyte.gz"]
    assert verify("mnist", tmp_path)[0].ok


def test_what_is_here_is_not_fetched_again(mirrors, tmp_path):
    mirrors("good")
    fetch("mnist", tmp_path, progress=False)
    Mirrors.asked.clear()
    fetch("mnist", tmp_path, progress=False)
    assert Mirrors.asked == []
    # A damaged one is, and replaced; also one that was stored without compression is as good.
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    plain = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    plain.write_bytes(CONTENT[plain.name])
    (tmp_path / "mnist" / f"{plain.name}.gz").unlink()
    fetch("mnist", tmp_path, progress=False)
    assert Mirrors.asked == ["/good/t10k-labels-idx1-ubyte.gz"]
    assert all(check.ok for check in verify("mnist", tmp_path))


def test_a_damaged_plain_file_does_not_hide_the_fetched_one(mirrors, tmp_path):
    mirrors("good")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(b"damaged")
    fetch("mnist", tmp_path, progress=False)
    assert len(load("mnist", tmp_path).train_labels) == 6


def test_a_folder_that_cannot_be_written(mirrors, tmp_path):
    mirrors("good")
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"mnist: cannot be made: .*file is a file"):
        fetch("mnist", tmp_path / "file", progress=False)


def test_a_move_that_fails_leaves_nothing(mirrors, tmp_path, monkeypatch):
    mirrors("good")

    def full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="cannot be written: No space left on device"):
        fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path) == []


def test_the_progress_bar_goes_to_standard_error(mirrors, tmp_path, capsys):
    mirrors("good")
    fetch("mnist", tmp_path, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    fetch("mnist", tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["digits", "mnits", "../mnist"])
def test_only_what_has_mirrors_is_fetched(tmp_path, name):
    expected = "name: expected 'mnist', 'fashion-mnist', 'cifar10', 'svhn', got"
    with pytest.raises(ValueError, match=expected):
        fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_pooch_the_extra_is_named(mirrors, tmp_path, monkeypatch):
    mirrors("good")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pooch: pip install "qnn-ref\[data\]"'):
        fetch("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == [] or files_in(tmp_path) == []


def test_real_addresses_are_folders():
    for name in ("mnist", "fashion-mnist"):
        mirrors = known.KNOWN[name].mirrors
        assert len(mirrors) == len(set(mirrors)) == 3
        assert all(mirror.endswith("/") for mirror in mirrors)
        assert list(known.KNOWN[name].sha256) == list(FILES)
    for name in ("cifar10", "svhn"):
        (mirror,) = known.KNOWN[name].mirrors
        assert mirror.endswith("/")


def test_into_the_home_folder(mirrors, monkeypatch, tmp_path):
    mirrors("good")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert fetch("mnist", "~/sets", progress=False) == tmp_path / "home" / "sets" / "mnist"
    assert len(files_in(tmp_path / "home" / "sets" / "mnist")) == 4
    assert not (tmp_path / "~").exists()
    with pytest.raises(DataError, match="folder: expected the path of a folder, got ''"):
        fetch("mnist", "", progress=False)


def test_what_a_killed_fetch_left_is_removed_a_day_later(mirrors, tmp_path):
    mirrors("good")
    for name, age in (("old", 100_000), ("new", 60)):
        (tmp_path / "mnist" / f".fetch-{name}").mkdir(parents=True)
        (tmp_path / "mnist" / f".fetch-{name}" / "half").write_bytes(b"x")
        then = time.time() - age
        os.utime(tmp_path / "mnist" / f".fetch-{name}", (then, then))
    fetch("mnist", tmp_path, progress=False)
    assert [path.name for path in (tmp_path / "mnist").glob(".*")] == [".fetch-new"]
