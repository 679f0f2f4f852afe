"""Lines of the formulas that small networks do not reach, by hand; and what all have in common."""

from collections import Counter

import numpy as np
import pytest

import qnn_ref
from qnn_ref.cost import (
    Operation,
    binary_kernels,
    filter_forms,
    inference_cost,
    packed_cost,
    picojoules,
    training_cost,
)
from qnn_ref.cost.energy import slices
from qnn_ref.cost.operations import FORMATS, REAL, Operand, of_grid
from qnn_ref.cost.packed import stage_tally
from qnn_ref.cost.products import backward_products, forward_products
from qnn_ref.cost.sites import Site, quantizer_tally
from qnn_ref.cost.updates import update_tally
from qnn_ref.grid import Grid
from qnn_ref.layers import (
    LSTM,
    RNN,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    HardTanh,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam
from qnn_ref.packed import pack_sequence
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign, StochasticSign

NUMBERS = [name for name, form in FORMATS.items() if form.bits]


def network(*layers, shape=(4,)):
    return Sequential(layers, shape, np.random.default_rng(0))


def counts(cost):
    return {str(operation): count for operation, count in cost.operations.items()}


def a_site(examples=3, number="quantized", training=False, shape=(4,)):
    return Site(shape, shape, examples, FORMATS[number], training)


@pytest.mark.parametrize(
    ("quantizer", "drawn", "each"),
    [
        (None, True, {}),
        (Sign(), False, {"compare": 1}),
        (Sign(), True, {"compare": 1}),
        (StochasticSign(), False, {"compare": 1}),
        (StochasticSign(), True, {"multiply": 1, "add": 1, "compare": 3}),
        (LinearQuant(3), False, {"multiply": 1, "add": 1, "compare": 2}),
        (LinearQuant(3), True, {"multiply": 1, "add": 1, "compare": 2}),
        (LogQuant(4), True, {"AP2": 1, "shift": 1, "compare": 3}),
    ],
)
def test_a_code_costs_so_much(quantizer, drawn, each):
    found = quantizer_tally(quantizer, 7, a_site(), drawn)
    assert found == {Operation(name, "float32"): 7 * n for name, n in each.items()}
    assert quantizer_tally(quantizer, 7, a_site()) == quantizer_tally(quantizer, 7, a_site(), False)


@pytest.mark.parametrize(
    ("a", "b", "each"),
    [
        (Operand("planes", 1), Operand("planes", 1), 1),
        (Operand("planes", 4), Operand("planes", 2), 8),
        (Operand("planes", 1), REAL, 1),
        (Operand("planes", 2), REAL, 200),
        (Operand("power", 4), Operand("planes", 3), 3),
        (Operand("power", 4), REAL, 32),
        (Operand("power", 4), Operand("power", 6), 6),
        (REAL, REAL, 200),
    ],
)
def test_a_multiplier_takes_so_many_slices(a, b, each):
    assert slices([(a, b, 10)]) == 10 * each
    if {a.kind, b.kind} != {"power"}:  # of two powers the second one is shifted
        assert slices([(b, a, 10), (a, b, 1)]) == 11 * each


def test_what_has_no_price_is_refused_and_nothing_costs_nothing():
    with pytest.raises(ValueError, match="operations: multiply bit has no price"):
        picojoules({Operation("multiply", "bit"): 1})
    assert picojoules({Operation("add", "int8"): 0}) == picojoules({}) == 0
    with pytest.raises(ValueError, match="add int8"):
        picojoules({Operation("add", "int8"): -1})


def test_a_grid_of_seventeen_bits_is_as_good_as_real():
    assert of_grid(Grid(0, 2**16 - 1, 1)) == Operand("planes", 16)
    assert of_grid(Grid(0, 2**16, 1)) == REAL
    assert of_grid(Grid(-(2**16), 2**16 - 2, 2)) == Operand("planes", 16)
    assert of_grid(Grid(-(2**16), 2**16, 2)) == of_grid(None) == REAL


def test_energy_takes_dram_at_its_lower_price():
    cost = inference_cost(network(Dense(600, None), shape=(600,)))
    low, high = cost.memory_energy
    assert cost.accesses["DRAM"] == 180_000
    assert high - low == pytest.approx(1300 * 180_000)
    assert cost.energy == cost.operation_energy + low


LAYERS = {
    "dense": lambda: network(HardTanh(), Dense(5)),
    "convolution": lambda: network(HardTanh(), Conv2D(7, 3, padding=1), shape=(5, 6, 2)),
    "RNN": lambda: network(HardTanh(), RNN(6), shape=(5, 3)),
    "LSTM": lambda: network(HardTanh(), LSTM(6, None), shape=(5, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_product_has_as_many_sums_as_its_result_has_numbers(name):
    """Lines 2, 8 and 9, and those of a state in each step."""
    layer = LAYERS[name]().layers[1]
    shape = tuple(layer.input_shape)
    site = Site(shape, tuple(layer.output_shape(shape)), 3, FORMATS["quantized"], True)
    products = [*forward_products(layer, site), *backward_products(layer, site)]
    weights = [p.size for n, p in layer.parameters().items() if n.endswith("weight")]
    blocks = {"LSTM": 4}.get(name, 1)
    results = {"sums": site.m * blocks, "input gradient": site.n}
    results |= {"state sums": site.m * blocks, "state gradient": site.m}
    for product in products:
        if product.what != "weight gradient":
            assert product.sums == results[product.what], product.what
    assert [p.sums for p in products if p.what == "weight gradient"] == weights
    forward = [p.pairs for p in products if p.what.endswith("sums")]
    assert sum(p.pairs for p in products) == 3 * sum(forward)


def test_planes_of_gradients_are_put_together_for_each_sum():
    """Gradients of two bits meet weights of two, and inputs of three: k l - 1 for each result."""
    row = network(Quantize(LinearQuant(3)), Dense(6, LinearQuant(2)), shape=(5,))
    row.layers[1].gradient_quantizer = LinearQuant(2)
    row.layers[1].needs_input_gradient = True
    found = counts(training_cost(row, Adam(), 4).of("backward"))
    pairs = 4 * 5 * 6
    assert found["xnor bit"] == (3 * 2 + 2 * 2) * pairs
    assert found["shift int32"] == found["add int32"] == (3 * 2 - 1) * 30 + (2 * 2 - 1) * 4 * 5


CELLS = [
    (Sign(), Sign()),
    (Sign(), LinearQuant(4)),
    (LinearQuant(2), Sign()),
    (LinearQuant(2), LinearQuant(4, reading="unsigned")),
]


@pytest.mark.parametrize(("weights", "states"), CELLS)
def test_a_cell_of_any_bits_forward_and_back(weights, states):
    """Scales are multiplied with where they are not 1: of weights, of states, of both."""
    row = network(Embedding(7, 4, weights), RNN(3, weights, states), Dense(7, Sign()), shape=(-1,))
    steps = 2 * 5
    of_weights, of_states = int(weights != Sign()), int(states != Sign())
    either = max(of_weights, of_states)
    few, code = [q.bits if isinstance(q, LinearQuant) else 1 for q in (weights, states)], {}
    code[Sign], code[LinearQuant] = (0, 0, 1), (1, 1, 2)  # multiply, add, compare
    multiply, add, compare = code[type(states)]
    sums = steps * 3
    cell = Counter(
        {
            "xnor bit": few[0] * sums * (few[0] * 4 + few[1] * 3),
            "shift int32": sums * (few[0] * few[0] - 1 + few[0] * few[1] - 1),
            "multiply float32": sums * (of_weights + either + multiply),
            "add float32": sums * (2 + add),
            "compare float32": sums * (1 + compare),  # ReLU
        }
    )
    cell["count bit"], cell["add int32"] = cell["xnor bit"], cell["shift int32"]
    cost = inference_cost(row, 2, steps=5)
    (part,) = [p for p in cost.parts if p.place == "1.RNN"]
    assert {str(o): n for o, n in part.operations.items()} == +cell
    packed = packed_cost(pack_sequence(row), 2, steps=5)
    assert packed.operations == cost.operations
    back = training_cost(row, Adam(), 2, steps=5).of("backward")
    (part,) = [p for p in back.parts if p.place == "1.RNN"]
    # dz is real: with codes of one bit it is added, with more bits it is multiplied first.
    pairs = {"input": sums * 4, "state": sums * 3}
    more = of_weights * (pairs["input"] * 2 + pairs["state"]) + of_states * pairs["state"]
    expected = {
        "multiply float32": more
        + sums * (1 + either + of_states)  # ReLU's slope; the state's gradient; the codes' scale
        + of_weights * (12 + steps * 4)  # of both scales of the input
        + of_states * 9,
        "add float32": 2 * (pairs["input"] + pairs["state"]) + 2 * sums + sums,
        "compare float32": 2 * sums,  # ReLU's slope, the mask
    }
    assert {str(o): n for o, n in part.operations.items()} == expected


def test_a_state_without_a_quantizer_is_real():
    row = network(Embedding(7, 4, Sign()), RNN(3, LinearQuant(2), None), shape=(-1,))
    (part,) = [p for p in inference_cost(row, steps=5).parts if p.place == "1.RNN"]
    found = {str(o): n for o, n in part.operations.items()}
    assert found["xnor bit"] == 2 * 15 * 4
    assert found["add float32"] == 15 * 3 + 2 * 15
    assert found["multiply float32"] == 15 * 3 + 2 * 15  # products of the state; both scales
    back = training_cost(row, Adam(), steps=5).of("backward")
    (part,) = [p for p in back.parts if p.place == "1.RNN"]
    found = {str(o): n for o, n in part.operations.items()}
    products = 15 * 4 + 2 * 15 * 3  # dW of the state, both gradients with weights of two bits
    assert found["multiply float32"] == products + 15 + 15 + 5 * 4  # slope, state, input


@pytest.mark.parametrize("make", [RNN, LSTM])
def test_gradients_of_a_cells_sums_are_quantized_one_by_one(make):
    row = network(Embedding(7, 4, Sign()), make(3), shape=(-1,))
    row.quantize_gradients(LogQuant(6, exponent=None))
    back = training_cost(row, Adam(), 2, steps=5).of("backward")
    (part,) = [p for p in back.parts if p.place == f"1.{make.__name__}"]
    assert part.operations[Operation("AP2", "float32")] == 2 * 5 * 3 * {RNN: 1, LSTM: 4}[make]


def test_gradients_of_a_table_are_scaled_where_its_codes_are():
    for quantizer, scaled in ((Sign(), 0), (LinearQuant(2), 28), (None, 0)):
        row = network(Embedding(7, 4, quantizer), Dense(7, Sign()), shape=(-1,))
        back = training_cost(row, Adam(), 2, steps=5).of("backward")
        (part,) = [p for p in back.parts if p.place == "0.Embedding"]
        found = {str(o): n for o, n in part.operations.items()}
        assert found == {"add float32": 40} | ({"multiply float32": scaled} if scaled else {})


def test_a_clip_is_two_comparisons_of_each_number():
    form = FORMATS["quantized"]
    bound, free = Parameter(np.zeros(5), Sign(), 1.0), Parameter(np.zeros(5))
    compare = Operation("compare", "float32")
    assert update_tally(SGD(0.1), bound, form)[compare] == 10
    assert compare not in update_tally(SGD(0.1), free, form)


def trunk(activation):
    """Convolutions with both kinds of thresholds; 70 channels fill a word and a bit of the next."""
    return network(
        *(Pixels(), Conv2D(70, 3, padding=1), MaxPool2D(2), BatchNorm(), Quantize(activation)),
        *(Conv2D(5, 3, padding=1), BatchNorm(), Quantize(activation)),
        *(Flatten(), Dense(3, bias=True), BatchNorm()),
        shape=(8, 8, 3),
    )


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("activation", [Sign(), LinearQuant(2)])
def test_in_one_format_a_packed_network_computes_what_the_trained_one_does(activation, number):
    """Batch norm and hard tanh stand for thresholds; pixels are given, where layers make them."""
    row = trunk(activation)
    trained, packed = inference_cost(row, 2, number), packed_cost(qnn_ref.pack(row), 2, number)
    pixels = {o: n for p in trained.parts if p.place == "0.Pixels" for o, n in p.operations.items()}
    # Thresholds of one bit stand before the pool, where there are 64 places for 16.
    more = 2 * (64 - 16) * 70 if activation == Sign() else 0
    other = FORMATS[number].other
    moved = {Operation(n, other): 2 * more for n in ("multiply", "add", "compare")}
    assert packed.operations == trained.operations - Counter(pixels) + Counter(moved)


def test_bits_between_packed_steps_fill_words():
    cost = packed_cost(qnn_ref.pack(trunk(Sign())), 2)
    parts = {part.place.partition(".")[2]: part for part in cost.parts}
    pooled = [t.moved for t in parts["MaxPool"].transfers if t.what != "weights"]
    assert pooled == [2 * 64 * 128, 2 * 16 * 128]
    of_dense = [t.moved for t in parts["XnorDense"].transfers]
    assert of_dense[0] == 2 * 128  # 80 bits
    integers = packed_cost(qnn_ref.pack(trunk(LinearQuant(2))), 2)
    parts = {part.place.partition(".")[2]: part for part in integers.parts}
    pooled = [t.moved for t in parts["MaxPool"].transfers if t.what != "weights"]
    assert pooled == [2 * 64 * 70 * 32, 2 * 16 * 70 * 32]


def test_a_pool_of_sums_in_one_format():
    row = network(
        *(Pixels(), Conv2D(4, 3), BatchNorm(), Quantize(), AveragePool2D(2), Flatten()),
        *(Dense(3), BatchNorm()),
        shape=(6, 6, 1),
    )
    packed = packed_cost(qnn_ref.pack(row), 2, "float16")
    (part,) = [p for p in packed.parts if "SumPool" in p.place]
    assert part.operations == {Operation("add", "float16"): 2 * 4 * 2 * 2 * 4}
    (part,) = [p for p in packed_cost(qnn_ref.pack(row), 2).parts if "SumPool" in p.place]
    assert part.operations == {Operation("add", "int32"): 2 * 4 * 2 * 2 * 4}


def test_a_step_that_nobody_counted_is_refused_by_name():
    flow = Flow("pixels", (4,), Grid(0, 255, 1))
    with pytest.raises(TypeError, match="network: the operations of Stage are not known"):
        stage_tally(Stage(), flow, flow, FORMATS["quantized"])


def test_only_filters_of_one_bit_are_binary():
    layers = [Conv2D(2, 1, weight_quantizer=q) for q in (Sign(), LinearQuant(2), None)]
    row = network(*layers, shape=(3, 3, 1))
    assert [place for place, _ in binary_kernels(row)] == ["0.Conv2D"]
    assert filter_forms(np.array([[[[1.0, -1.0]]]])).tolist() == [[1, 0]]  # filters of one tap
