"""Where data sets lie: in the checkout, in the installed package, or in the cache."""

import importlib.resources
import os
from pathlib import Path


def embedded_folders() -> list[Path]:
    """List the folders of data that came with the code.

    Returns
    -------
    list of pathlib.Path
        ``data/`` of a checkout (digits and MNIST), then ``data/`` inside an installed package
        (digits); only those that exist.
    """
    package = importlib.resources.files(__package__.partition(".")[0])
    folders = []
    # Beside an installed package lie other packages: only a project's own folder is taken.
    checkout = Path(str(package)).parent
    if (checkout / "pyproject.toml").is_file():
        folders.append(checkout / "data")
    folders.append(Path(str(package)) / "data")
    return [folder for folder in folders if folder.is_dir()]


def cache_folder() -> Path:
    """Name the folder that `fetch` fills unless told another.

    Returns
    -------
    pathlib.Path
        ``$XDG_CACHE_HOME/qnn-ref``, or ``~/.cache/qnn-ref``; it need not exist.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qnn-ref"
