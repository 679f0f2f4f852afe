"""Reads what the authors' own code answered (tests/data/authors) and turns layouts into ours."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref.optimizers import ShiftAdaMax
from qnn_ref.quantizers import Sign

FOLDER = Path(__file__).parent / "data" / "authors"

ROUNDING = 64
"""Units in the last place of the largest entry by which two correct results may differ: they add
the same dozens of numbers in another order. 33 units are the most that is seen, in sums that nearly
cancel; a changed sign or factor differs by millions."""

AFTER_ADAM = 4000
"""The same after steps of Adam, which divides: a gradient of the size of epsilon has lost its
digits in the sum, and makes a step nearly as long as any other (1,400 units are the most)."""


@cache
def _text(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def vectors(name: str, dtype: Any = np.float64) -> Any:
    """A file's content: lists of numbers as arrays, `outputs` those of this float type."""
    content = dict(_text(name))
    if dtype.__name__ in content.get("outputs", {}):
        content["outputs"] = content["outputs"][dtype.__name__]
    return with_arrays(content, dtype)


def with_arrays(value: Any, dtype: Any) -> Any:
    """The same with every list of numbers as an array; lists of unequal arrays stay lists."""
    if isinstance(value, dict):
        return {key: with_arrays(item, dtype) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    try:
        numbers = np.array(value)
    except ValueError:  # not rectangular
        return [with_arrays(item, dtype) for item in value]
    if numbers.dtype.kind == "f":
        return numbers.astype(dtype)
    if numbers.dtype.kind in "iu":
        return numbers
    return [with_arrays(item, dtype) for item in value]


def images(x: Any) -> Any:
    """NCHW to our NHWC."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def kernel(w: Any) -> Any:
    """Kernel (out, in, kH, kW) to our (kH, kW, in, out)."""
    return np.ascontiguousarray(w.transpose(2, 3, 1, 0))


def assert_close(got: Any, expected: Any, what: str, rounding: float = ROUNDING) -> None:
    """Equal but for the rounding of sums: so many units in the last place of the largest entry."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, authors {expected.shape}"
    unit = np.finfo(got.dtype).eps * max(np.abs(expected).max(initial=0), np.finfo(got.dtype).tiny)
    worst = np.abs(got - expected.astype(got.dtype)).max(initial=0) / unit
    assert worst <= rounding, f"{what}: {worst:.3g} units in the last place, allowed {rounding:g}"


STRICT = Sign(saturation=np.nextafter(1, 0))
"""The mask of Torch and PyTorch: no gradient at exactly +-1, where eq. (4) still has one."""


def torch_rule(rate: float) -> ShiftAdaMax:
    """The constants of adaMax_binary_clip_shift.lua."""
    return ShiftAdaMax(rate, beta1=0.9, beta2=0.999, variant="torch", epsilon=2.0**-27)
