"""Layers, quantizers, optimizers and networks under random use, right and wrong.

    python tests/fuzz_layers.py --calls 10000 --seed 0

Each call is drawn: a valid set-up, then one use of it that is right, unusual or wrong (sizes,
dtypes, memory orders, values, order of calls, arguments). A wrong use must end in an exception of
ours that names the argument; every answer must be that of a plain NumPy computation. Prints how
often each happened, and each surprise with the seed that repeats it; ends with 1 if there was one.
It stands outside the test run, which has no minute for it, and in one file, which can be run by
itself.
"""

import argparse
import collections
import re
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref import Sequential
from qnn_ref.geometry import windows
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
    Parameter,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import SGD, Adam, AdaMax, ShiftAdaMax
from qnn_ref.optimizers.adam import adam_update_reference
from qnn_ref.optimizers.adamax import adamax_update_reference
from qnn_ref.optimizers.sgd import sgd_update_reference
from qnn_ref.optimizers.shift_adamax import shift_adamax_update_reference
from qnn_ref.quantizers import (
    DoReFaGradient,
    Encoding,
    LinearGradient,
    LinearQuant,
    LogQuant,
    Sign,
    StochasticSign,
)
from qnn_ref.shifts import ap2_reference

Array = np.ndarray
Rng = np.random.Generator

NAMED = re.compile(r"(^|: )[a-z_0-9][\w.]*(\[[^\]]*\])*(, \w+)?: ")
"""An error that names an argument, perhaps behind the place of a layer."""
UNNAMED = re.compile(r"call (forward|learn|build|backward)|has no |belongs to a network")
"""Errors about the order of calls, and about what an object cannot do at all."""


class Surprise(Exception):
    """What must not happen."""


def pick(rng: Rng, options: Any) -> Any:
    """One of several, as it is."""
    return options[int(rng.integers(len(options)))]


def must(condition: Any, why: str) -> None:
    if not np.all(condition):
        raise Surprise(why)


def close(found: Any, expected: Any, why: str, tolerance: float = 2e-4) -> None:
    """Equal to rounding, NaN and infinity in the same places."""
    must(isinstance(found, np.ndarray), f"{why}: no array but {type(found).__name__}")
    must(found.shape == np.shape(expected), f"{why}: shape {found.shape}, {np.shape(expected)}")
    finite = np.isfinite(expected)
    must(np.isfinite(found) == finite, f"{why}: not finite in other places")
    size = np.abs(np.where(finite, expected, 0)).max(initial=1e-3)
    error = np.abs(np.where(finite, found, 0) - np.where(finite, expected, 0)).max(initial=0)
    must(error <= tolerance * size, f"{why}: off by {error:g} of {size:g}")


# Wrong things

ODD = [True, False, None, "x", b"x", 2.5, float("nan"), float("inf"), -1, 0, 10**30, 1j, (), [], {}]
ODD += [(1, 2, 3), [2, 2], (2, -1), np.arange(3), np.float32(2), np.int8(2), np.array(3), object()]
ODD += [Sign, Sign(), Dense, Dense(2), [Dense], [Dense(2)], np.random, lambda x: x, 5e-324, 1e300]


def spoiled(rng: Rng, x: Array, batch: bool = False) -> tuple[str, Any, bool]:
    """An array made wrong, or only unusual: what was done, the result, whether it must be taken.

    `batch` tells whether the number of examples may not change either.
    """
    axis = int(rng.integers(0 if batch else 1, x.ndim))
    unusual: list[tuple[str, Callable[[], Any]]] = [
        ("as it is", lambda: x),
        ("Fortran order", lambda: np.asfortranarray(x)),
        (
            "strided",
            lambda: np.repeat(x, 2, axis)[
                tuple(slice(None, None, 2 if a == axis else 1) for a in range(x.ndim))
            ],
        ),
        ("reversed twice", lambda: np.ascontiguousarray(x[::-1])[::-1]),
        ("read-only", lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape)),
    ]
    other = "f8" if x.dtype == "f4" else "f4"
    wrong: list[tuple[str, Callable[[], Any]]] = [
        ("one longer", lambda: np.concatenate([x, x.take([0], axis)], axis)),
        ("one shorter", lambda: x.take(range(1, x.shape[axis]), axis)),
        ("empty", lambda: x[:0]),
        ("an axis less", lambda: x[0]),
        ("an axis more", lambda: x[..., None]),
        ("turned", lambda: x.reshape(x.shape[::-1])),
        ("flat", lambda: x.reshape(-1)),
        *(
            (f"as {kind}", lambda kind=kind: x.astype(kind))
            for kind in (
                other,
                "f2",
                "i8",
                "?",
                "O",
                "c8",
                ">f4",
                "M8[s]" if x.dtype.kind == "u" else "i1",
            )
        ),
        ("list", lambda: x.tolist()),
        ("masked", lambda: np.ma.masked_array(x)),
        ("record", lambda: x.view(np.recarray)),
        ("odd", lambda: pick(rng, [o for o in ODD if type(o) is not np.ndarray])),
        ("object", lambda: np.full(x.shape, None)),
    ]
    if rng.random() < 0.4:
        name, make = pick(rng, unusual)
        return name, make(), True
    name, make = pick(rng, wrong)
    made = make()
    same = isinstance(made, np.ndarray) and type(made) is np.ndarray
    same = same and made.shape == x.shape and made.dtype == x.dtype
    return name, made, same


