r"""The function that a straight-through gradient belongs to: a network frozen around one point.

Finite differences of a sign say 0. So in a check every quantizer is replaced, around the point x0
that it saw, by

.. math:: x \mapsto Q(x_0) + s(x) - s(x_0),

with s its surrogate. At x0 this has the quantized network's values, and its derivative is what
straight-through claims. Weights have the identity as surrogate. Drawn noise, dropout masks and the
winners of a max pool stay as they were at x0.

A surrogate has kinks of its own: the hard tanh at +-1, where values sit often enough. By eq. (4)
the bound belongs to the inside. So a value that would leave its piece within the step is reflected:
:math:`s(x_0 + d) - s(x_0)` becomes :math:`-(s(x_0 - d) - s(x_0))`. The slope at x0 is the same, the
kink is gone, and a mask with < in place of <= is found. Such values are counted and reported.

What a layer calls is recorded in the first forward pass, call by call, and repeated in the same
order in later ones: a recurrent layer uses one quantizer many times.

Over 400 lines: each kind of jump has its frozen form, and they are to be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.continuation import Continuation, described
from qnn_ref.checking.report import GradientError, Kink
from qnn_ref.layers import HardTanh
from qnn_ref.layers.base import Layer
from qnn_ref.parameter import Parameter
from qnn_ref.products import PLAIN
from qnn_ref.quantizers import Encoding, Quantizer


class Frozen:
    """What one attribute of a layer did in the recorded forward pass, call by call.

    Parameters
    ----------
    place : str
        Where it is, for messages.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.calls: list[Any] = []
        self.recording = True
        self.reflecting = True
        self.position = 0
        self.met = 0

    def rewind(self) -> None:
        """Start a new forward pass."""
        self.position = 0
        self.met = 0

    def next_call(self) -> Any:
        """What the call at this place of the recorded pass left."""
        if self.position >= len(self.calls):
            raise GradientError(
                f"{self.place}: called more often than in the first forward pass; "
                "a check needs the same calls in the same order each time"
            )
        self.position += 1
        return self.calls[self.position - 1]

    def kinks(self) -> Iterator[Kink]:
        """Values that sat exactly on a bound in the recorded pass."""
        return iter(())

    def surrogate_words(self) -> str:
        """What stood in the place of the jump, in words; "" where nothing was replaced."""
        return ""


def _kinks_of(place: str, continuations: Iterable[Continuation]) -> Iterator[Kink]:
    for continuation in continuations:
        for index in np.argwhere(continuation.on_bound):
            at = tuple(map(int, index))
            yield Kink(place, at, float(continuation.x0[at]))


def encoded(place: str, quantizer: Any, x: Array, *noise: Array) -> tuple[Array, Any]:
    """Codes and scale of a quantizer, which may be a stranger's."""
    found = quantizer.encode(x, *noise)
    if not isinstance(found, tuple) or len(found) != 2 or np.shape(found[0]) != x.shape:
        came = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
        raise TypeError(
            f"{place}.encode: expected (codes, scale), codes of shape {x.shape} as x, got {came}"
        )
    return found


