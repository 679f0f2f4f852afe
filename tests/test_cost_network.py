"""Costs of small networks counted by hand, and what must hold for any network."""

import math
from collections import Counter

import numpy as np
import pytest

import qnn_ref
import qnn_ref.layers
from qnn_ref.cost import (
    Operation,
    inference_cost,
    joules,
    level_of,
    memory_of,
    packed_bytes,
    packed_cost,
    picojoules,
    training_cost,
)
from qnn_ref.cost.energy import HOROWITZ, LEVELS, PRICES
from qnn_ref.cost.layers import backward_tally, forward_tally
from qnn_ref.cost.operations import FORMATS, NAMES, Operand, product, tally
from qnn_ref.cost.packed import stage_tally
from qnn_ref.experiments import IMAGE_SHAPES, RECIPES, TEXT_RECIPES
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
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam, Optimizer, ShiftAdaMax
from qnn_ref.packed import PackedSequence, pack_sequence
from qnn_ref.packed.stages import Stage
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign, StochasticSign


def network(*layers, shape=(4,)):
    return Sequential(layers, shape, np.random.default_rng(0))


def counts(cost):
    return {str(operation): count for operation, count in cost.operations.items()}


def dense():
    """Four pixels, three binary units, two scores."""
    return network(Pixels(), Dense(3), BatchNorm(), Quantize(), Dense(2), BatchNorm())


# By hand


def test_a_binary_network_by_hand():
    cost = inference_cost(dense())
    assert cost.pairs == 4 * 3 + 3 * 2
    assert counts(cost) == {
        "xnor bit": 8 * 12 + 6,  # pixels have eight planes
        "count bit": 8 * 12 + 6,
        "shift int32": 7 * 3,  # the planes are put together
        "add int32": 7 * 3,
        "multiply float32": 3 + 2 * 3 + 2 * 2,  # the scale of pixels; two batch norms
        "add float32": 2 * 3 + 2 * 2,
        "compare float32": 3,
    }
    assert cost.slices == 8 * 12 + 6


@pytest.mark.parametrize("number", ["float32", "float16", "int32", "int8"])
def test_a_network_in_one_format_by_hand(number):
    cost = inference_cost(dense(), 5, number)
    total = {"multiply": 18 + 4 + 6 + 4, "add": 18 + 4 + 6 + 4, "compare": 2 * 3}
    other = "int32" if number == "int8" else number
    expected = Counter()
    for name, count in total.items():
        inner = 18 if name != "compare" else 0
        if name == "multiply":
            expected[f"multiply {number}"] += 5 * inner
        elif name == "add":
            expected[f"add {other}"] += 5 * inner
        expected[f"{name} {other}"] += 5 * (count - inner)
    assert counts(cost) == expected
    if number == "float32":
        assert cost.slices == cost.to_json()["slices"] == 200 * 5 * 18
    else:
        assert cost.to_json()["slices"] is None
        with pytest.raises(ValueError, match=f"slices: .*multiplier of {number}"):
            cost.slices  # noqa: B018
    bits = {"float32": (32, 32), "float16": (16, 16), "int32": (32, 32), "int8": (8, 32)}
    small, large = bits[number]
    first = cost.parts[1]  # the first Dense: codes of pixels, weights, sums
    assert [t.moved for t in first.transfers] == [5 * 4 * small, 12 * small, 5 * 3 * large]