def refused(call: Callable[[], Any], what: str) -> None:
    """The call must end in an error of ours that names what is wrong."""
    try:
        answer = call()
    except (ValueError, TypeError, RuntimeError) as error:
        text = str(error)
        must(NAMED.search(text) or UNNAMED.search(text), f"{what}: {type(error).__name__}: {text}")
    else:
        raise Surprise(f"{what}: accepted, answer {str(answer)[:80]!r}")


# Layers: how one of each kind is drawn, and its plain computation

SIGNS = Encoding(1.0, -1, 1, 2)


def weight_quantizer(rng: Rng) -> Any:
    stochastic = [StochasticSign(), LogQuant(3, stochastic=True)]
    return pick(
        rng,
        [
            None,
            Sign(),
            Sign(),
            LinearQuant(2),
            LinearQuant(3, reading="L5"),
            LogQuant(4),
            *stochastic,
        ],
    )


def activation_quantizer(rng: Rng) -> Any:
    return pick(
        rng,
        [
            Sign(),
            Sign(2.0),
            StochasticSign(),
            LinearQuant(2),
            LinearQuant(4, reading="L1"),
            LinearQuant(2, reading="L5"),
            LogQuant(3),
            LogQuant(4, stochastic=True),
        ],
    )


def pool(rng: Rng, kind: type) -> Any:
    size = tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = tuple(int(rng.integers(n)) for n in size)
    return kind(size, tuple(int(n) for n in rng.integers(1, 4, 2)), padding)


def make_layer(rng: Rng, image: bool) -> Layer:
    makers: list[Callable[[], Layer]] = [
        lambda: Dense(pick(rng, [1, 3, 65, 300]), weight_quantizer(rng), bool(rng.random() < 0.3)),
        BatchNorm,
        lambda: BatchNorm(running="unbiased variance"),
        lambda: ShiftBatchNorm(pick(rng, "SRT")),
        lambda: Quantize(activation_quantizer(rng)),
        lambda: HardTanh(pick(rng, [0.5, 1.0, 2.0])),
        lambda: Dropout(pick(rng, [0.0, 0.2, 0.5, 0.9])),
        Flatten,
        Pixels,
    ]
    if image:
        kernel = tuple(int(n) for n in rng.integers(1, 4, 2))
        makers += 3 * [
            lambda: Conv2D(
                pick(rng, [1, 3, 64]),
                kernel,
                stride=pick(rng, [1, 1, 2, (1, 3)]),
                padding=pick(rng, [0, 1, (0, 2)]),
                weight_quantizer=weight_quantizer(rng),
                bias=bool(rng.random() < 0.3),
                one_padding=bool(rng.random() < 0.3),
            ),
            lambda: pool(rng, MaxPool2D),
            lambda: pool(rng, AveragePool2D),
            lambda: Branches([Conv2D(2, 1)], [MaxPool2D(1), HardTanh()], [BatchNorm()]),
            lambda: Auxiliary([Flatten(), Dense(2)]),
        ]
    return pick(rng, makers)()


def built_layer(rng: Rng) -> Layer:
    """A layer for an input of a drawn shape; `None` encodings are real numbers."""
    while True:
        image = bool(rng.random() < 0.6)
        channels = pick(rng, [1, 2, 5, 64, 65])
        shape = (*(int(n) for n in rng.integers(1, 6, 2)), channels) if image else (channels * 3,)
        layer = make_layer(rng, image)
        encoding = None if isinstance(layer, Pixels | Branches) else pick(rng, [None, SIGNS])
        dtype = pick(rng, [np.float32, np.float32, np.float64])
        try:
            return layer.build(shape, np.random.default_rng(int(rng.integers(99))), encoding, dtype)
        except ValueError as error:  # a kernel larger than the image
            must(NAMED.search(str(error)), f"build: {error}")


def example(rng: Rng, layer: Layer, batch: int) -> Array:
    shape = (batch, *layer.input_shape)
    if isinstance(layer, Pixels):
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if layer.encoding is not None:
        return rng.choice([-1.0, 1.0], shape).astype(layer.dtype)
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-2, 2)).astype(layer.dtype)


