"""What every update rule shares: the loop over parameters, the scaled and clipped step.

Over 400 lines: what a step looks at before it changes anything stands beside the step.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from qnn_ref import shown
from qnn_ref._typing import Array
from qnn_ref.bits.panels import PANEL
from qnn_ref.bits.rooms import kept_empty
from qnn_ref.bits.threads import one_blas_thread, threads_for
from qnn_ref.checks import (
    FLOATS,
    NotFiniteError,
    Setting,
    all_finite,
    check_array,
    check_written,
    instance,
    plain_array,
    whole,
)
from qnn_ref.parameter import Parameter, Unformed

ROOM = 2**22
"""Numbers of an unformed gradient that are formed together, 16 MB.

Parts save memory, and the look at the gradient. Parts that fit the L2 cache save 8 of 32 bytes that
a step moves for a weight; what their tables cost, built anew for each part, is about as much.
"""


class Optimizer:
    """What all rules share: step count, moments for each parameter, scale and clip.

    An optimizer belongs to one network: its moments are those of that network's parameters.

    Parameters
    ----------
    learning_rate : float
        The rate eta; a schedule may set it anew each epoch.

    References
    ----------
    Algorithm 1, lines 10 and 11.
    """

    moments: tuple[str, ...] = ()
    """Names of the arrays that the rule keeps for each parameter."""

    norms: ClassVar[frozenset[str]] = frozenset()
    """Those of them that are never negative."""

    elementwise: ClassVar[bool] = False
    """Whether `update` treats each number by itself, so that it may be given some of them at a
    time. Who writes another `update` says so anew."""

    learning_rate = Setting(above=0)

    leaves_signs: ClassVar[bool] = False
    """Whether `update` takes `signs` (n / 64,) too, and says whether it left the signs of the new
    weights there, none of them NaN. Who writes another `update` says so anew."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "update" in vars(cls):
            for said in {"elementwise", "leaves_signs"} - vars(cls).keys():
                setattr(cls, said, False)

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.steps = 0
        self.state: dict[str, dict[str, Array]] = {}
        self._moved: dict[str, int] = {}  # numbers of the parameters that the state belongs to

    def settings(self) -> dict[str, Any]:
        """What the rule was made with, by name, but for the rate, which a schedule changes."""
        names = list(inspect.signature(type(self)).parameters)
        return {name: getattr(self, name) for name in names if name != "learning_rate"}

    def __repr__(self) -> str:
        return shown.call(self, self.settings() | {"learning_rate": self.learning_rate})

    def step(self, parameters: Mapping[str, Parameter]) -> None:
        """Move every parameter once, by the gradient that `backward` left in it.

        Everything is looked at before anything is changed: a step that fails has moved nothing.
        """
        if not isinstance(parameters, Mapping):
            raise TypeError(
                "parameters: expected names with their parameters, as network.parameters() gives "
                f"them, got {type(parameters).__name__}"
            )
        for name, parameter in parameters.items():
            instance(name, parameter, Parameter)
        if self.state:
            self._refuse_others(parameters)
        work, known = [], {}
        # Of the sums that are looked at; no thread of theirs may be in the way of the updates.
        with np.errstate(over="ignore", invalid="ignore"), one_blas_thread():
            for name, parameter in parameters.items():
                moments = self.state.get(name)
                if moments is None:
                    moments = {m: np.zeros_like(parameter.latent) for m in self.moments}
                gradient = self._gradient(name, parameter)
                key = parameter.dtype, parameter.learning_rate_scale
                if key not in known:
                    known[key] = self._numbers(name, parameter, self.steps + 1)
                work.append((name, parameter, gradient, known[key], moments))
        room = _room_for([gradient for _, _, gradient, _, _ in work])
        self.steps += 1
        for name, parameter, gradient, numbers, moments in work:
            self.state[name], self._moved[name] = moments, parameter.number
            flat = {m: array.reshape(-1) for m, array in moments.items()}
            bound = parameter.dtype.type(parameter.bound)
            signs = parameter.room_for_signs() if self.leaves_signs else None
            with threads_for(parameter.size), parameter.edit() as latent:
                values, clean = latent.reshape(-1), []
                for part, formed in _parts(gradient, room):
                    there = {m: array[part] for m, array in flat.items()}
                    if signs is not None:
                        there["signs"] = signs[part.start // 64 : part.stop // 64]
                    clean.append(self.update(values[part], formed, numbers, bound, **there))
            if signs is not None and all(clean):
                parameter.keep_signs(signs)

    def _gradient(self, name: str, parameter: Parameter) -> Array | Unformed:
        """The gradient, looked at: an array, or rows of one that are finite."""
        later = parameter.unformed
        if (
            later is not None
            and self.elementwise
            and later.shape == parameter.shape
            and later.dtype == parameter.dtype
            and later.surely_finite()
        ):
            return later
        gradient = parameter.grad
        if gradient is None or not _is_usual(parameter, gradient):
            return checked_gradient(name, parameter)
        return gradient

    def constants(self, parameter: Parameter, t: int) -> list[float]:
        """Numbers of the rule for this parameter in step t, counted from 1.

        They may depend on its dtype and its learning-rate scale, and on nothing else of it: where
        both are the same, they are asked for once.
        """
        raise TypeError(f"{type(self).__name__} has no update rule")

    def update(
        self, latent: Array, grad: Array, constants: Array, bound: float, **moments: Array
    ) -> Any:
        """Change the latent values (n,) and their moments (n,) in place, by the gradient (n,)."""
        raise TypeError(f"{type(self).__name__} has no update rule")

    def set_state(
        self,
        steps: int,
        state: Mapping[str, Mapping[str, Array]],
        parameters: Mapping[str, Parameter],
    ) -> None:
        """Put back a number of steps and the moments (`state`) that go with these parameters."""
        steps = whole("steps", steps, 0, 2**53)
        if (names := set(parameters) if steps else set()) != set(state):
            raise ValueError(f"state: these have or lack moments: {sorted(names ^ set(state))[:4]}")
        for name, moments in state.items():
            self._check_moments(name, parameters[name], moments)
            for moment, array in moments.items():
                all_finite(f"{name}, {moment}", array)
                if moment in self.norms and np.any(array < 0):
                    raise ValueError(f"{name}, {moment}: expected no negative number")
        self.steps = steps
        self.state = {
            name: {m: np.array(a, order="C") for m, a in moments.items()}
            for name, moments in state.items()
        }
        self._moved = {name: parameters[name].number for name in state}

    def _refuse_others(self, parameters: Mapping[str, Parameter]) -> None:
        for name in sorted(parameters.keys() ^ self.state.keys()):
            which = "has no moments in" if name in parameters else "is missing, but was moved by"
            raise ValueError(
                f"{name}: this parameter {which} the {self.steps} steps of this {_KEEP_APART}"
            )
        for name, parameter in parameters.items():
            self._check_moments(name, parameter, self.state[name])
        # One of the same shape has foreign moments all the same.
        for name, parameter in parameters.items():
            if self.moments and self._moved.get(name, parameter.number) != parameter.number:
                raise ValueError(
                    f"{name}: this parameter is not the one that was moved by the {self.steps} "
                    f"steps of this {_KEEP_APART}"
                )

    def _check_moments(self, name: str, parameter: Parameter, moments: Mapping[str, Array]) -> None:
        if tuple(moments) != self.moments and set(moments) != set(self.moments):
            raise ValueError(
                f"{name}: expected the moments {sorted(self.moments)}, got {sorted(moments)}"
            )
        shape, dtype = parameter.shape, parameter.dtype
        for moment, array in moments.items():
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"{name}: is {parameter.dtype} {parameter.shape}, but its moment {moment!r} is "
                    f"{array.dtype} {array.shape} in this {_KEEP_APART}"
                )

    def _numbers(self, name: str, parameter: Parameter, t: int) -> Array:
        """The constants in the dtype of the parameter (a Python float would be a float64)."""
        numbers = self.constants(parameter, t)
        largest = LARGEST[parameter.dtype]
        if not all(abs(number) <= largest for number in numbers):
            raise NotFiniteError(
                f"{name}: expected constants of {type(self).__name__} that are finite in "
                f"{parameter.dtype}, got {numbers}"
            )
        array = np.array(numbers, parameter.dtype)
        array.flags.writeable = False
        return array


LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in FLOATS}

_KEEP_APART = "optimizer; a new network needs a new optimizer"


def checked_gradient(name: str, parameter: Parameter) -> Array:
    """Return the gradient of a parameter, or say by name why it is none.

    Parameters
    ----------
    name : str
        Name of the parameter.
    parameter : Parameter

    Returns
    -------
    array, the shape and dtype of the parameter

    Raises
    ------
    RuntimeError
        If there is none yet.
    TypeError
        If it is no array, or of another dtype.
    ValueError
        If it has another shape, or holds NaN or infinity.

    References
    ----------
    Not in the paper.
    """
    gradient = parameter.grad
    if gradient is None:
        raise RuntimeError(f"{name}: no gradient; call backward before the step")
    plain_array(f"{name}: gradient", gradient)
    if gradient.dtype != parameter.dtype:
        raise TypeError(
            f"{name}: expected a gradient of dtype {parameter.dtype}, got {gradient.dtype}"
        )
    if gradient.shape != parameter.shape:
        raise ValueError(
            f"{name}: expected a gradient of shape {parameter.shape}, got {gradient.shape}"
        )
    all_finite(f"{name}: gradient", gradient)
    return gradient


def _rows(gradient: Unformed) -> int:
    """Rows that are formed together: whole panels, or all of them."""
    rows, columns = gradient.shape
    return min(rows, max(1, ROOM // (PANEL * columns)) * PANEL)


def _room_for(gradients: Sequence[Array | Unformed]) -> Array:
    """Memory for some rows of the widest gradient that is not formed yet."""
    later = [gradient for gradient in gradients if isinstance(gradient, Unformed)]
    if not later:
        return np.empty(0, np.float32)
    size = max(_rows(gradient) * gradient.shape[1] for gradient in later)
    return kept_empty((size,), later[0].dtype)


def _parts(gradient: Array | Unformed, room: Array) -> Iterator[tuple[slice, Array]]:
    """Form a gradient some rows at a time: where they stand in it, as one axis, and they."""
    if not isinstance(gradient, Unformed):
        yield slice(0, gradient.size), gradient.reshape(-1)
        return
    (rows, columns), step = gradient.shape, _rows(gradient)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        part = room[: count * columns]
        gradient.rows(first, part.reshape(count, columns))
        yield slice(first * columns, first * columns + part.size), part


def _is_usual(parameter: Parameter, gradient: Array) -> bool:
    """Whether a gradient is all that `checked_gradient` asks for, at a glance.

    A sum of squares is finite only if all of them are; one that overflows is looked at there.
    """
    return (
        type(gradient) is np.ndarray
        and gradient.dtype == parameter.dtype
        and gradient.shape == parameter.shape
        and gradient.flags.c_contiguous
        and math.isfinite(np.dot(flat := gradient.reshape(-1), flat))
    )


def scaled_clipped_step(latent: Array, step: Array, scale: float, bound: float) -> None:
    r"""Line 11, in place: :math:`W \leftarrow \mathrm{clip}(W - \gamma\,\mathrm{step}, -B, B)`.

    Parameters
    ----------
    latent : array, any shape
        Changed in place.
    step : array, the shape of `latent`
        What the unscaled rule would subtract.
    scale : float
        Learning-rate scale gamma of the parameter.
    bound : float
        The bound B, infinite for parameters that are not clipped.

    References
    ----------
    Algorithm 1, line 11.
    """
    np.clip(latent - latent.dtype.type(scale) * step, -bound, bound, out=latent)


def check_update(
    names: str, arrays: tuple[Array, ...], constants: Array, count: int, bound: float
) -> None:
    """Refuse operands of an update rule that do not fit each other: it writes into all but one.

    Parameters
    ----------
    names : str
        Names of the arrays, a letter each.
    arrays : tuple of arrays (n,)
        Latent value, gradient, and moments; all but the gradient are written to.
    constants : array (count,)
    count : int
        How many constants the rule has.
    bound : float

    Raises
    ------
    TypeError, ValueError
        If an array has another shape or type than the first, cannot be written to, or shares
        memory with another; if the constants are not `count` numbers of that type, or the bound is
        not above 0.

    References
    ----------
    Not in the paper: compiled code looks at no size.
    """
    if _fit(arrays, constants, count) and type(bound) in _BOUNDS and bound > 0:
        return  # the usual case: of a small parameter the checks must not take longer than its step
    check_array(names[0], arrays[0], FLOATS, ("n",))
    shape, dtypes = arrays[0].shape, (arrays[0].dtype,)
    for name, array in zip(names[1:], arrays[1:], strict=True):
        check_array(name, array, dtypes, shape)
    check_array("constants", constants, dtypes, (count,))
    for name, array in ((names[1], arrays[1]), ("constants", constants)):
        if not array.flags.c_contiguous:
            raise ValueError(f"{name}: expected a C-contiguous array")
    check_written(names[0], arrays[0], *arrays[1:])
    for i in range(2, len(arrays)):
        check_written(names[i], arrays[i], arrays[1], *arrays[i + 1 :])
    usual = type(bound) is float
    if not usual and (isinstance(bound, bool) or not isinstance(bound, (int, np.floating))):
        raise TypeError(f"bound: expected a number, got {bound!r}")
    if not bound > 0:
        raise ValueError(f"bound: expected a number above 0 (infinity: no clip), got {bound}")


_BOUNDS = (float, np.float32, np.float64)


def _fit(arrays: tuple[Array, ...], constants: Array, count: int) -> bool:
    """Whether all of `check_update` is certain at a glance, for arrays with memory of their own."""
    first = arrays[0]
    if type(first) is not np.ndarray or first.ndim != 1:
        return False
    shape, dtype, owners = first.shape, first.dtype, set()
    for array in (constants, *arrays):
        if type(array) is not np.ndarray or array.dtype is not dtype:
            return False
        owner = array if array.base is None else array.base
        if type(owner) is not np.ndarray or not owner.flags.owndata:
            return False
        flags = array.flags
        if not flags.c_contiguous or not flags.aligned:
            return False
        if array is not constants:
            if array.shape != shape or not (flags.writeable or array is arrays[1]):
                return False
            owners.add(id(owner))
    return dtype in FLOATS and constants.shape == (count,) and len(owners) == len(arrays)
