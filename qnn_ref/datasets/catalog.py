"""Data sets by name: load one, verify one, list what is here."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, overload

from . import cifar10, digits, mnist, npz, svhn, text
from .examples import Check, Dataset
from .files import DataError, expanded
from .known import KNOWN, TEXTS, Known, KnownText
from .places import cache_folder, embedded_folders
from .text import TextData

# Tried in this order: modules that are a `Reader`, or `text`, whose `read` gives a TextData. A name
# that is not here can still be an .npz archive or a text in a given folder.
_READERS: Mapping[str, Sequence[Any]] = MappingProxyType(
    {
        "digits": (digits,),
        "mnist": (mnist, npz),
        "fashion-mnist": (mnist, npz),
        "cifar10": (cifar10, npz),
        "svhn": (svhn, npz),
        **dict.fromkeys(TEXTS, (text,)),
    }
)
# What each set is published as, for the advice where nothing is found.
_FILES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "digits": (),
        "mnist": tuple(f"{stem}.gz" for stem in mnist.FILES.values()),
        "fashion-mnist": tuple(f"{stem}.gz" for stem in mnist.FILES.values()),
        "cifar10": (cifar10.ARCHIVE,),
        "svhn": svhn.FILES,
        "shakespeare": ("shakespeare.txt",),
        "ptb": (", ".join(text.files_of("ptb")),),
    }
)
# Asked when no reader finds anything: whether a form lies there that none opens.
_REFUSALS: Mapping[str, Callable[[str, Path], DataError | None]] = MappingProxyType(
    {"cifar10": cifar10.refusal}
)


class Listing(NamedTuple):
    """A data set of `available`: its name, its state, and where it lies (None: nowhere).

    The state is "embedded" (came with the code), "found" (in the given folder or the cache),
    "needs fetch" or "missing".
    """

    name: str
    state: str
    path: Path | None


# The names of texts are strings too: mypy sees the second signature swallow the first.
@overload
def load(  # type: ignore[overload-overlap]
    name: Literal["shakespeare", "ptb"], folder: str | Path | None = None
) -> TextData: ...
@overload
def load(name: str, folder: str | Path | None = None) -> Dataset: ...
def load(name: str, folder: str | Path | None = None) -> Dataset | TextData:
    """Load a data set from this machine; nothing is downloaded.

    Without a folder, the data that came with the code are looked at first, then what `fetch`
    downloaded. With a folder, only that one: the published files in it or in the folder of that
    name inside it, or ``NAME.npz`` ("_" may stand for "-") with the arrays train_images,
    train_labels, test_images and test_labels. A set that the package does not know can be read
    from such an archive under its own name, and a text from ``NAME.txt`` (see `load_text`).

    Parameters
    ----------
    name : str
        "digits", "mnist", "fashion-mnist", "cifar10", "svhn", the texts "shakespeare" and "ptb", or
        the name of your own archive or text.
    folder : str or pathlib.Path, optional
        Where your files lie; `~` stands for the home folder.

    Returns
    -------
    Dataset or TextData
        Images of shape (count, height, width, channels), uint8 0..255, in stored order; SVHN
        with its validation part last (see `svhn.read`). Of a text its three parts.

    Raises
    ------
    ValueError
        If the name is unknown and no folder is given.
    DataError
        If the files are missing, damaged, or do not fit together.

    Examples
    --------
    >>> digits = load("digits")
    >>> len(digits.train_images), len(digits.test_images), digits.classes[:3]
    (1347, 450, ('0', '1', '2'))
    """
    found = _find(name, folder)
    if found is None:
        raise _not_found(name, folder)
    reader, path = found
    dataset: Dataset | TextData = reader.read(name, path)
    return dataset


def load_text(name: str, folder: str | Path | None = None) -> TextData:
    """Load a text, as `load` does, and nothing but a text.

    Parameters
    ----------
    name : str
        "shakespeare" (comes with the package), "ptb" (only in a folder of yours), or the name of
        your own UTF-8 text: ``NAME.txt``, of which the first 80 % train and the next 10 % validate,
        or ``NAME.train.txt``, ``NAME.valid.txt`` and ``NAME.test.txt``.
    folder : str or pathlib.Path, optional
        Where your files lie.

    Returns
    -------
    TextData

    Raises
    ------
    ValueError
        If the name is that of images, or unknown and no folder is given.
    DataError
        If the files are missing, damaged, or no text.

    Examples
    --------
    >>> load_text("shakespeare")
    <TextData shakespeare: characters 239,894 train, 29,987 validation, 29,987 test>
    """
    if name in KNOWN:
        raise ValueError(f"name: expected a text, {' or '.join(map(repr, TEXTS))}, got {name!r}")
    found = _find(name, folder, readers=(text,))
    if found is None:
        raise _not_found(name, folder, f"{name}.txt")
    reader, path = found
    data: TextData = reader.read(name, path)
    return data


def verify(name: str, folder: str | Path | None = None) -> list[Check]:
    """Compare the files that `load` would read with the published checksums.

    Parameters
    ----------
    name : str
        "digits", "mnist", "fashion-mnist", "cifar10", "svhn", "shakespeare" or "ptb".
    folder : str or pathlib.Path, optional
        Where to look, as for `load`.

    Returns
    -------
    list of Check
        (file, ok, message) for each file; a missing or damaged file is not ok, and a sound one
        whose checksum is not known has None.

    Raises
    ------
    ValueError
        If no checksums are known for that name.
    DataError
        If the folder does not exist.
    """
    if name not in _known():
        raise ValueError(f"name: expected {_names()}, got {name!r}")
    found = _find(name, folder)
    if found is None:
        error = _not_found(name, folder)
        return [Check(error.path, False, error.fault)]
    reader, path = found
    checks: list[Check] = reader.verify(name, path)
    return checks


def available(folder: str | Path | None = None) -> list[Listing]:
    """List the known data sets and where `load` would find them.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        Where to look, as for `load`.

    Returns
    -------
    list of Listing
        (name, state, path) for each; the files are not opened.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    embedded = [] if folder is not None else embedded_folders()
    listings = []
    for name, known in _known().items():
        found = _find(name, folder)
        if found is None:
            listings.append(Listing(name, "needs fetch" if known.mirrors else "missing", None))
            continue
        path = found[1]
        came_along = any(path.is_relative_to(place) for place in embedded)
        listings.append(Listing(name, "embedded" if came_along else "found", path))
    return listings