def plain(layer: Any, x: Array, training: bool) -> Array | None:
    """The layer's output in float64, from its latent values alone; None where noise decides."""
    wide = x.astype(np.float64)
    if isinstance(layer, Pixels):
        return 2 * wide - 255
    if isinstance(layer, Dense | Conv2D):
        w = (layer.used_weight if training else layer.weight).quantized.astype(np.float64)
        wide = wide if layer.encoding is None else wide * layer.encoding.scale
        bias = 0 if layer.bias is None else layer.bias.latent
        if isinstance(layer, Dense):
            return wide @ w + bias
        (rows, columns), value = layer.padding, layer.border
        border = (0, 0), (rows, rows), (columns, columns), (0, 0)
        view = windows(np.pad(wide, border, constant_values=value), layer.kernel, layer.stride)
        return np.einsum("bijuvc,uvcn->bijn", view, w) + bias
    if isinstance(layer, BatchNorm):
        return plain_norm(layer, wide, training)
    if isinstance(layer, MaxPool2D | AveragePool2D):
        maximum = isinstance(layer, MaxPool2D)
        (rows, columns), value = layer.padding, -np.inf if maximum else 0
        border = (0, 0), (rows, rows), (columns, columns), (0, 0)
        view = windows(np.pad(wide, border, constant_values=value), layer.size, layer.stride)
        if maximum:
            return view.max(axis=(3, 4))
        return view.sum(axis=(3, 4)) / (1 if layer.encoding is not None else layer.area)
    if isinstance(layer, Quantize):
        return None if training and "tochastic" in repr(layer.quantizer) else plain_codes(layer, x)
    if isinstance(layer, HardTanh):
        return np.minimum(np.maximum(wide, -layer.saturation), layer.saturation)
    if isinstance(layer, Dropout) and training:
        return None
    if isinstance(layer, Flatten):
        return wide.reshape(len(x), -1)
    if isinstance(layer, Branches):
        if training:
            return None
        ends = []
        for path in layer.paths:
            y = x
            for inner in path:
                y = np.asarray(plain(inner, y, training))
            ends.append(y)
        return np.concatenate(ends, axis=-1)
    return wide  # dropout in inference, auxiliary classifiers


def plain_norm(layer: Any, x: Array, training: bool) -> Array:
    over = tuple(range(x.ndim - 1))
    shift = isinstance(layer, ShiftBatchNorm)
    round_ = ap2_reference if shift else lambda a: a
    gain, bias = (p.latent.astype(np.float64) for p in (layer.gain, layer.shift))
    if training:
        mean = x.mean(axis=over)
        deviation = 1 / np.sqrt(((x - mean) * round_(x - mean)).mean(axis=over) + layer.epsilon)
    else:
        mean = layer.running_mean.astype(np.float64)
        deviation = layer.inverse_deviation.astype(np.float64)
    return (x - mean) * round_(deviation) * round_(gain) + bias


def plain_codes(layer: Quantize, x: Array) -> Array:
    """Codes whose value is the nearest level, or one of two as near."""
    codes, scale = layer.quantizer.encode(x)
    levels = layer.quantizer.levels
    must(np.isin(codes, levels), "codes that are no levels")
    if isinstance(layer.quantizer, Sign):
        return np.where(x >= 0, 1.0, -1.0)
    if isinstance(layer.quantizer, LogQuant):
        return codes
    values = levels * scale
    distance = np.abs(np.clip(x, values[0], values[-1])[..., None] - values).min(axis=-1)
    taken = np.abs(np.clip(x, values[0], values[-1]) - codes * scale)
    must(taken <= distance + 1e-5, "a level that is not the nearest")
    return codes


def check_output(layer: Any, x: Array, y: Array, training: bool) -> None:
    must(y.dtype == layer.dtype, f"output of dtype {y.dtype}")
    must(y.shape == (len(x), *layer.output_shape(layer.input_shape)), f"output {y.shape}")
    expected = plain(layer, x, training)
    if expected is not None:
        # AP2 may fall to either side where float32 rounds across a step.
        if not (isinstance(layer, ShiftBatchNorm) and layer.dtype == np.float32):
            close(y, expected, "forward")
    elif isinstance(layer, Dropout):
        kept = y != 0
        close(y[kept], (x / (1 - layer.rate))[kept], "dropout")
    elif isinstance(layer, Quantize):
        must(np.isin(y, layer.quantizer.levels), "codes that are no levels")


def check_gradient(layer: Any, x: Array, y: Array, dy: Array, dx: Any, rng: Rng) -> None:
    if isinstance(layer, Pixels):
        must(dx is None, "integers have no gradient")
        return
    must(dx.shape == x.shape and dx.dtype == layer.dtype, f"gradient {dx.shape} {dx.dtype}")
    if np.isfinite(dy).all():
        must(np.isfinite(dx), "a gradient that is not finite")
    for name, parameter in layer.parameters().items():
        must(parameter.grad.shape == parameter.shape, f"gradient of {name}: {parameter.grad.shape}")
    if isinstance(layer, HardTanh):
        close(dx, np.where(np.abs(x) <= layer.saturation, dy, 0), "hard tanh backward")
    elif isinstance(layer, Flatten):
        close(dx, dy.reshape(x.shape), "flatten backward")
    elif isinstance(layer, MaxPool2D):
        close(dx.sum(axis=(1, 2)), dy.sum(axis=(1, 2)), "max pool backward", 1e-3)
    elif isinstance(layer, Dropout):
        close(dx, np.where((y != 0) | (x == 0), dy / (1 - layer.rate), 0), "dropout backward") if (
            x != 0
        ).all() else None
    elif isinstance(layer, Dense | Conv2D | AveragePool2D):
        # A linear map and its adjoint: <dy, L v> = <L* dy, v> for any v.
        v = rng.normal(size=x.shape).astype(layer.dtype)
        constant = plain(layer, np.zeros_like(x), True)
        moved = np.vdot(dy, plain(layer, v, True) - constant)  # type: ignore[operator]
        scale = 1.0
        if isinstance(layer, Dense | Conv2D):
            scale = layer.input_scale
            at = plain(layer, x, True)
            if layer.bias is None:
                assert at is not None
                one = np.vdot(layer.weight.grad.astype(float), layer.used_weight.quantized)
                if layer.used_weight.scale and not getattr(layer, "one_padding", False):
                    close(np.array(one), np.vdot(dy, at), "weight gradient", 2e-3)
        size = np.linalg.norm(dy) * np.linalg.norm(v) * (1 + np.abs(dx).max())
        must(abs(moved - np.vdot(dx, v)) <= 1e-4 * size * scale, "no adjoint of the forward pass")