class FrozenQuantizer(Frozen, Quantizer):
    """An activation quantizer around the points that it saw; its backward is the original's.

    Parameters
    ----------
    quantizer : Quantizer
    place : str
        Place of its layer.
    """

    def __init__(self, quantizer: Quantizer, place: str) -> None:
        super().__init__(place)
        self.quantizer = quantizer

    def __getattr__(self, name: str) -> Any:
        if name == "quantizer":  # not yet there while being copied
            raise AttributeError(name)
        return getattr(self.quantizer, name)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> Array | None:
        draw = getattr(self.quantizer, "draw", None)  # another's quantizer may not have one
        return draw(shape, rng) if draw is not None and self.recording else None

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        if self.recording:
            self._record(x, noise)
        codes, scale, continuation = self.next_call()
        change, met = continuation.change(x, self.reflecting)
        self.met += met
        return codes + change / scale, scale

    def _record(self, x: Array, noise: Array | None) -> None:
        if not np.isfinite(x).all():
            raise GradientError(f"{self.place}: a quantizer saw a value that is not finite")
        more = () if noise is None else (noise,)
        codes, scale = encoded(self.place, self.quantizer, x, *more)
        try:
            start = np.shape(self.quantizer.surrogate(x))
            if start != x.shape:
                raise TypeError(
                    f"surrogate: expected an array of shape {x.shape}, as x, got shape {start}"
                )
            continuation = Continuation(self.quantizer.surrogate, x)
        except (TypeError, AttributeError) as error:
            raise TypeError(f"{self.place}: {error}") from error
        self.calls.append((codes, scale, continuation))

    def surrogate(self, x: Array) -> Array:
        return self.quantizer.surrogate(x)

    def backward(self, dy: Array, x: Array) -> Array:
        return self.quantizer.backward(dy, x)

    @property
    def encoding(self) -> Encoding:
        return self.quantizer.encoding

    def kinks(self) -> Iterator[Kink]:
        return _kinks_of(self.place, (call[2] for call in self.calls))

    def surrogate_words(self) -> str:
        return described(self.quantizer.surrogate, f"that of {type(self.quantizer).__name__}")


class FrozenWeights(Quantizer):
    """A weight quantizer around the latent weights w0: codes(w0) + (w - w0) / scale.

    A stochastic one keeps the weights that it draws here: with the noise the codes are frozen.

    Parameters
    ----------
    quantizer : Quantizer
        That of the parameter.
    parameter : Parameter
        Its present value is w0.
    rng : numpy.random.Generator or None
        That of the layer.
    """

    def __init__(
        self, quantizer: Quantizer, parameter: Parameter, rng: np.random.Generator | None = None
    ) -> None:
        self.quantizer, self.latent = quantizer, parameter.latent.copy()
        weights = parameter.drawn(rng)
        self.codes, self.scale = weights.codes, weights.scale

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        return self.codes + (x - self.latent) / self.scale, self.scale

    @property
    def encoding(self) -> Encoding:
        return self.quantizer.encoding


class FrozenIdentity(Frozen):
    """A function that jumps, with the identity as surrogate: f(x0) + x - x0.

    Parameters
    ----------
    function : function
        Of one array, element by element.
    place : str
        Place of its layer.
    """

    def __init__(self, function: Callable[[Array], Array], place: str) -> None:
        super().__init__(place)
        self.function = function

    def slope(self, x0: Array, y0: Array) -> Array:
        """Slope of the surrogate, in the shape of `x0`."""
        return np.ones_like(x0)

    def __call__(self, x: Array) -> Array:
        if self.recording:
            x0, y0 = np.array(x), np.array(self.function(x))
            if y0.shape != x0.shape:
                raise ValueError(
                    f"{self.place}: {self.surrogate_words()} is a surrogate of what goes element "
                    f"by element: expected values of shape {x0.shape}, got {y0.shape}"
                )
            self.calls.append((x0, y0, self.slope(x0, y0)))
        x0, y0, slope = self.next_call()
        return y0 + slope * (x - x0)

    def surrogate_words(self) -> str:
        return "the identity"


class FrozenRatio(FrozenIdentity):
    """A function that jumps, with its ratio f(x0) / x0 held constant; 1 where x0 is 0."""

    def slope(self, x0: Array, y0: Array) -> Array:
        return np.divide(y0, x0, out=np.ones_like(x0), where=x0 != 0)

    def surrogate_words(self) -> str:
        return "the ratio f(x0) / x0, held constant"