def _places(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield _existing(folder)
        return
    yield from embedded_folders()
    with suppress(DataError):  # without a home folder there is no cache
        yield cache_folder()


def _existing(folder: str | Path) -> Path:
    """Return the folder that a user named, or say why nothing can be read from it."""
    place = expanded(folder)
    if os.path.isfile(place):
        raise DataError(folder, "is no folder but a file; expected the folder that it lies in")
    if not os.path.isdir(place):
        raise DataError(folder, "is no folder: there is nothing of that name")
    if not os.access(place, os.R_OK | os.X_OK):
        raise DataError(folder, "cannot be read: permission denied")
    return place


def _find(
    name: str, folder: str | Path | None, readers: Sequence[Any] = (npz, text)
) -> tuple[Any, Path] | None:
    """Return the reader that found something, and the file or folder that it found."""
    if name not in _READERS and (folder is None or not _is_file_name(name)):
        raise ValueError(f"name: expected {_names()}, got {name!r}")
    readers = _READERS.get(name, readers)
    for place in _places(folder):
        try:
            for reader in readers:
                path = reader.find(name, place)
                if path is not None:
                    return reader, path
        except PermissionError as error:
            raise DataError(error.filename, "cannot be read: permission denied") from error
    return None


def _is_file_name(name: str) -> bool:
    return name not in ("", "..") and Path(name).name == name


def _names() -> str:
    return ", ".join(repr(name) for name in _known())


def _known() -> dict[str, Known | KnownText]:
    return {**KNOWN, **TEXTS}


def _not_found(name: str, folder: str | Path | None, file: str = "") -> DataError:
    for place in _places(folder):
        refused = _REFUSALS[name](name, place) if name in _REFUSALS else None
        if refused is not None:
            return refused
    places = ", ".join(str(place) for place in _places(folder)) or "no folder at all"
    known = _known().get(name)
    if known is None:
        wanted = file or f"{name}.npz or {name}.txt"
        fault = f"no {wanted} in {places}; without a folder the names are {_names()}"
        return DataError(name, fault)
    files = " or ".join(filter(None, (", ".join(_FILES[name]), f"{name}.npz")))
    there = "there" if folder is not None else "into a folder and name it (--data DIR)"
    advice = f"put {files} {there}"
    if known.mirrors:
        option = "" if folder is None else f" --data {folder}"
        advice = f"fetch it first (qnn-ref data fetch {name}{option}), or {advice}"
    return DataError(name, f"not found in {places}; {advice}")