def train(layer: Any, x: Array) -> Array:
    y = layer.forward(x, training=True)
    if isinstance(layer, Auxiliary):
        layer.receive(np.zeros_like(layer.scores))
    return y


def fuzz_layer(rng: Rng) -> str:
    layer = built_layer(rng)
    x = example(
        rng, layer, pick(rng, [2, 3, 7, 33] if "unbiased" in str(vars(layer)) else [1, 2, 7, 33])
    )
    kind, training = type(layer).__name__, bool(rng.random() < 0.5)
    use = pick(rng, ["input", "input", "gradient", "gradient", "gradient", "values", "order"])
    if use == "input":
        name, given, fine = spoiled(rng, x)
        if not fine:
            refused(lambda: layer.forward(given, training), f"{kind}.forward of x {name}")
            return "forward refused"
        check_output(layer, x, layer.forward(given, training), training)
        return "forward right"
    if use == "values":
        x = x.copy()
        if x.dtype.kind == "f":
            x.flat[int(rng.integers(x.size))] = pick(rng, [np.nan, np.inf, -np.inf, 3e38, 1e-45])
        try:
            y = layer.forward(x, training)
        except ValueError as error:
            must(NAMED.search(str(error)), f"{kind}: {error}")
            return "odd value refused"
        must(y.shape == (len(x), *layer.output_shape(layer.input_shape)), "odd values: shape")
        return "odd value taken"
    if use == "order":
        return order_of_calls(rng, layer, x)
    y = train(layer, x)
    dy = rng.normal(size=y.shape).astype(layer.dtype)
    if rng.random() < 0.3:
        layer.forward(example(rng, layer, 3))
    name, given, fine = spoiled(rng, dy, batch=True)
    if not fine:
        refused(lambda: layer.backward(given), f"{kind}.backward of dy {name}")
        return "backward refused"
    check_gradient(layer, x, y, dy, layer.backward(given), rng)
    return "backward right"


def order_of_calls(rng: Rng, layer: Any, x: Array) -> str:
    kind = type(layer).__name__
    dy = np.ones((len(x), *layer.output_shape(layer.input_shape)), layer.dtype)
    step = pick(rng, ["never", "inference", "built again", "other type", "twice", "other batch"])
    if step in ("never", "inference"):
        if step == "inference":
            layer.forward(x)
        refused(lambda: layer.backward(dy), f"{kind}.backward after {step}")
    elif step == "built again":
        train(layer, x)
        layer.build(layer.input_shape, layer.rng, layer.encoding, layer.dtype)
        refused(lambda: layer.backward(dy), f"{kind}.backward after {step}")
    elif step == "other type":
        train(layer, x)
        layer.astype(np.float64 if layer.dtype == np.float32 else np.float32)
        refused(lambda: layer.backward(dy.astype(layer.dtype)), f"{kind}.backward after {step}")
    elif step == "other batch":
        train(layer, x)
        batch = len(x) + pick(rng, [-1, 1, 64, -len(x) + 1])
        if batch == len(x):
            return "order: same batch"
        other = np.ones((batch, *dy.shape[1:]), layer.dtype)
        refused(lambda: layer.backward(other), f"{kind}.backward of {batch} after {len(x)}")
    else:
        train(layer, x)
        first = layer.backward(dy)
        again = layer.backward(dy)
        must((first is None) == (again is None), "backward twice")
        must(first is None or np.array_equal(first, again), "backward twice differs")
        return "order right"
    return "order refused"


# Layers that go through time


def recurrent_layer(rng: Rng) -> Any:
    units, features = pick(rng, [1, 3, 65]), pick(rng, [1, 2, 64])
    weights, states = weight_quantizer(rng), pick(rng, [None, activation_quantizer(rng)])
    layer = pick(
        rng,
        [
            lambda: LSTM(units, weights, states, pick(rng, [0.0, 1.0])),
            lambda: RNN(units, weights, states, pick(rng, ["relu", "tanh"])),
        ],
    )()
    shape = pick(rng, [-1, 1, 5]), features
    encoding, dtype = pick(rng, [None, SIGNS]), pick(rng, [np.float32, np.float64])
    return layer.build(shape, np.random.default_rng(int(rng.integers(99))), encoding, dtype)


