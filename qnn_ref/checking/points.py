"""A float64 copy of what is checked, at one point: its values, its tensors, its backward pass.

Over 400 lines: networks, layers, losses and plain functions become points of one form here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss
from qnn_ref.checking.freeze import check_jumps, freeze
from qnn_ref.checking.report import GradientError, Kink
from qnn_ref.checking.subjects import Adapted, Pair, Surrogate, adapted, change_of, real_array
from qnn_ref.checks import as_array, has_shape, written_shape
from qnn_ref.layers import Auxiliary
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential


class Tensor(NamedTuple):
    """Name of something with a gradient: the place of its layer, and its name there."""

    layer: str
    name: str


class Damage(NamedTuple):
    """An array that a layer was only lent, and changed."""

    layer: str
    name: str
    change: float
    size: float


def name_of(loss: Loss) -> str:
    """Name of a loss function."""
    return getattr(loss, "__name__", "loss")


def places(layer: Layer, place: str) -> Iterator[tuple[str, Layer]]:
    """A layer and the layers inside it, each with its place."""
    yield place, layer
    for index, inner in enumerate(layer.sublayers()):
        yield from places(inner, f"{place}.{index}.{type(inner).__name__}")


@dataclass
class Model:
    """What is checked, on a float64 copy of its own.

    Parameters
    ----------
    subject : Layer, Sequential or loss function
    x : array (batch, ...)
        float64, or integers.
    loss : function or None
        On top of a layer or network.
    labels : array or None
        Of the loss.
    randomized : list of str
        Parameters that were given random values.
    """

    subject: Layer | Sequential | Loss
    x: Array
    loss: Loss | None
    labels: ArrayLike | None
    randomized: list[str] = field(default_factory=list)

    @classmethod
    def copied(
        cls,
        subject: Any,
        x: Any,
        loss: Loss | None,
        labels: ArrayLike | None,
        backward: Callable[..., Any] | None = None,
        surrogate: Surrogate | None = None,
    ) -> Self:
        """Copy the subject, as float64, and refuse what cannot be checked."""
        if not isinstance(subject, Sequential | Layer):
            subject = adapted(subject, x, backward, surrogate, labels) or subject
        elif backward is not None or surrogate is not None:
            raise ValueError("backward: a layer has its own; this is for plain functions")
        if isinstance(subject, Pair):
            x = np.zeros(1, np.int64)  # its arrays are parameters
        x = as_array("x", x)
        if x.dtype.kind == "f":
            x = x.astype(np.float64)
            if not np.isfinite(x).all():
                raise ValueError("x: expected finite numbers, got NaN or infinity")
        elif x.dtype.kind not in "iub":
            raise TypeError(f"x: expected real numbers, got {x.dtype}")
        if isinstance(subject, Sequential):
            subject = subject.copy(np.float64)
        elif isinstance(subject, Layer):
            if not hasattr(subject, "input_shape"):
                raise ValueError(
                    f"subject: {type(subject).__name__} is not built: call build first"
                )
            subject = copy.deepcopy(subject)
            subject.astype(np.float64)
        if isinstance(subject, Sequential | Layer):
            _check_shape(subject, x)
            if (loss is None) != (labels is None):
                raise ValueError("labels: give loss and labels together, or neither")
        elif loss is not None or labels is None:
            raise ValueError("labels: a loss function as subject needs labels and no other loss")
        return cls(subject, x.copy(), loss, labels)

    @property
    def name(self) -> str:
        """Type of the layer or network, or name of the function."""
        if isinstance(self.subject, Adapted):
            return self.subject.name
        if isinstance(self.subject, Sequential | Layer):
            return type(self.subject).__name__
        return name_of(self.subject)

    def layers(self) -> list[tuple[str, Layer]]:
        """Every layer with its place."""
        if isinstance(self.subject, Sequential):
            return list(self.subject.walk())
        return list(places(self.subject, self.name)) if isinstance(self.subject, Layer) else []

    def auxiliaries(self) -> list[Auxiliary]:
        """Classifiers in the middle, whose scores are outputs too."""
        return [layer for _, layer in self.layers() if isinstance(layer, Auxiliary)]

    def values(self) -> dict[Tensor, Array]:
        """Copies of everything that has a gradient."""
        found = {
            Tensor(place, name): parameter.latent.copy()
            for place, layer in self.layers()
            for name, parameter in layer.parameters().items()
        }
        return {self.input: self.x.copy()} | found if self._input_has_gradient() else found

    @property
    def input(self) -> Tensor:
        """Name of the input."""
        return Tensor(self.name, "input" if self.layers() else "scores")

    def _input_has_gradient(self) -> bool:
        if isinstance(self.subject, Sequential):
            differentiable = all(layer.differentiable for layer in self.subject.layers)
        else:
            differentiable = all(
                layer.differentiable and layer.needs_input_gradient
                for _, layer in self.layers()[:1]
            )
        return differentiable and self.x.dtype.kind == "f"

    def assign(self, tensor: Tensor, value: Array) -> None:
        """Give a tensor another value."""
        if tensor == self.input:
            self.x = value.copy()
        else:
            dict(self.layers())[tensor.layer].parameters()[tensor.name].assign(value)

    def randomize(self, rng: np.random.Generator) -> None:
        """Give parameters that are still all 0 or all 1 random values around that.

        A gain of 1 hides a backward pass that forgot it, a shift of 0 one that forgot the shift.
        The arrays of a plain function are what its author gave: they stay.
        """
        if isinstance(self.subject, Pair):
            return
        for place, layer in self.layers():
            for name, parameter in layer.parameters().items():
                start = parameter.latent.flat[0] if parameter.size else None
                if (
                    parameter.quantizer is None
                    and start in (0, 1)
                    and (parameter.latent == start).all()
                ):
                    value = rng.uniform(0.5, 1.5, parameter.shape) - (1 - start)
                    parameter.assign(value * rng.choice([-1, 1], parameter.shape))
                    self.randomized.append(f"{place}.{name}")

    def forward(self) -> Array:
        """Scores of a layer or network, without the loss; a loss function's own value (1,)."""
        if isinstance(self.subject, Sequential | Layer):
            y = self.subject.forward(self.x.copy(), training=True)
            if not isinstance(y, np.ndarray):
                raise TypeError(f"{self.name}.forward: expected an array, got {type(y).__name__}")
            return y
        answer: Any = self.subject(self.x.copy(), self.labels)  # type: ignore[arg-type]
        if not isinstance(answer, tuple) or len(answer) != 2 or np.size(answer[0]) != 1:
            raise TypeError(
                f"{self.name}: expected a loss function to return one number and the gradient, "
                f"(loss, dscores), got {_shown(answer)}"
            )
        return np.array([answer[0]], dtype=np.float64).reshape(1)

    def value(self, y: Array) -> Array:
        """What differences are taken of: scores as they are, or their loss (1,)."""
        heads = self.auxiliaries()
        if self.loss is None:
            return np.concatenate([y.ravel(), *(h.scores.ravel() for h in heads)]) if heads else y
        cost = self.loss(y.copy(), self.labels)[0]  # type: ignore[arg-type]
        return np.array([cost + sum(self._learn(head) for head in heads)])

    def _learn(self, head: Auxiliary) -> float:
        return head.learn(self.loss, self.labels)  # type: ignore[arg-type]

    def moved(self, tensor: Tensor, change: Array) -> Self:
        """A copy with one tensor moved."""
        twin = replace(self, subject=copy.deepcopy(self.subject), x=self.x.copy())
        twin.assign(tensor, self.values()[tensor] + change)
        return twin


