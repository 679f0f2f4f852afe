"""Files of packed networks: plain arrays and a JSON header with version and shapes, no pickle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from qnn_ref._typing import Array
from qnn_ref.checks import all_finite, choice, whole
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.grid import SIGNS
from qnn_ref.packed.stages import Stage, stage_of

KIND = "packed network"
SEQUENCE = "sequence"
LEVELS = "characters", "words"
"""What a symbol of a text is."""
VERSION = 3
"""1 had dense layers only, 2 has no recurrent networks; both in the same form."""
IMAGES = 2
"""Version of files of networks for images, which has not changed since."""


def write_stages(
    path: str | os.PathLike[str], stages: list[Stage], input_shape: tuple[int, ...]
) -> None:
    """Write the steps of a packed network, atomically.

    Parameters
    ----------
    path : path
    stages : list of Stage
    input_shape : tuple of int
        Shape of one image.

    Raises
    ------
    ValueError
        If an array holds NaN or infinity.
    FileError
        If the file cannot be written.
    """
    _write(path, stages, {"version": IMAGES, "input_shape": list(input_shape)})


def write_sequence(
    path: str | os.PathLike[str], stages: list[Stage], symbols: Sequence[str], level: str
) -> None:
    """Write the steps of a packed recurrent network, atomically.

    Parameters
    ----------
    path : path
    stages : list of Stage
    symbols : sequence of str
        What its tokens stand for.
    level : str
        What a symbol is.

    Raises
    ------
    ValueError
        If an array holds NaN or infinity.
    FileError
        If the file cannot be written.
    """
    more = {"version": VERSION, "form": SEQUENCE, "symbols": list(symbols), "level": level}
    _write(path, stages, more)


def _write(path: str | os.PathLike[str], stages: list[Stage], more: dict[str, Any]) -> None:
    header = {"kind": KIND} | more | {"stages": [stage.describe() for stage in stages]}
    arrays = {f"{i}/{name}": a for i, s in enumerate(stages) for name, a in s.arrays().items()}
    for name, array in arrays.items():
        all_finite(name, array)
    save_arrays(path, arrays, header)


def read_stages(path: str | os.PathLike[str]) -> tuple[list[Stage], tuple[int, ...]]:
    """Read what `write_stages` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    stages : list of Stage
    input_shape : tuple of int

    Raises
    ------
    FileError
        If the file is missing, cut, damaged, foreign, or of a newer version.
    """
    arrays, header = load_arrays(path, KIND, VERSION, "`qnn-ref pack`")
    if header.get("form") == SEQUENCE:
        raise FileError(f"{path}: holds a recurrent network, which reads text: `qnn-ref generate`")
    try:
        sizes = header.get("input_shape")
        if not isinstance(sizes, list):
            raise ValueError("its header lacks input_shape")
        stages = _stages(header, arrays)
        input_shape = tuple(whole("input_shape", n, 1, 2**31 - 1) for n in sizes)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: damaged {KIND} file: {error}") from error
    return stages, input_shape


def read_sequence(path: str | os.PathLike[str]) -> tuple[list[Stage], list[str], str]:
    """Read what `write_sequence` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    stages : list of Stage
    symbols : list of str
    level : str

    Raises
    ------
    FileError
        If the file is missing, cut, damaged, foreign, of a newer version, or of a network for
        images.
    """
    arrays, header = load_arrays(path, KIND, VERSION, "`qnn-ref pack`")
    if header.get("form") != SEQUENCE:
        raise FileError(f"{path}: holds a network for images, not for text: `qnn-ref predict`")
    try:
        symbols, level = header.get("symbols"), header.get("level")
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise ValueError("its header lacks symbols")
        return _stages(header, arrays), symbols, choice("level", level, LEVELS)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: damaged {KIND} file: {error}") from error


def _stages(header: dict[str, Any], arrays: dict[str, Array]) -> list[Stage]:
    """The steps that a header describes; all arrays are taken out."""
    descriptions = header.get("stages")
    if not isinstance(descriptions, list):
        raise ValueError("its header lacks stages")
    stages = [
        stage_of(_of_today(description, arrays, str(number)), arrays, str(number))
        for number, description in enumerate(descriptions)
    ]
    if arrays:
        raise ValueError(f"arrays without a step: {sorted(arrays)[:4]}")
    return stages


def _of_today(description: Any, arrays: dict[str, Array], place: str) -> Any:
    """The description of a step in the words of today.

    Older files have kinds of their own for weights of one bit that meet integers: they are
    products of grids with one plane of weights.
    """
    if not isinstance(description, dict):
        return description
    old = dict(description)
    if old.get("kind") == "Join" and isinstance(old.get("paths"), list):
        old["paths"] = [
            [_of_today(inner, arrays, f"{place}/{p}/{i}") for i, inner in enumerate(path)]
            if isinstance(path, list)
            else path
            for p, path in enumerate(old["paths"])
        ]
    if old.get("kind") not in ("IntegersDense", "IntegersConv"):
        return old
    dense = old["kind"] == "IntegersDense"
    old |= {"kind": "GridDense" if dense else "GridConv", "weights": list(SIGNS)}
    old["size"] = old.pop("K" if dense else "channels", None)
    old["grid"] = [old.pop(name, None) for name in ("low", "high", "step")]
    words = f"{place}/words"
    if words in arrays:
        arrays[words] = arrays[words][None]
    return old
