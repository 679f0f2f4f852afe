"""Every argument of every layer and quantizer refuses what is none of its kind, by its name.

The classes and their arguments are read from the package, so a new one is tried too.
"""

import inspect

import numpy as np
import pytest

import qnn_ref.layers
import qnn_ref.quantizers
from qnn_ref import Sequential
from qnn_ref.layers import (
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Layer,
    MaxPool2D,
    Parameter,
    Pixels,
    Quantize,
    ShiftBatchNorm,
    glorot_scale,
)
from qnn_ref.products import PLAIN, PlainProducts
from qnn_ref.quantizers import (
    Encoding,
    LinearQuant,
    LogQuant,
    Quantizer,
    Sign,
    hard_tanh,
    hard_tanh_backward,
)

NAN, INF = float("nan"), float("inf")
TEXT = ["x", [], object()]
BAD = {
    "int": [True, 2.0, NAN, None, -1, *TEXT],
    "int | None": [True, 2.5, NAN, *TEXT],
    "float": [True, NAN, -INF, None, *TEXT],
    "float | None": [True, NAN, INF, *TEXT],
    "int | Pair": [True, 2.5, NAN, None, -1, (1,), (1, 2, 3), (1, True), [2.0, 2.0], {}, *TEXT],
    "int | Pair | None": [True, 2.5, NAN, 0, (2, -1), np.ones(2), *TEXT],
    "bool": [0, 1, None, "no", np.zeros(2, bool)],
    "str": ["nonsense", None, 1, ["S"], True],
    "Quantizer": [Sign, LinearQuant, None, "sign", 1],
    "Quantizer | None": [Sign, "sign", 1, True],
    "Sequence[Layer]": [Dense, Dense(2), [Dense], [None], "Dense", None, (Sign(),), {}, 3],
}
VALID = {
    "units": 3,
    "vocabulary": 5,
    "kernel": 2,
    "rate": 0.5,
    "head": [Dense(2)],
    "bits": 3,
}


def classes_of(module, base):
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base
    ]


KINDS = classes_of(qnn_ref.layers, Layer) + classes_of(qnn_ref.quantizers, Quantizer)


def arguments():
    """Class, argument and something wrong for it."""
    for kind in KINDS:
        for name, argument in inspect.signature(kind).parameters.items():
            for wrong in BAD[argument.annotation]:
                yield pytest.param(kind, name, wrong, id=f"{kind.__name__}-{name}-{wrong!r:.20}")


@pytest.mark.parametrize(("kind", "name", "wrong"), list(arguments()))
def test_every_argument_refuses_what_is_none_of_its_kind(kind, name, wrong):
    parameters = inspect.signature(kind).parameters
    needed = {n: VALID[n] for n, p in parameters.items() if p.default is p.empty and n != "paths"}
    several = parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
    given = ([wrong], needed) if several else ([], needed | {name: wrong})
    with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[0\])*: "):
        kind(*given[0], **given[1])


def test_what_is_obviously_meant_is_taken():
    for two in ([2, 2], (2, 2), np.array([2, 2]), [np.int8(2), np.uint64(2)], 2, np.int32(2)):
        layer = Conv2D(np.int64(3), two, stride=two, padding=two)
        assert (layer.kernel, layer.stride, layer.padding) == ((2, 2),) * 3
        assert MaxPool2D(two, two).size == (2, 2)
    assert type(Dense(np.int8(3)).units) is int
    assert Dropout(np.float32(0.5)).rate == 0.5
    assert BatchNorm(momentum=1).momentum == 1
    assert LinearQuant(np.uint8(8)) == LinearQuant(8, high=np.float64(1))
    assert Sequential([Dense(2)], [3], np.random.default_rng(0)).input_shape == (3,)
    assert Sign(saturation=INF).backward(np.ones(1), np.full(1, 1e300)) == 1  # no mask at all


# Networks


def rng():
    return np.random.default_rng(0)


def network():
    return Sequential([Pixels(), Dense(4), BatchNorm(), Quantize(), Dense(2)], (8,), rng())


IMAGES = np.zeros((3, 8), np.uint8)


class Tensor:
    """Stands for an array of another library."""

    __module__ = "torch"


