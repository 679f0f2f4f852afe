"""Readers of files under random damage, and under lies behind valid checksums.

    python tests/fuzz_readers.py --files 20000 --seed 0

Each file is drawn: a reader, a sound file of its kind, and what is done to it. Bytes are changed,
cut or put in; or the content is changed and all checksums are made right again. The answer must be
an exception of ours that names the file, the answer of the sound file, or, where no checksum can
tell, another sane one; within 300 MB of memory, imports included, and 20 seconds. Prints a table,
and each surprise with its number (`--only NUMBER` repeats it); ends with 1 if there was one. It
stands outside the test run, which has no minute for it.
"""

import argparse
import collections
import copy
import dataclasses
import gzip
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from qnn_ref import PackedNetwork, datasets
from qnn_ref.checks import NotFiniteError
from qnn_ref.datasets import svhn
from qnn_ref.experiments import RECIPES
from qnn_ref.experiments.runs import load_run, train_recipe
from qnn_ref.files import FileError

ROOT = Path(__file__).resolve().parents[1]
OLD_FILES = ROOT / "tests" / "data" / "packed_v1"
MEGABYTES, SECONDS, BATCH = 300, 20, 2500

Rng = np.random.Generator
Answer = dict[str, Any]


class Surprise(Exception):
    """What must not happen."""


class Reader(NamedTuple):
    """A kind of file.

    Parameters
    ----------
    write : function
        Writes the sound files into a folder.
    read : function
        Reads them from it: arrays and numbers by name.
    files : tuple of str
        Those that may be damaged.
    forge : function or None
        From the bytes of a sound file to others whose checksums are right.
    checked : bool
        Whether checksums guard every number, so that damage cannot give another answer.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], Answer]
    files: tuple[str, ...]
    forge: Callable[[bytes, Rng], bytes] | None
    checked: bool


# Damage


def damage(content: bytes, rng: Rng) -> bytes:
    """Bytes changed, cut out, put in, doubled, or the end lost."""
    data, size = bytearray(content), len(content)
    at, length = int(rng.integers(size)), int(rng.integers(1, 9))
    kind = rng.choice(["bit", "bit", "bytes", "cut", "end", "insert", "twice", "zeros"])
    if kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "bytes":
        for place in rng.integers(size, size=length):
            data[place] = int(rng.integers(256))
    elif kind == "cut":
        del data[at : at + length]
    elif kind == "end":
        del data[at:]
    elif kind == "insert":
        data[at:at] = rng.bytes(length)
    elif kind == "twice":
        data[at:at] = data[at : at + 40 * length]
    else:
        data[at : at + length] = bytes(len(data[at : at + length]))
    return bytes(data)


# Lies behind valid checksums

VALUES = [None, True, False, "1", "", "x" * 99, -1, 0, 1, 2, 3, 99, 2**31, 2**63, 10**400]
VALUES += [0.5, -0.0, 1e300, 1e-300, [], [1], [1, 1], [0, 2, 1], {}, {"kind": "Join"}, [[]]]


def places_in(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from places_in(value)


def forge_json(text: bytes, rng: Rng) -> bytes:
    """A value changed, lost or exchanged with another."""
    value = json.loads(text)
    places = list(places_in(value))
    node, key = places[rng.integers(len(places))]
    other, name = places[rng.integers(len(places))]
    kind = rng.integers(4)
    if kind == 0:
        del node[key]
    elif kind == 1:
        node[key] = copy.deepcopy(other[name])
    elif kind == 2 and type(node[key]) in (int, float):
        node[key] += int(rng.integers(-3, 4))
    else:
        node[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(value).encode()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def forge_array(array: np.ndarray, rng: Rng) -> np.ndarray:
    """An array of another shape, dtype or with other numbers."""
    dtypes = ["?", "u1", "i4", ">i4", "i8", "u8", "f2", "f4", "f8", "c8", "U3", "S1", "M8[s]"]
    specials = [np.nan, np.inf, -np.inf, -1, 0, 1, 7, 2**31, 3e38]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changes: list[Callable[[], np.ndarray]] = [
            lambda: array[:-1],
            lambda: array[:0],
            lambda: np.concatenate([array, array]),
            lambda: array[..., None],
            lambda: array.reshape(-1),
            lambda: array.T,
            lambda: np.asfortranarray(array),
            lambda: array.astype(rng.choice(dtypes)),
            lambda: np.full_like(array, np.array(rng.choice(specials)).astype(array.dtype)),
            lambda: np.array(0, array.dtype),
            lambda: rng.permuted(array.reshape(-1)).reshape(array.shape),
            lambda: np.zeros((0, 2**20), array.dtype),
        ]
        kind = int(rng.integers(len(changes) + 3))
        if kind < len(changes):
            return changes[kind]()
        changed = array.copy()
        if changed.size:
            place = int(rng.integers(changed.size))
            changed.flat[place] = np.array(rng.choice(specials)).astype(array.dtype)
        return changed


def forge_npy(content: bytes, rng: Rng) -> bytes:
    """An .npy file with another array, another head, or other bytes."""
    kind = rng.integers(4)
    if kind == 0:
        return damage(content, rng)
    array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if kind > 1:
        return npy(forge_array(np.atleast_1d(array), rng))
    sizes = (2**31, 2**60, -1, 0, 1, 2**40, len(content), 10**30)
    shape = tuple(int(n) for n in rng.choice(np.array(sizes, object), rng.integers(0, 4)))
    dtype = rng.choice(["<f8", "|u1", "<U0", "|O", "<U99999999", "|V9", ">f4", "nonsense"])
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    return start + bytes(int(rng.choice([0, 8, 1000, 20_000_000], p=[0.4, 0.3, 0.28, 0.02])))


def forge_zip(content: bytes, rng: Rng) -> bytes:
    """An archive with a member changed, lost, renamed or doubled; stored or compressed anew."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = int(rng.integers(len(members)))
    name, data = members[at]
    kind = rng.integers(10)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.append(members[rng.integers(len(members))])
    elif kind == 2:
        members[at] = members[rng.integers(len(members))][0], data
    elif name == "header.npy" or (kind == 3 and members[0][0] == "header.npy"):
        at, (name, data) = next((i, m) for i, m in enumerate(members) if m[0] == "header.npy")
        text = np.lib.format.read_array(io.BytesIO(data)).tobytes()
        text = damage(text, rng) if rng.random() < 0.2 else forge_json(text, rng)
        members[at] = name, npy(np.frombuffer(text, np.uint8))
    else:
        members[at] = name, forge_npy(data, rng)
    method = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], p=[0.7, 0.3]))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that stand twice
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in members:
                archive.writestr(name, data)
    return file.getvalue()


