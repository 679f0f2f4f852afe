"""Data files, damaged in every way that comes to mind, and read.

    python tests/fuzz_data.py --files 20000 --seed 0

Each file is drawn: a sound one of some format, then damage either to its bytes, or to what lies
inside, with all checksums made right again. A reader must answer with a DataError that names the
file, or with arrays of the promised kind; where a checksum covers the damage, with the very same
arrays. Prints how often each happened, the highest memory, the slowest file, and each surprise with
the number that repeats it; ends with 1 if there was one. It stands outside the test run, which has
no minute for it.
"""

import argparse
import collections
import gzip
import io
import resource
import struct
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qnn_ref.datasets import DataError, cifar10, load, read_images
from qnn_ref.datasets.matlab import read_matlab

Rng = np.random.Generator
EXTREMES = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**24, 28)
MOST_MEGABYTES = 300


def pick(rng: Rng, things):
    return things[int(rng.integers(len(things)))]


def damaged(rng: Rng, content: bytes) -> bytes:
    """One to three changes of bytes, of lengths, or of numbers that may be sizes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(data) + 1))
        # Most of what can be understood wrongly stands at the beginning.
        at = int(rng.integers(min(len(data), 200) + 1)) if rng.random() < 0.5 else at
        kind = rng.integers(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and at < len(data):
            data[at] = int(rng.integers(256))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 4:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 5:
            number = pick(rng, EXTREMES).to_bytes(4, pick(rng, ("big", "little")))
            data[at : at + 4] = number
        else:
            data += rng.bytes(int(rng.integers(1, 20)))
    return bytes(data)


def same(content: bytes) -> bytes:
    return content


Damage = Callable[[bytes], bytes]


def images_of(rng: Rng) -> np.ndarray:
    shape = (*rng.integers(1, 6, 3), *(() if rng.random() < 0.5 else (pick(rng, (1, 3)),)))
    return rng.integers(0, 256, shape, np.uint8)


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


# Each writer gives the file and what a reader must find; `inner` is the damage behind checksums.


def write_idx(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    array = images_of(rng)
    return inner(idx(array)), {"images": array}


def write_idx_gzip(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    array = images_of(rng)
    return gzip.compress(inner(idx(array)), mtime=0), {"images": array}


def write_npy(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    array = np.asarray(images_of(rng), order=pick(rng, "CF"))
    return inner(npy(array)), {"images": array}


def write_png(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    channels = pick(rng, (1, 3))
    height, width = (int(n) for n in rng.integers(1, 9, 2))
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    fields = (width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = [
        [b"IHDR", struct.pack(">IIBBBBB", *fields)],
        [b"tEXt", b"Comment\0x"],
        [b"IDAT", rows],
        [b"IEND", b""],
    ]
    hit = int(rng.integers(len(parts)))
    parts[hit][1] = inner(parts[hit][1])
    parts[2][1] = zlib.compress(parts[2][1])
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts), {"images": pixels[None]}


def write_npz(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    arrays = {}
    for part in ("train", "test"):
        images = rng.integers(0, 256, (int(rng.integers(1, 5)), 3, 4), np.uint8)
        arrays[f"{part}_images"] = images
        kind = pick(rng, (np.uint8, np.int64, ">i4"))
        arrays[f"{part}_labels"] = rng.integers(0, 3, len(images)).astype(kind)
    hit = pick(rng, list(arrays))
    stream = io.BytesIO()
    way = pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(stream, "w", way) as archive:
        for key, array in arrays.items():
            archive.writestr(f"{key}.npy", inner(npy(array)) if key == hit else npy(array))
    return stream.getvalue(), arrays


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def write_mat(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    pixels = rng.integers(0, 256, tuple(rng.integers(1, 5, 4)), np.uint8)
    body = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<4i", *pixels.shape))
    body += element(1, b"X") + element(2, pixels.tobytes(order="F"))
    whole = inner(element(14, body))
    if rng.random() < 0.6:
        stream = zlib.compress(whole)
        whole = struct.pack("<II", 15, len(stream)) + stream
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + whole, {"X": pixels}


def write_tar(rng: Rng, inner: Damage) -> tuple[bytes, dict[str, np.ndarray]]:
    records = rng.integers(0, 256, (6, 3073), np.uint8)
    records[:, 0] %= 10
    whole = b""
    hit = int(rng.integers(6))
    for k, name in enumerate(cifar10.FILES):
        info = tarfile.TarInfo(name)
        info.size = 3073
        head, content = bytearray(info.tobuf()), records[k].tobytes()
        if k == hit and rng.random() < 0.7:  # its sum made right again, so that it is believed
            head = bytearray(inner(bytes(head)).ljust(512, b"\0")[:512])
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % (sum(head) % 8**6)
        elif k == hit:
            content = inner(content)
        whole += bytes(head) + content + bytes(-len(content) % 512)
    planes = records[:, 1:].reshape(6, 3, 32, 32).transpose(0, 2, 3, 1)
    right = {"train_images": planes[:5], "train_labels": records[:5, 0].astype(np.int64)}
    right |= {"test_images": planes[5:], "test_labels": records[5:, 0].astype(np.int64)}
    whole += bytes(1024)
    return (gzip.compress(whole, mtime=0) if rng.random() < 0.7 else whole), right


def read_set(name: str) -> Callable[[Path], dict[str, np.ndarray]]:
    def read(path: Path) -> dict[str, np.ndarray]:
        dataset = load(name, path.parent)
        parts = ("train_images", "train_labels", "test_images", "test_labels")
        return {part: getattr(dataset, part) for part in parts}

    return read


def read_pictures(path: Path) -> dict[str, np.ndarray]:
    return {"images": read_images(path)}


# Writer, reader, name of the file, and whether checksums cover every byte that matters.
FORMATS = {
    "idx": (write_idx, read_pictures, "images-idx3-ubyte", False),
    "idx.gz": (write_idx_gzip, read_pictures, "images-idx3-ubyte.gz", True),
    "npy": (write_npy, read_pictures, "images.npy", False),
    "png": (write_png, read_pictures, "image.png", True),
    "npz": (write_npz, read_set("mine"), "mine.npz", True),
    "mat": (write_mat, lambda path: read_matlab(path, ("X",)), "x.mat", False),
    "tar": (write_tar, read_set("cifar10"), cifar10.ARCHIVE, False),
}


def as_stored(key: str, array: np.ndarray) -> np.ndarray:
    """Right values in the promised form."""
    if key.endswith("labels"):
        return array.astype(np.int64)
    return array[..., None] if key.endswith("images") and array.ndim == 3 else array


def one_file(number: tuple[int, int], folder: Path) -> tuple[str, str]:
    """What became of a file, and in what it surprised."""
    rng = np.random.default_rng(number)
    form = pick(rng, list(FORMATS))
    writer, reader, name, covered = FORMATS[form]
    inside = rng.random() < 0.5
    content, right = writer(rng, (lambda data: damaged(rng, data)) if inside else same)
    changed = content if inside else damaged(rng, content)
    path = folder / name
    path.write_bytes(changed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = reader(path)
    except DataError as error:
        if not (str(error).startswith(str(folder)) and len(str(error)) < 1000):
            return f"{form}: SURPRISE", f"it does not name the file: {error}"
        return f"{form}: refused", ""
    except Exception as error:
        return f"{form}: FOREIGN", f"{type(error).__name__}: {error}"
    finally:
        path.unlink()
    for key, array in found.items():
        wanted = as_stored(key, right[key])
        if key.endswith("images") and (array.dtype != np.uint8 or array.ndim != 4):
            return f"{form}: SURPRISE", f"{key} is {array.dtype} of {array.shape}"
        if key.endswith("labels"):
            fits = len(array) == len(found[key.replace("labels", "images")]) and array.min() >= 0
            if array.dtype != np.int64 or not fits:
                return f"{form}: SURPRISE", f"{key} is {array.dtype} of {array.shape}"
        if covered and not inside and not np.array_equal(array, wanted):
            return f"{form}: SURPRISE", f"{key} is another, although checksums cover the damage"
    return f"{form}: {'read' if inside or not covered else 'the same'}", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this file alone")
    chosen = parser.parse_args()
    numbers = range(chosen.files) if chosen.only is None else [chosen.only]
    counts, found, slowest, start = collections.Counter[str](), 0, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            began = time.perf_counter()
            kind, surprise = one_file((chosen.seed, number), Path(folder))
            slowest = max(slowest, time.perf_counter() - began)
            counts[kind] += 1
            if surprise:
                found += 1
                if found <= 40:
                    print(f"file {number}: {kind}: {surprise}")
    for kind, count in sorted(counts.items()):
        print(f"{count:7,}  {kind}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"highest memory {peak} MB, slowest file {slowest:.2f} s")
    took = time.perf_counter() - start
    print(f"{len(numbers):7,}  files in {took:.0f} s, seed {chosen.seed}: {found} surprises")
    return 1 if found or peak > MOST_MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
