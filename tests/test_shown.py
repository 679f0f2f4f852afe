"""What objects of the package look like when they are printed: calls, a line, tables."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

import qnn_ref
from qnn_ref import bits, layers, optimizers, packed, quantizers, shown, training
from qnn_ref.bits import pack_panels, pack_sign_kernel
from qnn_ref.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Parameter,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam
from qnn_ref.packed.stages import Stage
from qnn_ref.quantizers import (
    LinearQuant,
    Quantizer,
)

NAMES = vars(layers) | vars(optimizers) | vars(quantizers)

CALLS = [
    *("Dense(3)", "Dense(3, None, True)", "Dense(3, bias=True)", "Dense(3, LinearQuant(2))"),
    *("Conv2D(64, 3)", "Conv2D(64, 3, padding=1)", "Conv2D(2, (3, 1), stride=2, one_padding=True)"),
    *("MaxPool2D(2)", "MaxPool2D(3, 2, 1)", "AveragePool2D(2)", "AveragePool2D((2, 1))"),
    *("BatchNorm()", "BatchNorm(0.001)", "BatchNorm(momentum=0.5, uniform_gain=True)"),
    *("ShiftBatchNorm()", "ShiftBatchNorm('ratio')", "Dropout(0.2)", "Pixels()", "Pixels(0.5)"),
    *("RNN(8)", "RNN(8, None, None, 'tanh')", "LSTM(8, LinearQuant(2, high=0.25))"),
    *("LSTM(8, forget_bias=0.0)", "Embedding(9, 3)", "Embedding(9, 3, None)"),
    *("Quantize()", "Quantize(LinearQuant(2, reading='unsigned'))", "HardTanh()", "Flatten()"),
    *("Branches([Conv2D(2, 1)], [])", "Auxiliary([Flatten(), Dense(2)], 0.5)"),
    *("Sign()", "Sign(2.0)", "StochasticSign()", "LogQuant(3, stochastic=True)", "LinearQuant(4)"),
    *("LinearQuant(4, -2.0, reading='fixed-point')", "LinearGradient(6)", "DoReFaGradient(4)"),
    *("SGD()", "SGD(0.1, 0.9)", "SGD(momentum=0.9)", "Adam(0.003)", "Adam(epsilon=1e-06)"),
    *("AdaMax()", "ShiftAdaMax()", "Halving(initial=0.5, every=10)"),
    "ExponentialDecay(initial=0.1, final=0.001, epochs=5)",
]


@pytest.mark.parametrize("call", CALLS)
def test_the_repr_is_the_call_that_makes_the_object(call):
    assert repr(eval(call, NAMES)) == call


def test_every_layer_quantizer_optimizer_and_schedule_is_among_them():
    kinds = {
        name
        for name, kind in NAMES.items()
        if inspect.isclass(kind) and issubclass(kind, Layer | Quantizer | optimizers.Optimizer)
    }
    kinds |= {"Halving", "ExponentialDecay"}
    assert kinds - {"Layer", "Quantizer", "Optimizer"} == {call.partition("(")[0] for call in CALLS}


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (Conv2D(64, kernel=3), "Conv2D(64, 3)"),
        (Conv2D(64, (3, 3), padding=(1, 1)), "Conv2D(64, 3, padding=1)"),
        (MaxPool2D(2, (2, 2)), "MaxPool2D(2)"),
        (MaxPool2D(2, padding=1), "MaxPool2D(2, padding=1)"),
        (ShiftBatchNorm("R"), "ShiftBatchNorm('ratio')"),
        (LinearQuant(np.int64(2), high=np.float32(0.5)), "LinearQuant(2, high=0.5)"),
        (Adam(np.float64(0.25)), "Adam(0.25)"),
    ],
    ids=str,
)
def test_other_ways_to_say_the_same_are_shown_in_one(thing, text):
    assert repr(thing) == text


def test_what_changed_since_is_shown():
    quantize = Quantize()
    quantize.relax(2.0)
    assert repr(quantize) == "Quantize(Sign(2.0))"
    rule = SGD()
    rule.learning_rate = 0.5
    assert repr(rule) == "SGD(0.5)"


def test_a_built_layer_shows_itself_as_one_that_is_not():
    for layer in (Dense(3, bias=True), BatchNorm(), Dropout(0.5)):
        before = repr(layer)
        assert repr(layer.build((4,), np.random.default_rng(0))) == before


def test_layers_of_others_are_shown_with_what_they_keep():
    class Own(Layer):
        def __init__(self, kept, lost, *, usual=3):
            self.kept, self.usual = kept, usual

    assert repr(Own(2.5, 1)) == "Own(2.5, ...)"
    assert repr(Own(2.5, 1, usual=4)) == "Own(2.5, ..., usual=4)"


# Networks, parameters, runs: a few lines, whatever they hold


class Cells(HTMLParser):
    """Which tags a text has, and what stands between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert all(name == "style" for name, _ in attrs)

    def handle_data(self, data):
        self.cells.append(data)