class FrozenFunction(Frozen):
    """A function that jumps, of one or more arrays, with a surrogate: f(x0) + s(x) - s(x0).

    Parameters
    ----------
    function : function
    place : str
        Place of its layer.
    surrogate : function
        Of the same arrays. Of one array and element by element it is continued along the piece
        that each element is on.
    """

    def __init__(self, function: Callable[..., Any], place: str, surrogate: Callable[..., Any]):
        super().__init__(place)
        self.function, self.surrogate, self.words = function, surrogate, ""

    def __call__(self, *arrays: Array, **named: Array) -> Any:
        if self.recording:
            self._record(arrays, named)
        y0, more, start, continuation = self.next_call()
        if continuation is None:
            y = y0 + (self._surrogate(*arrays, **named) - start)
        else:
            first = np.asarray([*arrays, *named.values()][0])
            change, met = continuation.change(first, self.reflecting)
            self.met += met
            y = y0 + change
        return (y, *more) if more else y

    def _surrogate(self, *arrays: Array, **named: Array) -> Array:
        lent = {name: array.copy() for name, array in named.items()}
        try:
            return np.asarray(self.surrogate(*(a.copy() for a in arrays), **lent))
        except TypeError as error:
            count = len(arrays) + len(named)
            raise TypeError(
                f"surrogate: expected a function of the same {count} array"
                f"{'s' if count > 1 else ''} as forward: {error}"
            ) from error

    def _record(self, arrays: tuple[Array, ...], named: dict[str, Array]) -> None:
        first = np.array([*arrays, *named.values()][0])
        start = self._surrogate(*map(np.array, arrays), **named)
        result = self.function(*arrays, **named)
        y0, *more = result if isinstance(result, tuple) else (result,)
        y0 = np.array(y0)
        if start.shape != y0.shape:
            raise ValueError(
                f"surrogate: expected values of shape {y0.shape}, as forward's, got {start.shape}"
            )
        if not np.isfinite(start).all():
            raise ValueError("surrogate: expected finite values at the point, got NaN or infinity")
        key = next(iter(named), None)

        def of_one(x: Array) -> Array:
            return self._surrogate(x) if key is None else self._surrogate(**{key: x})

        alone = len(arrays) + len(named) == 1 and elementwise(of_one, first)
        self.words = described(of_one, name_of(self.surrogate)) if alone else ""
        self.calls.append((y0, more, start, Continuation(of_one, first) if alone else None))

    def kinks(self) -> Iterator[Kink]:
        found = (call[3] for call in self.calls if call[3] is not None)
        return _kinks_of(self.place, found)

    def surrogate_words(self) -> str:
        return self.words or name_of(self.surrogate)


def name_of(function: Any, otherwise: str = "the function given") -> str:
    """Name of a function."""
    name = getattr(function, "__name__", getattr(function, "name", type(function).__name__))
    return otherwise if name in ("<lambda>", "partial") else str(name)


def elementwise(function: Callable[[Array], Array], x: Array) -> bool:
    """Whether each value of a function depends on its own element of `x`, any shape, only."""
    y = function(x)
    if y.shape != x.shape:
        return False
    if x.size < 2:
        return True
    some = (np.arange(x.size) % 2 == 0).reshape(x.shape)
    return all(
        np.array_equal(function(np.where(moved, x + 0.5, x))[~moved], y[~moved])
        for moved in (some, ~some)
    )


class FrozenChoice(Frozen):
    """A method that draws or chooses: its recorded answers, again.

    Parameters
    ----------
    method : function
    place : str
        Place of its layer.
    """

    def __init__(self, method: Callable[..., Any], place: str) -> None:
        super().__init__(place)
        self.method = method

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.recording:
            self.calls.append(copy.deepcopy(self.method(*arguments, **options)))
        return copy.deepcopy(self.next_call())


class FrozenPiecewise(Frozen):
    """The forward pass of an elementwise layer with bounds, continued along each element's piece.

    Parameters
    ----------
    layer : Layer
    place : str
    """

    def __init__(self, layer: Layer, place: str) -> None:
        super().__init__(place)
        self.forward, self.pointwise = layer.forward, layer.pointwise

    def surrogate_words(self) -> str:
        return ""  # it is the layer itself

    def __call__(self, x: Array, training: bool = False) -> Array:
        if self.recording:
            self.calls.append(Continuation(self.pointwise, x))
        continuation = self.next_call()
        change, met = continuation.change(x, self.reflecting)
        self.met += met
        self.forward(x, training)  # what backward needs
        return continuation.start + change

    def kinks(self) -> Iterator[Kink]:
        return _kinks_of(self.place, self.calls)