def forge_gzip(content: bytes, rng: Rng) -> bytes:
    """Other bytes, packed anew; now and then very many zeros behind them."""
    data = damage(gzip.decompress(content), rng)
    grown = rng.random() < 0.01
    return gzip.compress(data + bytes(100 << 20 if grown else 0), 1 if grown else 6, mtime=0)


def forge_tar(content: bytes, rng: Rng) -> bytes:
    """A header of the archive changed, with the sum that makes it believed; or other bytes."""
    whole = gzip.decompress(content)
    if rng.random() < 0.3:
        return forge_gzip(content, rng)
    at = int(rng.integers(6)) * 4096  # a header and 3,073 bytes, in blocks of 512
    header = bytearray(damage(whole[at : at + 512], rng).ljust(512, b"\0")[:512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return gzip.compress(whole[:at] + bytes(header) + whole[at + 512 :], mtime=0)


def forge_png(content: bytes, rng: Rng) -> bytes:
    """Chunks changed, lost or exchanged, each with the right checksum."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    at = int(rng.integers(len(chunks)))
    name, data = chunks[at]
    kind = rng.integers(6)
    if kind == 0:
        del chunks[at]
    elif kind == 1:
        chunks[at] = bytes(rng.choice([b"tEXt", b"PLTE", b"tRNS", b"IDAT", b"abcd"])), data
    elif kind == 2:
        rng.shuffle(chunks)
    elif name == b"IDAT" and kind < 5:
        pixels = damage(zlib.decompress(data), rng)
        grown = rng.random() < 0.02
        chunks[at] = name, zlib.compress(pixels + bytes(100 << 20 if grown else 0), 1)
    elif data:
        chunks[at] = name, damage(data, rng)
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def forge_mat(content: bytes, rng: Rng) -> bytes:
    """A MATLAB file whose compressed elements hold other bytes."""
    elements, place = [], 128
    while place < len(content):
        kind, length = struct.unpack_from("<II", content, place)
        elements.append((kind, content[place + 8 : place + 8 + length]))
        place += 8 + length
    at = int(rng.integers(len(elements)))
    elements[at] = elements[at][0], zlib.compress(damage(zlib.decompress(elements[at][1]), rng))
    return content[:128] + b"".join(struct.pack("<II", k, len(d)) + d for k, d in elements)


# The readers


def images_of(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def packed(name: str) -> Reader:
    """A packed network of each kind, read and run on four images."""
    sound = OLD_FILES / f"{name}.qnn"
    with np.load(OLD_FILES / f"{name}.npz") as stored:
        images = stored["images"][:4]

    def read(folder: Path) -> Answer:
        network = PackedNetwork.load(folder / "a.qnn")
        if network.input_shape != images.shape[1:]:
            return {"input_shape": np.array(network.input_shape)}
        return {"scores": network.scores(images)}

    def write(folder: Path) -> None:
        PackedNetwork.load(sound).save(folder / "a.qnn")

    return Reader(write, read, ("a.qnn",), forge_zip, True)


def run_folder() -> tuple[Callable[[Path], None], Callable[[Path], Answer]]:
    """A run of two epochs: its recipe, and all arrays of its best network."""
    digits = datasets.load("digits")
    few = dataclasses.replace(
        digits, train_images=digits.train_images[:80], train_labels=digits.train_labels[:80]
    )
    recipe = dataclasses.replace(
        RECIPES["digits"], hidden=(9, 5), epochs=2, validation=20, batch_size=20
    )

    def write(folder: Path) -> None:
        train_recipe(recipe, few, folder)

    def read(folder: Path) -> Answer:
        recipe, run = load_run(folder)
        return run.best_network().arrays() | {
            "recipe": repr(recipe),
            "scores": run.best_network().scores(digits.test_images[:4]),
        }

    return write, read


def writes(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def pictures(content: bytes, forge: Any, checked: bool) -> Reader:
    """One file of images, as `qnn-ref predict` takes it."""

    def read(folder: Path) -> Answer:
        return {"images": datasets.read_images(folder / "a")}

    return Reader(writes("a", content), read, ("a",), forge, checked)


def whole_set(name: str, files: dict[str, bytes], forge: Any, checked: bool) -> Reader:
    """A data set in its folder."""

    def write(folder: Path) -> None:
        for file, content in files.items():
            (folder / file).write_bytes(content)

    def read(folder: Path) -> Answer:
        loaded = datasets.load(name, folder)
        parts = ("train_images", "train_labels", "test_images", "test_labels")
        return {part: getattr(loaded, part) for part in parts} | {"classes": loaded.classes}

    return Reader(write, read, tuple(files), forge, checked)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def png(array: np.ndarray) -> bytes:
    high, wide, *colours = array.shape
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    head = struct.pack(">IIBBBBB", wide, high, 8, 2 if colours else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def mat(count: int) -> bytes:
    """SVHN's format: two compressed matrices of bytes."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(name: bytes, array: np.ndarray) -> bytes:
        flags = element(6, struct.pack("<II", 9, 0))
        sizes = element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        numbers = element(2, array.tobytes("F"))
        packed = zlib.compress(element(14, flags + sizes + element(1, name) + numbers))
        return struct.pack("<II", 15, len(packed)) + packed

    start = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    labels = images_of((count, 1)) % 10 + 1
    return start + matrix(b"X", images_of((32, 32, 3, count))) + matrix(b"y", labels)


def npz_set() -> bytes:
    file = io.BytesIO()
    labels = np.arange(6) % 3
    np.savez(file, train_images=images_of((6, 4, 5, 1)), train_labels=labels,
             test_images=images_of((3, 4, 5, 1)), test_labels=labels[:3])  # fmt: skip
    return file.getvalue()


def cifar() -> dict[str, bytes]:
    names = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]
    records = [bytes([k]) + images_of((3072,), k).tobytes() for k in range(6)]
    return dict(zip(names, records, strict=True))


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def svhn_reader(content: bytes) -> Reader:
    def read(folder: Path) -> Answer:
        images, labels = svhn.read_mat(folder / "train_32x32.mat")
        return {"images": images, "labels": labels}

    write = writes("train_32x32.mat", content)
    return Reader(write, read, ("train_32x32.mat",), forge_mat, True)


def readers() -> dict[str, Reader]:
    """All of them, by name."""
    write_run, read_run = run_folder()
    digits = images_of((5, 7, 6))
    names = sorted(path.stem for path in OLD_FILES.glob("*.qnn"))
    return {
        **{f"packed {name}": packed(name) for name in names},
        "checkpoint": Reader(write_run, read_run, ("checkpoint.npz",), forge_zip, True),
        "run.json": Reader(write_run, read_run, ("run.json",), forge_json, True),
        "data set npz": whole_set("mine", {"mine.npz": npz_set()}, forge_zip, True),
        "data set CIFAR-10": whole_set("cifar10", cifar(), None, False),
        "CIFAR-10 archive": whole_set(
            "cifar10", {"cifar-10-binary.tar.gz": tar(cifar())}, forge_tar, True
        ),
        "SVHN mat": svhn_reader(mat(4)),
        "npy": pictures(npy(digits), forge_npy, False),
        "idx": pictures(idx(digits), None, False),
        "idx gz": pictures(gzip.compress(idx(digits)), forge_gzip, True),
        "png grey": pictures(png(digits[0]), forge_png, True),
        "png colour": pictures(png(images_of((6, 5, 3))), forge_png, True),
    }


# One file


def equal(one: Answer, other: Answer) -> bool:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return a.dtype == b.dtype and np.array_equal(a, b)
        return type(a) is type(b) and a == b

    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def sane(answer: Answer) -> bool:
    """No NaN; images of bytes with axes; labels of classes that exist."""
    for name, value in answer.items():
        if not isinstance(value, np.ndarray):
            continue
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return False
        if name.endswith("images") and (value.dtype != np.uint8 or value.ndim != 4):
            return False
        if name.endswith("labels") and value.size and not 0 <= value.min() <= value.max() < 65_536:
            return False
        if name.endswith("weight") and np.abs(value).max() > 1:
            return False
    return True


def memory(field: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at most since `forget_peak`."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{field}:")[1].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def late(*_: Any) -> None:
    raise Surprise(f"still reading after {SECONDS} s")


def try_one(reader: Reader, sound: Path, expected: Answer, rng: Rng, folder: Path) -> str:
    """What became of a damaged file, or Surprise."""
    for path in sound.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    target = folder / reader.files[rng.integers(len(reader.files))]
    content = target.read_bytes()
    forged = reader.forge is not None and rng.random() < 0.6
    changed = (reader.forge if forged else damage)(content, rng)  # type: ignore[misc]
    if len(changed) > 2_000_000:
        return "too large"
    target.write_bytes(changed)
    forget_peak()
    before = memory("VmRSS")
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    answer: Answer | None = None
    try:
        answer = reader.read(folder)
    except (FileError, NotFiniteError) as error:
        if isinstance(error, FileError) and str(folder) not in str(error):
            raise Surprise(f"no file named: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    # What this process had before it read is not the file's; 100 MB is what the imports take.
    peak = memory("VmHWM") - before + (100 << 20)
    if peak > MEGABYTES << 20:
        raise Surprise(f"{peak >> 20} MB of memory for {len(changed)} bytes")
    what = "lies" if forged else "damage"
    if answer is None:
        return f"{what}: refused"
    if equal(answer, expected):
        return f"{what}: equal"
    if not sane(answer):
        raise Surprise(f"{what}: an answer that is none: {answer}")
    if reader.checked and not forged:
        raise Surprise("damage changed the answer")
    return f"{what}: other"


def work(seed: int, numbers: range) -> None:
    """Try these files; print a line for each before (its number) and after (what became of it)."""
    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    random.seed(seed)
    table, expected = readers(), {}
    with tempfile.TemporaryDirectory() as place:
        for name, reader in table.items():
            folder = Path(place) / name
            folder.mkdir()
            reader.write(folder)
            expected[name] = reader.read(folder)  # and compiles the kernels
        for number in numbers:
            name = list(table)[number % len(table)]
            print(number, flush=True)
            with tempfile.TemporaryDirectory(dir=place) as folder:
                rng, start = np.random.default_rng([seed, number]), time.perf_counter()
                try:
                    result = try_one(
                        table[name], Path(place) / name, expected[name], rng, Path(folder)
                    )
                except Surprise as error:
                    result = f"SURPRISE {error}"
                except Exception:
                    result = f"SURPRISE {traceback.format_exc()}"
                seconds = time.perf_counter() - start
            print(json.dumps([name, result, seconds]), flush=True)


def main() -> int:
    """Share the files out to processes, one after the other, and count what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat the file of this number")
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.seed, range(*args.work))
        return 0
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    surprises, slowest = 0, (0.0, 0, "")
    first, end = (0, args.files) if args.only is None else (args.only, args.only + 1)
    while first < end:
        last = min(first + BATCH, end)
        command = [sys.executable, __file__, "--seed", str(args.seed), "--work"]
        done = subprocess.run(
            [*command, str(first), str(last)], stdout=subprocess.PIPE, text=True, check=False
        )
        lines = done.stdout.splitlines()
        for number, line in zip(lines[::2], lines[1::2], strict=False):
            name, result, seconds = json.loads(line)
            slowest = max(slowest, (seconds, int(number), name))
            if result.startswith("SURPRISE"):
                surprises += 1
                print(f"{number}: {name}: {result}")
                result = "SURPRISE"
            counts[name][result] += 1
        reached = last
        if done.returncode:
            surprises += 1
            reached = int(lines[-1 - (len(lines) % 2 == 0)]) + 1 if lines else last
            print(f"{reached - 1}: the process died, exit status {done.returncode}")
        first = reached
    columns = sorted({result for row in counts.values() for result in row})
    print(" " * 22 + "".join(f"{column:>17}" for column in columns))
    for name, row in counts.items():
        print(f"{name:22}" + "".join(f"{row[column]:17,}" for column in columns))
    total = sum(row.total() for row in counts.values())
    seconds, number, name = slowest
    print(f"{total:,} files, {surprises} surprises; slowest {seconds:.1f} s: {number}, {name}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
