"""Files of packed networks: plain arrays and a JSON header with version and shapes, no pickle."""

from __future__ import annotations

import os
from typing import Any

from qnn_ref.files import FileError, load_arrays, save_arrays
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
    """
    header = {
        "kind": KIND,
        "version": VERSION,
        "input_shape": list(input_shape),
        "stages": [stage.describe() for stage in stages],
    }
    arrays = {f"{i}/{name}": a for i, s in enumerate(stages) for name, a in s.arrays().items()}
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
    arrays, header = load_arrays(path, KIND, VERSION)
    groups: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        index, _, field = name.partition("/")
        groups.setdefault(index, {})[field] = array
    try:
        stages = [
            stage_of(description, groups.pop(str(number), {}))
            for number, description in enumerate(header["stages"])
        ]
        if groups:
            raise ValueError(f"arrays without a step: {sorted(groups)}")
        input_shape = tuple(int(n) for n in header["input_shape"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path}: damaged {KIND} file: {error}") from error
    return stages, input_shape
