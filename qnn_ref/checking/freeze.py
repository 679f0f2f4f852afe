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
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.checking.report import GradientError, Kink
from qnn_ref.layers import HardTanh
from qnn_ref.layers.base import Layer
from qnn_ref.parameter import Parameter
from qnn_ref.products import PLAIN
from qnn_ref.quantizers import Encoding, Quantizer

Array = NDArray[Any]


class Continuation:
    """Change of a surrogate near x0 along the piece that x0 is on.

    Parameters
    ----------
    value : function
        The surrogate, element by element.
    slope : function
        Its slope, as the hand-written backward pass has it. Only its *jumps* are used, to find the
        bounds; the size of the slope comes from `value`.
    x0 : array, any shape
    """

    def __init__(
        self, value: Callable[[Array], Array], slope: Callable[[Array], Array], x0: Array
    ) -> None:
        self.value, self.slope, self.x0 = value, slope, x0.copy()
        self.start = value(x0)
        under, over = np.nextafter(x0, -np.inf), np.nextafter(x0, np.inf)
        here, below, above = slope(x0), slope(under), slope(over)
        self.size = max(float(np.abs(s).max(initial=0)) for s in (here, below, above))
        # The slope jumps between both neighbours: the bound is x0 or beside it. It is x0 if the
        # surrogate itself bends there; what backward says *at* the bound is what a check is about.
        bends = self.start - value(under) != value(over) - self.start
        self.on_bound = self._jumps(below, above) & bends
        inside = np.where(np.abs(above) > np.abs(below), above, below)
        self.inside = np.where(self.on_bound, inside, here)

    def _jumps(self, a: Array, b: Array) -> Array:
        return np.abs(a - b) > 0.01 * self.size

    def change(self, x: Array) -> tuple[Array, int]:
        """`value(x) - value(x0)` without kink, any shape, and how many elements met a bound."""
        d = x - self.x0
        leaves = self._jumps(self.slope(x), self.inside)
        change = self.value(np.where(leaves, self.x0 - d, x)) - self.start
        met = int(np.count_nonzero(leaves | (self.on_bound & (d != 0))))
        return np.where(leaves, -change, change), met


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


def _kinks_of(place: str, continuations: Iterable[Continuation]) -> Iterator[Kink]:
    for continuation in continuations:
        for index in np.argwhere(continuation.on_bound):
            at = tuple(map(int, index))
            yield Kink(place, at, float(continuation.x0[at]))


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
        return self.quantizer.draw(shape, rng) if self.recording else None

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        if self.recording:
            self._record(x, noise)
        codes, scale, continuation = self.next_call()
        change, met = continuation.change(x)
        self.met += met
        return codes + change / scale, scale

    def _record(self, x: Array, noise: Array | None) -> None:
        if not np.isfinite(x).all():
            raise GradientError(f"{self.place}: a quantizer saw a value that is not finite")
        codes, scale = self.quantizer.encode(x, noise)
        try:
            continuation = Continuation(
                self.quantizer.surrogate,
                lambda z: self.quantizer.backward(np.ones_like(z), z),
                x,
            )
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
            self.calls.append((x0, y0, self.slope(x0, y0)))
        x0, y0, slope = self.next_call()
        return y0 + slope * (x - x0)


class FrozenRatio(FrozenIdentity):
    """A function that jumps, with its ratio f(x0) / x0 held constant; 1 where x0 is 0."""

    def slope(self, x0: Array, y0: Array) -> Array:
        return np.divide(y0, x0, out=np.ones_like(x0), where=x0 != 0)


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
        Its `backward` of ones is its slope.
    place : str
    """

    def __init__(self, layer: Layer, place: str) -> None:
        super().__init__(place)
        self.forward, self.backward = layer.forward, layer.backward

    def _slope(self, x: Array) -> Array:
        slope = self.backward(np.ones_like(self.forward(x, training=True)))
        return np.zeros_like(x) if slope is None else slope

    def __call__(self, x: Array, training: bool = False) -> Array:
        if self.recording:
            self.calls.append(Continuation(self.forward, self._slope, x))
        continuation = self.next_call()
        change, met = continuation.change(x)
        self.met += met
        self.forward(x, training)  # what backward needs, after the calls for slopes
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


def _freeze_attribute(layer: Layer, place: str, attribute: str, kind: str) -> Frozen | None:
    original = getattr(layer, attribute)
    if original is None:
        return None
    if kind == NO_SURROGATE:
        raise TypeError(
            f"{place}.{attribute}: has no surrogate here, so the backward pass is not the "
            "gradient of any function and cannot be checked"
        )
    if kind not in KINDS:
        known = ", ".join([*KINDS, NO_SURROGATE])
        raise TypeError(f"{place}.jumps: expected one of {known} for {attribute}, got {kind!r}")
    return KINDS[kind](original, place)


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
    frozen: list[Frozen] = []
    for place, layer in places:
        for attribute, kind in layer.jumps.items():
            item = _freeze_attribute(layer, place, attribute, kind)
            if item is not None:
                setattr(layer, attribute, item)
                frozen.append(item)
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