def plain_states(layer: Any, x: Array, state: tuple[Array, ...]) -> Array:
    """Codes after each step in float64, step by step, where nothing is drawn."""
    w, r = (p.quantized.astype(float) for p in (layer.input_weight, layer.recurrent_weight))
    h, *cell = (array.astype(float) for array in state)
    codes = []
    for t in range(x.shape[1]):
        z = x[:, t] @ w * layer.input_scale + layer.bias.latent
        z = z + layer.encode(h) * layer.hidden_scale @ r
        if isinstance(layer, RNN):
            h = np.maximum(z, 0) if layer.activation == "relu" else np.tanh(z)
        else:
            i, f, g, o = np.split(z, 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            cell = [f * cell[0] + i * np.tanh(g)]
            h = o * np.tanh(cell[0])
        codes.append(layer.encode(h))
    return np.stack(codes, axis=1)


def fuzz_recurrent(rng: Rng) -> str:
    layer = recurrent_layer(rng)
    kind, names = type(layer).__name__, len(layer.names)
    batch, steps = pick(rng, [1, 2, 9]), layer.input_shape[0]
    shape = (batch, pick(rng, [1, 2, 7]) if steps == -1 else steps, layer.input_shape[1])
    x = rng.normal(size=shape) if layer.encoding is None else rng.choice([-1.0, 1.0], shape)
    x = x.astype(layer.dtype)
    state = tuple(rng.normal(size=(batch, layer.units)).astype(layer.dtype) for _ in range(names))
    given: Any = state if names > 1 else state[0]
    y = layer.forward(x, training=True, state=given)
    must(y.shape == (*shape[:2], layer.units) and y.dtype == layer.dtype, f"{kind}: {y.shape}")
    use = pick(rng, ["right", "parts", "input", "state", "dy", "dstate", "order"])
    dy = rng.normal(size=y.shape).astype(layer.dtype)
    what = f"{kind}.{use}"
    if use == "right":
        y = layer.forward(x, state=given)
        if layer.dtype == np.float64 and "tochastic" not in repr(layer.quantizer):
            close(y, plain_states(layer, x, state), what, 1e-9)
        layer.forward(x, training=True, state=given)
        found = layer.backward(dy, given)
        must(np.isfinite(found) & (found.shape == x.shape), f"{what}: gradient")
        must(all(np.isfinite(p.grad).all() for p in layer.parameters().values()), what)
        return "recurrent right"
    if use == "parts":
        if steps == -1 and shape[1] > 1:
            y, cut = layer.forward(x, state=given), int(rng.integers(1, shape[1]))
            ends = [layer.forward(x[:, :cut], state=given)]
            ends.append(layer.forward(x[:, cut:], state=layer.final_state))
            if layer.dtype == np.float64:  # a product of fewer rows is rounded in another order
                close(np.concatenate(ends, 1), y, what, 1e-9)
        return "recurrent right"
    if use in ("input", "dy"):
        name, wrong, fine = spoiled(rng, x if use == "input" else dy, batch=True)
        calls = {
            "input": lambda: layer.forward(wrong, state=given),
            "dy": lambda: layer.backward(wrong),
        }
        free = use == "input" and steps == -1 and name in ("one longer", "one shorter")
        free = free and wrong.ndim == 3 and wrong.shape[::2] == x.shape[::2] and wrong.size
        if fine or free:
            calls[use]()
            return "recurrent right"
        refused(calls[use], f"{what} {name}")
    elif use in ("state", "dstate"):
        name, wrong, fine = spoiled(rng, state[-1], batch=True)
        if fine:
            return "recurrent right"
        if rng.random() < 0.3:
            name, wrong = "NaN", state[-1] * np.nan
        spoilt: Any = (*state[:-1], wrong) if names > 1 else wrong
        if names > 1 and rng.random() < 0.3:
            name, spoilt = "number of arrays", pick(rng, [state[:1], (*state, state[0]), state[0]])
        if spoilt is None or (isinstance(spoilt, list | tuple) and names == 1):
            return "recurrent: no state"
        if use == "state":
            refused(lambda: layer.forward(x, state=spoilt), f"{what} {name}")
        else:
            refused(lambda: layer.backward(dy, spoilt), f"{what} {name}")
    else:
        if steps == -1:
            return "recurrent: any steps"
        layer.build(layer.input_shape, layer.rng, layer.encoding, layer.dtype)
        return order_of_calls(rng, layer, x)
    return "recurrent refused"


def fuzz_embedding(rng: Rng) -> str:
    words, units = pick(rng, [1, 2, 9]), pick(rng, [1, 3, 64])
    made = Embedding(words, units, weight_quantizer(rng))
    layer = made.build((pick(rng, [-1, 3]),), np.random.default_rng(0))
    x = rng.integers(0, words, (pick(rng, [1, 4]), 3)).astype(pick(rng, ["i8", "i4", "u1"]))
    y = layer.forward(x, training=True)
    use = pick(rng, ["right", "word", "input", "dy"])
    if use == "right":
        dy = rng.normal(size=y.shape).astype(layer.dtype)
        layer.backward(dy)
        summed = np.zeros(layer.weight.shape)
        np.add.at(summed, x, dy)
        scale = 1 if layer.weight_quantizer is None else layer.weight.scale
        close(layer.weight.grad * layer.dtype.type(scale), summed, "rows of a table", 1e-4)
        must(np.array_equal(layer.forward(x), layer.weight.codes[x]), "rows of a table")
        return "embedding right"
    if use == "word":
        x = x.astype("i8")
        x.flat[int(rng.integers(x.size))] = pick(rng, [-1, words, 2**40, -(2**40)])
        refused(lambda: layer.forward(x), "a word that is none")
    elif use == "input":
        wrong = pick(rng, [x.astype("f4"), x > 0, x[0], x[..., None], x[:0], x.tolist(), None])
        refused(lambda: layer.forward(wrong), f"words {type(wrong).__name__}")
    else:
        dy = rng.normal(size=y.shape).astype(layer.dtype)
        wrong = pick(rng, [dy[..., :-1], dy[:0], dy[0], dy.astype("f2"), dy.tolist(), None])
        refused(lambda: layer.backward(wrong), "rows' gradients")
    return "embedding refused"


# Arguments


def fuzz_arguments(rng: Rng) -> str:
    """A layer or quantizer made of odd arguments: refused by name, or it works."""
    makers: dict[str, Callable[..., Any]] = {
        "Dense": lambda a, b, c: Dense(a, b, c),
        "Conv2D": lambda a, b, c: Conv2D(a, b, stride=c),
        "Conv2D padding": lambda a, b, c: Conv2D(2, a, padding=b, one_padding=c),
        "MaxPool2D": lambda a, b, c: MaxPool2D(a, b, c),
        "AveragePool2D": lambda a, b, c: AveragePool2D(a, b, c),
        "BatchNorm": lambda a, b, c: BatchNorm(a, b, uniform_gain=c),
        "ShiftBatchNorm": lambda a, b, c: ShiftBatchNorm(a, b, c),
        "Dropout": lambda a, b, c: Dropout(a),
        "RNN": lambda a, b, c: RNN(a, b, c),
        "RNN activation": lambda a, b, c: RNN(2, None, a, b),
        "LSTM": lambda a, b, c: LSTM(a, b, None, c),
        "Embedding": lambda a, b, c: Embedding(a, b, c),
        "Pixels": lambda a, b, c: Pixels(a),
        "HardTanh": lambda a, b, c: HardTanh(a),
        "Quantize": lambda a, b, c: Quantize(a),
        "Branches": lambda a, b, c: Branches(a, b),
        "Auxiliary": lambda a, b, c: Auxiliary(a, b),
        "LinearQuant": lambda a, b, c: LinearQuant(a, high=b, saturation=c),
        "LinearQuant L1": lambda a, b, c: LinearQuant(3, a, b, "L1", c),
        "LogQuant": lambda a, b, c: LogQuant(a, b, c),
        "Sign": lambda a, b, c: Sign(a),
        "LinearGradient": lambda a, b, c: LinearGradient(a),
        "DoReFaGradient": lambda a, b, c: DoReFaGradient(a),
        "Adam": lambda a, b, c: Adam(a, b, 0.9, c),
        "AdaMax": lambda a, b, c: AdaMax(a, b, c),
        "SGD": lambda a, b, c: SGD(a, b),
        "ShiftAdaMax": lambda a, b, c: ShiftAdaMax(a, b),
        "Sequential": lambda a, b, c: Sequential(
            pick(rng, [a, [Dense(2)]]), b, pick(rng, [c, np.random.default_rng(0)])
        ),
    }
    name = pick(rng, list(makers))
    a, b, c = (pick(rng, [*ODD, 1, 1, 2, 0.5, 1.0]) for _ in range(3))
    what = f"{name}({a!r}, {b!r}, {c!r})"
    try:
        made = makers[name](a, b, c)
    except (ValueError, TypeError) as error:
        must(NAMED.search(str(error)), f"{what}: {type(error).__name__}: {error}")
        return "arguments refused"
    if isinstance(made, Layer) and not isinstance(made, Pixels):
        try:
            made.build((5, 6, 3), np.random.default_rng(0))
        except (ValueError, TypeError) as error:
            must(NAMED.search(str(error)), f"{what}.build: {type(error).__name__}: {error}")
            return "arguments refused when built"
        y = made.forward(np.ones((2, 5, 6, 3), np.float32), training=True)
        must(np.isfinite(y), f"{what}: an output that is not finite")
    return "arguments taken"


# Quantizers


def fuzz_quantizer(rng: Rng) -> str:
    quantizer = pick(
        rng,
        [
            Sign(),
            StochasticSign(),
            LinearQuant(2),
            LinearQuant(3, reading="L1"),
            LinearQuant(2, reading="L5"),
            LogQuant(4),
            LogQuant(3, None),
            LogQuant(3, stochastic=True),
            LinearGradient(3),
            DoReFaGradient(2),
        ],
    )
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4)).astype(pick(rng, ["f4", "f8"]))
    noise = quantizer.draw(shape, rng) if rng.random() < 0.5 else None
    use = pick(rng, ["right", "dtype", "NaN", "noise", "backward"])
    if use == "dtype":
        given = pick(
            rng,
            [
                x.astype("i8"),
                x.astype("f2"),
                x.astype("O"),
                np.ma.masked_array(x),
                "x",
                None,
                x > 0,
            ],
        )
        refused(lambda: quantizer.quantize(given), f"{quantizer} of {type(given).__name__}")
        return "quantizer refused"
    if use == "NaN":
        x.flat[0] = np.nan
        refused(lambda: quantizer.quantize(x, noise), f"{quantizer} of NaN")
        return "quantizer refused"
    if use == "noise" and noise is not None:
        wrong = pick(rng, [noise[..., :-1], noise.tolist(), noise + np.nan, noise[None], 0.5])
        refused(lambda: quantizer.quantize(x, wrong), f"{quantizer} with wrong noise")
        return "quantizer refused"
    if use == "backward" and type(quantizer).backward is not type(quantizer).__mro__[-2].backward:
        dy = rng.normal(size=shape).astype(x.dtype)
        if rng.random() < 0.5:
            refused(
                lambda: quantizer.backward(dy[None], x), f"{quantizer}.backward of another shape"
            )
            return "quantizer refused"
        inside = quantizer.backward(np.ones_like(dy), x) != 0
        dy[~inside] = pick(rng, [np.nan, np.inf, -np.inf])
        close(quantizer.backward(dy, x), np.where(inside, dy, 0), "masked gradient")
        return "quantizer right"
    y = quantizer.quantize(x, noise)
    must(y.dtype == x.dtype and y.shape == x.shape, f"{quantizer}: {y.dtype} {y.shape}")
    must(np.isfinite(y), f"{quantizer}: not finite")
    if isinstance(quantizer, Sign):
        u = 0.5 if noise is None else noise
        close(y, np.where(x >= 0 if noise is None else u < (x + 1) / 2, 1.0, -1.0), "sign", 0)
    elif not isinstance(quantizer, DoReFaGradient):
        must(np.sign(y) * np.sign(x) >= 0, f"{quantizer}: a value of the other sign")
    return "quantizer right"


