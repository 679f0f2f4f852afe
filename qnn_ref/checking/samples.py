"""Small configurations of every layer and loss, for `qnn-ref check`.

To add one, write a generator of `Sample` under `@sample("Name")`. Sizes differ from each other and
from powers of two, so that a swapped axis shows; inputs lie on both sides of every bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss, Shape
from qnn_ref.checking.gradients import check_gradients
from qnn_ref.checking.report import Report
from qnn_ref.layers import (
    LSTM,
    RNN,
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HardTanh,
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import (
    Encoding,
    LinearQuant,
    LogQuant,
    Quantizer,
    Sign,
    StochasticSign,
)


class Sample(NamedTuple):
    """One configuration: what stands behind the name, what is checked, and where."""

    title: str
    subject: Layer | Sequential | Loss
    x: Array
    labels: ArrayLike | None = None
    loss: Loss | None = None


Samples = Callable[[np.random.Generator], Iterator[Sample]]
SAMPLES: dict[str, Samples] = {}


def sample(name: str) -> Callable[[Samples], Samples]:
    """Register a generator of configurations under the name of a layer or loss."""

    def register(samples: Samples) -> Samples:
        SAMPLES[name] = samples
        return samples

    return register


def sample_checks(
    names: Iterable[str] | None = None,
    *,
    rng: np.random.Generator | None = None,
    mode: str = "full",
) -> Report:
    """Check the small configurations of layers and losses.

    Parameters
    ----------
    names : iterable of str, optional
        Names of layers and losses; all that are known without it.
    rng : numpy.random.Generator, optional
        Without one the configurations are the same each time.
    mode : {"full", "probe", "order"}
        As `check_gradients` has it.

    Returns
    -------
    Report
        Of all of them; an entry's layer names the configuration too.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    wanted = list(SAMPLES) if names is None else list(names)
    unknown = [name for name in wanted if name not in SAMPLES]
    if unknown:
        raise ValueError(f"names: unknown {', '.join(unknown)}; known are {', '.join(SAMPLES)}")
    rng = np.random.default_rng(0) if rng is None else rng
    return Report.joined(_titled(item, rng, mode) for name in wanted for item in SAMPLES[name](rng))


def _titled(item: Sample, rng: np.random.Generator, mode: str) -> Report:
    """Check one configuration; its title stands behind the names of its layers."""
    title, subject, x, labels, loss = item
    report = check_gradients(subject, x, labels=labels, loss=loss, mode=mode, rng=rng)
    return report.renamed(lambda layer: f"{layer} ({title})")


def around_bounds(shape: tuple[int, ...], rng: np.random.Generator, bound: float = 1.0) -> Array:
    """Real numbers inside, outside and, with the first two, exactly on +-bound."""
    x = rng.uniform(-2 * bound, 2 * bound, shape)
    x.flat[:2] = bound, -bound
    return x


@sample("Dense")
def _dense(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(4, 5))
    yield Sample("binary", Dense(3).build((5,), rng), x)
    at_clip = Dense(3).build((5,), rng)
    at_clip.weight.assign(np.clip(3 * at_clip.weight.latent, -1, 1))
    yield Sample("weights at the clip", at_clip, x)
    yield Sample("binary, bias", Dense(3, bias=True).build((5,), rng), x)
    yield Sample("float, bias", Dense(3, None, bias=True).build((5,), rng), x)
    yield Sample("sequence", Dense(2).build((3, 5), rng), rng.normal(size=(2, 3, 5)))
    pixels = Pixels().output_encoding(None)
    codes = 2.0 * rng.integers(0, 256, (4, 5)) - 255
    yield Sample("codes of pixels", Dense(3).build((5,), rng, pixels), codes)
    yield Sample("3 bits", Dense(3, LinearQuant(3)).build((5,), rng), x)
    yield Sample("logarithmic", Dense(3, LogQuant(4)).build((5,), rng), x)