WRONG_CALLS = [
    (lambda: Sequential([Dense(2)], 8, rng()), r"input_shape: .* tuple .*, like \(8,\), got 8"),
    (lambda: Sequential([Dense(2)], (8.0,), rng()), r"input_shape: .* tuple .*\(8\.0,\)"),
    (lambda: Sequential([Dense(2)], (True,), rng()), r"input_shape: .* tuple"),
    (lambda: Sequential([Dense(2)], (0,), rng()), r"input_shape: .* at least 1"),
    (lambda: Sequential([Dense(2)], (), rng()), r"input_shape: .* empty"),
    (lambda: Sequential([Dense], (8,), rng()), r"layers\[0\]: .* class Dense, .*write Dense\("),
    (lambda: Sequential(Dense(2), (8,), rng()), r"layers: expected a list of layers, got Dense"),
    (
        lambda: Sequential([Sign()], (8,), rng()),
        r"layers\[0\]: .* of Layer, .* got Sign",
    ),
    (lambda: Sequential([Dense(2)], (8,), 0), r"rng: .*numpy\.random\.default_rng\(0\), got int"),
    (
        lambda: Sequential([Dense(2)], (8,), np.random.RandomState(0)),
        r"rng: expected an object of Generator",
    ),
    (lambda: Sequential([Dense(2)], (8,), np.random), r"rng: expected an object of Generator"),
    (lambda: Sequential([Dense(2)], (8,), rng(), np.float16), r"dtype: .*got float16"),
    (lambda: Sequential([Dense(2)], (8,), rng(), None), r"dtype: .*got None"),
    (lambda: Sequential([Dense(2)], (8,), rng(), "banana"), r"dtype: .*got 'banana'"),
    (lambda: network().predict(IMAGES.tolist()), r"images: expected a NumPy array, got list"),
    (lambda: network().predict(Tensor()), r"images: expected a NumPy array, got torch\.Tensor"),
    (lambda: network().scores(np.ma.masked_array(IMAGES)), r"images: .*got numpy\.MaskedArray"),
    (lambda: network().scores(np.uint8(3)), r"images: expected a NumPy array"),
    (lambda: network().scores(np.array(3, np.uint8)), r"images: expected at least one"),
    (lambda: network().forward(IMAGES.tolist()), r"layer 0 \(Pixels\): x: .* got list"),
    (lambda: network().forward(IMAGES.astype(int)), r"layer 0 .*: x: expected dtype uint8, got in"),
    (lambda: network().predict(IMAGES, 2.0), r"batch_size: expected a whole number"),
    (lambda: network().predict(IMAGES, True), r"batch_size: expected a whole number"),
    (lambda: network().predict(IMAGES, 0), r"batch_size: expected a whole number of at least 1"),
    (lambda: network().use_products(PlainProducts), r"products: .*write PlainProducts\("),
    (lambda: network().quantize_gradients(LogQuant), r"quantizer: .*write LogQuant\("),
    (lambda: network().relax_boundaries(NAN), r"saturation: "),
    (lambda: network().copy(np.int8), r"dtype: expected float32 or float64, got int8"),
    (lambda: network().set_arrays(None), r"arrays: expected an object of dict, got NoneType"),
    (lambda: network().set_arrays([1]), r"arrays: expected an object of dict, got list"),
    (lambda: hard_tanh(np.ones(2), -1), r"saturation: "),
    (lambda: hard_tanh(np.ones(2), NAN), r"saturation: "),
    (lambda: hard_tanh_backward(np.ones(2), np.ones(2), 0), r"saturation: "),
    (lambda: glorot_scale(-1, 2), r"fan_in: "),
    (lambda: glorot_scale(2, 2.0), r"fan_out: "),
    (lambda: Dense(2).build((3,), 0), r"rng: expected an object of Generator"),
    (lambda: Encoding(NAN, -1, 1, 2), r"scale: "),
    (lambda: Encoding("1", -1, 1, 2), r"scale: "),
    (lambda: Encoding(1.0, 1, -1, 2), r"low: expected less than high = -1, got 1"),
    (lambda: Encoding(1.0, -INF, INF, 2), r"low: expected a finite number"),
    (lambda: Encoding(1.0, -1.5, 1.5, 1), r"step: .*whole numbers"),
    (lambda: Encoding(1.0, -1, 1, 0.5), r"step: .*whole numbers"),
    (lambda: Encoding(1.0, -2, 1, 2), r"step: .*divisor"),
    (lambda: Encoding(1.0, -1, 1, True), r"step: "),
    (lambda: Encoding(1.0, -1, 1, -2), r"step: "),
    (lambda: Dense(2).build((3,), rng(), "signs"), r"encoding: expected an object of Encoding"),
    (lambda: Dense(2).build((3,), rng(), None, np.int8), r"dtype: "),
    (lambda: Dense(2).build(3, rng()), r"input_shape: "),
    (lambda: Pixels(1e-60).build((3,)), r"scale: 1e-60 is 0 in float32"),
    (lambda: Pixels(1e60).build((3,)), r"scale: 1e\+60 is inf in float32"),
    (lambda: BatchNorm(1e-60).build((3,)), r"epsilon: 1e-60 is 0 in float32"),
    (lambda: ShiftBatchNorm(epsilon=1e60).build((3,)), r"epsilon: 1e\+60 is inf"),
]


