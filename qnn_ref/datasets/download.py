"""Fetch a data set from its mirrors, and keep a file only if it is the published one."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from .files import DataError
from .known import KNOWN
from .mnist import FILES, verify_file
from .places import cache_folder

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 65_536

Downloader = Callable[[str, str], None]


def fetch(name: str, folder: str | Path | None = None, progress: bool = True) -> Path:
    """Download a data set, unless its files are here already and are the published ones.

    Each file is tried from one mirror after the other until the sha256 of its uncompressed
    content is right. It is written beside its place and then moved there, so a file under its
    final name is always whole.

    Parameters
    ----------
    name : str
        "mnist" or "fashion-mnist".
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
    DataError
        If the folder cannot be written, or no mirror gave the right file; it names each
        mirror's fault.
    ImportError
        If pooch is not installed.
    """
    if name not in KNOWN or not KNOWN[name].mirrors:
        fetchable = ", ".join(repr(key) for key, known in KNOWN.items() if known.mirrors)
        raise ValueError(f"name: expected {fetchable}, got {name!r}")
    target = (cache_folder() if folder is None else Path(folder)) / name
    wanted = {
        stem: KNOWN[name].sha256[part]
        for part, stem in FILES.items()
        if not verify_file(target, stem, KNOWN[name].sha256[part]).ok
    }
    if not wanted:
        return target
    download = _pooch_downloader(progress)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Inside the target, so that the move stays within one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as workplace:
            for stem, sha256 in wanted.items():
                _fetch_file(download, KNOWN[name].mirrors, stem, sha256, Path(workplace))
                os.replace(Path(workplace) / f"{stem}.gz", target / f"{stem}.gz")
    except OSError as error:
        raise DataError(target, f"cannot be written: {error.strerror or error}") from error
    return target


def _fetch_file(
    download: Downloader, mirrors: tuple[str, ...], stem: str, sha256: str, workplace: Path
) -> None:
    """Put one checked file into the workplace, from the first mirror that has it."""
    path = workplace / f"{stem}.gz"
    faults = []
    for mirror in mirrors:
        try:
            download(f"{mirror}{stem}.gz", str(path))
        # What requests raises is an OSError, or a ValueError for a malformed address.
        except (OSError, ValueError) as error:
            faults.append(f"{mirror}: {error}")
            continue
        check = verify_file(workplace, stem, sha256)
        if check.ok:
            return
        faults.append(f"{mirror}: {check.message}")
    raise DataError(f"{stem}.gz", "no mirror has it; " + "; ".join(faults))


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
