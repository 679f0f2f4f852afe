"""Where data sets lie: in the checkout, in the installed package, or in the cache."""

import importlib.resources
import os
from pathlib import Path

from .files import expanded


def embedded_folders() -> list[Path]:
    """List the folders of data that came with the code.

    An installed package has no checkout beside it, but the notebooks are run inside one: so the
    working folder and those above it are looked at too.

    Returns
    -------
    list of pathlib.Path
        ``data/`` of the checkout that the code runs from (digits and MNIST), ``data/`` inside an
        installed package (digits), then ``data/`` of a checkout around the working folder; only
        those that exist.
    """
    package = Path(str(importlib.resources.files(__package__.partition(".")[0])))
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        here = package
    checkouts = [place for place in (package.parent, here, *here.parents) if is_checkout(place)]
    folders = [place / "data" for place in checkouts]
    own = folders[:1] if package.parent in checkouts else []
    ordered = dict.fromkeys([*own, package / "data", *folders])
    return [folder for folder in ordered if folder.is_dir()]


def is_checkout(folder: Path) -> bool:
    """Whether this is a source tree of ours: beside an installed package lie other packages.

    Parameters
    ----------
    folder : pathlib.Path

    Returns
    -------
    bool
    """
    return os.path.isfile(folder / "pyproject.toml") and os.path.isdir(folder / "qnn_ref")


def cache_folder() -> Path:
    """Name the folder that `fetch` fills unless told another.

    Returns
    -------
    pathlib.Path
        ``$XDG_CACHE_HOME/qnn-ref``, or ``~/.cache/qnn-ref``; it need not exist.

    Raises
    ------
    DataError
        If there is no home folder.
    """
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "qnn-ref"
