"""Files: written whole or not at all, through links, and refused with a reason."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.files import (
    FileError,
    atomic_write,
    folder_of,
    is_version,
    load_arrays,
    make_folder,
    move_file,
    remove_parts,
    save_arrays,
    target_of,
)
from qnn_ref.kinds import kind_of

# Atomic writing

OLD = {"w": np.arange(3.0)}
NEW = {"w": np.arange(100_000.0)}
HEADER = {"kind": "test", "version": 1}


def half_then_fail(error):
    """A stand-in for np.savez that writes some bytes and then breaks off."""

    def savez(file, **arrays):
        file.write(b"PK half a file")
        file.flush()
        raise error

    return savez


def fail(error):
    def function(*arguments, **options):
        raise error

    return function


FULL = OSError(28, "No space left on device")
INTERRUPTIONS = [
    ("numpy.savez", half_then_fail, FULL, FileError),
    ("numpy.savez", half_then_fail, MemoryError("too large"), MemoryError),
    ("numpy.savez", half_then_fail, KeyboardInterrupt(), KeyboardInterrupt),
    ("os.fsync", fail, FULL, FileError),
    ("os.chmod", fail, PermissionError(1, "Operation not permitted"), FileError),
    ("os.replace", fail, PermissionError(13, "Permission denied"), FileError),
    ("os.replace", fail, KeyboardInterrupt(), KeyboardInterrupt),
]


@pytest.mark.parametrize("where, how, error, seen", INTERRUPTIONS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, where, how, error, seen, exists
):
    path = tmp_path / "run.npz"
    if exists:
        save_arrays(path, OLD, HEADER)
    with monkeypatch.context() as patch:
        patch.setattr(where, how(error))
        with pytest.raises(seen) as caught:
            save_arrays(path, NEW, HEADER)
    if seen is FileError:  # the reason and the file are named
        assert str(path) in str(caught.value)
        assert error.strerror in str(caught.value)
    assert os.listdir(tmp_path) == (["run.npz"] if exists else [])
    if exists:
        arrays, _ = load_arrays(path, "test", 1)
        np.testing.assert_array_equal(arrays["w"], OLD["w"])


def test_a_write_that_succeeds_leaves_the_new_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.npz"
    for arrays in (OLD, NEW):
        save_arrays(path, arrays, HEADER)
        got, header = load_arrays(path, "test", 1)
        np.testing.assert_array_equal(got["w"], arrays["w"])
        assert header == HEADER
    assert os.listdir(tmp_path) == ["run.npz"]


def test_bytes_are_on_disk_before_the_old_file_goes(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (calls.append(n), f(*a))[1])
    with atomic_write(tmp_path / "a") as file:
        file.write(b"text")
        assert not (tmp_path / "a").exists()
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "a").read_bytes() == b"text"


def test_the_file_has_the_mode_of_an_ordinary_new_file(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target.npz").write_bytes(b"old")
    (tmp_path / "link.npz").symlink_to("target.npz")
    save_arrays(tmp_path / "link.npz", NEW, HEADER)
    assert (tmp_path / "link.npz").is_symlink()
    np.testing.assert_array_equal(load_arrays(tmp_path / "target.npz", "test", 1)[0]["w"], NEW["w"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_or_a_device_is_refused_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(FileError, match="no regular file"):
            save_arrays(tmp_path / name, NEW, HEADER)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_arrays("~/a.npz", NEW, HEADER)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    for name in (".a[1].npz.xyz.part", ".b.npz.xyz.part", "a[1].npz", ".a[1].npz.xyz"):
        (tmp_path / name).write_bytes(b"")
    remove_parts(tmp_path / "a[1].npz")
    assert sorted(os.listdir(tmp_path)) == [".a[1].npz.xyz", ".b.npz.xyz.part", "a[1].npz"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_process_killed_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    # The child stops where all bytes are written and the old file is about to be replaced.
    script = """
        import os, sys, time
        import numpy as np
        from qnn_ref.files import save_arrays
        os.replace = lambda *paths: (print("half-way", flush=True), time.sleep(60))
        save_arrays(sys.argv[1], {"w": np.arange(100_000.0)}, {"kind": "test", "version": 1})
    """
    path = tmp_path / "run.npz"
    save_arrays(path, OLD, HEADER)
    with start(script, path) as child:
        assert child.stdout.readline() == b"half-way\n"
        child.send_signal(signal.SIGKILL)
    arrays, _ = load_arrays(path, "test", 1)
    np.testing.assert_array_equal(arrays["w"], OLD["w"])
    assert len(os.listdir(tmp_path)) == 2  # a killed process cannot clean up
    save_arrays(path, NEW, HEADER)
    np.testing.assert_array_equal(load_arrays(path, "test", 1)[0]["w"], NEW["w"])


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_process_killed_at_any_time_leaves_a_whole_file(tmp_path):
    script = """
        import sys
        import numpy as np
        from qnn_ref.files import save_arrays
        print("ready", flush=True)
        for i in range(10**6):
            arrays = {"a": np.full(50_000, i), "b": np.full(50_000, i)}
            save_arrays(sys.argv[1], arrays, {"kind": "test", "version": 1, "i": i})
    """
    path = tmp_path / "run.npz"
    pauses = np.random.default_rng().uniform(0.01, 0.2, 3)
    for pause in pauses:
        with start(script, path) as child:
            assert child.stdout.readline() == b"ready\n"
            while not path.exists():
                time.sleep(0.001)
            time.sleep(pause)
            child.send_signal(signal.SIGKILL)
        arrays, header = load_arrays(path, "test", 1)
        for array in arrays.values():
            np.testing.assert_array_equal(array, np.full(50_000, header["i"]))


def start(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)


@pytest.mark.parametrize(
    "name, words", [("missing/run.npz", "cannot be written"), ("folder", "is a folder")]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=words) as caught:
        save_arrays(tmp_path / name, OLD, HEADER)
    assert str(tmp_path / name) in str(caught.value)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_that_is_there_or_can_be_made_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for path in (tmp_path, tmp_path / "a" / "b", "~/runs", tmp_path / "link" / "c"):
        assert folder_of(path).is_absolute()
    assert folder_of("~/runs") == Path(os.path.realpath(tmp_path / "runs"))
    assert os.listdir(tmp_path) == ["link"]  # nothing is made


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "an empty one"),
        ("file", "is a file"),
        ("file/run", "is a file"),
        ("program/run", "is a file"),
        ("/dev/null/run", "is a file"),
        ("locked/run", "may not be written to"),
        ("~nobody-of-that-name/run", "cannot be made"),
        ("zero\0", "cannot be made"),
    ],
)
def test_a_folder_that_there_can_not_be_is_refused_at_once(tmp_path, monkeypatch, path, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "program").touch(0o777)
    (tmp_path / "locked").mkdir()
    access = os.access  # the superuser may write everywhere
    monkeypatch.setattr(os, "access", lambda p, mode: "locked" not in str(p) and access(p, mode))
    with pytest.raises(FileError, match=words):
        folder_of(path)
    if path.endswith("/run"):
        with pytest.raises(FileError, match="cannot be written"):
            target_of(path)


# Round trip of arrays

DTYPES = st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.uint64, np.bool_])


@given(
    st.dictionaries(
        st.text("abc./0", min_size=1, max_size=6).filter(lambda name: name.strip("./")),
        st.tuples(DTYPES, st.sampled_from([(), (0,), (3,), (2, 0), (2, 3)])),
        max_size=4,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=15)
def test_arrays_and_header_come_back_as_they_were(tmp_path_factory, kinds, seed):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    rng = np.random.default_rng(seed)
    arrays = {n: rng.integers(0, 2, shape).astype(d) for n, (d, shape) in kinds.items()}
    header = HEADER | {"list": [1, 0.1, None], "number": float(rng.normal())}
    save_arrays(path, arrays, header)
    got, got_header = load_arrays(path, "test", 3)
    assert got_header == header
    assert list(got) == list(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)
        assert got[name].shape == array.shape


# Damaged and foreign files


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a small valid file, and what is in it."""
    path = tmp_path_factory.mktemp("good") / "a.npz"
    arrays = {"w": np.arange(12.0).reshape(3, 4), "b": np.float32([1, 2]), "e": np.zeros((0, 3))}
    save_arrays(path, arrays, HEADER | {"x": [1, 2]})
    return path.read_bytes(), arrays