@pytest.mark.parametrize(("call", "words"), WRONG_CALLS)
def test_wrong_use_of_a_network_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match="^" + words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Parameter(np.arange(3)), r"latent: expected float32 or float64, got int64"),
        (lambda: Parameter(np.array([1, NAN])), r"latent: expected finite numbers, got nan at \[1"),
        (lambda: Parameter(np.ones(2), Sign), r"quantizer: .*write Sign\("),
        (lambda: Parameter(np.ones(2), bound=NAN), r"bound: "),
        (lambda: Parameter(np.ones(2), bound=-1), r"bound: "),
        (lambda: Parameter(np.ones(2), learning_rate_scale=INF), r"learning_rate_scale: "),
        (lambda: Parameter(np.ones(2)).assign(np.array([1j, 0])), r"value: .*got complex128"),
        (lambda: Parameter(np.ones(2)).assign(["a", "b"]), r"value: expected real numbers"),
        (lambda: Parameter(np.ones(2)).astype(int), r"dtype: expected float32 or float64"),
    ],
)
def test_a_parameter_refuses_what_is_no_weight(call, words):
    with pytest.raises((TypeError, ValueError), match="^" + words):
        call()


def arrays_with(change):
    made = network()
    arrays = made.arrays()
    made.set_arrays(arrays | {"1.Dense.weight": change(arrays["1.Dense.weight"])})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: np.where(w == w[2, 3], np.float32(NAN), w), r"expected .*got nan at \[2, 3\]"),
        (lambda w: w + np.float32(INF), r"expected .*got inf at \[0, 0\]"),
        (lambda w: w * 0 + 7, r"expected values within \+-1, .*got 7"),
        (lambda w: w.tolist(), r"expected a NumPy array, got list"),
        (lambda w: np.ma.masked_array(w), r"expected a NumPy array, got numpy\.MaskedArray"),
    ],
)
def test_arrays_that_no_training_leaves_are_refused(change, words):
    with pytest.raises((TypeError, ValueError), match=rf"^arrays\['1\.Dense\.weight'\]: {words}"):
        arrays_with(change)


# Layers inside layers


def spoil(layer):
    """Make a layer refuse whatever comes."""

    def refuse(*arguments):
        raise ValueError("x: something")

    layer.forward = layer.backward = refuse


@pytest.mark.parametrize(
    ("pick", "place"),
    [
        (lambda n: n.layers[0].paths[1][1], "layer 0 (Branches): path 1: layer 1 (HardTanh): "),
        (
            lambda n: n.layers[0].paths[2][0].paths[1][0],
            "layer 0 (Branches): path 2: layer 0 (Branches): path 1: layer 0 (HardTanh): ",
        ),
        (lambda n: n.layers[2].head[0], "layer 2 (Auxiliary): head: layer 0 (Flatten): "),
    ],
)
def test_an_error_inside_a_layer_names_path_and_inner_layer(pick, place):
    layers = [
        Branches([Conv2D(2, 1)], [MaxPool2D(1), HardTanh()], [Branches([], [HardTanh()])]),
        AveragePool2D(2),
        Auxiliary([Flatten(), Dense(2)]),
        Flatten(),
        Dense(2),
    ]
    made = Sequential(layers, (2, 2, 1), rng())
    x = np.ones((1, 2, 2, 1), np.float32)
    scores = made.forward(x, training=True)
    made.layers[2].receive(np.ones_like(made.layers[2].scores))
    made.backward(scores)
    spoil(pick(made))
    for call in (lambda: made.backward(scores), lambda: made.forward(x, training=True)):
        with pytest.raises(ValueError, match="x: something") as caught:
            call()
        assert str(caught.value) == place + "x: something"


def test_a_backward_pass_without_a_forward_pass_names_the_layer():
    with pytest.raises(RuntimeError, match=r"^layer 4 \(Dense\): Dense\.backward: call forward"):
        network().backward(np.ones((3, 2), np.float32))


# Sums of whole numbers


@pytest.mark.parametrize("fan_in", [1, 2, 8])
def test_sums_that_are_no_whole_numbers_in_float64_are_refused_when_built(fan_in):
    """2^53 is the first number that the next whole one cannot follow."""
    for largest, fits in ((2**53 // fan_in, False), (2**53 // fan_in - 1, True)):
        layer, encoding = Dense(2), Encoding(1.0, -largest, largest, 1)
        if fits:
            layer.build((fan_in,), rng(), encoding)
        else:
            with pytest.raises(ValueError, match=f"^weight_quantizer: sums of {fan_in} products"):
                layer.build((fan_in,), rng(), encoding)


def test_products_of_a_network_are_replaced_as_an_object():
    made = network()
    made.use_products(PLAIN)
    assert made.layers[1].products is PLAIN