# Optimizers

TWINS: dict[type, Callable[..., None]] = {
    SGD: sgd_update_reference,
    Adam: adam_update_reference,
    AdaMax: adamax_update_reference,
    ShiftAdaMax: shift_adamax_update_reference,
}


def fuzz_optimizer(rng: Rng) -> str:
    made = pick(
        rng,
        [SGD(0.1), SGD(0.1, 0.9), Adam(), AdaMax(), ShiftAdaMax(), ShiftAdaMax(variant="torch")],
    )
    dtype = pick(rng, [np.float32, np.float64])
    shape = tuple(int(n) for n in rng.integers(1, 40, 2))

    def parameters(shape: tuple[int, ...] = shape, dtype: Any = dtype) -> dict[str, Parameter]:
        found = {"0.w": Parameter(rng.uniform(-1, 1, shape).astype(dtype), Sign(), 1.0, 5.0)}
        found["1.b"] = Parameter(rng.normal(size=shape[1]).astype(dtype))
        for parameter in found.values():
            parameter.grad = rng.normal(size=parameter.shape).astype(dtype)
        return found

    known = parameters()
    made.step(known)
    use = pick(rng, ["right", "shape", "names", "gradient", "dtype", "argument"])
    before = {name: p.latent.copy() for name, p in known.items()}
    state = {
        name: {m: a.copy() for m, a in moments.items()} for name, moments in made.state.items()
    }
    if use == "right":
        for p in known.values():
            p.grad = np.asfortranarray(rng.normal(size=p.shape).astype(dtype))
        made.step(known)
        for name, p in known.items():
            numbers = np.array(made.constants(p, made.steps), dtype)
            w, g = before[name].reshape(-1), np.ascontiguousarray(p.grad).reshape(-1)
            moments = [state[name][m].reshape(-1) for m in made.moments] or [np.empty(0, dtype)]
            more = (made.variant == "torch",) if isinstance(made, ShiftAdaMax) else ()
            TWINS[type(made)](w, g, *moments, numbers, dtype(p.bound), *more)
            close(p.latent.reshape(-1), w, f"{type(made).__name__}.step", 1e-6)
        return "optimizer right"
    given: Any = known
    if use == "shape":
        wider = tuple(n + int(rng.integers(1, 600)) for n in shape)
        given = parameters(pick(rng, [wider, (shape[0], shape[1] + 1), (shape[0] + 1, shape[1])]))
    elif use == "names":
        given = pick(
            rng,
            [
                {"0.w": known["0.w"]},
                known | {"2.x": known["1.b"]},
                {},
                [known["0.w"]],
                None,
                {"0.w": 3, "1.b": 4},
            ],
        )
    elif use == "dtype":
        given = parameters(shape, np.float64 if dtype == np.float32 else np.float32)
    elif use == "gradient":
        grad = known["0.w"].grad
        wrong = [
            None,
            grad[:-1],
            grad[None],
            grad.astype("f2"),
            grad.tolist(),
            grad + np.nan,
            grad * np.inf,
            grad.T if shape[0] != shape[1] else None,
            np.ma.masked_array(grad),
        ]
        known["0.w"].grad = pick(rng, wrong)
    elif use == "argument":
        name = pick(rng, ["learning_rate", *made.settings()])
        if isinstance(getattr(made, name), float):
            value = pick(rng, [float("nan"), float("inf"), -1.0, True, None, "x", 1j])
            refused(lambda: setattr(made, name, value), f"{type(made).__name__}.{name} = {value!r}")
        return "optimizer refused"
    if not made.moments and use in ("shape", "dtype"):
        made.step(given)  # keeps nothing that could not fit
        return "optimizer right"
    refused(lambda: made.step(given), f"{type(made).__name__}.step with wrong {use}")
    for name, p in known.items():
        must(np.array_equal(p.latent, before[name]), "a refused step moved something")
    return "optimizer refused"