def test_a_training_step_by_hand():
    """784-... is too large for a hand: 4-3-2, a batch of 5, Adam."""
    cost, batch = training_cost(dense(), Adam(), 5), 5
    forward = counts(cost.of("forward"))
    assert forward["xnor bit"] == batch * (8 * 12 + 6)
    assert forward["compare float32"] == batch * 3 + (12 + 6)  # activations; weights, line 1
    assert forward["multiply float32"] == batch * (3 + 3 * 3 + 3 * 2) + 6 * (3 + 2)
    backward = counts(cost.of("backward"))
    # Line 8: real gradients times signs are additions. Line 9: pixels are eight bits, signs one.
    # The lowest layer has no gradient of its input.
    products = batch * (12 + 6 + 6)
    assert backward["add float32"] == products + batch * 4 * (3 + 2)
    scales = batch * 3  # that of pixels
    assert backward["multiply float32"] == batch * 12 + scales + batch * 3 * (3 + 2) + 5 * (3 + 2)
    assert backward["compare float32"] == batch * 3  # the mask
    update, numbers = counts(cost.of("update")), 12 + 6 + 2 * (3 + 2)
    assert update == {
        "multiply float32": 6 * numbers,
        "add float32": 4 * numbers,
        "compare float32": 2 * 18,  # the clip of weights
        "divide float32": 3 * numbers,
        "root float32": numbers,
    }
    assert cost.pairs == batch * (18 + 12 + 12)
    moved = [t for part in cost.of("update").parts for t in part.transfers]
    assert sum(t.moved for t in moved) == 32 * numbers * 7  # one gradient, three read and written


@pytest.mark.parametrize(
    ("stride", "padding", "places"),
    [(1, 0, 3 * 4), (1, 1, 5 * 6), (2, 0, 2 * 2), ((2, 1), 1, 3 * 6)],
)
def test_a_convolution_by_hand(stride, padding, places):
    conv = Conv2D(7, 3, stride=stride, padding=padding)
    one = network(Quantize(), conv, shape=(5, 6, 2))
    cost = inference_cost(one, 3)
    pairs = 3 * places * 7 * 9 * 2  # taps outside the image count too
    assert cost.pairs == pairs
    assert counts(cost) == {
        "xnor bit": pairs,
        "count bit": pairs,
        "compare float32": 3 * 5 * 6 * 2,
    }
    floats = counts(inference_cost(one, 3, "float32"))
    assert floats["multiply float32"] == floats["add float32"] == pairs


def test_pools_by_hand():
    pools = network(MaxPool2D(3, 2, 1), AveragePool2D(2), shape=(6, 6, 4))
    assert counts(inference_cost(pools, 2)) == {
        "compare float32": 2 * 8 * 9 * 4,  # 3 x 3 places, eight comparisons each
        "add float32": 2 * 4 * 1 * 4,
        "multiply float32": 2 * 4,
    }
    of_codes = network(Quantize(), AveragePool2D(2), shape=(6, 6, 4))
    assert counts(inference_cost(of_codes)) == {"compare float32": 144, "add float32": 4 * 36}
    backward = counts(training_cost(pools, Adam(), 2).of("backward"))
    assert backward == {"add float32": 2 * (36 + 4 * 4), "multiply float32": 2 * 4}


@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 1), (2, 2), (4, 3)])
def test_k_bits_are_k_l_binary_products(k, l):
    layers = Quantize(LinearQuant(k)), Dense(6, LinearQuant(l))
    found = counts(inference_cost(network(*layers, shape=(5,))))
    assert found["xnor bit"] == found["count bit"] == k * l * 30
    assert found.get("add int32", 0) == found.get("shift int32", 0) == (k * l - 1) * 6


def test_powers_of_two_are_shifts():
    layers = Quantize(LinearQuant(3)), Dense(6, LogQuant(4))
    found = counts(inference_cost(network(*layers, shape=(5,))))
    assert found["shift int32"] == found["add int32"] == 3 * 30  # for each plane of the input
    found = counts(inference_cost(network(HardTanh(), *layers[1:], shape=(5,))))
    assert found["shift float32"] == found["add float32"] == 30
    found = counts(inference_cost(network(Quantize(LogQuant(4)), Dense(6), shape=(5,))))
    assert found["AP2 float32"] == 5
    assert found["xnor bit"] == 8 * 30  # -64, ..., 64 in eight planes, as the packed network has it
    quantized = dense()
    quantized.quantize_gradients(LogQuant(6, exponent=None))
    found = counts(training_cost(quantized, ShiftAdaMax(), 5).of("backward"))
    # 3-2: both products of signs and powers; 4-3: pixels of eight planes, and no line 8.
    assert found["shift int32"] == found["add int32"] == 5 * (6 + 6 + 8 * 12)
    assert found["multiply float32"] == 5 * 3 + 5 * 3 * (3 + 2) + 5 * (3 + 2)