def is_right_or_refused(path, good_arrays):
    """Whether a damaged file gives exactly what was saved, or an error that names the file."""
    try:
        arrays, header = load_arrays(path, "test", 1)
    except FileError as error:
        return str(path) in str(error)
    return (
        header == HEADER | {"x": [1, 2]}
        and list(arrays) == list(good_arrays)
        and all(arrays[name].dtype == array.dtype for name, array in good_arrays.items())
        and all(np.array_equal(arrays[name], array) for name, array in good_arrays.items())
    )


def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path, good):
    path = tmp_path / "cut.npz"
    for length in range(0, len(good[0]), 7):
        path.write_bytes(good[0][:length])
        with pytest.raises(FileError):
            load_arrays(path, "test", 1)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=150)
def test_changed_bytes_are_noticed_or_do_not_matter(tmp_path_factory, good, changes):
    path = tmp_path_factory.mktemp("changed") / "a.npz"
    data = bytearray(good[0])
    for position, difference in changes:
        data[position % len(data)] ^= difference
    path.write_bytes(data)
    assert is_right_or_refused(path, good[1])


def test_every_byte_of_the_table_of_contents_can_break(tmp_path, good):
    # Lost members, unknown compression, encryption, wrong sizes: each is another exception inside.
    path = tmp_path / "table.npz"
    start_of_table = good[0].index(b"PK\x01\x02")
    for position in range(start_of_table, len(good[0])):
        for bit in (0, 3, 6):
            data = bytearray(good[0])
            data[position] ^= 1 << bit
            path.write_bytes(data)
            assert is_right_or_refused(path, good[1]), (position, bit)


