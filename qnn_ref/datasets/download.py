"""Fetch a data set from its mirrors, and keep a file only if it is the published one."""

import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qnn_ref.files import make_folder, move_file

from .checksums import verify_whole
from .examples import Check
from .files import DataError, expanded
from .known import KNOWN
from .mnist import FILES, verify_file
from .places import cache_folder

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 65_536
_WORKPLACE = ".fetch-"
_LEFTOVER_SECONDS = 86_400

Downloader = Callable[[str, str], None]
Verifier = Callable[[Path], Check]  # of the folder that holds the file


def fetch(name: str, folder: str | Path | None = None, progress: bool = True) -> Path:
    """Download a data set, unless its files are here already and are the published ones.

    Each file is tried from one mirror after the other until its sha256 is right (of idx files
    that of the uncompressed content). It is written beside its place and then moved there, so a
    file under its final name is always whole.

    Parameters
    ----------
    name : str
        "mnist", "fashion-mnist", "cifar10" (170 MB) or "svhn" (1.5 GB).
    folder : str or pathlib.Path, optional
        The files go into the folder `name` inside this one; by default into the cache, where
        `load` looks.
    progress : bool
        Draw a progress bar on standard error.

    Returns
    -------
    pathlib.Path
        The folder that now holds the files.

    Raises
    ------
    ValueError
        If there is nothing to fetch under that name.
    FileError
        If the folder cannot be written.
    DataError
        If no mirror gave the right file; it names each mirror's fault.
    ImportError
        If pooch is not installed.
    """
    if name not in KNOWN or not KNOWN[name].mirrors:
        fetchable = ", ".join(repr(key) for key, known in KNOWN.items() if known.mirrors)
        raise ValueError(f"name: expected {fetchable}, got {name!r}")
    target = (cache_folder() if folder is None else expanded(folder)) / name
    wanted = {
        file: verify for file, verify in _published_files(name).items() if not verify(target).ok
    }
    if not wanted:
        return target
    download = _pooch_downloader(progress)
    try:
        make_folder(target)
        _remove_leftovers(target)
        # Inside the target, so that the move stays within one file system.
        with tempfile.TemporaryDirectory(prefix=_WORKPLACE, dir=target) as workplace:
            for file, verify in wanted.items():
                _fetch_file(download, KNOWN[name].mirrors, file, verify, Path(workplace))
                move_file(Path(workplace) / file, target / file)
    except OSError as error:
        raise DataError(target, f"cannot be written: {error.strerror or error}") from error
    return target


def _remove_leftovers(target: Path) -> None:
    """Remove what fetches that were killed left behind, but not what one fills right now."""
    for folder in target.glob(f"{_WORKPLACE}*"):
        if time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _published_files(name: str) -> dict[str, Verifier]:
    """List the files that the mirrors offer, each with its check."""
    sha256 = KNOWN[name].sha256
    if sha256.keys() == FILES.keys():
        return {
            f"{stem}.gz": partial(verify_file, stem=stem, sha256=sha256[part])
            for part, stem in FILES.items()
        }
    return {file: partial(verify_whole, file=file, sha256=sha256[file]) for file in sha256}


def _fetch_file(
    download: Downloader, mirrors: tuple[str, ...], file: str, verify: Verifier, workplace: Path
) -> None:
    """Put one checked file into the workplace, from the first mirror that has it."""
    faults = []
    for mirror in mirrors:
        try:
            download(f"{mirror}{file}", str(workplace / file))
        # What requests raises is an OSError, or a ValueError for a malformed address.
        except (OSError, ValueError) as error:
            faults.append(f"{mirror}: {error}")
            continue
        check = verify(workplace)
        if check.ok:
            return
        faults.append(f"{mirror}: {check.message}")
    raise DataError(file, "no mirror has it; " + "; ".join(faults))


def _pooch_downloader(progress: bool) -> Downloader:
    try:
        import pooch
    except ImportError as error:
        raise ImportError('fetching needs pooch: pip install "qnn-ref[data]"') from error
    downloader = pooch.HTTPDownloader(
        progressbar=progress, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_SECONDS
    )

    def download(url: str, path: str) -> None:
        downloader(url, path, None)

    return download