@sample("Conv2D")
def _conv(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(2, 5, 4, 3))
    options: dict[str, dict[str, Any]] = {
        "3x3": {},
        "padding 1": {"padding": 1},
        "2x3, stride 2, 1, padding 1, 0": {
            "kernel": (2, 3),
            "stride": (2, 1),
            "padding": (1, 0),
        },
        "pixels never seen": {"kernel": 2, "stride": 3},
        "one-padding, bias": {"padding": 1, "one_padding": True, "bias": True},
        "float, bias": {"weight_quantizer": None, "bias": True},
    }
    for title, chosen in options.items():
        yield Sample(title, Conv2D(2, **chosen).build((5, 4, 3), rng), x)
    pixels = Pixels().output_encoding(None)
    codes = 2.0 * rng.integers(0, 256, (2, 4, 4, 2)) - 255
    layer = Conv2D(2, padding=1, one_padding=True).build((4, 4, 2), rng, pixels)
    yield Sample("codes of pixels, one-padding", layer, codes)


@sample("MaxPool2D")
def _max_pool(rng: np.random.Generator) -> Iterator[Sample]:
    for title, layer in (
        ("2/2", MaxPool2D()),
        ("3/2", MaxPool2D(3, 2)),
        ("3/1, padding 1", MaxPool2D(3, 1, 1)),
        ("2x3/1x2", MaxPool2D((2, 3), (1, 2))),
    ):
        layer.build((5, 6, 2))
        x = rng.integers(-2, 3, (2, 5, 6, 2)).astype(float)  # many ties
        yield Sample(title, layer, x)
        yield Sample(f"{title}, without ties", layer, rng.normal(size=x.shape))


@sample("AveragePool2D")
def _average_pool(rng: np.random.Generator) -> Iterator[Sample]:
    signs = Encoding(1.0, -1, 1, 2)
    for title, layer, encoding in (
        ("2/2", AveragePool2D(), None),
        ("3/1, padding 1", AveragePool2D(3, 1, 1), None),
        ("3/2 of codes", AveragePool2D(3, 2), signs),
    ):
        x = rng.normal(size=(2, 5, 6, 2))
        yield Sample(title, layer.build((5, 6, 2), rng, encoding), x)


@sample("Branches")
def _branches(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(3, 4, 4, 2))
    paths = [Conv2D(3, 1)], [Conv2D(2, padding=1), BatchNorm()], [AveragePool2D(3, 1, 1)]
    yield Sample("real", Branches(*paths, []).build((4, 4, 2), rng), x)
    one = [Conv2D(2, 1), BatchNorm(), Quantize()]
    two = [Conv2D(2, 1), BatchNorm(), Quantize(), Conv2D(3, padding=1), BatchNorm(), Quantize()]
    yield Sample("signs", Branches(one, two).build((4, 4, 2), rng), x)


@sample("Auxiliary")
def _auxiliary(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(4, 5))
    yield Sample("covectors", Auxiliary([Dense(3), BatchNorm()]).build((5,), rng), x)
    labels = rng.integers(0, 3, 4)
    layers = [Dense(6), BatchNorm(), Auxiliary([Dense(3)], 0.3), Dense(3, bias=True)]
    yield Sample("two losses", Sequential(layers, (5,), rng), x, labels, squared_hinge)


