"""`qnn-ref predict`: many files, large files, and what is wrong with one of them."""

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.cli import main
from qnn_ref.datasets import DataError, image_batches, read_images
from qnn_ref.layers import BatchNorm, Dense, Flatten, Pixels
from tests.memory import PEAK_MB, needs_status

SHAPE = (5, 4, 1)
IMAGES = np.random.default_rng(2).integers(0, 256, (7, *SHAPE), np.uint8)


def network_of(shape: tuple[int, ...]) -> Sequential:
    layers = [Pixels(), Flatten(), Dense(3), BatchNorm()]
    return Sequential(layers, shape, np.random.default_rng(1))


@pytest.fixture
def packed(tmp_path) -> Path:
    pack(network_of(SHAPE)).save(tmp_path / "small.qnn")
    return tmp_path / "small.qnn"


@pytest.fixture
def scores(packed) -> np.ndarray:
    return PackedNetwork.load(packed).scores(IMAGES)


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def call(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(out: str) -> list[list[str]]:
    head, *lines = out.splitlines()
    assert head == "image\tclass\tscores"
    return [line.split("\t") for line in lines]


def test_images_of_one_file_are_numbered(capsys, tmp_path, packed, scores):
    np.save(tmp_path / "a.npy", IMAGES)
    code, out, _ = call(capsys, packed, tmp_path / "a.npy")
    assert code == 0
    for index, (number, label, text) in enumerate(rows(out)):
        assert (number, label) == (str(index), str(scores[index].argmax()))
        assert text == " ".join(f"{score:.3f}" for score in scores[index])
    assert index == 6


def test_of_many_files_each_is_named(capsys, tmp_path, packed, scores):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    files = [tmp_path / f"{k}.png" for k in range(3)]
    for file, pixels in zip(files, IMAGES, strict=False):
        image.fromarray(pixels[..., 0]).save(file)
    np.save(tmp_path / "b.npy", IMAGES[3:5])
    (tmp_path / "c").write_bytes(gzip.compress(idx(IMAGES[5:, ..., 0])))
    files += [tmp_path / "b.npy", tmp_path / "c"]
    code, out, _ = call(capsys, packed, *files)
    assert code == 0
    names = [*files[:3], *(f"{file}[{i}]" for file in files[3:] for i in (0, 1))]
    assert [row[0] for row in rows(out)] == [str(name) for name in names]
    assert [int(row[1]) for row in rows(out)] == scores.argmax(axis=1).tolist()
    code, out, _ = call(capsys, packed, *files, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["classes"] == scores.argmax(axis=1).tolist()
    assert answer["scores"] == scores.tolist()
    counts = [1, 1, 1, 2, 2]
    assert answer["files"] == [
        {"file": str(file), "images": n} for file, n in zip(files, counts, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_json_of_any_number_of_images(capsys, tmp_path, packed, count):
    images = np.resize(IMAGES, (count, *SHAPE))
    np.save(tmp_path / "a.npy", images)
    answer = json.loads(call(capsys, packed, tmp_path / "a.npy", "--json")[1])
    assert list(answer) == ["classes", "scores"]
    assert answer["scores"] == PackedNetwork.load(packed).scores(images).tolist()
    assert len(answer["classes"]) == count


def test_nothing_is_printed_if_the_last_file_is_wrong(capsys, tmp_path, packed):
    np.save(tmp_path / "a.npy", IMAGES)
    np.save(tmp_path / "wide.npy", IMAGES.reshape(7, 4, 5, 1))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(idx(IMAGES[..., 0]))[:-9])
    for name, words in (
        ("wide.npy", "wide.npy: images: expected shape (N, 5, 4, 1), got (7, 4, 5, 1)"),
        ("cut.gz", "cut.gz: compressed stream ends early"),
        ("none.png", "none.png: there is no such file"),
        (".", "it is a folder, not a file"),
    ):
        code, out, err = call(capsys, packed, tmp_path / "a.npy", tmp_path / name)
        assert (code, out) == (2, "")
        assert words in err


def test_scores_that_are_no_numbers_are_no_answer(capsys, tmp_path, packed, monkeypatch):
    np.save(tmp_path / "a.npy", IMAGES)
    monkeypatch.setattr(PackedNetwork, "_run", lambda self, images: np.full((7, 3), np.nan))
    code, out, err = call(capsys, packed, tmp_path / "a.npy")
    assert (code, out) == (2, "")
    assert "small.qnn: damaged packed network: network: its scores are not finite" in err


def test_arguments_that_were_exchanged_are_told(capsys, tmp_path, packed):
    np.save(tmp_path / "a.npy", IMAGES)
    code, out, err = call(capsys, tmp_path / "a.npy", packed)
    assert (code, out) == (2, "")
    assert "a.npy: not a qnn_ref packed network file" in err
    assert f"{packed} is one: it comes first" in err
    code, out, err = call(capsys, tmp_path / "a.npy", tmp_path / "a.npy")
    assert "comes first" not in err


@pytest.mark.parametrize("most", [None, 1, 20, 59, 60, 61, 10_000])
@pytest.mark.parametrize("order", "CF")
def test_batches_are_the_whole_file_in_parts(tmp_path, most, order):
    stored = np.asarray(IMAGES, order=order)
    np.save(tmp_path / "a.npy", stored)
    (tmp_path / "b").write_bytes(idx(IMAGES))
    (tmp_path / "c").write_bytes(gzip.compress(idx(IMAGES)))
    for name in ("a.npy", "b", "c"):
        batches = list(image_batches(tmp_path / name, most))
        np.testing.assert_array_equal(np.concatenate(batches), IMAGES, strict=True)
        np.testing.assert_array_equal(read_images(tmp_path / name), IMAGES, strict=True)
        assert all(batch.nbytes <= max(most or 10_000, 20) for batch in batches)
        assert len(batches) == -(-7 // max(1, (most or 10_000) // 20))


def test_a_file_that_is_too_long_is_refused_after_its_images(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(idx(IMAGES) + b"x"))
    found = []
    with pytest.raises(DataError, match="expected 140 bytes, found 141"):
        found.extend(image_batches(tmp_path / "a", 60))
    np.testing.assert_array_equal(np.concatenate(found), IMAGES)


PEAK = f"""
import sys
from qnn_ref.cli import main
code = main(sys.argv[1:])
print({PEAK_MB}, file=sys.stderr)
sys.exit(code)
"""


@needs_status
@pytest.mark.slow_without_jit
def test_memory_does_not_grow_with_the_file(tmp_path):
    shape = (64, 64, 3)
    pack(network_of(shape)).save(tmp_path / "large.qnn")
    peaks = []
    for count, *options in ((1,), (10_000,), (10_000, "--json")):
        with open(tmp_path / "images.npy", "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + count * 64 * 64 * 3)  # zeros that take no disk
        command = [sys.executable, "-c", PEAK, "predict", tmp_path / "large.qnn"]
        command += [tmp_path / "images.npy", *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        assert len(ended.stdout) > count
        peaks.append(int(ended.stderr.split()[-1]))
    assert max(peaks[1:]) < peaks[0] + 40, "the file holds 117 MB"