def test_branches_and_heads_by_hand():
    paths = [Conv2D(2, 1)], [Conv2D(3, 3, padding=1), BatchNorm()]
    head = Auxiliary([Flatten(), Dense(5)])
    row = network(Conv2D(1, 1), Branches(*paths), head, shape=(4, 4, 3))
    inference = inference_cost(row)
    assert inference.pairs == 16 * (3 * 1 + 1 * 2 + 9 * 3)
    assert [part.place for part in inference.parts] == [
        "0.Conv2D",
        "1.0.Conv2D",
        "1.1.Conv2D",
        "1.2.BatchNorm",
    ]
    training = training_cost(row, Adam())
    assert training.of("forward").pairs == inference.pairs + 80 * 5  # the head learns too
    assert training.of("backward").pairs == 2 * training.of("forward").pairs
    joins = [p for p in training.parts if p.place in ("1.Branches", "2.Auxiliary")]
    assert [p.operations[Operation("add", "float32")] for p in joins] == [80, 2 * 16]


@pytest.mark.parametrize(("make", "blocks"), [(RNN, 1), (LSTM, 4)])
def test_a_recurrent_network_by_hand(make, blocks):
    cell = make(3, LinearQuant(2), Sign())
    row = network(Embedding(7, 4, Sign()), cell, Dense(7, Sign()), shape=(-1,))
    cost = inference_cost(row, examples=2, steps=5)
    sums = 2 * 5 * 3 * blocks
    assert cost.pairs == sums * (4 + 3) + 2 * 5 * 3 * 7
    found = counts(cost)
    assert found["xnor bit"] == 2 * sums * (4 + 3) + 2 * 5 * 21
    assert found["shift int32"] == 2 * sums  # two planes, one joint, two products
    assert found.get("function float32", 0) == {RNN: 0, LSTM: 5 * 30}[make]
    weights = [t for p in cost.parts if "." in p.place for t in p.transfers if t.what == "weights"]
    state = 2 * 3 * 3 * blocks
    assert [t.moved for t in weights][1] == 5 * state  # read again in each step
    step = training_cost(row, Adam(), 2, steps=5)
    assert step.of("backward").pairs == 2 * cost.pairs  # the table wants a gradient too


def test_dropout_and_hard_tanh_by_hand():
    row = network(HardTanh(), Dropout(0.5), Dense(3, None, bias=True))
    assert counts(inference_cost(row)) == {
        "compare float32": 8,
        "multiply float32": 12,
        "add float32": 12 + 3,
    }
    training = training_cost(row, Adam())
    assert counts(training.of("forward"))["multiply float32"] == 4 + 12
    signs = network(Quantize(), Dropout(0.5), Dense(3))
    assert counts(inference_cost(signs))["xnor bit"] == 12
    found = counts(training_cost(signs, Adam()).of("forward"))
    assert "xnor bit" not in found  # what dropout leaves are no signs
    assert found["add float32"] == 12


def test_a_sign_that_draws_costs_more_in_training():
    row = network(Quantize(StochasticSign()), Dense(2, StochasticSign()))
    assert counts(inference_cost(row))["compare float32"] == 4
    found = counts(training_cost(row, Adam(), 10).of("forward"))
    assert found["compare float32"] == 3 * 40 + 3 * 8
    assert found["multiply float32"] == 40 + 8


# Packed


def test_a_packed_network_by_hand():
    packed = qnn_ref.pack(dense())
    cost = packed_cost(packed)
    assert counts(cost) == {
        "xnor bit": 8 * 12 + 6,
        "count bit": 8 * 12 + 6,
        "shift int32": 21,
        "add int32": 21,
        "compare int32": 3,
        "multiply float32": 4,
        "add float32": 4,
    }
    # Words of 64 bits: four pixels of 8 bits, three rows of one word; three sums of 32 bits.
    assert [t.moved for t in cost.parts[0].transfers] == [32, 3 * 64, 3 * 32]
    assert packed_bytes(packed) == (4 * 18, packed.nbytes)
    twin = packed_cost(packed, 5, "float32")
    assert twin.pairs == 5 * 18
    assert [t.moved for t in twin.parts[0].transfers] == [5 * 4 * 32, 12 * 32, 5 * 3 * 32]


