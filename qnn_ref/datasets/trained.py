"""Trained packed networks that came with the code, by name; ``data/models/README.md`` says more."""

from __future__ import annotations

import os
from pathlib import Path

from qnn_ref.checks import did_you_mean

from .files import DataError
from .places import embedded_folders

SUFFIX = ".qnn"


def models() -> dict[str, Path]:
    """List the networks that came with the code.

    Returns
    -------
    dict of str to pathlib.Path
        The file of each by name: of the checkout that the code runs from, or of the installed
        package.
    """
    found: dict[str, Path] = {}
    for folder in embedded_folders():
        for path in sorted((folder / "models").glob("*" + SUFFIX)):
            found.setdefault(path.stem, path)
    return found


def find_model(name: str | os.PathLike[str]) -> Path:
    """Find the file of a packed network: a path, or the name of one that came with the code.

    Parameters
    ----------
    name : str or path
        What is a file is that file. A bare name, without a folder and an ending, may be one of
        `models`.

    Returns
    -------
    pathlib.Path
        A path that is no bare name comes back as it is, whether there is such a file or not.

    Raises
    ------
    DataError
        If it is a bare name, and neither a file nor a network.

    Examples
    --------
    >>> find_model("mnist").name
    'mnist.qnn'
    """
    path, text = Path(name), os.fspath(name)
    if not text or text != path.stem or text == "~" or os.path.isfile(path):
        return path
    known = models()
    if text in known:
        return known[text]
    if os.path.lexists(path):  # a folder or a pipe: whoever opens it says so
        return path
    near = did_you_mean(text, known) or f" ({', '.join(sorted(known))})" * bool(known)
    raise DataError(text, f"there is no such file, and no network of that name came along{near}")
