"""Whatever can be checked, as a layer: pairs of functions, quantizers, others' layers.

Over 400 lines: whatever a stranger hands in is refused here, in words, or becomes a layer.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from qnn_ref import checks
from qnn_ref._typing import Array
from qnn_ref.checking.freeze import KINDS, QUANTIZER, encoded, name_of
from qnn_ref.layers.base import Layer
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Quantizer

Arrays = ArrayLike | tuple[ArrayLike, ...] | Mapping[str, ArrayLike]
Function = Callable[..., Any]
Surrogate = Function | str | Mapping[str, Function | str]


def change_of(what: str, before: Array, after: Array) -> tuple[str, float, float] | None:
    """What was changed in place, by how much at most, and how large it was; None if nothing."""
    change = np.abs(np.subtract(after, before, dtype=np.float64))
    if not change.any():
        return None
    return f"{what} (changed in place)", float(change.max()), float(np.abs(before).max())


class Adapted(Layer):
    """What is checked and was no layer; `name` is what its author calls it."""

    name: str


class Pair(Adapted):
    """A function and its backward function as a layer whose parameters are the arrays.

    Parameters
    ----------
    forward : function
        Of the arrays. Returns y, or a pair (y, cache).
    backward : function
        `backward(dy, *arrays)`, with arrays by name `backward(dy, **arrays)`, after a pair
        (y, cache) `backward(dy, cache)`. Returns one gradient, or one for each array.
    x : array, tuple of arrays or dict of arrays
    surrogate : function, word or dict, optional
        See `qnn_ref.checking.check_gradients`.
    """

    def __init__(
        self, forward: Function, backward: Function, x: Arrays, surrogate: Surrogate | None = None
    ) -> None:
        self.name = name_of(forward, "forward")
        self.by_name = isinstance(x, Mapping)
        self.arrays = _arrays(forward, x)
        self.trained = {
            name: Parameter(array) for name, array in self.arrays.items() if array.dtype.kind == "f"
        }
        self.input_shape = (1,)
        self.jump_forward, self.function_backward = forward, backward
        self.jumps = self._jumps(forward, surrogate)
        self.damages: list[tuple[str, float, float]] = []
        self.cache: tuple[Any, ...] = ()

    def _jumps(self, forward: Function, surrogate: Surrogate | None) -> dict[str, Any]:
        """What to freeze: forward as a whole, or those of its arguments that jump."""
        if surrogate is None:
            return {}
        if not isinstance(surrogate, Mapping):
            return {"jump_forward": _kind("surrogate", surrogate)}
        found = {}
        for name, kind in surrogate.items():
            setattr(self, f"jump_{name}", _default(forward, name))
            found[f"jump_{name}"] = _kind(f"surrogate[{name!r}]", kind)
        return found

    def parameters(self) -> dict[str, Parameter]:
        return self.trained

    def present(self) -> dict[str, Array]:
        """Copies of all arrays as they are now."""
        return {
            name: self.trained[name].latent.copy() if name in self.trained else array.copy()
            for name, array in self.arrays.items()
        }

    def forward(self, x: Array, training: bool = False) -> Array:
        lent = self.present()
        inner = {a[5:]: getattr(self, a) for a in self.jumps if a != "jump_forward"}
        y = self._call(self.jump_forward, (), lent, inner)
        self._compare("", lent)
        self.cache = ()
        if isinstance(y, tuple):
            if len(y) != 2:
                raise TypeError(
                    f"{self.name}: expected an array or a pair (array, cache), got {len(y)} values"
                )
            y, self.cache = y[0], (y[1],)
        return real_array(f"{self.name}: value", y)

    def _call(
        self, function: Function, first: tuple[Any, ...], arrays: dict[str, Array], inner: Any
    ) -> Any:
        given, named = (first, arrays) if self.by_name else ((*first, *arrays.values()), {})
        _check_call("backward" if first else self.name, function, given, named | inner)
        return function(*given, **named, **inner)

    def backward(self, dy: Array) -> None:
        lent, lent_dy = self.present(), dy.copy()
        try:
            found = self._found(lent_dy, lent)
        except Exception:
            if not self.damages:
                raise
            found = (None,) * len(self.arrays)  # forward changed an array: that is the mistake
        self._compare("backward: ", lent)
        self._note(change_of("upstream gradient", dy, lent_dy))
        for name, gradient in self._by_name(found).items():
            if name in self.trained:
                grad = None if gradient is None else real_array(f"gradient of {name}", gradient)
                self.trained[name].grad = grad

    def _found(self, dy: Array, arrays: dict[str, Array]) -> Any:
        """What the backward function returns."""
        if not self.cache:
            return self._call(self.function_backward, (dy,), arrays, {})
        _check_call("backward", self.function_backward, (dy, *self.cache), {})
        return self.function_backward(dy, *self.cache)

    def _by_name(self, found: Any) -> dict[str, Any]:
        """The gradients by the names of their arrays."""
        names = list(self.arrays)
        if isinstance(found, Mapping):
            unknown = [name for name in found if name not in names]
            if unknown:
                raise ValueError(
                    f"backward: expected gradients of {', '.join(names)}, got one of {unknown[0]}"
                )
            return {name: found.get(name) for name in names}
        if not isinstance(found, tuple | list) or (len(names) == 1 and isinstance(found, list)):
            found = (found,)
        if len(found) == len(names):
            return dict(zip(names, found, strict=True))
        if len(found) == len(self.trained):  # none for arrays of integers
            return dict(zip(self.trained, found, strict=True))
        raise ValueError(
            f"backward: expected {len(names)} gradients, one for each of {', '.join(names)}, "
            f"got {len(found)}"
        )

    def _compare(self, when: str, lent: dict[str, Array]) -> None:
        for name, before in self.present().items():
            self._note(change_of(when + name, before, lent[name]))

    def _note(self, damage: tuple[str, float, float] | None) -> None:
        if damage is not None and damage[0] not in [known[0] for known in self.damages]:
            self.damages.append(damage)


def _check_call(
    name: str, function: Function, given: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Refuse a function that does not take the arguments it is called with."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled, or built in
        return
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise TypeError(
            f"{name}: expected a function of {len(given) + len(named)} arguments, got one of "
            f"{takes}: {error}"
        ) from error


def real_array(name: str, value: Any) -> Array:
    """What a stranger's function returned, as an array of real numbers of its own."""
    if value is None or isinstance(value, tuple):
        raise TypeError(f"{name}: expected an array of real numbers, got {_type_of(value)}")
    try:
        array = np.array(value)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"{name}: expected an array of real numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected an array of real numbers, got {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _type_of(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} of {len(value)}"


