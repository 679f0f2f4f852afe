"""No file of two megabytes costs more than 300 MB, whatever it says or unpacks to.

The files are read in a process of their own, whose highest memory is looked at afterwards. None
unpacks to more than 640 MB, which no machine that runs these tests would mind.
"""

import gzip
import json
import math
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np

from tests.memory import PEAK_MB, needs_status

MEGABYTE = 2**20
LARGE = 640 * MEGABYTE  # what unbounded readers would unpack
ALLOWED = 60 * MEGABYTE  # what is read, although the file holds a thousandth of it

READS = f"""
import json, sys
from pathlib import Path
from qnn_ref import datasets
from qnn_ref.datasets.matlab import read_matlab
how = dict(images=datasets.read_images, mat=lambda path: read_matlab(path, ("X",)),
           load=lambda folder: datasets.load(folder.name, folder),
           verify=lambda folder: datasets.verify(folder.name, folder))
found = []
for way, path in json.load(sys.stdin):
    try:
        how[way](Path(path))
        words = "read"
    except datasets.DataError as error:
        words = error.fault
    found.append([{PEAK_MB}, words])
print(json.dumps(found))
"""


def zeros(size: int) -> bytes:
    """A zlib stream of so many zeros: one block, repeated."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = block.compress(bytes(MEGABYTE)) + block.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = last.compress(bytes(size % MEGABYTE)) + last.flush()
    check = (size % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + piece * (size // MEGABYTE) + rest + check.to_bytes(4)


def gzipped(start: bytes, size: int) -> bytes:
    """Some bytes and so many zeros, as a gzip stream of several members."""
    many = gzip.compress(bytes(MEGABYTE)) * (size // MEGABYTE)
    return gzip.compress(start) + many + gzip.compress(bytes(size % MEGABYTE))


def idx(*shape: int) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, size: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zeros(size)) + chunk(b"IEND", b"")


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def mat(stated: int, size: int, images: int) -> bytes:
    """A compressed X of shape (32, 32, 3, images), with the sizes that are to be stated."""
    start = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<4i", 32, 32, 3, images))
    start += element(1, b"X") + struct.pack("<II", 2, stated)
    whole = struct.pack("<II", 14, stated + len(start)) + start
    packer = zlib.compressobj()
    stream = packer.compress(whole) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = zeros(size)[2:-4]
    check = zlib.adler32(whole)
    low, high = check & 0xFFFF, check >> 16
    high = (high + size * low) % 65521
    stream += tail + (high << 16 | low).to_bytes(4)
    text = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    return text + struct.pack("<II", 15, len(stream)) + stream


def tar(size: int, name: str = "data_batch_1.bin", kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return gzipped(info.tobuf(), size + -size % 512 + 1024)


IMAGES = {
    "states 2^31": (gzip.compress(idx(2**31, 1, 1) + bytes(10)), "expected 2147483648 bytes, foun"),
    "states 2^31 plain": (idx(2**31, 1, 1) + bytes(10), "expected 2147483648 bytes, found 10"),
    "states little, holds much": (gzipped(idx(5, 28, 28), LARGE), "unpacks to more than"),
    "states much, holds much": (gzipped(idx(640, 1024, 1024), LARGE), "unpacks to more than"),
    "zeros without end": (gzipped(b"", LARGE), "magic number"),
    "many zeros": (gzipped(idx(60, 1024, 1024), ALLOWED), "read"),
    "a picture of much": (png(2**20 - 1, 640, LARGE), "unpacks to more than"),
    "a picture that states 2^62": (png(2**31 - 1, 2**31 - 1, 99), "unpacks to more than"),
    "a picture of little with much": (png(4, 3, LARGE), "holds more than 15 bytes"),
    "a picture of many zeros": (png(2**20 - 1, 60, ALLOWED), "read"),
}
MANY = mat(3072 * 20_000, 3072 * 20_000, 20_000)
MATLAB = {
    "states much, holds much": (mat(640 * MEGABYTE, LARGE, 218_453), "unpacks to more than"),
    "states 2^31": (mat(2**31, 99, 3), "unpacks to more than"),
    "states little, holds much": (mat(3072, LARGE, 1), "compressed stream holds more than"),
    "many zeros": (MANY, "read"),
    "many zeros, twice": (MANY + MANY[128:], "unpacks to more than"),
}
CIFAR = {
    "much": (tar(LARGE), "claims 671088640 bytes"),
    "much beside it": (tar(LARGE, "readme.html"), "unpacks to more than"),
    "a long name": (tar(LARGE, kind=tarfile.GNUTYPE_LONGNAME), "unpacks to more than"),
    "many zeros": (tar(3073 * 20_000), "lacks data_batch_2.bin"),
}


def lay_out(folder: Path) -> dict[str, tuple[str, Path, str]]:
    """Write all files; for each name how it is read, where it lies and what is said."""
    cases = {}
    for how, files, inside in (
        ("images", IMAGES, "images"),
        ("mat", MATLAB, "x.mat"),
        ("load", CIFAR, "cifar10/cifar-10-binary.tar.gz"),
    ):
        for number, (name, (content, words)) in enumerate(files.items()):
            assert len(content) < 2 * MEGABYTE, name
            path = folder / how / str(number) / inside
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
            cases[f"{how}: {name}"] = (how, path.parent if how == "load" else path, words)
    for part, shape in (("images-idx3", (ALLOWED // 784, 28, 28)), ("labels-idx1", (ALLOWED,))):
        path = folder / part / "mnist"
        path.mkdir(parents=True)
        for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3"):
            few = idx(2, 28, 28) + bytes(1568) if "images" in stem else idx(2) + bytes(2)
            (path / f"{stem}-ubyte.gz").write_bytes(gzip.compress(few))
        (path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(2) + bytes(2)))
        (path / f"train-{part}-ubyte.gz").write_bytes(gzipped(idx(*shape), math.prod(shape)))
        cases[f"load: many {part}"] = ("load", path, "labels, but")
        cases[f"verify: many {part}"] = ("verify", path, "read")
    path = folder / "mine"
    path.mkdir()
    images = np.zeros((ALLOWED // 784, 28, 28), np.uint8)
    labels = np.zeros(len(images), np.uint8)
    few = {"test_images": images[:2], "test_labels": labels[:2]}
    np.savez_compressed(path / "mine.npz", train_images=images, train_labels=labels, **few)
    cases["load: an archive of many zeros"] = ("load", path, "read")
    return cases


@needs_status
def test_memory_stays_below_300_megabytes(tmp_path):
    cases = lay_out(tmp_path)
    asked = json.dumps([[how, str(path)] for how, path, _ in cases.values()])
    answer = subprocess.run(
        [sys.executable, "-c", READS], input=asked, capture_output=True, text=True, check=True
    )
    before = 0
    for (name, (_, _, expected)), (peak, words) in zip(
        cases.items(), json.loads(answer.stdout), strict=True
    ):
        assert expected in words, name
        assert peak < 300, f"{name}: {peak} MB, after {before} MB before it"
        before = peak
    assert len(cases) == 24