KINDS: dict[str, Callable[[Any, str], Frozen]] = {
    "quantizer": FrozenQuantizer,
    "identity": FrozenIdentity,
    "ratio": FrozenRatio,
    "choice": FrozenChoice,
}
NO_SURROGATE = "no surrogate"
"""Kind of a function that jumps where the backward pass is an estimator, no function's gradient."""


def check_jumps(places: Iterable[tuple[str, Layer]]) -> None:
    """Refuse what `freeze` could not freeze, before anything runs.

    Parameters
    ----------
    places : pairs of str and Layer

    Raises
    ------
    TypeError
        If `jumps` names what is not there, an unknown kind, or what has no surrogate.
    """
    for place, layer in places:
        if not isinstance(layer.jumps, Mapping):
            raise TypeError(
                f"{place}.jumps: expected a dict, name of an attribute to its surrogate, got "
                f"{type(layer.jumps).__name__}"
            )
        for attribute, kind in layer.jumps.items():
            _check_jump(layer, place, attribute, kind)


def _check_jump(layer: Layer, place: str, attribute: str, kind: Any) -> None:
    if not hasattr(layer, attribute):
        raise TypeError(
            f"{place}.jumps: expected names of attributes, got {attribute!r}, which "
            f"{place} does not have"
        )
    if getattr(layer, attribute) is None or callable(kind):
        return
    if kind == NO_SURROGATE:
        raise TypeError(
            f"{place}.{attribute}: has no surrogate here, so the backward pass is not the "
            "gradient of any function and cannot be checked"
        )
    if kind not in KINDS:
        known = ", ".join([*KINDS, NO_SURROGATE])
        raise TypeError(
            f"{place}.jumps: expected one of {known} for {attribute}, or the surrogate itself, a "
            f"function; got {kind!r}"
        )
    if kind == "quantizer":
        check_methods(f"{place}.{attribute}", getattr(layer, attribute), QUANTIZER)


def _frozen(original: Any, place: str, kind: Any) -> Frozen:
    return FrozenFunction(original, place, kind) if callable(kind) else KINDS[kind](original, place)


QUANTIZER = {
    "encode": "encode(x, noise=None) -> (codes, scale)",
    "surrogate": "surrogate(x) -> array",
    "backward": "backward(dy, x) -> array",
}
"""What a check asks of a quantizer."""


def check_methods(name: str, thing: Any, needed: Mapping[str, str]) -> None:
    """Refuse an object that lacks a method, and say what it should have looked like."""
    lacking = [words for method, words in needed.items() if not hasattr(thing, method)]
    if lacking:
        raise TypeError(
            f"{name}: {type(thing).__name__} lacks {' and '.join(lacking)}, "
            "without which it cannot be checked"
        )


def freeze(places: Iterable[tuple[str, Layer]]) -> list[Frozen]:
    """Replace what jumps or draws in these layers, in place, by what is frozen at the next forward.

    Fast products are replaced by the plain ones, which they equal, because a frozen code is no
    whole number; quantized gradients are switched off, because they are no function's gradient.

    Parameters
    ----------
    places : pairs of str and Layer
        Every layer with its place; layers inside layers too.

    Returns
    -------
    list of Frozen
        They record until `recording` is False; `rewind` them before each forward pass.
    """
    found = list(places)
    check_jumps(found)
    frozen: list[Frozen] = []
    for place, layer in found:
        for attribute, kind in layer.jumps.items():
            original = getattr(layer, attribute)
            if original is not None:
                frozen.append(_frozen(original, place, kind))
                setattr(layer, attribute, frozen[-1])
        for parameter in layer.parameters().values():
            if parameter.quantizer is not None:
                parameter.quantizer = FrozenWeights(
                    parameter.quantizer, parameter, getattr(layer, "rng", None)
                )
        if isinstance(layer, HardTanh):
            piecewise = FrozenPiecewise(layer, place)
            layer.forward = piecewise  # type: ignore[method-assign]
            frozen.append(piecewise)
        for name, plain in (("products", PLAIN), ("gradient_quantizer", None)):
            if hasattr(layer, name):
                setattr(layer, name, plain)
    return frozen