def test_damaged_compressed_data_is_refused(tmp_path):
    path = tmp_path / "compressed.npz"
    members = {"header": as_header(HEADER | {"arrays": ["w"]}), "w": np.arange(500.0)}
    np.savez_compressed(path, **members)
    np.testing.assert_array_equal(load_arrays(path, "test", 1)[0]["w"], members["w"])
    data = path.read_bytes()
    start_of_w = data.rindex(b"PK\x03\x04")
    for position in range(start_of_w + 60, start_of_w + 160):
        path.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        with pytest.raises(FileError, match="not a qnn_ref test file"):
            load_arrays(path, "test", 1)


def test_our_files_hardly_grow(tmp_path):
    """What is read is rearranged for the kernels, which takes its size several times."""
    path = tmp_path / "compressed.npz"
    for megabytes, fits in ((2, True), (4, False)):
        zeros = np.zeros(megabytes << 20, np.uint8)
        np.savez_compressed(path, header=as_header(HEADER | {"arrays": ["w"]}), w=zeros)
        if fits:
            np.testing.assert_array_equal(load_arrays(path, "test", 1)[0]["w"], zeros)
        else:
            with pytest.raises(FileError, match=r"would grow from .* at most 3,145,728"):
                load_arrays(path, "test", 1)


def save_raw(path, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def as_header(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def zip_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"text")


NOT = "not a qnn_ref test file"
FOREIGN = [
    (lambda p: p.mkdir(), "it is a folder"),
    (lambda p: np.savez(p, w=np.zeros(3)), "no header in it; an archive of w"),
    (lambda p: save_raw(p, header=np.uint8([255, 254])), NOT),
    (lambda p: save_raw(p, header=np.uint8([ord("[")] * 10**5)), "nested too deeply"),
    (lambda p: save_raw(p, header=np.zeros((2, 2))), "its header is no text"),
    (lambda p: save_raw(p, header=np.frombuffer(b'{"kind": NaN}', np.uint8)), "NaN is no number"),
    (lambda p: save_raw(p, header=np.frombuffer(b'{"a": 1, "a": 2}', np.uint8)), "a key stands"),
    (lambda p: save_raw(p, header=as_header([1, 2])), "its header names no kind"),
    (lambda p: save_raw(p, header=as_header({"version": 1})), "its header names no kind"),
    (
        lambda p: save_raw(p, header=as_header(HEADER | {"kind": "other"})),
        "its header names the kind 'other'",
    ),
    (lambda p: save_raw(p, header=as_header(HEADER)), "that its header names"),
    (lambda p: save_raw(p, header=as_header(HEADER | {"arrays": ["w"]})), "that its header names"),
    (
        lambda p: save_raw(p, header=as_header(HEADER | {"arrays": []}), extra=np.ones(2)),
        "that its header names",
    ),
    (lambda p: zip_of(p, "archive/data.pkl", "archive/version"), "this is a PyTorch file"),
    (lambda p: zip_of(p, "word/document.xml"), "an archive of word/document.xml"),
]
LOOKS = {  # first bytes, and what they are
    b"": "it is empty",
    b"hello": "this is plain text",
    "Gr\u00fc\u00dfe".encode(): "this is plain text",
    b'  {"kind": "run"}': "this is JSON text",
    b"[1, 2]": "this is JSON text",
    b"<!DOCTYPE html>": "this is HTML or XML text, perhaps the error page",
    b"\n <html>": "this is HTML or XML text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "`git lfs pull` fetches",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": "this is a PNG picture",
    b"\xff\xd8\xff\xe0\0\x10JFIF": "this is a JPEG picture",
    b"GIF89a\x01\0": "this is a picture",
    b"\x1f\x8b\x08\0": "this is gzip data",
    b"\x80\x02}q\0.": "a Python pickle, which is never opened (as older PyTorch files are)",
    b"\x80\x04N.": "a Python pickle",
    b"%PDF-1.7": "a PDF document",
    bytes(257) + b"ustar\0": "a tar archive",
    b"\0\0\x08\x03": "of an unknown kind",
    b"\xfe\xfe\xfe\xfe": "of an unknown kind",
}
FOREIGN += [
    (lambda p, start=start: p.write_bytes(start), f"{NOT}: {words}")
    for start, words in LOOKS.items()
    if words.startswith(("it", "this", "of"))
]
FOREIGN += [(lambda p: p.write_bytes(npy_bytes(np.zeros(3))), f"{NOT}: this is a NumPy .npy file")]


def test_what_a_file_looks_like_is_said_in_words():
    for start, words in LOOKS.items():
        assert words in kind_of(start)
    assert kind_of(("\u00fc" * 400).encode()) == "this is plain text"  # 512 bytes, then
    assert kind_of(b"a" + ("\u00fc" * 400).encode()) == "this is plain text"  # half a letter


@pytest.mark.parametrize("write, words", FOREIGN)
def test_foreign_files_are_refused_by_name(tmp_path, write, words):
    path = tmp_path / "foreign.npz"
    write(path)
    with pytest.raises(FileError) as caught:
        load_arrays(path, "test", 1)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match="there is no such file") as caught:
        load_arrays(tmp_path / "none.npz", "test", 1)
    assert str(tmp_path / "none.npz") in str(caught.value)