def test_a_packed_convolution_by_hand():
    layers = [
        *(Pixels(), Conv2D(8, 3, padding=1), MaxPool2D(2), BatchNorm(), Quantize()),
        *(Conv2D(70, 3, padding=1), BatchNorm(), Quantize(LinearQuant(2))),
        *(AveragePool2D(2), Flatten(), Dense(3), BatchNorm()),
    ]
    row = network(*layers, shape=(8, 8, 3))
    cost = packed_cost(qnn_ref.pack(row), 2)
    trained = inference_cost(row, 2)
    assert cost.pairs == trained.pairs
    found, before = counts(cost), counts(trained)
    assert found["xnor bit"] == before["xnor bit"]
    assert found["logic bit"] == 2 * 16 * 8 * 3
    border = (64 - 36) * 8 + (16 - 4) * 70
    levels = 3 * 16 * 70
    pool = 4 * 4 * 70
    joints = before["shift int32"]
    assert found["add int32"] == joints + 2 * (border + levels + pool)
    assert found["compare int32"] == 2 * (64 * 8 + levels)  # thresholds stand before the pool


def test_packed_branches_cost_their_paths():
    paths = [Conv2D(2, 1), BatchNorm(), Quantize()], [Conv2D(3, 1), BatchNorm(), Quantize()]
    row = network(Pixels(), Branches(*paths), Flatten(), Dense(2), BatchNorm(), shape=(4, 4, 3))
    packed = qnn_ref.pack(row)
    assert packed_cost(packed).pairs == inference_cost(row).pairs
    weights, whole = packed_bytes(packed)
    assert weights == 4 * (3 * 2 + 3 * 3 + 80 * 2)
    assert whole == packed.nbytes


@pytest.mark.parametrize("make", [RNN, LSTM])
def test_a_packed_cell_costs_what_the_trained_one_does(make):
    weights, states = LinearQuant(2), LinearQuant(2)
    layers = Embedding(7, 4, weights), make(3, weights, states), Dense(7, weights)
    row = network(*layers, shape=(-1,))
    packed = pack_sequence(row)
    assert isinstance(packed, PackedSequence)
    for steps in (1, 5):
        cost, trained = packed_cost(packed, 2, steps=steps), inference_cost(row, 2, steps=steps)
        assert counts(cost) == counts(trained)
        assert cost.pairs == trained.pairs
        cell = packed.stages[1]
        once = sum(8 * array.nbytes for array in cell.arrays().values())
        part = next(p for p in cost.parts if p.place == "1.GridRecurrent")
        moved = sum(t.moved for t in part.transfers if t.what == "weights")
        assert moved == once + (steps - 1) * 8 * cell.state_words.nbytes  # again in each step
    assert packed_bytes(packed)[0] == memory_of(row).float_bytes


# Prices


def test_the_papers_energies():
    """Section 5, both tables."""
    rows = {
        "int8": (0.2, 0.03),
        "int32": (3.1, 0.1),
        "float16": (1.1, 0.4),
        "float32": (3.7, 0.9),
    }
    for number, (multiply, add) in rows.items():
        assert HOROWITZ[Operation("multiply", number)] == multiply
        assert HOROWITZ[Operation("add", number)] == add
    assert len(HOROWITZ) == 8
    assert [(level.name, level.low, level.high) for level in LEVELS] == [
        ("8 KB", 10, 10),
        ("32 KB", 20, 20),
        ("1 MB", 100, 100),
        ("DRAM", 1300, 2600),
    ]


