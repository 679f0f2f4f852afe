"""What every reader shares: the exception, and the bytes of a file whatever it is called."""

import gzip
import zlib
from pathlib import Path

from qnn_ref.archives import NPY_MAGIC, ZIP_MAGIC
from qnn_ref.files import GZIP_MAGIC, PNG_MAGIC, FileError, kind_of

__all__ = [
    "GZIP_MAGIC",
    "NPY_MAGIC",
    "PNG_MAGIC",
    "ZIP_MAGIC",
    "DataError",
    "kind_of",
    "read_bytes",
    "read_content",
]


class DataError(FileError):
    """A data file that is missing, damaged or of another kind.

    Parameters
    ----------
    path : str or pathlib.Path
        The file or folder.
    fault : str
        What is wrong with it. The message is ``path: fault``.
    """

    def __init__(self, path: str | Path, fault: str) -> None:
        super().__init__(str(path), fault)
        self.path = str(path)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}"


def read_bytes(path: str | Path) -> bytes:
    """Read a whole file that is not empty.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    bytes
        Its bytes as they are stored.

    Raises
    ------
    DataError
        If the file is missing, unreadable or empty.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    if not content:
        raise DataError(path, "is empty")
    return content


def read_content(path: str | Path) -> bytes:
    """Read a file and undo gzip if there is any.

    The first two bytes decide, not the name: browsers and servers unpack a ``.gz`` file on the
    way, or pack a plain one, and leave its name alone.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, plain or gzipped.

    Returns
    -------
    bytes
        The uncompressed content.

    Raises
    ------
    DataError
        If the file is missing or empty, or its compressed stream is cut or damaged.
    """
    content = read_bytes(path)
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        content = gzip.decompress(content)
    except EOFError as error:
        raise DataError(path, "compressed stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"compressed stream is damaged ({error})") from error
    if not content:
        raise DataError(path, "is empty: a compressed stream of 0 bytes")
    return content
