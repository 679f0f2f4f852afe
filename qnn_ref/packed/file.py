"""Files of packed networks: plain arrays and a JSON header with version and shapes, no pickle."""

from __future__ import annotations

import os
from typing import Any

from qnn_ref._typing import Array
from qnn_ref.checks import all_finite, whole
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.grid import SIGNS
from qnn_ref.packed.stages import Stage, stage_of

KIND = "packed network"
VERSION = 2  # 1 had dense layers only, in the same form


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
    header = {
        "kind": KIND,
        "version": VERSION,
        "input_shape": list(input_shape),
        "stages": [stage.describe() for stage in stages],
    }
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
    try:
        descriptions, sizes = header.get("stages"), header.get("input_shape")
        if not isinstance(descriptions, list) or not isinstance(sizes, list):
            raise ValueError("its header lacks stages or input_shape")
        stages = [
            stage_of(_of_today(description, arrays, str(number)), arrays, str(number))
            for number, description in enumerate(descriptions)
        ]
        if arrays:
            raise ValueError(f"arrays without a step: {sorted(arrays)[:4]}")
        input_shape = tuple(whole("input_shape", n, 1, 2**31 - 1) for n in sizes)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: damaged {KIND} file: {error}") from error
    return stages, input_shape


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
