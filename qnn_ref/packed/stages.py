"""A step of a packed network, what flows between two steps, and the checks that both need.

Each step is a small record of arrays and whole numbers, which is also what its file holds. A step
compares its own arrays with each other when it is made, and with what flows in before anything
runs: no kernel meets sizes that nobody compared.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from qnn_ref import shown
from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.bits.words import check_words
from qnn_ref.checks import whole
from qnn_ref.grid import Grid

LARGEST_SHAPE = 2**24
"""Numbers that one image may have between two steps (ImageNet networks have up to 2^22)."""


@dataclass(frozen=True)
class Flow:
    """What flows between two steps.

    Parameters
    ----------
    kind : str
        "pixels" (uint8), "bits" (words of uint64) or "integers" (int32).
    shape : tuple of int
        Numbers of one example; of bits the channels, not the words.
    grid : Grid
        The whole numbers that can occur.
    """

    kind: str
    shape: Shape
    grid: Grid

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1 or math.prod(self.shape) > LARGEST_SHAPE:
            raise ValueError(f"expected from 1 to 2^24 numbers an image, got shape {self.shape}")
        if self.grid.largest >= 2**31:
            raise ValueError(f"the numbers {self.grid} do not fit 31 bits")


class Stage:
    """A step of the packed network: `run` maps a batch to a batch.

    A subclass is a dataclass; fields annotated as arrays are stored as such, the others in the
    header of the file. By being defined it becomes a kind that files may name.
    """

    kinds: ClassVar[dict[str, type[Stage]]] = {}

    def __init_subclass__(cls) -> None:
        Stage.kinds[cls.__name__] = cls
        cls.__repr__ = Stage.__repr__  # type: ignore[method-assign]  # not a dataclass's own

    def __repr__(self) -> str:
        """The arrays by type and shape, not by what they hold."""
        shown_fields = (f for f in fields(self) if f.repr)  # type: ignore[arg-type]
        facts = {f.name: getattr(self, f.name) for f in shown_fields}
        shapes = {name: shown.array(array) for name, array in self.arrays().items()}
        inside = (f"{name}={shapes.get(name, repr(fact))}" for name, fact in facts.items())
        return f"{type(self).__name__}({', '.join(inside)})"

    def run(self, x: Array) -> Array:
        """Output of the step for the batch `x`."""
        raise TypeError(f"{type(self).__name__} has no run")

    def output(self, flow: Flow) -> Flow:
        """What flows out where `flow` flows in, or ValueError where they do not fit."""
        raise ValueError(f"{type(self).__name__} is no step")

    @classmethod
    def array_names(cls) -> list[str]:
        """The fields that hold arrays."""
        return [f.name for f in fields(cls) if str(f.type).startswith("Array")]  # type: ignore[arg-type]

    def arrays(self) -> dict[str, Array]:
        """The arrays that a file must hold, by field name."""
        values = {name: getattr(self, name) for name in self.array_names()}
        return {name: v for name, v in values.items() if v is not None}

    def settings(self) -> dict[str, Any]:
        """The plain values that a file must hold, by field name."""
        names = {f.name for f in fields(self)} - set(self.array_names())  # type: ignore[arg-type]
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name in names}  # type: ignore[arg-type]
        return {name: list(v) if isinstance(v, Grid) else v for name, v in values.items()}

    def describe(self) -> dict[str, Any]:
        """The settings with the kind of the step, as a file's header holds them."""
        return {"kind": type(self).__name__} | self.settings()

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, Array], place: str) -> Self:
        """The step from the settings of a header; its arrays, `place/...`, are taken out."""
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        names = cls.array_names()
        for name in settings:
            if name not in known or name in names:
                raise ValueError(f"has no setting {name!r}")
        given = {n: arrays.pop(f"{place}/{n}") for n in names if f"{place}/{n}" in arrays}
        for name in known.keys() - settings.keys() - given.keys():
            if known[name].default is MISSING:
                what = f"the array {place}/{name}" if name in names else f"the setting {name}"
                raise ValueError(f"lacks {what}")
        return cls(**settings, **given)


def stage_of(description: Any, arrays: dict[str, Array], place: str) -> Stage:
    """Return the step that a header and the arrays of a file stand for.

    Parameters
    ----------
    description : dict
        What `Stage.describe` gave.
    arrays : dict of arrays
        Of the whole file; those of this step are taken out.
    place : str
        Where the step stands, as the names of its arrays begin: "3", in a path of it "3/1/0".

    Returns
    -------
    Stage

    Raises
    ------
    ValueError
        If they stand for none; the message says which step and what is wrong.
    """
    if not isinstance(description, dict) or not isinstance(description.get("kind"), str):
        raise ValueError(f"step {place}: expected the description of a step")
    settings = dict(description)
    kind = settings.pop("kind")
    if kind not in Stage.kinds:
        raise ValueError(f"step {place}: there is no kind of step {kind!r}")
    try:
        return Stage.kinds[kind].restore(settings, arrays, place)
    except (TypeError, ValueError) as error:
        raise ValueError(f"step {place} ({kind}): {error}") from error


def flow_through(stages: list[Stage], flow: Flow) -> Flow:
    """What flows out of the last of some steps, or ValueError that says which does not fit."""
    for number, stage in enumerate(stages):
        try:
            flow = stage.output(flow)
        except ValueError as error:
            raise ValueError(f"step {number} ({type(stage).__name__}): {error}") from error
    return flow


def expect_flow(flow: Flow, *kinds: str) -> None:
    """Refuse what flows in if it is of another kind."""
    if flow.kind not in kinds:
        raise ValueError(f"expected {' or '.join(kinds)}, got {flow.kind}")


def expect_channels(flow: Flow, channels: int) -> None:
    """Refuse what flows in if its last axis is not as long as expected."""
    if flow.shape[-1] != channels:
        raise ValueError(f"expected {channels} channels, got {flow.shape}")


def expect(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another dtype or shape."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {got}")


def expect_words(words: Any, axes: int, bits: int, before: int = 0) -> None:
    """Refuse packed weights that are empty, or no packing of rows of `bits` bits.

    Of the `axes` before the words, `before` ones and then the units come first. A unit's inputs
    are part of an image: panels of few units take sixteen times the words, so this is looked at
    before they are made.
    """
    check_words("words", words, bits)
    if words.ndim != axes + 1 or words.size == 0:
        raise ValueError(f"words: expected {axes} axes of sizes, then words, got {words.shape}")
    inputs = math.prod(words.shape[before + 1 : -1]) * bits
    if inputs > LARGEST_SHAPE:
        raise ValueError(f"words: expected at most 2^24 inputs of a unit, got {inputs:,}")


def pair_of(name: str, value: Any, least: int) -> Pair:
    """Two whole numbers, as JSON or Python has them."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name}: expected two whole numbers, got {value!r}")
    return whole(name, value[0], least, 2**31 - 1), whole(name, value[1], least, 2**31 - 1)
