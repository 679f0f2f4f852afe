"""The binary filters of a finished run: the form of each 2-D filter, two bytes (section 5.3)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.cost.filters import binary_kernels, filter_forms, form_filters
from qnn_ref.files import FileError, load_arrays, make_folder, save_arrays
from qnn_ref.network import Sequential

KIND, VERSION = "filters", 1
MOST_TAPS = 16
"""Of a filter that is kept: its form is a number of 16 bits."""


class Filters(NamedTuple):
    """The forms of a layer's filters, as `cost.filter_forms` numbers them.

    Parameters
    ----------
    place : str
        Of the layer, as `Sequential.walk` names it.
    forms : array (C, N) of uint16
        Of N filters on C maps.
    kernel : tuple of int
        Height and width.
    """

    place: str
    forms: Array
    kernel: tuple[int, int]

    @property
    def codes(self) -> Array:
        """The binary weights, (kh, kw, C, N)."""
        return np.moveaxis(form_filters(self.forms, self.kernel), (2, 3), (0, 1))


def save_filters(path: str | os.PathLike[str], network: Sequential) -> bool:
    """Write the forms of a network's binary filters.

    Parameters
    ----------
    path : path
        Of the file.
    network : Sequential

    Returns
    -------
    bool
        Whether it has any; else nothing is written.
    """
    kept = {place: codes for place, codes in binary_kernels(network) if _is_small(codes)}
    if kept:
        forms = {place: filter_forms(codes).astype(np.uint16) for place, codes in kept.items()}
        kernels = {place: list(codes.shape[:2]) for place, codes in kept.items()}
        make_folder(Path(path).parent)
        save_arrays(path, forms, {"kind": KIND, "version": VERSION, "kernels": kernels})
    return bool(kept)


def _is_small(codes: Array) -> bool:
    return codes.shape[0] * codes.shape[1] <= MOST_TAPS


def read_filters(path: str | os.PathLike[str]) -> list[Filters]:
    """Read what `save_filters` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Filters
        In the order of the layers; at least one.

    Raises
    ------
    FileError
        If there is no such file, or it is damaged.
    """
    arrays, header = load_arrays(path, KIND, VERSION, "`qnn-ref report --add`")
    kernels = header.get("kernels")
    if not arrays or not isinstance(kernels, dict) or list(kernels) != list(arrays):
        raise FileError(f"{path}: damaged filters: not a kernel for each array")
    found = []
    for place, forms in arrays.items():
        if forms.dtype != np.uint16 or forms.ndim != 2 or not forms.size:
            raise FileError(f"{path}: {place}: expected forms (C, N) of uint16")
        try:
            kernel = tuple(kernels[place])
            form_filters(forms, kernel)
        except (TypeError, ValueError) as error:
            raise FileError(f"{path}: {place}: {error}") from error
        found.append(Filters(place, forms, kernel))  # type: ignore[arg-type]
    return found