def test_energy_is_operations_times_prices():
    cost = inference_cost(dense(), 7, "float32")
    found = counts(cost)
    by_hand = 3.7 * found["multiply float32"] + 0.9 * found["add float32"]
    by_hand += 0.1 * found["compare float32"]
    assert cost.operation_energy == pytest.approx(by_hand)
    accesses = sum(-(-t.moved // 64) for part in cost.parts for t in part.transfers)
    assert cost.accesses == {"8 KB": accesses, "32 KB": 0, "1 MB": 0, "DRAM": 0}
    assert cost.memory_energy == (10 * accesses, 10 * accesses)
    assert cost.energy == pytest.approx(by_hand + 10 * accesses)
    assert sum(p.operation_energy for p in cost.parts) == pytest.approx(cost.operation_energy)
    assert sum(p.memory_energy for p in cost.parts) == pytest.approx(cost.memory_energy[0])


def test_an_array_lies_in_the_smallest_memory_that_holds_it():
    kilo = 8 * 1024
    ends = {8 * kilo: "8 KB", 32 * kilo: "32 KB", 1024 * kilo: "1 MB"}
    for bits, name in ends.items():
        assert level_of(bits).name == name
        assert level_of(bits + 1).name != name
    assert level_of(0).name == "8 KB"
    assert level_of(1024 * kilo + 1).name == "DRAM"


def test_every_operation_that_occurs_has_a_price_and_a_meaning():
    for operation in PRICES:
        assert operation.name in NAMES
    for number in ("float32", "float16", "int32"):
        for name in set(NAMES) - {"xnor", "count", "logic"}:
            assert picojoules({Operation(name, number): 2}) > 0


def test_joules():
    texts = {0: "0 pJ", 4.6: "4.6 pJ", 4600: "4.6 nJ", 1e6: "1 uJ", 2.5e9: "2.5 mJ", 3e12: "3 J"}
    for pico, text in texts.items():
        assert joules(pico) == text


# The paper's networks


def test_weights_of_the_cifar10_network_take_1_75_instead_of_56_megabytes():
    """Section 5.1, without building it: the shapes are what counts."""
    recipe = RECIPES["cifar10-theano"]
    weights = recipe.weights(IMAGE_SHAPES["cifar10"], 10)
    assert (4 * weights, weights // 8) == (56_088_064, 1_752_752)


@pytest.mark.parametrize("name", ["digits", "mnist-torch-small", "cifar10-theano"])
def test_pairs_are_the_recipes_own_count(name):
    recipe = RECIPES[name].narrowed(16)
    shape = IMAGE_SHAPES[recipe.dataset]
    row = recipe.network(shape, 10, np.random.default_rng(0))
    count = sum(size * uses for size, uses in recipe.products(shape, 10))
    assert inference_cost(row).pairs == count
    memory = memory_of(row)
    assert memory.weights == recipe.weights(shape, 10)
    assert memory.factor == pytest.approx(32, rel=0.01)
    step = training_cost(row, recipe.optimizer(), recipe.batch_size)
    first = recipe.products(shape, 10)[0]
    assert step.pairs == recipe.batch_size * (3 * count - first[0] * first[1])


def test_language_models_are_counted():
    recipe = next(recipe for recipe in TEXT_RECIPES.values() if recipe.quantized)
    row = recipe.narrowed(32).network(20, np.random.default_rng(0))
    assert training_cost(row, recipe.optimizer(), 4, steps=3).pairs > 0
    assert memory_of(row).factor > 1


# Any network


SOME = {
    "dense": lambda: (dense(), 3),
    "shift": lambda: (
        network(Dense(3, None), ShiftBatchNorm("torch"), Quantize(LogQuant(3)), Dense(2)),
        3,
    ),
    "recurrent": lambda: (network(Embedding(5, 3), LSTM(2), Dense(5), shape=(-1,)), 3),
}


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("number", FORMATS)
def test_operations_grow_with_the_batch_and_weights_are_read_once(name, number):
    row, batch = SOME[name]()
    one, more = inference_cost(row, 1, number), inference_cost(row, batch, number)
    assert more.operations == Counter({o: batch * n for o, n in one.operations.items()})
    read = [
        sum(t.moved for p in cost.parts for t in p.transfers if t.what == "weights")
        for cost in (one, more)
    ]
    assert read[0] == read[1] > 0
    assert more.to_json()["operation_picojoules"] == pytest.approx(
        batch * one.to_json()["operation_picojoules"]
    )


def test_every_layer_and_every_packed_step_has_a_form():
    for name in qnn_ref.layers.__all__:
        kind = getattr(qnn_ref.layers, name)
        if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer:
            assert forward_tally.dispatch(kind) is not forward_tally.dispatch(Layer), name
            assert backward_tally.dispatch(kind) is not backward_tally.dispatch(Layer), name
    abstract = {"Pool", "GridProduct"}
    for name, kind in Stage.kinds.items():
        if kind.__module__.startswith("qnn_ref.") and name not in abstract:
            assert stage_tally.dispatch(kind) is not stage_tally.dispatch(Stage), name


def test_every_optimizer_has_a_form():
    for name in qnn_ref.optimizers.__all__:
        kind = getattr(qnn_ref.optimizers, name)
        if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer:
            step = training_cost(dense(), kind(2.0**-10))
            assert sum(step.of("update").operations.values()) > 0


def test_products_of_any_two_operands_are_priced():
    kinds = [("real", 32), ("planes", 1), ("planes", 3), ("power", 4)]
    operands = [Operand(*kind) for kind in kinds]
    for a in operands:
        for b in operands:
            for form in FORMATS.values():
                found = product(a, b, 10, 2, form)
                assert found == product(b, a, 10, 2, form)
                assert picojoules(found) > 0
                assert all(n > 0 for n in found.values())
    assert product(operands[1], operands[0], 10, 2, FORMATS["quantized"]) == tally(
        "float32", add=10
    )


# What is refused


class Odd(Layer):
    """A layer that nobody counted."""

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        return dy


class OddRule(Optimizer):
    """A rule that nobody counted."""


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: inference_cost([Dense(2)]), TypeError, "network: expected an object of Seq"),
        (lambda: inference_cost(Dense(2)), TypeError, "network: expected an object of Seq"),
        (lambda: inference_cost(Sequential), TypeError, "network: .*the class Sequential"),
        (lambda: inference_cost(dense(), 0), ValueError, "examples: expected .*from 1 to.*got 0"),
        (lambda: inference_cost(dense(), 1.5), TypeError, "examples: expected a whole number"),
        (lambda: inference_cost(dense(), 2**40), ValueError, "examples: "),
        (lambda: inference_cost(dense(), 1, "float8"), ValueError, "number: .*got 'float8'"),
        (lambda: inference_cost(dense(), 1, None), (TypeError, ValueError), "number: "),
        (lambda: inference_cost(dense(), steps=0), ValueError, "steps: "),
        (lambda: inference_cost(network(Odd(), Dense(2))), TypeError, "layer: .*of Odd are not"),
        (lambda: training_cost(dense(), Adam), TypeError, "optimizer: .*the class Adam"),
        (lambda: training_cost(dense(), OddRule(0.1)), TypeError, "optimizer: .*of OddRule"),
        (lambda: memory_of(qnn_ref.pack(dense())), TypeError, "network: expected an object of Seq"),
        (lambda: packed_cost(dense()), TypeError, "network: expected a PackedNetwork.*Sequential"),
        (lambda: packed_cost(qnn_ref.pack(dense()), -1), ValueError, "examples: "),
        (lambda: packed_bytes(None), TypeError, "network: expected a PackedNetwork.*NoneType"),
        (lambda: packed_cost(None), TypeError, "network: expected a PackedNetwork.*NoneType"),
    ],
)
def test_what_has_no_cost_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_json_holds_finite_numbers_only():
    found = training_cost(dense(), Adam(), 3).to_json()
    total = sum(row["picojoules"] for row in found["operations"])
    assert total == pytest.approx(found["operation_picojoules"])
    assert all(math.isfinite(n) for part in found["parts"] for n in list(part.values())[2:])
    assert "pairs" in repr(training_cost(dense(), Adam(), 3))