@sample("BatchNorm")
def _batch_norm(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample("dense", BatchNorm().build((3,)), 2 + 3 * rng.normal(size=(7, 3)))
    x = rng.normal(size=(3, 2, 4, 3)) - 1
    yield Sample("spatial", BatchNorm().build((2, 4, 3)), x)
    constant = np.tile([0.5, -2.0], (5, 1))
    yield Sample("constant channel", BatchNorm(epsilon=0.1).build((2,)), constant)


@sample("ShiftBatchNorm")
def _shift_batch_norm(rng: np.random.Generator) -> Iterator[Sample]:
    for gradient in ("slope", "ratio"):  # "torch" is not the gradient of any function
        layer = ShiftBatchNorm(gradient)
        yield Sample(f"dense, {gradient}", layer.build((3,)), 2 + 3 * rng.normal(size=(7, 3)))
        layer = ShiftBatchNorm(gradient)
        yield Sample(f"spatial, {gradient}", layer.build((2, 1, 3)), rng.normal(size=(3, 2, 1, 3)))


@sample("Quantize")
def _quantize(rng: np.random.Generator) -> Iterator[Sample]:
    for title, quantizer in (
        ("Sign", Sign()),
        ("Sign, saturation 2", Sign(2.0)),
        ("StochasticSign", StochasticSign()),
        ("LinearQuant symmetric, 1 bit", LinearQuant(1)),
        ("LinearQuant symmetric, 2 bits", LinearQuant(2)),
        ("LinearQuant symmetric, 3 bits, saturation 2", LinearQuant(3, saturation=2.0)),
        ("LinearQuant fixed-point, 2 bits", LinearQuant(2, reading="fixed-point")),
        ("LinearQuant fixed-point, step 1/4", LinearQuant(4, reading="fixed-point", step=0.25)),
        ("LinearQuant unsigned, 2 bits", LinearQuant(2, reading="unsigned")),
        ("LogQuant, 4 bits", LogQuant(4)),
        ("LogQuant, 4 bits, stochastic", LogQuant(4, stochastic=True)),
    ):
        x = around_bounds((4, 5), rng, quantizer.saturation)
        yield Sample(title, Quantize(quantizer).build((5,), rng), x)


@sample("HardTanh")
def _hard_tanh(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample("saturation 1", HardTanh().build((5,)), around_bounds((4, 5), rng))
    yield Sample("saturation 2", HardTanh(2.0).build((2, 3)), around_bounds((2, 2, 3), rng, 2.0))


class Started(Layer):
    """A recurrent layer whose first state is trained too, so that its gradient is checked.

    Parameters
    ----------
    layer : RNN or LSTM
        Built.
    *state : arrays (batch, units)
    """

    any_steps = 2

    def __init__(self, layer: Recurrent, *state: Array) -> None:
        self.layer, self.state = layer, [Parameter(array) for array in state]
        self.build(layer.input_shape, layer.rng, layer.encoding, np.float64)

    def sublayers(self) -> list[Layer]:
        return [self.layer]

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.output_shape(input_shape)

    def parameters(self) -> dict[str, Parameter]:
        return {f"{name}0": p for name, p in zip(self.layer.names, self.state, strict=True)}

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        self._saved = True
        return self.layer.forward(x, training, tuple(p.latent for p in self.state))

    def backward(self, dy: Array) -> Array | None:
        self.saved(dy)
        dx = self.layer.backward(dy)
        found = self.layer.state_gradient
        gradients = found if isinstance(found, tuple) else (found,)
        for parameter, gradient in zip(self.state, gradients, strict=True):
            parameter.grad = gradient
        return dx


def _recurrent(
    make: Callable[..., Recurrent], rng: np.random.Generator, **options: Any
) -> Iterator[Sample]:
    """Steps from 1 to 7, and each quantizer for weights and state."""
    for steps, (title, weights, state) in enumerate(
        (
            ("float", None, None),
            ("Sign", Sign(), Sign(4.0)),
            ("drawn signs", StochasticSign(), StochasticSign(4.0)),
            ("LinearQuant", LinearQuant(2, high=0.5), LinearQuant(3)),
            ("fixed-point", LinearQuant(3, reading="fixed-point"), LinearQuant(2, reading="L1")),
            ("unsigned state", LinearQuant(3), LinearQuant(4, reading="unsigned")),
            ("LogQuant", LogQuant(4), LogQuant(4, 2)),
        ),
        start=1,
    ):
        layer = make(4, weights, state, **options).build((-1, 3), rng, dtype=np.float64)
        first = [rng.normal(size=(2, 4)) for _ in layer.names]
        title = f"{title}, {steps} step{'s' if steps > 1 else ''}"
        yield Sample(title, Started(layer, *first), rng.normal(size=(2, steps, 3)))
    codes = 2.0 * rng.integers(0, 4, (2, 3, 5)) - 3
    layer = make(3, LinearQuant(2), LinearQuant(2), **options)
    layer.build((3, 5), rng, LinearQuant(2).encoding, np.float64)
    yield Sample("of codes, 3 steps, from zeros", layer, codes)


@sample("RNN")
def _rnn(rng: np.random.Generator) -> Iterator[Sample]:
    for activation in ("relu", "tanh"):
        for item in _recurrent(RNN, rng, activation=activation):
            yield item._replace(title=f"{activation}, {item.title}")


@sample("LSTM")
def _lstm(rng: np.random.Generator) -> Iterator[Sample]:
    yield from _recurrent(LSTM, rng)


@sample("Embedding")
def _embedding(rng: np.random.Generator) -> Iterator[Sample]:
    words = np.array([[3, 0, 3], [5, 3, 1]])  # one word three times, others never
    for title, quantizer in (
        ("float", None),
        ("Sign", Sign()),
        ("LinearQuant", LinearQuant(2, high=0.5)),
        ("LogQuant", LogQuant(4)),
    ):
        layer = Embedding(7, 4, quantizer).build((-1,), rng, dtype=np.float64)
        yield Sample(title, layer, words)
    row = [Embedding(6, 3), LSTM(4), RNN(3), Dropout(0.2), Dense(6, bias=True)]
    text = rng.integers(0, 6, (3, 5))
    yield Sample("of a small language model", Sequential(row, (-1,), rng), text)


@sample("Dropout")
def _dropout(rng: np.random.Generator) -> Iterator[Sample]:
    # Zeros: a mask that is read back from the output would lose them.
    x = rng.normal(size=(6, 5)) * rng.integers(0, 2, (6, 5))
    for rate in (0.2, 0.5):
        yield Sample(f"rate {rate}", Dropout(rate).build((5,), rng), x)


@sample("Flatten")
def _flatten(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample("images", Flatten().build((2, 3, 4)), rng.normal(size=(2, 2, 3, 4)))


@sample("squared_hinge")
def _squared_hinge(rng: np.random.Generator) -> Iterator[Sample]:
    scores, labels = around_bounds((5, 3), rng), rng.integers(0, 3, 5)
    yield Sample("labels", squared_hinge, scores, labels)
    yield Sample("signed targets", squared_hinge, scores, rng.choice([-1, 1], (5, 3)))


@sample("softmax_cross_entropy")
def _softmax(rng: np.random.Generator) -> Iterator[Sample]:
    labels = rng.integers(0, 3, 5)
    yield Sample("labels", softmax_cross_entropy, 2 * rng.normal(size=(5, 3)), labels)
    large = 300 + 2 * rng.normal(size=(5, 3))
    yield Sample("large scores", softmax_cross_entropy, large, labels)


@sample("Sequential")
def _algorithm_1(rng: np.random.Generator) -> Iterator[Sample]:
    def network(quantizer: Quantizer) -> Sequential:
        hidden = [Dense(6), BatchNorm(), Quantize(quantizer), Dropout(0.2)]
        middle = [Dense(5), BatchNorm(), Quantize(quantizer)]
        layers = [Pixels(), Flatten(), *hidden, *middle, Dense(3), BatchNorm()]
        return Sequential(layers, (3, 2, 1), rng)

    images = rng.integers(0, 256, (9, 3, 2, 1), dtype=np.uint8)
    labels = rng.integers(0, 3, 9)
    yield Sample("Algorithm 1", network(Sign()), images, labels, squared_hinge)
    yield Sample("stochastic", network(StochasticSign()), images, labels, softmax_cross_entropy)
    yield Sample("two bits", network(LinearQuant(2)), images, labels, squared_hinge)
