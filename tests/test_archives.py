"""Archives: what NumPy wrote comes back; what states more than it holds is refused unread."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import textwrap
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.archives import npy_layout, npz_names, read_npy, read_npz, unpacked_limit
from tests.memory import PEAK_MB, needs_status


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def npz(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def from_npy(content):
    return read_npy(io.BytesIO(content), len(content))


def from_npz(content, names=None):
    return read_npz(io.BytesIO(content), names)


DTYPES = ["?", "u1", "i2", ">i4", "<u8", "f2", ">f4", "<f8", "c8", "U3", ">U2", "S4"]


@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from("CF"),
    st.sampled_from([(1, 0), (2, 0)]),
    st.booleans(),
)
@settings(max_examples=80)
def test_what_numpy_writes_comes_back(dtype, shape, order, version, compressed):
    rng = np.random.default_rng(len(shape))
    array = np.asarray(rng.integers(0, 2, shape).astype(dtype), order=order)
    content = npy(array, version=version)
    packed = npz({"a.npy": content}, zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED)
    for got in (from_npy(content), from_npz(packed)["a"]):
        np.testing.assert_array_equal(got, array)
        assert got.shape == array.shape
        assert got.dtype == array.dtype.newbyteorder("=")
        assert got.dtype.isnative
        assert got.flags.writeable
        assert got.flags.c_contiguous or got.flags.f_contiguous
    layout = npy_layout(io.BytesIO(content), len(content))
    assert (layout.shape, layout.dtype) == (array.shape, array.dtype)
    assert len(content) - layout.offset == array.nbytes


def test_names_are_listed_and_only_the_wanted_ones_are_read():
    content = npz({"a.npy": npy(np.zeros(2)), "b.npy": b"no array", "c.npy": npy(np.ones(3))})
    assert npz_names(io.BytesIO(content)) == ["a", "b", "c"]
    assert list(from_npz(content, ["c", "a"])) == ["c", "a"]
    with pytest.raises(ValueError, match="lacks d, e; it holds a, b, c"):
        from_npz(content, ["a", "d", "e"])
    with pytest.raises(ValueError, match=r"b: is no \.npy array"):
        from_npz(content)


def stated(shape, dtype="'<f8'", fill=b"", extra=""):
    """An .npy file whose head says anything."""
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}{extra}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + fill


LIES = {
    "states 2^31 numbers": stated(f"({2**31},)"),
    "states 2^60 numbers": stated(f"({2**60},)"),
    "more than 2^64 bytes": stated(f"({2**40 - 1}, {2**40 - 1})"),
    "an empty array of absurd sizes": stated(f"(0, {2**62})"),
    "many sizes": stated("(1," * 40 + ")" * 40),
    "forty sizes": stated("(" + "1, " * 40 + ")", fill=bytes(8)),
    "a negative size": stated("(-1, -1)", fill=bytes(8)),
    "a truth value as size": stated("(True,)", fill=bytes(8)),
    "a size that is no whole number": stated("(1.0,)", fill=bytes(8)),
    "one number too few": stated("(3,)", fill=bytes(16)),
    "one byte too many": stated("(2,)", fill=bytes(17)),
    "letters of no width": stated(f"({2**39},)", "'<U0'"),
    "records": stated("(1,)", "[('a', '<f8')]", bytes(8)),
    "dates": stated("(1,)", "'<M8[s]'", bytes(8)),
    "a name that is no dtype": stated("(1,)", "'nonsense'", bytes(8)),
    "deep nesting": stated("(" * 3000 + ")" * 3000),
    "a head that never ends": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "version 9": b"\x93NUMPY\x09\x00" + npy(np.zeros(1))[8:],
    "truth values of 7": stated("(2,)", "'|b1'", b"\x01\x07"),
    "letters beyond all": stated("(1,)", "'<U1'", b"\xff\xff\xff\x7f"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_head_that_lies_is_refused_before_memory_is_taken(lie):
    content = LIES[lie]
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with pytest.raises(ValueError, match="a: "):
            from_npz(npz({"a.npy": content}, compression))
    with pytest.raises(ValueError, match=r"."):
        from_npy(content)
    if not lie.startswith(("truth values", "letters beyond")):  # whose heads are sound
        with pytest.raises(ValueError, match=r"."):
            npy_layout(io.BytesIO(content), len(content))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_numpys_compression_is_undone(compression):
    """LZMA may ask for gigabytes before its first byte."""
    with pytest.raises(ValueError, match="a is compressed in another way"):
        from_npz(npz({"a.npy": npy(np.zeros(3))}, compression))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a.npy", "a.npy"), ("a.npy", "a")])
def test_two_arrays_of_one_name_are_refused(names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, npy(np.full(3, number)))
    for read in (npz_names, read_npz):
        with pytest.raises(ValueError, match="holds two arrays named a"):
            read(file)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_checksum_is_noticed(compression):
    array = np.arange(1000.0)
    content = npz({"a.npy": npy(array)}, compression)
    place = content.index(b"PK\x01\x02") + 16  # the checksum in the table of contents
    for where in (place, content.index(b"PK\x01\x02") - 300):
        damaged = bytearray(content)
        damaged[where] ^= 1
        with pytest.raises(ValueError, match=r"a: is damaged or cut \("):
            from_npz(bytes(damaged))


# Memory


def zeros_deflated(megabytes):
    """A .npz of that many MiB of zeros, in a thousandth of the bytes, with the right checksum."""
    numbers = stated(f"({megabytes << 20},)", "'|u1'")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(numbers) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(numbers)
    for _ in range(megabytes):
        crc = zlib.crc32(bytes(1 << 20), crc)
    data = begin + block * megabytes + packer.flush()
    size = len(numbers) + (megabytes << 20)
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, crc, len(data), size, 5, 0)
    local = b"PK\x03\x04" + fields + b"a.npy" + data
    table = b"PK\x01\x02" + struct.pack("<H", 20) + fields + bytes(14) + b"a.npy"
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(table), len(local), 0)
    return local + table + b"PK\x05\x06" + end


def test_what_would_grow_beyond_the_limit_is_not_unpacked():
    allowed = from_npz(zeros_deflated(63))["a"]
    assert allowed.nbytes == 63 << 20
    with pytest.raises(ValueError, match=r"would grow from .* to 68,157,.* at most 67,108,864"):
        from_npz(zeros_deflated(65))
    assert unpacked_limit(1) == unpacked_limit(2 << 20) == 64 << 20
    assert unpacked_limit(100 << 20) == 3200 << 20


def files_that_lie(folder):
    """Files of less than 2 MB that ask for much memory."""
    text = npy(np.frombuffer(b"[" + b'{"":0},' * 580_000 + b"0]", np.uint8))
    files = {name: npz({"header.npy": lie, "b.npy": lie}) for name, lie in LIES.items()}
    files |= {
        "deflated": zeros_deflated(400),
        "allowed": zeros_deflated(63),
        "json": npz({"header.npy": text}, zipfile.ZIP_DEFLATED),
        "json of 40 MB": npz({"header.npy": npy(np.full(40 << 20, 91, np.uint8))}, 8),
        "members": npz({f"{i}.npy": b"" for i in range(18_000)}),
    }
    for number, content in enumerate(files.values()):
        assert len(content) < 2_000_000
        (folder / f"{number}.npz").write_bytes(content)


@needs_status
def test_memory_stays_under_300_mb_for_files_under_2_mb(tmp_path):
    script = f"""
        import sys
        from pathlib import Path
        import qnn_ref.cli, qnn_ref.experiments
        from qnn_ref.archives import read_npz
        from qnn_ref.files import FileError, load_arrays
        for path in Path(sys.argv[1]).iterdir():
            for read in (lambda: load_arrays(path, "test", 1), lambda: read_npz(open(path, "rb"))):
                try:
                    read()
                except ValueError:
                    pass
        print({PEAK_MB})
    """
    files_that_lie(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300