def _arrays(forward: Function, x: Arrays) -> dict[str, Array]:
    """The arrays by name, float64 where they are real, copied."""
    try:
        given = _given(forward, x)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            "x: expected an array, rows of one length; several arrays are given as a tuple"
        ) from error
    if not given:
        raise ValueError("x: expected at least one array, got none")
    for name, array in given.items():
        which = "x" if len(given) == 1 else f"x, array {name}"
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{which}: expected real numbers, got {array.dtype}")
        if array.size == 0:
            raise ValueError(f"{which}: expected at least one number, got shape {array.shape}")
        checks.all_finite(which, array)
    if all(array.dtype.kind != "f" for array in given.values()):
        dtype = next(iter(given.values())).dtype
        raise TypeError(f"x: expected real numbers, such as x.astype(float), got {dtype}")
    return {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in given.items()}


def _given(forward: Function, x: Arrays) -> dict[str, Array]:
    if isinstance(x, Mapping):
        return {str(name): np.array(array) for name, array in x.items()}
    values = x if isinstance(x, tuple) else (x,)
    return dict(zip(_names(forward, len(values)), map(np.array, values), strict=True))


def _names(forward: Function, count: int) -> list[str]:
    """Names of the first arguments of a function; x0, x1, ... where it does not tell."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # compiled, or built in
        return ["x"] if count == 1 else [f"x{i}" for i in range(count)]
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in plain]
    if any(p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return ["x"] if count == 1 else [f"x{i}" for i in range(count)]
    if len(names) < count:
        raise ValueError(
            f"x: {name_of(forward, 'forward')} takes {', '.join(names) or 'nothing'}, "
            f"got {count} array{'s' if count > 1 else ''}"
        )
    return names[:count]


def _default(forward: Function, name: str) -> Function:
    try:
        default = inspect.signature(forward).parameters[name].default
    except (TypeError, ValueError, KeyError):
        default = None
    if not callable(default) or default is inspect.Parameter.empty:
        raise ValueError(
            f"surrogate: expected names of forward's arguments that hold a function, such as "
            f"def forward(x, {name}={name}); got {name!r}"
        )
    return default  # type: ignore[no-any-return]


def _kind(name: str, kind: Any) -> Any:
    if callable(kind) or kind in KINDS:
        return kind
    raise TypeError(
        f"{name}: expected a function, or one of {', '.join(map(repr, KINDS))}; got {kind!r}"
    )


class QuantizerLayer(Adapted):
    """A quantizer as a layer that emits its values.

    Parameters
    ----------
    quantizer : Quantizer, or what has its methods
    shape : tuple of int
        Of x.
    """

    jumps = {"quantizer": "quantizer"}  # noqa: RUF012

    def __init__(self, quantizer: Quantizer, shape: tuple[int, ...]) -> None:
        self.name = type(quantizer).__name__
        self.quantizer = quantizer
        self.build(shape[1:] or (1,), np.random.default_rng(0), dtype=np.float64)

    def forward(self, x: Array, training: bool = False) -> Array:
        draw = getattr(self.quantizer, "draw", None)  # another's may not have one
        noise = None if draw is None else draw(x.shape, self.rng)
        codes, scale = encoded(self.name, self.quantizer, x, *(() if noise is None else (noise,)))
        self._saved = x
        return codes * scale  # type: ignore[no-any-return]

    def backward(self, dy: Array) -> Array:
        return self.quantizer.backward(dy, self._saved)


def is_quantizer(thing: Any) -> bool:
    """Whether it is a quantizer, or has the methods of one."""
    return isinstance(thing, Quantizer) or all(hasattr(thing, method) for method in QUANTIZER)


class Foreign(Adapted):
    """An object with `forward` and `backward` of its own as a layer.

    Parameters
    ----------
    thing : object
        `forward(x)` or `forward(x, training=...)`, `backward(dy)`, and, if it has any,
        `parameters() -> {name: Parameter}` and `jumps`.
    shape : tuple of int
        Of x.
    """

    OWN = ("thing", "forward", "backward", "input_shape", "name", "with_training", "_kept")

    def __init__(self, thing: Any, shape: tuple[int, ...]) -> None:
        self.thing = thing
        self.name = type(thing).__name__
        self.input_shape = shape[1:]
        self.with_training = "training" in _arguments(thing.forward)
        for name, parameter in self.parameters().items():
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    f"{self.name}.parameters: expected qnn_ref.parameter.Parameter objects by "
                    f"name, got {type(parameter).__name__} for {name!r}"
                )

    @property
    def jumps(self) -> Mapping[str, Any]:  # type: ignore[override]
        return getattr(self.thing, "jumps", {})

    def __getattr__(self, name: str) -> Any:
        if name == "thing":  # not yet there while being copied
            raise AttributeError(name)
        return getattr(self.thing, name)

    def __setattr__(self, name: str, value: Any) -> None:
        owner = self if name in self.OWN or name in self.__dict__ else self.thing
        object.__setattr__(owner, name, value)

    def astype(self, dtype: DTypeLike) -> None:
        for parameter in self.parameters().values():
            parameter.astype(dtype)

    def parameters(self) -> dict[str, Parameter]:
        find = getattr(self.thing, "parameters", None)
        found = find() if callable(find) else {}
        if not isinstance(found, Mapping):
            raise TypeError(
                f"{self.name}.parameters: expected a dict of Parameter objects by name, got "
                f"{type(found).__name__}"
            )
        return dict(found)

    def forward(self, x: Array, training: bool = False) -> Array:
        more = {"training": training} if self.with_training else {}
        return real_array(f"{self.name}.forward", self.thing.forward(x, **more))

    def backward(self, dy: Array) -> Array | None:
        found = self.thing.backward(dy)
        return None if found is None else real_array(f"{self.name}.backward", found)


def _arguments(function: Function) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def adapted(
    subject: Any, x: Any, backward: Function | None, surrogate: Surrogate | None, labels: Any
) -> Layer | None:
    """A layer that stands for the subject; None where it needs none, or is a loss function.

    Parameters
    ----------
    subject : object
        No layer and no network.
    x : array, tuple or dict of arrays
    backward : function or None
    surrogate : function, word, dict or None
    labels : array or None
        With labels a function is a loss function.

    Returns
    -------
    Layer or None

    Raises
    ------
    TypeError, ValueError
        If the subject is none of what can be checked.
    """
    if isinstance(subject, type):
        raise TypeError(
            f"subject: expected an object, got the class {subject.__name__}; "
            f"write {subject.__name__}(...)"
        )
    methods = [getattr(subject, name, None) for name in ("forward", "backward")]
    if isinstance(x, tuple | Mapping) and (is_quantizer(subject) or all(map(callable, methods))):
        raise ValueError(
            f"x: expected one array for {type(subject).__name__}, got {len(x)}; with several, "
            "check plain functions: check_gradients(forward, x, backward=backward, ...)"
        )
    if all(map(callable, methods)):
        _without("a layer", backward, surrogate)
        return Foreign(copy.deepcopy(subject), np.shape(x))
    if is_quantizer(subject):
        _without("a quantizer", backward, surrogate)
        return QuantizerLayer(copy.deepcopy(subject), np.shape(x))
    if not callable(subject):
        lacking = [m for m in ("forward", "backward") if not hasattr(subject, m)]
        raise TypeError(
            "subject: expected a built layer, a network, a quantizer, a loss function or a plain "
            f"function with its backward, got {type(subject).__name__}, which lacks "
            + " and ".join(lacking)
        )
    backward = getattr(subject, "backward", None) if backward is None else backward
    if backward is None:
        if labels is not None:
            return None
        raise TypeError(
            f"backward: expected a function of (dy, *arrays) beside the plain function "
            f"{name_of(subject, 'forward')}, got None; a loss function as subject needs labels"
        )
    if not callable(backward):
        raise TypeError(f"backward: expected a function, got {type(backward).__name__}")
    return Pair(subject, backward, x, surrogate)


def _without(what: str, backward: Any, surrogate: Any) -> None:
    for name, given in (("backward", backward), ("surrogate", surrogate)):
        if given is not None:
            raise ValueError(f"{name}: {what} has its own; this is for plain functions")
