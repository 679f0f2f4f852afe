"""A trained recurrent network as bits: tokens in, scores of the next one out (section 4.4)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from qnn_ref import shown
from qnn_ref._typing import Array
from qnn_ref.checks import all_finite, check_array, choice, instance, plain_array
from qnn_ref.files import FileError
from qnn_ref.grid import Grid
from qnn_ref.packed.file import LEVELS, read_sequence, write_sequence
from qnn_ref.packed.recurrent_stages import (
    GridRecurrent,
    Rows,
    State,
)
from qnn_ref.packed.stages import Flow, Stage, flow_through
from qnn_ref.packed.thresholds import Scores

MOST_SUMS = 2**24
"""Sums of all symbols that are kept, at most: 64 MB of them."""


class PackedSequence:
    """A recurrent network that runs on bits: `forward`, `save`, `load`.

    Its scores and states equal those of the network it was packed from, bit for bit, in each step.

    Parameters
    ----------
    stages : list of Stage
        `Rows` first, `Scores` at the end.
    symbols : sequence of str
        What the tokens stand for; none if that is not known.
    level : {"characters", "words"}
        What a symbol is.

    Raises
    ------
    ValueError
        If a step does not fit the one before it, or the symbols are not one a token.
    """

    def __init__(
        self, stages: list[Stage], symbols: Sequence[str] = (), level: str = "characters"
    ) -> None:
        if len(stages) < 2 or not isinstance(stages[0], Rows) or not isinstance(stages[-1], Scores):
            raise ValueError("stages: expected Rows first and Scores at the end")
        self.vocabulary = len(stages[0].codes)
        out = flow_through(stages, self._tokens())
        self.stages = stages
        self.output_shape = (-1, *out.shape)
        self.level = choice("level", level, LEVELS)
        self.symbols = tuple(instance("symbols", symbol, str) for symbol in symbols)
        if self.symbols and len(set(self.symbols)) != self.vocabulary:
            raise ValueError(
                f"symbols: expected {self.vocabulary} that differ, one for each row of the table, "
                f"got {len(self.symbols)}"
            )
        self.final_state: Mapping[str, Array | State] = MappingProxyType({})

    def _tokens(self) -> Flow:
        return Flow("tokens", (1,), Grid(0, max(1, self.vocabulary - 1), 1))

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("step", "output", "of", "bytes")]
        flow = self._tokens()
        for number, stage in enumerate(self.stages):
            flow = stage.output(flow)
            count = sum(array.nbytes for array in stage.arrays().values())
            name = f"{number} {type(stage).__name__}"
            rows.append((name, f"(steps, {flow.shape[0]})", flow.kind, f"{count:,}"))
        return rows

    def __repr__(self) -> str:
        """A table of the steps: what flows out of each, and how much it holds."""
        return shown.columns(self._rows(), right=(3,))

    def _repr_html_(self) -> str:
        return shown.html_table(self._rows(), right=(3,))

    def forward(
        self, x: Array, training: bool = False, state: Mapping[str, Array | State] | None = None
    ) -> Array:
        """Scores (batch, time, classes) of tokens (batch, time), as `Sequential.forward`.

        `state` is what `final_state` was after the tokens before these; zeros without it.
        """
        if training:
            raise ValueError("training: a packed network cannot be trained, got True")
        self._check(x)
        states = self._states(state, len(x))
        found: dict[str, Array | State] = {}
        steps = x.shape[::-1]
        flow: Array = x.T.reshape(-1)  # time first, so that a step lies in one piece
        for number, stage in enumerate(self.stages):
            if not isinstance(stage, GridRecurrent):
                if number > 0 or self.symbol_sums is None:
                    flow = stage.run(flow)
                continue
            kept = number == 1 and self.symbol_sums is not None
            z = self.symbol_sums[flow] if kept else stage.input_sums(flow)  # type: ignore[index]
            name = f"{number}.{stage.cell}"
            codes, after = stage.run_steps(z.reshape(*steps, -1), states[name])
            flow = codes.reshape(len(flow), -1)
            found[name] = after if len(after) > 1 else after[0]
        self.final_state = MappingProxyType(found)
        return np.ascontiguousarray(flow.reshape(*steps, -1).swapaxes(0, 1))

    @cached_property
    def symbol_sums(self) -> Array | None:
        """What each symbol gives to the sums of the first cell, (vocabulary, sums).

        The same each time, so it is kept; None where that would take much memory.
        """
        rows, cell = self.stages[0], self.stages[1]
        if not isinstance(rows, Rows) or not isinstance(cell, GridRecurrent):
            return None
        if self.vocabulary * len(cell.bias) > MOST_SUMS:
            return None
        return cell.input_sums(rows.codes)

    def _check(self, x: Array) -> None:
        plain_array("x", x)
        if x.dtype.kind not in "iu":
            raise TypeError(f"x: expected tokens, whole numbers, got {x.dtype}")
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"x: expected shape (batch, steps), at least (1, 1), got {x.shape}")
        if x.min() < 0 or x.max() >= self.vocabulary:
            raise ValueError(f"x: expected numbers from 0 to {self.vocabulary - 1}, got others")

    def _states(self, state: Mapping[str, Array | State] | None, batch: int) -> dict[str, State]:
        cells = {
            f"{number}.{stage.cell}": stage
            for number, stage in enumerate(self.stages)
            if isinstance(stage, GridRecurrent)
        }
        if state is None:
            return {name: cell.first_state(batch) for name, cell in cells.items()}
        if state is not self.final_state:  # ours cannot be changed, and was looked at
            self._check_state(state, cells, batch)
        found: dict[str, State] = {}
        for name in cells:
            arrays = state[name]
            found[name] = tuple(arrays) if isinstance(arrays, tuple | list) else (arrays,)
            if len(found[name][0]) != batch:
                raise ValueError(f"state: expected that of {batch} texts, got others")
        return found

    def _check_state(self, state: Any, cells: Mapping[str, GridRecurrent], batch: int) -> None:
        """Refuse what is no state of these cells."""
        instance("state", state, Mapping)  # type: ignore[type-abstract]
        if state.keys() != cells.keys():
            raise ValueError(
                f"state: expected one for each of {', '.join(cells)}, got {list(state)}"
            )
        for name, cell in cells.items():
            given = state[name]
            arrays = tuple(given) if isinstance(given, tuple | list) else (given,)
            if len(arrays) != len(cell.names):
                raise ValueError(f"state, {name}: expected {len(cell.names)} arrays")
            for part, array in zip(cell.names, arrays, strict=True):
                place = f"state, {name}, {part}"
                check_array(place, array, (cell.bias.dtype,), (batch, cell.units))
                all_finite(place, array)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file, whole or not at all."""
        write_sequence(path, self.stages, self.symbols, self.level)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PackedSequence:
        """Read a network that `save` wrote, or raise FileError."""
        stages, symbols, level = read_sequence(path)
        try:
            return cls(stages, symbols, level)
        except (TypeError, ValueError) as error:
            raise FileError(f"{path}: damaged packed network file: {error}") from error

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for stage in self.stages for a in stage.arrays().values())
