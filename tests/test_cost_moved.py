"""What each layer and step reads and writes, by hand: in its own bits, and in one format."""

from dataclasses import replace

import numpy as np
import pytest

from qnn_ref.cost import inference_cost, packed_cost, training_cost
from qnn_ref.cost.operations import FORMATS
from qnn_ref.experiments import IMAGE_SHAPES, RECIPES, TEXT_RECIPES
from qnn_ref.layers import (
    LSTM,
    RNN,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HardTanh,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam
from qnn_ref.packed import pack_sequence
from qnn_ref.quantizers import LinearQuant, Sign

NUMBERS = [name for name, form in FORMATS.items() if form.bits]
TWINS = [name for name in RECIPES if f"{name}-float" in RECIPES]
TEXTS = [name for name, recipe in TEXT_RECIPES.items() if recipe.quantized]


def network(*layers, shape=(4,)):
    return Sequential(layers, shape, np.random.default_rng(0))


def moved(cost, place, phase="forward"):
    (part,) = [p for p in cost.parts if (p.place, p.phase) == (place, phase)]
    return [(t.what, t.held, t.moved) for t in part.transfers]


def all_of(cost):
    """Everything that is counted but the names of places."""
    return cost.operations, cost.accesses, cost.memory_energy, cost.pairs


def narrow(name):
    recipe = RECIPES[name].narrowed(32)
    shape = IMAGE_SHAPES[recipe.dataset]
    return recipe.network(shape, 10, np.random.default_rng(0)), recipe.optimizer()


@pytest.mark.parametrize("name", TWINS)
def test_in_one_format_a_network_costs_what_its_float_twin_does(name):
    """Then quantizers make no difference: of weights and activations neither."""
    (few, _), (floats, _) = narrow(name), narrow(f"{name}-float")
    for number in NUMBERS:
        assert all_of(inference_cost(few, 3, number)) == all_of(inference_cost(floats, 3, number))


@pytest.mark.parametrize("name", TEXTS)
def test_in_one_format_a_text_network_costs_what_its_float_twin_does(name):
    recipe, rng = TEXT_RECIPES[name].narrowed(32), np.random.default_rng(0)
    few, floats = (replace(recipe, quantized=q).network(20, rng) for q in (True, False))
    for number in NUMBERS:
        costs = [inference_cost(one, 2, number, 3) for one in (few, floats)]
        assert all_of(costs[0]) == all_of(costs[1])


def test_bits_of_each_format_by_hand():
    """Operands of products in the format of products, sums and the rest in that of sums."""
    row = network(Dense(3, None, bias=True), BatchNorm(), HardTanh(), Dense(2, None))
    for number, small, large in (("float16", 16, 16), ("int8", 8, 32)):
        cost = inference_cost(row, 5, number)
        assert moved(cost, "0.Dense") == [
            ("inputs", 20 * small, 20 * small),
            ("weights", 12 * small, 12 * small),
            ("weights", 3 * large, 3 * large),  # the bias
            ("outputs", 15 * large, 15 * large),
        ]
        assert [t[1] for t in moved(cost, "1.BatchNorm")] == [n * large for n in (15, 3, 3, 15)]
        assert [t[1] for t in moved(cost, "2.HardTanh")] == [15 * large, 15 * small]
        assert [t[1] for t in moved(cost, "3.Dense")] == [15 * small, 6 * small, 10 * large]


@pytest.mark.parametrize(("bits", "width"), [(1, 1), (2, 2), (4, 4)])
def test_a_convolution_in_its_own_bits_by_hand(bits, width):
    quantizer = LinearQuant(bits)
    row = network(
        *(Pixels(), Conv2D(7, 3, padding=1, weight_quantizer=quantizer), MaxPool2D(2)),
        *(BatchNorm(), Quantize(quantizer), Flatten(), Dense(5, Sign())),
        shape=(4, 6, 2),
    )
    cost = inference_cost(row, 3)
    assert [part.place.partition(".")[2] for part in cost.parts] == [
        *("Conv2D", "MaxPool2D", "BatchNorm", "Quantize", "Dense"),  # a view of it moves nothing
    ]
    sums, pooled = 3 * 24 * 7 * 32, 3 * 6 * 7
    assert [t[1] for t in moved(cost, "1.Conv2D")] == [3 * 48 * 8, 9 * 2 * 7 * width, sums]
    assert [t[1] for t in moved(cost, "2.MaxPool2D")] == [sums, 32 * pooled]
    assert [t[1] for t in moved(cost, "4.Quantize")] == [32 * pooled, width * pooled]
    assert [t[1] for t in moved(cost, "6.Dense")] == [width * pooled, 42 * 5, 3 * 5 * 32]


@pytest.mark.parametrize(("make", "blocks"), [(RNN, 1), (LSTM, 4)])
def test_a_text_network_reads_rows_of_its_table_and_a_state_in_each_step(make, blocks):
    layers = Embedding(9, 8, LinearQuant(2)), make(6, LinearQuant(2), LinearQuant(4))
    row = network(*layers, Dense(9, LinearQuant(3)), shape=(-1,))
    cost = inference_cost(row, 2, steps=5)
    table, symbols = 2 * 9 * 8, 2 * 5
    assert moved(cost, "0.Embedding") == [
        ("inputs", 32 * symbols, 32 * symbols),
        ("rows", table, 2 * 8 * symbols),
        ("outputs", 2 * 8 * symbols, 2 * 8 * symbols),
    ]
    state = 2 * 6 * 6 * blocks
    assert moved(cost, f"1.{make.__name__}") == [
        ("inputs", 2 * 8 * symbols, 2 * 8 * symbols),
        ("weights", 2 * 8 * 6 * blocks, 2 * 8 * 6 * blocks),
        ("weights", state, 5 * state),
        ("weights", 32 * 6 * blocks, 32 * 6 * blocks),  # the bias
        ("outputs", 4 * 6 * symbols, 4 * 6 * symbols),
    ]
    packed = packed_cost(pack_sequence(row), 2, steps=5)
    words = 2 * 64  # a row of eight numbers fills a word of each plane
    assert moved(packed, "0.Rows") == [
        ("inputs", 32 * symbols, 32 * symbols),
        ("rows", words * 9, words * symbols),
        ("outputs", 32 * 8 * symbols, 32 * 8 * symbols),
    ]
    assert moved(packed_cost(pack_sequence(row), 2, "int8", 5), "0.Rows") == [
        ("inputs", 32 * symbols, 32 * symbols),
        ("rows", 8 * 8 * 9, 8 * 8 * symbols),
        ("outputs", 8 * 8 * symbols, 8 * 8 * symbols),
    ]


def test_a_float_table_moves_its_rows_too():
    row = network(Embedding(9, 8, None), Dense(9, None), shape=(-1,))
    assert moved(inference_cost(row), "0.Embedding")[1] == ("rows", 32 * 72, 32 * 8)


def test_a_backward_pass_reads_what_it_forms_gradients_with():
    """No bias and no shift; the lowest weights neither, since the input has no gradient."""
    row = network(Pixels(), Dense(3, bias=True), BatchNorm(), Quantize(), Dense(2), BatchNorm())
    cost = training_cost(row, Adam(), 5)
    assert [t for t in moved(cost, "1.Dense", "backward") if t[0] == "weights"] == []
    assert moved(cost, "4.Dense", "backward") == [
        ("gradients out", 5 * 2 * 32, 5 * 2 * 32),
        ("inputs", 5 * 3, 5 * 3),
        ("weights", 6, 6),
        ("gradients in", 5 * 3 * 32, 5 * 3 * 32),
        ("weight gradients", 6 * 32, 6 * 32),
    ]
    for norm in (BatchNorm(), ShiftBatchNorm()):
        one = network(Dense(3), norm)
        found = moved(training_cost(one, SGD(0.1), 5), f"1.{type(norm).__name__}", "backward")
        assert [t[:2] for t in found if t[0] == "weights"] == [("weights", 3 * 32)]  # the gain
    text = network(Embedding(9, 8, LinearQuant(2)), RNN(6), Dense(9, LinearQuant(2)), shape=(-1,))
    cost = training_cost(text, Adam(), 2, steps=5)
    assert moved(cost, "0.Embedding", "backward") == [
        ("gradients out", 10 * 8 * 32, 10 * 8 * 32),
        ("inputs", 10 * 32, 10 * 32),
        ("gradients in", 0, 0),  # of the numbers of symbols
        ("weight gradients", 72 * 32, 72 * 32),
    ]
    cell = [t[1:] for t in moved(cost, "1.RNN", "backward") if t[0] == "weights"]
    assert cell == [(2 * 48, 2 * 48), (2 * 36, 5 * 2 * 36)]  # two bits, no bias


def test_a_forward_pass_of_training_reads_latent_weights_and_writes_codes():
    cost = training_cost(network(Dense(3, LinearQuant(2)), BatchNorm()), Adam(), 5)
    assert moved(cost, "0.Dense") == [
        ("inputs", 5 * 4 * 32, 5 * 4 * 32),
        ("weights", 24, 24),
        ("outputs", 5 * 3 * 32, 5 * 3 * 32),
        ("latent weights", 12 * 32, 12 * 32),
        ("weights", 24, 24),
    ]
    assert [t[1] for t in moved(cost, "0.Dense", "update")] == [12 * 32] * 4
    assert [t[2] for t in moved(cost, "0.Dense", "update")] == [12 * 32, *[2 * 12 * 32] * 3]


def test_what_dropout_leaves_is_real_in_training_only():
    row = network(Quantize(), Dropout(0.5), Dense(3))
    assert moved(inference_cost(row, 5), "2.Dense")[0] == ("inputs", 20, 20)
    training = training_cost(row, Adam(), 5)
    for phase, place in (("forward", 0), ("backward", 1)):
        assert moved(training, "2.Dense", phase)[place] == ("inputs", 20 * 32, 20 * 32)
