"""Compare what lies here with the published checksums: verdicts, never errors."""

import hashlib
from pathlib import Path

from .examples import Check


def compare(file: str | Path, content: bytes, sha256: str) -> Check:
    """Compare uncompressed content with its checksum.

    Parameters
    ----------
    file : str or pathlib.Path
        To be named in the verdict.
    content : bytes
        The uncompressed content of an idx file.
    sha256 : str
        The published checksum.

    Returns
    -------
    Check
        The verdict.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        return Check(str(file), False, f"sha256 of the content: expected {sha256}, found {found}")
    return Check(str(file), True, f"{len(content)} bytes, sha256 as published")


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
    try:
        with path.open("rb") as stream:  # not read at once: a file may have more than 1 GB
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except FileNotFoundError:
        return Check(str(path), False, "is missing")
    except OSError as error:
        return Check(str(path), False, f"cannot be read: {error.strerror or error}")
    if not size:
        return Check(str(path), False, "is empty")
    if found != sha256:
        return Check(str(path), False, f"sha256: expected {sha256}, found {found}")
    return Check(str(path), True, f"{size} bytes, sha256 as published")