def test_a_newer_version_is_refused_and_an_older_one_is_read(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, OLD, HEADER | {"version": 3})
    with pytest.raises(FileError, match="version 3; this package reads up to 2"):
        load_arrays(path, "test", 2)
    assert load_arrays(path, "test", 3)[1]["version"] == 3
    assert load_arrays(path, "test", 4)[1]["version"] == 3


@pytest.mark.parametrize("version", [0, -1, True, False, 99, 1.0, "1", None, [1], {}])
def test_what_is_no_version_is_refused(tmp_path, version):
    save_arrays(tmp_path / "a.npz", OLD, HEADER | {"version": version})
    words = re.escape(f"test version {version!r}; this package reads up to 2")
    with pytest.raises(FileError, match=words):
        load_arrays(tmp_path / "a.npz", "test", 2)
    assert not is_version(version, 2)
    assert is_version(1, 2)
    assert is_version(2, 2)


class Malicious:
    def __reduce__(self):
        return (Path(os.environ["QNN_REF_TRAP"]).write_text, ("executed",))


@pytest.mark.parametrize("name", ["header", "network/2.Dense.weight", "x"])
def test_objects_are_refused_and_nothing_is_executed(tmp_path, monkeypatch, name):
    monkeypatch.setenv("QNN_REF_TRAP", str(tmp_path / "trap"))
    path = tmp_path / "objects.npz"
    members = {"header": as_header(HEADER)}
    for objects in (np.array([{}], dtype=object), np.array([Malicious()], dtype=object)):
        save_raw(path, **members | {name: objects})
        with pytest.raises(FileError, match=rf"{name}: stores Python objects") as caught:
            load_arrays(path, "test", 1)
        assert "allow_pickle" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("array", [np.array([{}], dtype=object), np.array(["a", None])])