# Networks


def network(rng: Rng) -> tuple[Sequential, Array]:
    image = bool(rng.random() < 0.5)
    shape = (5, 4, 2) if image else (9,)

    def block(units: int) -> list[Layer]:
        return [
            Dense(units, weight_quantizer(rng)),
            BatchNorm(),
            Quantize(activation_quantizer(rng)),
        ]

    layers: list[Layer] = [Pixels()]
    if image:
        layers += [
            Conv2D(3, 3, padding=1, weight_quantizer=weight_quantizer(rng)),
            MaxPool2D(2),
            BatchNorm(),
            Quantize(),
        ]
        layers += [Branches([Conv2D(2, 1), BatchNorm(), Quantize()], [Quantize()])] * (
            rng.random() < 0.5
        )
        layers += [Auxiliary([Flatten(), Dense(3)])] * (rng.random() < 0.5) + [Flatten()]
    layers += (
        [Dropout(0.5)] * (rng.random() < 0.3)
        + block(7)
        + [Dense(3, weight_quantizer(rng)), BatchNorm()]
    )
    made = Sequential(layers, shape, np.random.default_rng(int(rng.integers(99))))
    return made, rng.integers(0, 256, (pick(rng, [1, 2, 9]), *shape), dtype=np.uint8)


def fuzz_network(rng: Rng) -> str:
    made, x = network(rng)
    labels = rng.integers(0, 3, len(x))
    use = pick(rng, ["right", "input", "batch_size", "arrays", "backward", "again"])
    if use == "right":
        scores = made.forward(x, training=True)
        for head in made.auxiliaries():
            head.learn(squared_hinge, labels)
        made.backward(squared_hinge(scores, labels)[1])
        must(all(np.isfinite(p.grad).all() for p in made.parameters().values()), "gradients")
        y: Array = x
        for layer in made.layers:
            following = layer.forward(y)
            check_output(layer, y, following, False)
            y = following
        close(made.scores(x, int(rng.integers(1, 4))), y, "scores in batches", 1e-5)
        must(made.predict(x) == y.argmax(axis=1), "classes")
        return "network right"
    if use == "input":
        name, given, fine = spoiled(rng, x)
        if fine:
            close(made.scores(given), made.scores(x), "scores", 1e-6)
            return "network right"
        for call in (made.scores, made.predict, made.forward):
            refused(lambda call=call: call(given), f"network: images {name}")
    elif use == "batch_size":
        wrong = pick(rng, [0, -1, 2.0, True, None, "3", float("nan"), [1]])
        refused(lambda: made.scores(x, wrong), f"batch_size={wrong!r}")
    elif use == "arrays":
        arrays = made.arrays()
        name = pick(rng, list(arrays))
        array = arrays[name]
        spoils = [
            array[None],
            array.astype("f8"),
            array + np.nan,
            array - np.inf,
            array.tolist(),
            None,
            np.ma.masked_array(array),
        ]
        refused(lambda: made.set_arrays(arrays | {name: pick(rng, spoils)}), f"arrays {name}")
        must(
            all(np.array_equal(a, arrays[n]) for n, a in made.arrays().items()), "changed half-way"
        )
    elif use == "backward":
        made.forward(x, training=True)
        for head in made.auxiliaries():
            head.learn(squared_hinge, labels)
        name, given, fine = spoiled(rng, rng.normal(size=(len(x), 3)).astype("f4"), batch=True)
        if fine:
            made.backward(given)
            return "network right"
        refused(lambda: made.backward(given), f"network.backward of dy {name}")
    else:
        refused(lambda: Sequential(made.layers, made.input_shape, rng), "the same layers again")
    return "network refused"


