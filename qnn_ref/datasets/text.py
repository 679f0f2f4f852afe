"""Text: three parts of it, read as UTF-8 and split into nothing yet (`tokens.py` does that).

A text lies in one of these forms:

    NAME.txt                                        one file: 80 % train, then 10 % validate
    NAME.train.txt, NAME.valid.txt, NAME.test.txt   three files, as Penn Treebank has them
    NAME.npz                                        their bytes: arrays train, valid, test

Penn Treebank itself may not be passed on. The split of Mikolov et al. is read from your folder.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qnn_ref.checks import instance

from .checksums import compare
from .examples import Check
from .files import DataError, read_content
from .known import TEXTS, spellings
from .npz import read_arrays

PARTS = "train", "valid", "test"
TRAIN, VALIDATION = 0.8, 0.1
"""Shares of a text that lies in one file; the rest tests."""
LEAST = 10
"""Characters of a text; fewer cannot be split."""
_FOLDERS = ("", "simple-examples/data")


@dataclass(frozen=True, eq=False)
class TextData:
    """A text in three parts, in the order in which it is read.

    Parameters
    ----------
    name : str
        "shakespeare", "ptb", or that of your own file.
    train, validation, test : str
        Lines end in a newline.
    source : str
        The file or folder that was read.
    """

    name: str
    train: str
    validation: str
    test: str
    source: str

    def __post_init__(self) -> None:
        for name in ("name", "train", "validation", "test", "source"):
            instance(name, getattr(self, name), str)
        for name in ("train", "validation", "test"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected a text, got none")

    @property
    def parts(self) -> dict[str, str]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def sha256(self) -> str:
        """Checksum of the three parts, to tell this text from another."""
        digest = hashlib.sha256()
        for part in self.parts.values():
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
        return digest.hexdigest()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(text):,} {name}" for name, text in self.parts.items())
        return f"<TextData {self.name}: characters {sizes}>"


def find(name: str, folder: Path) -> Path | None:
    """Find the folder that one of the three files is in; a ``.txt`` or ``.npz`` file else."""
    for spelling in spellings(name):
        for place in _places(spelling, folder):
            if any((place / file).is_file() for file in files_of(spelling)):
                return place
            for file in (f"{spelling}.txt", f"{spelling}.npz"):
                if (place / file).is_file():
                    return place / file
    return None


def _places(name: str, folder: Path) -> Iterator[Path]:
    for place in (folder / name, folder):
        yield from (place / inside for inside in _FOLDERS)


def files_of(name: str) -> list[str]:
    """Names of the three files of a text.

    Parameters
    ----------
    name : str
        Of the text.

    Returns
    -------
    list of str
        For training, validation and test.
    """
    return [f"{name}.{part}.txt" for part in PARTS]


def read(name: str, path: Path) -> TextData:
    """Read a text; nothing is repaired but the ends of lines, which become newlines.

    A mark that says "this is UTF-8" at the start is dropped. Lines of Penn Treebank lose the space
    at either end, so that their characters are the 5,017,482 + 393,042 + 442,423 of the usual
    character-level form (which writes "_" for the space).
    """
    known = TEXTS.get(name)
    texts = {file: _decoded(file, content) for file, content in _contents(name, path).items()}
    if known is not None and known.strip_lines:
        texts = {file: _stripped(text) for file, text in texts.items()}
    if len(texts) == 1:
        ((file, whole),) = texts.items()
        train, validation, test = _split(file, whole)
    else:
        for file, text in texts.items():
            if not text:
                raise DataError(file, "holds no text")
        train, validation, test = texts.values()
    return TextData(name, train, validation, test, str(path))


def _contents(name: str, path: Path) -> dict[str, bytes]:
    """Bytes of one file, or of three, by what to call them in an error."""
    if path.is_dir():
        return {str(path / file): read_content(path / file) for file in _spelled(name, path)}
    if path.suffix != ".npz":
        return {str(path): read_content(path)}
    contents = {}
    for part, array in read_arrays(path, PARTS).items():
        if array.dtype != np.uint8 or array.ndim != 1:
            fault = f"{part}: expected a row of bytes (uint8), found {array.dtype} of {array.shape}"
            raise DataError(path, fault)
        contents[f"{path}[{part}]"] = array.tobytes()
    return contents


def _spelled(name: str, folder: Path) -> list[str]:
    """The three files in the spelling that lies there."""
    for spelling in spellings(name):
        if any((folder / file).is_file() for file in files_of(spelling)):
            return files_of(spelling)
    return files_of(name)


def _decoded(file: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(file, f"is no UTF-8: {error.reason} at byte {error.start}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _stripped(text: str) -> str:
    return "".join(f"{line.strip(' ')}\n" for line in text.splitlines())


def _split(file: str, text: str) -> tuple[str, str, str]:
    if len(text) < LEAST:
        raise DataError(file, f"expected at least {LEAST} characters, found {len(text)}")
    first, second = (round(share * len(text)) for share in (TRAIN, TRAIN + VALIDATION))
    return text[:first], text[first:second], text[second:]


def verify(name: str, path: Path) -> list[Check]:
    """Compare each file; what is in another form than the published one is not known."""
    sha256: Mapping[str, str] = TEXTS[name].sha256
    if path.is_dir():
        return [_verdict(path / file, sha256[file]) for file in files_of(name)]
    if path.suffix == ".npz":
        try:
            contents = _contents(name, path)
        except DataError as error:
            return [Check(error.path, False, error.fault)]
        known = [sha256.get(file) for file in files_of(name)]
        return [
            _unknown(file, sha256) if right is None else compare(file, [content], right)
            for (file, content), right in zip(contents.items(), known, strict=True)
        ]
    right = sha256.get(path.name)
    return [_unknown(str(path), sha256) if right is None else _verdict(path, right)]


def _verdict(path: Path, sha256: str) -> Check:
    try:
        return compare(path, [read_content(path)], sha256)
    except DataError as error:
        return Check(error.path, False, error.fault)


def _unknown(file: str, sha256: Mapping[str, str]) -> Check:
    return Check(file, None, f"is there, but checksums are known only of {', '.join(sha256)}")