@pytest.fixture(scope="module")
def network():
    rows = [Pixels(), Flatten(), Dense(300), BatchNorm(), Quantize(), Dense(10), BatchNorm()]
    return Sequential(rows, (28, 28), np.random.default_rng(0))


def run_of(network, **more):
    return training.Run(network, Adam(0.25), np.random.default_rng(0), **more)


def test_a_network_is_its_summary(network):
    assert repr(network) == network.summary()
    assert {"2 Dense", "(300,)", "235,200"} <= set(Cells(network._repr_html_()).cells)


def test_a_packed_network_is_a_table_of_its_steps(network):
    small = qnn_ref.pack(network)
    lines = repr(small).splitlines()
    assert lines[0].split() == ["step", "output", "of", "bytes"]
    assert len(lines) == 1 + len(small.stages)
    assert "(300,)" in lines[2]
    assert {"(300,)", "integers", "bits"} <= set(Cells(small._repr_html_()).cells)
    total = sum(int(line.split()[-1].replace(",", "")) for line in lines[1:])
    assert total == small.nbytes
    for stage in small.stages:
        assert repr(stage).startswith(f"{type(stage).__name__}(")
        assert len(repr(stage)) < 400


def test_a_parameter_says_what_it_is(network):
    weight = network.layers[2].weight
    assert repr(weight).startswith("<Parameter: latent float32 (784, 300), range -1 to 1, ")
    assert repr(weight).endswith("quantizer Sign(), bound 1, learning_rate_scale 26.88>")
    assert "bound" not in repr(Parameter(np.zeros(3)))
    assert repr(Parameter(np.zeros((0, 3))))
    cells = Cells(weight._repr_html_()).cells
    assert cells[cells.index("quantizer") + 1] == "Sign()"
    assert "none" in Cells(Parameter(np.zeros(3))._repr_html_()).cells


def test_a_run_says_how_far_it_is(network):
    assert repr(run_of(network)) == "<Run of 7 layers: 0 epochs of Adam(0.25), 0 steps>"
    history = [{"validation_error": 5.125}]
    run = run_of(network, history=history, best=network.arrays(), best_epoch=0)
    assert repr(run).endswith("best epoch 0: 5.12 % of the validation set wrong>")


def test_packed_operands_are_a_line():
    matrix = pack_panels(np.ones((100, 200)))
    kernel = pack_sign_kernel(np.ones((3, 3, 64, 128)))
    assert repr(matrix) == "<SignMatrix: 100 x 200 signs, in both directions>"
    assert repr(matrix.columns) == "<Panels: 200 columns of 100 bits, 3,328 bytes>"
    assert repr(kernel) == "<SignKernel: 128 kernels of 3 x 3 x 64 signs, in both directions>"
    assert repr(kernel.forward) == "<KernelPanels: 128 kernels of 3 x 3 x 64 bits>"


def test_no_class_that_users_meet_prints_all_that_it_holds():
    """A dataclass with arrays prints thousands of numbers, unless it says something else."""
    rooms = (bits, layers, optimizers, packed, quantizers, training, qnn_ref.network)
    kinds = {kind for room in rooms for kind in vars(room).values() if inspect.isclass(kind)}
    kinds |= set(Stage.kinds.values())
    for kind in kinds:
        if not kind.__module__.startswith("qnn_ref") or issubclass(kind, BaseException):
            continue
        holds = is_dataclass(kind) and re.search("Array|NDArray", str(kind.__annotations__))
        assert not (holds and "dataclass" in kind.__repr__.__code__.co_filename), kind
        if "parameters" in vars(kind) or kind in (Parameter, packed.PackedNetwork, Sequential):
            assert kind.__repr__ is not object.__repr__, kind


# The helpers


def test_columns_stand_under_each_other():
    rows = [("layer", "size"), ("a", "1"), ("long name", "1,000")]
    assert shown.columns(rows, right=(1,)).splitlines() == [
        "layer       size",
        "a              1",
        "long name  1,000",
    ]


def test_html_shows_text_as_text():
    table = shown.html_table([("a<b", "c"), ("<script>", "&"), ("x", "y")], right=(1,), bold=(1,))
    found = Cells(table)
    assert found.cells == ["a<b", "c", "<script>", "&", "x", "y"]
    assert set(found.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert table.index("bold") > table.index("&amp;")
    assert table.count("right") == 3


def three_lines(x):
    """One line.

    And more of them.
    """
    # A comment stays.
    y = "not a docstring"  # type: ignore[assignment]
    return x, y


def test_the_source_of_a_function_is_its_code_without_the_docstring():
    lines = shown.source(three_lines).splitlines()
    assert lines == [
        "def three_lines(x):",
        "    # A comment stays.",
        '    y = "not a docstring"',
        "    return x, y",
    ]
    assert shown.source(Dense.backward).startswith("def backward(self")


def test_the_source_of_a_kernel_is_that_of_its_python():
    text = shown.source(qnn_ref.bits.words._pack_thresholds)
    assert text.startswith("@serial_kernel\ndef _pack_thresholds(sums, at, flip, words):")