PARTS = [
    fuzz_layer,
    fuzz_layer,
    fuzz_layer,
    fuzz_recurrent,
    fuzz_recurrent,
    fuzz_embedding,
    fuzz_arguments,
    fuzz_quantizer,
    fuzz_optimizer,
    fuzz_network,
]


def one_call(seed: tuple[int, int]) -> tuple[str, str]:
    """What a call was, and the surprise in it, or an empty text."""
    rng = np.random.default_rng(seed)
    part = pick(rng, PARTS)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return part(rng), ""
        except Surprise as surprise:
            return f"{part.__name__}: SURPRISE", str(surprise)
        except Exception as error:
            return f"{part.__name__}: FOREIGN", f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this call alone, with its traceback")
    chosen = parser.parse_args()
    if chosen.only is not None:
        rng = np.random.default_rng((chosen.seed, chosen.only))
        with np.errstate(all="ignore"):
            print(pick(rng, PARTS)(rng))
        return 0
    counts, found, start = collections.Counter[str](), 0, time.perf_counter()
    for call in range(chosen.calls):
        kind, surprise = one_call((chosen.seed, call))
        counts[kind] += 1
        if surprise:
            found += 1
            if found <= 40:
                print(f"call {call}: {surprise}")
    for kind, count in sorted(counts.items()):
        print(f"{count:7,}  {kind}")
    took = time.perf_counter() - start
    print(f"{chosen.calls:7,}  calls in {took:.0f} s, seed {chosen.seed}: {found} surprises")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