class Point:
    """A model frozen around its point, with the gradients that its backward pass gives there.

    Parameters
    ----------
    model : Model
        Copied once more, since freezing changes it.
    rng : numpy.random.Generator
        Draws the covector, and a decoy: one forward and backward pass somewhere else comes first,
        so that a layer that keeps an old cache, or adds to an old gradient, is found.
    dys : list of arrays, optional
        Gradients of the outputs, in place of drawn ones.
    decoy : bool
        False leaves that first pass out.
    """

    def __init__(
        self,
        model: Model,
        rng: np.random.Generator,
        dys: Sequence[Array] | None = None,
        decoy: bool = True,
    ) -> None:
        self.model = replace(model, subject=copy.deepcopy(model.subject), x=model.x.copy())
        self.base = self.model.values()
        self.damages: list[Damage] = []
        self.inputs: dict[str, Array] = {}  # of each layer, by its place
        self.met = 0
        self.bent: dict[Tensor, Array] = {}  # see `qnn_ref.checking.ties`
        check_jumps(self.model.layers())
        if decoy:
            with self._watched():
                self._decoy(rng)
        self._restore("", self.base)
        self.damages.clear()
        self.frozen = freeze(self.model.layers())
        with self._watched():
            y = self.model.forward()
            if not np.isfinite(y).all():
                raise GradientError(f"{self.model.name}: the output is not finite")
            self.dys = self._drawn(y, rng) if dys is None else list(dys)
            self._restore("", self.base)
            self.covector, self.gradients = self._backward(y, self.dys)
            self._restore("backward: ", self.base)
        for item in self.frozen:
            item.recording = False
        found = self.model.subject.damages if isinstance(self.model.subject, Pair) else []
        self.damages += [Damage(self.model.name, *damage) for damage in found]
        self.output = self.model.value(y)

    def _decoy(self, rng: np.random.Generator) -> None:
        if isinstance(self.model.subject, Pair):
            self._decoy_of_functions(self.model.subject, rng)
            return
        x = self.model.x
        elsewhere = rng.permutation(x.reshape(-1)).reshape(x.shape)  # integers stay in their range
        if x.dtype.kind == "f":
            elsewhere = elsewhere + rng.normal(size=x.shape) * spread(x)
        self.model.x = elsewhere
        y = self.model.forward()
        self._backward(y, self._drawn(y, rng))
        self.model.x = x

    def _decoy_of_functions(self, pair: Pair, rng: np.random.Generator) -> None:
        """The same numbers in other places: they stay where the function is defined."""
        for parameter in pair.trained.values():
            parameter.assign(rng.permutation(parameter.latent.ravel()).reshape(parameter.shape))
        try:
            with np.errstate(all="ignore"):
                y = self.model.forward()
                self._backward(y, self._drawn(y, rng))
        except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError):
            pass  # a stranger's function does not take these numbers: then there is no decoy
        finally:
            for tensor, value in self.base.items():
                self.model.assign(tensor, value)
            pair.damages.clear()

    def _drawn(self, y: Array, rng: np.random.Generator) -> list[Array]:
        """Random gradients of all outputs; none where a loss gives them."""
        model = self.model
        if not isinstance(model.subject, Sequential | Layer) or model.loss is not None:
            return []
        outputs = (y, *(head.scores for head in model.auxiliaries()))
        return [np.asarray(rng.normal(size=output.shape)) for output in outputs]

    def _backward(self, y: Array, dys: Sequence[Array]) -> tuple[Array, dict[Tensor, Array | None]]:
        model = self.model
        if not isinstance(model.subject, Sequential | Layer):
            return np.ones(1), {model.input: self._gradient_of(model.subject, model.x)}
        heads = model.auxiliaries()
        if model.loss is None:
            dy, covector = dys[0], np.concatenate([d.ravel() for d in dys]) if heads else dys[0]
            for head, dscores in zip(heads, dys[1:], strict=True):
                head.receive(dscores)
        else:
            found = self._gradient_of(model.loss, y)
            if found is None:
                raise TypeError(f"{name_of(model.loss)}: expected (loss, dscores), got None for it")
            covector, dy = np.ones(1), found
            for head in heads:
                head.learn(model.loss, model.labels)  # type: ignore[arg-type]
        dx = model.subject.backward(dy.copy())
        gradients: dict[Tensor, Array | None] = {
            Tensor(place, name): _gradient(f"{place}.{name}", parameter.grad)
            for place, layer in model.layers()
            for name, parameter in layer.parameters().items()
        }
        return covector, {model.input: _gradient(f"{model.name}.backward", dx)} | gradients

    def _gradient_of(self, loss: Loss, scores: Array) -> Array | None:
        lent = scores.copy()
        gradient = loss(lent, self.model.labels)[1]  # type: ignore[arg-type]
        self._compare(name_of(loss), "scores", scores, lent)
        return _gradient(f"{name_of(loss)}: gradient", gradient)

    def _restore(self, when: str, values: dict[Tensor, Array]) -> None:
        """Note parameters that a pass changed, and give them their values again."""
        for tensor, now in self.model.values().items():
            if not np.array_equal(now, values[tensor]):
                self._compare(tensor.layer, f"{when}{tensor.name}", values[tensor], now)
                self.model.assign(tensor, values[tensor])

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Note every layer that changes its input or its incoming gradient in place."""
        undo = []
        for place, layer in self.model.layers():
            for method, what in (("forward", "input"), ("backward", "upstream gradient")):
                undo.append((layer, method, layer.__dict__.get(method)))
                setattr(layer, method, self._watch(getattr(layer, method), place, what))
        try:
            yield
        finally:
            for layer, method, before in undo:
                delattr(layer, method)
                if before is not None:
                    setattr(layer, method, before)

    def _watch(self, method: Callable[..., Any], place: str, what: str) -> Callable[..., Any]:
        def watched(array: Array, *arguments: Any, **options: Any) -> Any:
            before = array.copy()
            if what == "input":
                self.inputs[place] = before
            try:
                result = method(array, *arguments, **options)
            except ValueError as error:
                if "read-only" not in str(error):
                    raise
                raise GradientError(
                    f"{place}: {'forward' if what == 'input' else 'backward'} changes a parameter "
                    f"in place, or another array that is only lent: {error}"
                ) from error
            self._compare(place, what, before, array)
            return result

        return watched

    def _compare(self, place: str, what: str, before: Array, after: Array) -> None:
        change = change_of(what, before, after)
        if change is not None:
            self.damages.append(Damage(place, *change))

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Surrogates with their bounds, for moves beyond them."""
        for item in self.frozen:
            item.reflecting = False
        try:
            yield
        finally:
            for item in self.frozen:
                item.reflecting = True

    def gradients_for(self, dys: Sequence[Array]) -> dict[Tensor, Array | None]:
        """Gradients of another backward pass at the present values, for these of the outputs."""
        return self._backward(self._rewound().forward(), dys)[1]

    def outputs(self) -> Array:
        """What differences are taken of, with the tensors' present values."""
        return self._finish(self._rewound().forward())

    def at(self, tensor: Tensor, value: Array) -> Array:
        """Outputs with one tensor at another value; `put_back` restores it.

        In a network nothing below the tensor's layer changes, so it is not computed again, but for
        classifiers in the middle: their scores may still be those of a tensor below them.
        """
        self.model.assign(tensor, value)
        network = self.model.subject
        if not isinstance(network, Sequential) or tensor == self.model.input:
            return self.outputs()
        self._rewound()
        heads = (at for at, layer in network.walk() if isinstance(layer, Auxiliary))
        first = min(int(at.partition(".")[0]) for at in (tensor.layer, *heads))
        y = self.inputs[f"{first}.{type(network.layers[first]).__name__}"].copy()
        for layer in network.layers[first:]:
            y = layer.forward(y, training=True)
        return self._finish(y)

    def along(self, directions: Mapping[Tensor, Array], t: float) -> Array:
        """Outputs with several tensors moved by `t` times a direction; they are put back."""
        for tensor, direction in directions.items():
            self.model.assign(tensor, self.base[tensor] + t * direction)
        y = self.outputs()
        for tensor in directions:
            self.put_back(tensor)
        return y

    def _rewound(self) -> Model:
        for item in self.frozen:
            item.rewind()
        return self.model

    def _finish(self, y: Array) -> Array:
        self.met = max(self.met, sum(item.met for item in self.frozen))
        return self.model.value(y)

    def put_back(self, tensor: Tensor) -> None:
        """Give a tensor its value at the point again."""
        self.model.assign(tensor, self.base[tensor])

    def surrogates(self) -> tuple[tuple[str, str], ...]:
        """What stood in the place of each jump: (words, place)."""
        found = [(item.surrogate_words(), item.place) for item in self.frozen]
        found += [
            ("the identity", f"{place}.{name}")
            for place, layer in self.model.layers()
            for name, parameter in layer.parameters().items()
            if parameter.quantizer is not None
        ]
        return tuple(dict.fromkeys(pair for pair in found if pair[0]))

    def kinks(self) -> tuple[Kink, ...]:
        """Values exactly on a bound at the point."""
        return tuple(kink for item in self.frozen for kink in item.kinks())


def _gradient(name: str, found: Any) -> Array | None:
    return None if found is None else real_array(name, found)


def _shown(answer: Any) -> str:
    """What a loss function returned, in short."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    return ", ".join(f"{type(part).__name__} {np.shape(part)}" for part in parts)


def _check_shape(subject: Layer | Sequential, x: Array) -> None:
    """Blame x for its own shape, before some layer blames what it made of it."""
    expected = tuple(subject.input_shape)
    fits = x.ndim > 0 and has_shape(x.shape[1:], expected)
    if not isinstance(subject, Adapted) and not fits:
        shape = written_shape("batch", *expected)
        raise ValueError(f"x: expected shape {shape}, got {x.shape}")


def spread(x: Array) -> float:
    """Standard deviation of all of `x`, at least 1 (a scalar): the unit of steps and moves."""
    return max(1.0, float(np.std(x))) if x.size else 1.0
