"""MNIST and the sets that took over its four idx files, such as Fashion-MNIST."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from .checksums import compare
from .examples import Check, Dataset, assemble
from .files import DataError, open_content, pieces
from .idx import idx_bytes, read_idx
from .known import KNOWN, folders_of

FILES: Mapping[str, str] = MappingProxyType(
    {
        "train_images": "train-images-idx3-ubyte",
        "train_labels": "train-labels-idx1-ubyte",
        "test_images": "t10k-images-idx3-ubyte",
        "test_labels": "t10k-labels-idx1-ubyte",
    }
)


def locate(folder: Path, stem: str) -> Path | None:
    """Find an idx file under the names in use.

    Parameters
    ----------
    folder : pathlib.Path
        Where to look.
    stem : str
        The usual name, such as "train-images-idx3-ubyte".

    Returns
    -------
    pathlib.Path or None
        The first that exists, with "-" or "." before "idx", with or without ".gz".
    """
    for name in (stem, stem.replace("-idx", ".idx")):
        # The compressed one first, because that is what `fetch` writes and replaces.
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    return None


def find(name: str, folder: Path) -> Path | None:
    """Find the folder that holds any of the four files."""
    for place in folders_of(name, folder):
        if any(locate(place, stem) for stem in FILES.values()):
            return place
    return None


def read(name: str, path: Path) -> Dataset:
    """Read the four files; those of another known set are refused: all use the same names."""
    files = {part: _located(path, stem) for part, stem in FILES.items()}
    parts = {
        part: read_idx(file, dimensions=3 if part.endswith("images") else 1)
        for part, file in files.items()
    }
    digest = hashlib.sha256(idx_bytes(parts["train_labels"])).hexdigest()
    for other, facts in KNOWN.items():
        if other != name and facts.sha256.get("train_labels") == digest:
            raise DataError(files["train_labels"], f"belongs to {other!r}, not to {name!r}")
    return assemble(
        name,
        parts,
        {part: str(file) for part, file in files.items()},
        path,
        KNOWN[name].classes,
        KNOWN[name].image_shape,
    )


def _located(folder: Path, stem: str) -> Path:
    path = locate(folder, stem)
    if path is None:
        raise DataError(folder / stem, "is missing, although others of its four files are there")
    return path


def verify(name: str, path: Path) -> list[Check]:
    """Compare the four files with the published checksums, also those that are missing."""
    return [verify_file(path, stem, KNOWN[name].sha256[part]) for part, stem in FILES.items()]


def verify_file(folder: Path, stem: str, sha256: str) -> Check:
    """Compare the uncompressed content of one file with its checksum.

    Parameters
    ----------
    folder : pathlib.Path
        Where the file lies.
    stem : str
        Its usual name.
    sha256 : str
        The published checksum.

    Returns
    -------
    Check
        The verdict; a missing or damaged file is a verdict too, not an error.
    """
    path = locate(folder, stem)
    if path is None:
        return Check(str(folder / stem), False, "is missing")
    try:
        with open_content(path) as (stream, _):
            return compare(path, pieces(stream), sha256)
    except DataError as error:
        return Check(str(path), False, error.fault)
