"""Compare what lies here with the published checksums: verdicts, never errors."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from qnn_ref.kinds import UNKNOWN, kind_of

from .examples import Check
from .files import DataError, open_file, pieces

# What published files are, as `kind_of` says it: idx files are of an unknown kind to it.
_PUBLISHED = (UNKNOWN, "this is gzip data", "this is a MATLAB file")


def compare(file: str | Path, content: Iterable[bytes], sha256: str) -> Check:
    """Compare uncompressed content with its checksum.

    Parameters
    ----------
    file : str or pathlib.Path
        To be named in the verdict.
    content : iterable of bytes
        The uncompressed content of an idx file, in pieces.
    sha256 : str
        The published checksum.

    Returns
    -------
    Check
        The verdict.
    """
    return _verdict(file, content, sha256, "sha256 of the content")


def _verdict(file: str | Path, content: Iterable[bytes], sha256: str, words: str) -> Check:
    digest, size, kind = hashlib.sha256(), 0, UNKNOWN
    for piece in content:
        kind = kind_of(piece) if not size else kind
        digest.update(piece)
        size += len(piece)
    found = digest.hexdigest()
    if found != sha256:
        what = "" if kind in _PUBLISHED else f"; {kind}"
        return Check(str(file), False, f"{words}: expected {sha256}, found {found}{what}")
    return Check(str(file), True, f"{size} bytes, sha256 as published")


def verify_whole(folder: Path, file: str, sha256: str) -> Check:
    """Compare a file, as it is stored, with its checksum.

    Parameters
    ----------
    folder : pathlib.Path
        Where the file lies.
    file : str
        Its name.
    sha256 : str
        The published checksum.

    Returns
    -------
    Check
        The verdict; a missing or unreadable file is a verdict too, not an error.
    """
    path = folder / file
    if not path.exists():
        return Check(str(path), False, "is missing")
    try:
        stored, _ = open_file(path)
    except DataError as error:
        return Check(str(path), False, error.fault)
    with stored:  # not read at once: it may have more than 1 GB
        return _verdict(path, pieces(stored), sha256, "sha256")