def test_objects_are_not_written_either(tmp_path, array):
    with pytest.raises(TypeError, match=r"arrays\['w'\]: expected numbers, got dtype object"):
        save_arrays(tmp_path / "a.npz", {"w": array}, HEADER)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_header_that_json_cannot_hold_is_not_written(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        save_arrays(tmp_path / "a.npz", {}, HEADER | {"loss": [1, number]})
    with pytest.raises(ValueError, match="header: expected at most"):
        save_arrays(tmp_path / "a.npz", {}, HEADER | {"text": "x" * (4 << 20)})
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_reading_never_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("none")
    for name, words in (
        ("pipe", "a device, a pipe or a socket"),
        ("loop", "cannot be read"),
        ("lost", "there is no such file"),
        ("a\0b", "cannot be read"),
        ("x" * 300, "cannot be read"),
    ):
        with pytest.raises(FileError, match=words):
            load_arrays(tmp_path / name, "test", 1)
    with pytest.raises(FileError, match="got an empty one"):
        load_arrays("", "test", 1)


# Places where something is written: files by `atomic_write` and `move_file`, folders


def write_bytes(path):
    with atomic_write(path) as file:
        file.write(b"new")


def move_bytes(path):
    source = next(p for p in path.parents if p.name == "places").parent / "source"
    source.write_bytes(b"new")
    move_file(source, path)


WRITERS = [write_bytes, move_bytes]


@pytest.fixture
def places(tmp_path):
    """A folder with everything that a path can lead to."""
    folder = tmp_path / "places"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    (folder / "folder").mkdir()
    (folder / "to_file").symlink_to("file")
    (folder / "to_folder").symlink_to("folder")
    (folder / "to_nothing").symlink_to("nothing")
    (folder / "to_nowhere").symlink_to("nowhere/nothing")
    (folder / "loop").symlink_to("loop")
    (folder / "to_device").symlink_to(os.devnull)
    return folder


@pytest.mark.parametrize("write", WRITERS)
def test_links_are_followed_also_to_what_is_not_there_yet(places, write):
    for name, target in (("to_file", "file"), ("to_nothing", "nothing"), ("new", "new")):
        write(places / name)
        assert (places / target).read_bytes() == b"new"
        assert (places / name).is_symlink() == (name != target)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "is a folder"),
        ("to_folder", "is a folder"),
        ("to_nowhere", "no folder that may be written to"),
        ("none/new", "no folder that may be written to"),
        ("file/new", "no folder that may be written to"),
        ("to_file/new", "no folder that may be written to"),
        ("loop", "cannot be written"),
        ("loop/new", "cannot be written"),
        ("to_device", "no regular file but a device"),
        ("x" * 300, "cannot be written"),
        ("a\0b", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_named_and_stays(places, write, name, words):
    before = sorted(places.rglob("*"))
    with pytest.raises(FileError, match=words) as caught:
        write(places / name)
    assert str(places / name) in str(caught.value)
    assert sorted(places.rglob("*")) == before
    assert (places / "to_device").is_char_device()
    assert (places / "file").read_bytes() == b"old"


def test_a_folder_is_made_with_those_above_it(places):
    for name in ("folder", "to_folder", "a/b/c", "to_folder/d", "to_nothing"):
        made = make_folder(places / name)
        assert made.is_dir()
        assert made == (places / name).resolve()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file", "is a file"),
        ("to_file/a/b", "is a file"),
        ("to_device", "is a file"),
        ("loop", "cannot be made"),
        ("x" * 300, "cannot be made"),
        ("a\0b", "cannot be made"),
    ],
)
def test_what_can_be_no_folder_is_named(places, name, words):
    with pytest.raises(FileError, match=words):
        make_folder(places / name)


@pytest.mark.parametrize("write", [write_bytes, lambda p: make_folder(p / "new")])
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_a_folder_without_permission_is_named(places, write):
    (places / "folder").chmod(0o500)
    with pytest.raises(FileError, match=r"may (not )?be written to"):
        write(places / "folder" / "new")


@pytest.mark.parametrize("write", [move_bytes, lambda p: make_folder(p.parent / "new")])
def test_a_full_disk_is_named(places, monkeypatch, write):
    monkeypatch.setattr("os.replace", fail(FULL))
    monkeypatch.setattr("pathlib.Path.mkdir", fail(FULL))
    with pytest.raises(FileError, match="No space left on device"):
        write(places / "file")
    assert (places / "file").read_bytes() == b"old"
