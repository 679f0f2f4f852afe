"""Packed recurrent networks: the trained ones in each step, kept in files, writing text."""

import copy
import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnn_ref
from qnn_ref import Sequential
from qnn_ref.cli import main
from qnn_ref.datasets.tokens import vocabulary_of
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.grid import Grid
from qnn_ref.layers import LSTM, RNN, BatchNorm, Dense, Dropout, Embedding, HardTanh, Quantize
from qnn_ref.packed import (
    PackedNetwork,
    PackedSequence,
    identical_steps,
    pack_sequence,
    sequence,
)
from qnn_ref.packed.generation import choose, generate_tokens
from qnn_ref.packed.recurrent_stages import Rows
from qnn_ref.packed.sequence_packing import grid_of_input
from qnn_ref.packed.stages import Flow
from qnn_ref.packed.thresholds import Scores
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign, StochasticSign

SEEDS = st.integers(0, 2**32)
WEIGHTS = {
    "signs": Sign(),
    "two bits": LinearQuant(2, high=0.25),
    "fixed-point": LinearQuant(3, reading="fixed-point"),
    "four bits": LinearQuant(4, high=0.125),
    "powers": LogQuant(3),
    "unsigned": LinearQuant(2, reading="unsigned"),
}
STATES = {
    "signs": Sign(),
    "four bits": LinearQuant(4),
    "fixed-point": LinearQuant(3, reading="fixed-point"),
    "unsigned": LinearQuant(4, reading="unsigned"),
    "powers": LogQuant(4),
}
CELLS = {
    "LSTM": lambda units, w, q: LSTM(units, w, q),
    "relu": lambda units, w, q: RNN(units, w, q, "relu"),
    "tanh": lambda units, w, q: RNN(units, w, q, "tanh"),
}


def network_of(cell, weights, states, seed=0, units=70, vocabulary=9, norm=False, dtype=np.float32):
    """A network whose biases are not those of the start."""
    rng = np.random.default_rng(seed)
    row = [
        Embedding(vocabulary, 5, weights),
        CELLS[cell](units, weights, states),
        Dropout(0.5),
        Dense(vocabulary, weights, bias=True),
        *([BatchNorm()] if norm else []),
    ]
    network = Sequential(row, (-1,), rng, dtype)
    for name, parameter in network.parameters().items():
        if name.endswith((".bias", "gain", "shift")):
            parameter.assign(rng.normal(size=parameter.shape).astype(dtype))
    return network, rng


def states_of(network):
    """All arrays of all final states."""
    found = network.final_state.values()
    return [array for state in found for array in (state if isinstance(state, tuple) else (state,))]


def assert_equal(network, packed, tokens, state=None, others=None):
    """Scores and states, bit for bit."""
    np.testing.assert_array_equal(
        packed.forward(tokens, state=others), network.forward(tokens, state=state), strict=True
    )
    for ours, theirs in zip(states_of(packed), states_of(network), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_scores_and_states_are_those_of_the_trained_network_bit_for_bit(cell, weights, states):
    network, rng = network_of(cell, WEIGHTS[weights], STATES[states])
    packed = pack_sequence(network)
    tokens = rng.integers(0, 9, (3, 6))
    assert_equal(network, packed, tokens)
    assert_equal(network, packed, tokens, network.final_state, packed.final_state)
    assert identical_steps(network, packed, tokens) == 18


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("states", STATES)
def test_small_ones_are_so_without_the_compiler_too(cell, states):
    for seed, weights in enumerate(WEIGHTS.values()):
        options = {"units": 2 + seed, "vocabulary": 3, "norm": seed % 2 == 0}
        network, rng = network_of(cell, weights, STATES[states], seed, **options)
        packed, tokens = pack_sequence(network), rng.integers(0, 3, (2, 3))
        assert_equal(network, packed, tokens)
        assert_equal(network, packed, tokens, network.final_state, packed.final_state)


@pytest.mark.slow_without_jit
@settings(max_examples=25)
@given(
    *(st.sampled_from(list(CELLS)), st.sampled_from([np.float32, np.float64])),
    *(st.integers(1, 130), st.integers(1, 9), st.booleans(), SEEDS),
)
def test_of_any_size(cell, dtype, units, vocabulary, norm, seed):
    options = {"units": units, "vocabulary": vocabulary, "norm": norm, "dtype": dtype}
    network, rng = network_of(cell, LinearQuant(2, high=0.5), LinearQuant(3), seed, **options)
    packed = pack_sequence(network)
    tokens = rng.integers(0, vocabulary, (2, 5))
    assert_equal(network, packed, tokens)
    assert packed.output_shape == network.output_shape


@pytest.mark.slow_without_jit
def test_two_cells_one_behind_the_other():
    rng = np.random.default_rng(0)
    four = LinearQuant(4)
    row = [Embedding(9, 5, four), LSTM(30, four, four), RNN(40), Dense(9, four)]
    network = Sequential(row, (-1,), rng)
    packed = pack_sequence(network)
    assert_equal(network, packed, rng.integers(0, 9, (3, 8)))
    assert list(packed.final_state) == list(network.final_state) == ["1.LSTM", "2.RNN"]


@given(st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_a_text_in_two_parts_is_the_whole_one(first, second, seed):
    network, rng = network_of("LSTM", Sign(), LinearQuant(2), seed, units=11)
    packed = pack_sequence(network)
    tokens = rng.integers(0, 9, (2, first + second))
    whole = packed.forward(tokens)
    parts = [packed.forward(tokens[:, :first])]
    parts.append(packed.forward(tokens[:, first:], state=packed.final_state))
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


# What cannot be packed says why


class Odd(Quantizer):
    """Somebody's own, that no file can name."""

    encoding = Sign().encoding

    def encode(self, x, noise=None):
        return Sign().encode(x)


FOUR = LinearQuant(4)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([Embedding(9, 5, None), RNN(4), Dense(9)], r"layer 0 \(Embedding\): expected quantized"),
        ([Embedding(9, 5), RNN(4, None), Dense(9)], r"layer 1 \(RNN\): expected quantized weights"),
        ([Embedding(9, 5), RNN(4, FOUR, None), Dense(9)], r"layer 1 \(RNN\): expected a quantized"),
        ([Embedding(9, 5), LSTM(4), Dense(9, None)], r"layer 2 \(Dense\): expected quantized wei"),
        ([Embedding(9, 5), LSTM(4, FOUR, Odd()), Dense(9)], r"layer 1 \(LSTM\): Odd has no packed"),
        (
            [Embedding(9, 5), LSTM(4, FOUR, StochasticSign()), Dense(9)],
            r"layer 1 \(LSTM\): StochasticSign has no packed form",
        ),
        ([Embedding(9, 5), HardTanh(), LSTM(4), Dense(9)], r"layer 1 \(HardTanh\): this layer has"),
        ([Embedding(9, 5), LSTM(4), Dense(9), Quantize()], r"layer 3 \(Quantize\): this layer has"),
        ([Embedding(9, 5), LSTM(4), Dense(9), LSTM(9)], r"layer 3 \(LSTM\): this layer has no"),
        ([Embedding(9, 5), LSTM(4)], "network: expected a Dense layer at the end"),
    ],
)
def test_what_cannot_be_packed_says_why(row, words):
    network = Sequential(copy.deepcopy(row), (-1,), np.random.default_rng(0))
    with pytest.raises(ValueError, match="^" + words):
        pack_sequence(network)


def test_the_two_ways_to_pack_name_each_other():
    network, _ = network_of("LSTM", FOUR, FOUR)
    with pytest.raises(ValueError, match=r"^network: it reads text: .*pack_sequence"):
        qnn_ref.pack(network)
    images = Sequential([Dense(3)], (4,), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^layer 0 \(Dense\): expected one Embedding"):
        pack_sequence(images)
    with pytest.raises(TypeError, match=r"^network: expected an object of Sequential"):
        pack_sequence(None)


def test_a_network_that_is_not_finite_is_not_packed():
    network, _ = network_of("LSTM", FOUR, FOUR)
    with network.layers[1].bias.edit() as bias:
        bias[3] = np.nan
    with pytest.raises(ValueError, match=r"^network: 1.LSTM.bias: expected finite numbers"):
        pack_sequence(network)


# Use


@pytest.fixture(scope="module")
def packed():
    network, _ = network_of("LSTM", LinearQuant(2), LinearQuant(3), units=11)
    return pack_sequence(network, "abcdefg\n\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([[0, 1]], TypeError, "x: expected a NumPy array, got list"),
        (np.zeros((1, 2)), TypeError, "x: expected tokens, whole numbers, got float64"),
        (np.zeros(3, int), ValueError, r"x: expected shape \(batch, steps\)"),
        (np.zeros((0, 3), int), ValueError, r"x: expected shape \(batch, steps\)"),
        (np.array([[0, 9]]), ValueError, "x: expected numbers from 0 to 8"),
        (np.array([[-1]]), ValueError, "x: expected numbers from 0 to 8"),
    ],
)
def test_what_are_no_tokens_is_refused(packed, x, error, words):
    with pytest.raises(error, match="^" + words):
        packed.forward(x)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "state: expected one for each of 1.LSTM, got"),
        ([1], "state: expected an object of Mapping"),
        ({"1.LSTM": np.zeros((1, 11), np.float32)}, "state, 1.LSTM: expected 2 arrays"),
        ({"1.LSTM": (np.zeros((2, 11), np.float32),) * 2}, "state, 1.LSTM, h: expected"),
        ({"1.LSTM": (np.zeros((1, 11)),) * 2}, "state, 1.LSTM, h: expected"),
        ({"1.LSTM": (np.full((1, 11), np.nan, np.float32),) * 2}, "state, 1.LSTM, h: expected fin"),
    ],
)
def test_what_is_no_state_is_refused(packed, state, words):
    with pytest.raises((TypeError, ValueError), match="^" + words):
        packed.forward(np.array([[0]]), state=state)


def test_it_cannot_be_trained_and_shows_its_steps(packed):
    with pytest.raises(ValueError, match=r"^training: a packed network cannot be trained"):
        packed.forward(np.array([[0]]), training=True)
    assert "1 GridRecurrent" in repr(packed)
    assert "<table" in packed._repr_html_()
    assert packed.nbytes == sum(a.nbytes for s in packed.stages for a in s.arrays().values())
    for wrong in ("abc", "aaaaaaaaa"):
        with pytest.raises(ValueError, match=r"^symbols: expected 9 that differ"):
            PackedSequence(packed.stages, wrong)
    with pytest.raises(ValueError, match=r"^level: expected 'characters' or 'words'"):
        PackedSequence(packed.stages, level="bytes")
    with pytest.raises(ValueError, match=r"^stages: expected Rows first"):
        PackedSequence(packed.stages[1:])


def test_a_network_without_a_cell_foresees_too():
    rng, two = np.random.default_rng(0), LinearQuant(2)
    network = Sequential([Embedding(9, 5, two), Dense(4, two, bias=True)], (-1,), rng)
    packed = pack_sequence(network)
    assert packed.symbol_sums is None
    assert_equal(network, packed, rng.integers(0, 9, (3, 6)))
    # As does a table alone, whose rows are the scores.
    rows, scores = packed.stages[0], Scores("float32", 0.5)
    found = PackedSequence([rows, scores]).forward(np.array([[0, 8]]))
    np.testing.assert_array_equal(found[0], rows.codes[[0, 8]] / np.float32(2))


def test_sums_of_symbols_are_kept_up_to_a_size(packed, monkeypatch):
    tokens = np.array([[0, 8, 3]])
    again = [PackedSequence(packed.stages) for _ in range(2)]
    for one, most in zip(again, (9 * 44, 9 * 44 - 1), strict=True):
        monkeypatch.setattr(sequence, "MOST_SUMS", most)
        assert (one.symbol_sums is None) == (most < 9 * 44)
        np.testing.assert_array_equal(one.forward(tokens), packed.forward(tokens))


@pytest.mark.parametrize("vocabulary", [1, 2])
def test_few_symbols_are_a_vocabulary_too(vocabulary):
    network, rng = network_of(
        "relu", LinearQuant(2), LinearQuant(3), units=3, vocabulary=vocabulary
    )
    packed = pack_sequence(network)
    assert packed.output_shape == network.output_shape == (-1, vocabulary)
    assert_equal(network, packed, rng.integers(0, vocabulary, (2, 3)))
    assert packed.final_state.keys() == network.final_state.keys() == {"1.RNN"}
    np.testing.assert_array_equal(
        packed.final_state["1.RNN"], network.final_state["1.RNN"], strict=True
    )


def test_its_own_state_is_one_of_as_many_texts():
    network, _ = network_of("LSTM", LinearQuant(2), LinearQuant(3), units=3)
    packed = pack_sequence(network)
    packed.forward(np.array([[0, 1]]))
    with pytest.raises(ValueError, match=r"^state: expected that of 2 texts, got others"):
        packed.forward(np.array([[0], [1]]), state=packed.final_state)


def test_bytes_stand_on_the_right(packed):
    lines = repr(packed).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].endswith(" bytes")
    heads = re.findall("<th style=.text-align: (.*?).>", packed._repr_html_())
    assert heads == ["left", "left", "left", "right"]


def test_scores_of_another_precision_are_no_identical_steps():
    network, rng = network_of("LSTM", LinearQuant(2), LinearQuant(3), units=3)
    wide = network.copy(np.float64)
    assert identical_steps(wide, pack_sequence(network), rng.integers(0, 9, (2, 3))) == 0


def test_a_cell_of_one_unit_is_one():
    network, rng = network_of("LSTM", LinearQuant(2), LinearQuant(3), units=1)
    assert_equal(network, pack_sequence(network), rng.integers(0, 9, (2, 3)))


def test_what_is_not_quantized_has_no_grid():
    with pytest.raises(ValueError, match=r"^its input is not quantized"):
        grid_of_input(None)


@pytest.mark.parametrize("vocabulary", [2, 3])
def test_a_table_takes_no_token_beyond_its_rows(packed, vocabulary):
    words = packed.stages[0].words[:, :vocabulary].copy()
    rows = Rows(words, packed.stages[0].units, packed.stages[0].grid)
    rows.output(Flow("tokens", (1,), Grid(0, vocabulary - 1, 1)))
    with pytest.raises(ValueError, match=rf"^expected {vocabulary} symbols, got tokens"):
        rows.output(Flow("tokens", (1,), Grid(0, vocabulary, 1)))


@pytest.mark.parametrize("number", [0, 1])
def test_a_count_of_units_has_its_limits_and_the_words_fit_it(packed, number):
    """The most that a file can name has no words here; more than that is not asked for them."""
    stage = packed.stages[number]
    words = "words" if number == 0 else "state_words"
    for units, name in ((0, "units"), (2**31, "units"), (2**31 - 1, words)):
        with pytest.raises(ValueError, match=f"^{name}: "):
            dataclasses.replace(stage, units=units)


def test_a_cell_keeps_its_last_state_to_itself(packed):
    fields = {field.name: field for field in dataclasses.fields(packed.stages[1])}
    assert [name for name, field in fields.items() if not field.init] == ["names", "coded"]
    assert "coded" not in repr(packed.stages[1])
    packed.forward(np.array([[0, 1]]))
    for array in packed.final_state["1.LSTM"]:
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantizer": 3}, "quantizer: expected a description, got 3"),
        ({"bias": [0.0] * 44}, "bias: expected float32 or float64, got None"),
        ({"bias": np.zeros(44, np.float16)}, "bias: expected float32 or float64, got float16"),
        ({"bias": np.zeros(43, np.float32)}, "bias: "),
    ],
)
def test_a_cell_names_what_does_not_fit_it(packed, change, words):
    with pytest.raises((TypeError, ValueError), match="^" + words):
        dataclasses.replace(packed.stages[1], **change)


def test_sums_beyond_31_bits_are_refused():
    wide = LinearQuant(15)
    row = [Embedding(9, 5, wide), LSTM(4, wide, wide), Dense(9, wide)]
    network = Sequential(row, (-1,), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^layer 1 \(LSTM\): the numbers .* do not fit 31 bits"):
        pack_sequence(network)


def test_a_table_of_rows_of_one_number_takes_tokens_and_nothing_else():
    rows = Rows(np.array([[[0], [1], [1]]], np.uint64), 1, Grid(-1, 1, 2))
    assert rows.run(np.array([2, 0])).tolist() == [[1], [-1]]
    with pytest.raises(ValueError, match=r"^expected tokens"):
        rows.output(Flow("bits", (1,), Grid(-1, 1, 2)))


def test_steps_are_compared_on_arrays_of_tokens():
    network, _ = network_of("LSTM", LinearQuant(2), LinearQuant(3), units=3)
    with pytest.raises(TypeError, match=r"^tokens: expected a NumPy array, got list"):
        identical_steps(network, pack_sequence(network), [[0, 1]])


def test_the_planes_of_the_state_are_looked_at(packed):
    cell = packed.stages[1]
    for wrong in (cell.state_words[:1], cell.state_words[0], cell.state_words[..., [0, 0]]):
        with pytest.raises(ValueError, match=r"^state_words: expected"):
            dataclasses.replace(cell, state_words=wrong)


@pytest.mark.slow_without_jit
def test_weights_of_two_bits_take_two_bits():
    network, _ = network_of("relu", LinearQuant(2), LinearQuant(4), units=640)
    stage = pack_sequence(network).stages[1]
    assert stage.state_words.nbytes == 640 * 640 * 2 / 8


# Files


def test_a_file_gives_the_same_network(tmp_path, packed):
    path = tmp_path / "text.qnn"
    packed.save(path)
    again = PackedSequence.load(path)
    tokens = np.random.default_rng(0).integers(0, 9, (2, 7))
    np.testing.assert_array_equal(again.forward(tokens), packed.forward(tokens), strict=True)
    assert (again.symbols, again.level) == (packed.symbols, packed.level)
    again.save(tmp_path / "again.qnn")
    assert (tmp_path / "again.qnn").read_bytes() == path.read_bytes()


def test_files_of_images_and_of_text_are_told_apart(tmp_path, packed, capsys):
    path, images = tmp_path / "text.qnn", tmp_path / "images.qnn"
    packed.save(path)
    with pytest.raises(FileError, match=r"text.qnn: holds a recurrent network, .*qnn-ref generate"):
        PackedNetwork.load(path)
    row = [qnn_ref.layers.Pixels(), Dense(2)]
    qnn_ref.pack(Sequential(row, (3,), np.random.default_rng(0))).save(images)
    with pytest.raises(FileError, match=r"images.qnn: holds a network for images, .*predict"):
        PackedSequence.load(images)
    assert load_arrays(images, "packed network", 3)[1]["version"] == 2  # older packages read it
    assert load_arrays(path, "packed network", 3)[1]["version"] == 3
    assert main(["predict", str(path), str(images)]) == 2
    assert "qnn-ref generate" in capsys.readouterr().err
    assert main(["generate", str(images)]) == 2
    assert "qnn-ref predict" in capsys.readouterr().err


def damaged(change):
    """Another header, or other arrays."""
    return pytest.param(change, id=change.__name__)


def cell_of(header):
    return header["stages"][1]


DAMAGES = {
    "no symbols": lambda h, a: h.pop("symbols"),
    "symbols that are numbers": lambda h, a: h.update(symbols=[1] * 9),
    "too few symbols": lambda h, a: h.update(symbols=["a"]),
    "another level": lambda h, a: h.update(level="bytes"),
    "no steps": lambda h, a: h.pop("stages"),
    "another cell": lambda h, a: cell_of(h).update(cell="GRU"),
    "an RNN of four blocks": lambda h, a: cell_of(h).update(cell="RNN", activation="tanh"),
    "an activation of an LSTM": lambda h, a: cell_of(h).update(activation="relu"),
    "other units": lambda h, a: cell_of(h).update(units=12),
    "other features": lambda h, a: cell_of(h).update(features=6),
    "another grid": lambda h, a: cell_of(h).update(grid=[0, 7, 1]),
    "weights of more planes": lambda h, a: cell_of(h).update(weights=[-7, 7, 2]),
    "an infinite scale": lambda h, a: cell_of(h).update(state_scale=1e300),
    "a scale of zero": lambda h, a: cell_of(h).update(input_scale=0.0),
    "no quantizer": lambda h, a: cell_of(h).update(quantizer=None),
    "a quantizer of no kind": lambda h, a: cell_of(h).update(quantizer={"kind": "Layer"}),
    "a quantizer without bits": lambda h, a: cell_of(h).update(quantizer={"kind": "LinearQuant"}),
    "a quantizer without grid": lambda h, a: cell_of(h).update(
        quantizer={"kind": "LogQuant", "bits": 4, "exponent": None}
    ),
    "names": lambda h, a: cell_of(h).update(names=["h"]),
    "a short bias": lambda h, a: a.update({"1/bias": a["1/bias"][1:]}),
    "an infinite bias": lambda h, a: a.update({"1/bias": a["1/bias"] + np.float32(np.inf)}),
    "a bias of whole numbers": lambda h, a: a.update({"1/bias": a["1/bias"].astype(np.int32)}),
    "no bias": lambda h, a: a.pop("1/bias"),
    "fewer sums": lambda h, a: a.update({"1/words": a["1/words"][:, 1:]}),
    "other words": lambda h, a: a.update({"1/state_words": a["1/state_words"][..., :0]}),
    "padding bits": lambda h, a: a.update({"1/state_words": ~a["1/state_words"]}),
    "a table of one plane": lambda h, a: a.update({"0/words": a["0/words"][:1]}),
    "a smaller table": lambda h, a: a.update({"0/words": a["0/words"][:, 1:]}),
    "one array more": lambda h, a: a.update({"9/words": a["0/words"]}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path, packed, damage):
    path = tmp_path / "text.qnn"
    packed.save(path)
    arrays, header = load_arrays(path, "packed network", 3)
    DAMAGES[damage](header, arrays)
    save_arrays(path, arrays, header)
    with pytest.raises(FileError, match=r"text.qnn: damaged packed network file: "):
        PackedSequence.load(path)


# Text


def test_a_token_is_the_first_whose_summed_probability_exceeds_the_number():
    scores = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    for u, token in ((0.0, 0), (0.49, 0), (0.51, 1), (0.74, 1), (0.76, 2), (0.87, 2), (0.88, 3)):
        assert choose(scores, 1.0, u) == token
    assert choose(scores, 1.0, np.nextafter(1, 0)) == 3
    equal = np.zeros(4, np.float32)  # sums 1, 2, 3, 4: at one of them the next token begins
    assert [choose(equal, 1.0, u) for u in (0.0, 0.25, 0.5, 0.75)] == [0, 1, 2, 3]
    assert choose(np.array([-900.0, 0.0]), 1.0, 0.0) == 1  # what has no chance is never drawn
    # At a temperature of 100 even that one has a chance: 1 and e^-1 of 1.368.
    cool = np.array([0.0, -100.0])
    assert [choose(cool, 100.0, u) for u in (0.72, 0.74)] == [0, 1]
    for u in (0, 0.3, 0.99):
        assert choose(np.array([1.0, 3, 3]), 0, u) == 1
    # At half the temperature probabilities are squared: 64, 16, 4, 4 of 88.
    assert [choose(scores, 0.5, u) for u in (0.72, 0.74, 0.9, 0.92)] == [0, 1, 1, 2]
    assert choose(np.array([-1e30, 1e30, 0], np.float32), 1e-30, 0.999) == 1
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^network: its scores are not finite"):
            choose(np.array([0, wrong]), 1.0, 0.5)


@given(st.integers(1, 60), st.integers(0, 999), st.sampled_from([0.1, 1.0, 7.0]))
def test_the_largest_number_takes_the_last_token_that_has_a_chance(count, seed, temperature):
    scores = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    chance = np.exp((scores - scores.max()) / temperature)
    token = choose(scores, temperature, np.nextafter(1, 0))
    assert token < count
    assert chance[token + 1 :].sum() < 1e-14 * chance.sum()


def test_no_token_is_drawn_if_none_is_asked_for(packed):
    assert generate_tokens(packed, [1], 0, np.random.default_rng(0)) == []


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("temperature", [0, 0.5, 1.0, 3])
def test_trained_and_packed_network_write_the_same_text(temperature):
    network, _ = network_of("LSTM", LinearQuant(2, high=0.125), LinearQuant(3), units=40)
    packed = pack_sequence(network)
    texts = [
        generate_tokens(one, [1, 2], 60, np.random.default_rng(3), temperature)
        for one in (network, packed)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 60
    assert temperature == 0 or len(set(texts[0])) > 1
    # Each token is what the network reads next: one pass over the whole text says the same.
    scores = network.forward(np.array([[1, 2, *texts[0]]]))[0, 1:-1]
    rng = np.random.default_rng(3)
    assert texts[0] == [choose(row, temperature, rng.random()) for row in scores]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": -1}, "length: "),
        ({"temperature": -0.5}, "temperature: "),
        ({"temperature": np.inf}, "temperature: "),
        ({"rng": 3}, "rng: "),
        ({"start": []}, "start: expected at least one token"),
        ({"start": [[1]]}, "start: expected at least one token"),
        ({"start": [99]}, "x: expected numbers from 0 to 8"),
    ],
)
def test_a_generator_refuses_what_is_none(packed, change, words):
    right = {"start": [1], "length": 3, "rng": np.random.default_rng(0), "temperature": 1.0}
    with pytest.raises((TypeError, ValueError), match="^" + words):
        generate_tokens(packed, **(right | change))


def generated(capsys, *arguments):
    assert main(["generate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_writes_the_text_of_the_network(tmp_path, packed, capsys):
    path = tmp_path / "text.qnn"
    packed.save(path)
    result = generated(capsys, path, "--length", 50, "--seed", 7, "--temperature", 0.8)
    expected = generate_tokens(packed, [7], 50, np.random.default_rng(7), 0.8)
    assert result["tokens"] == expected
    assert result["text"] == "".join(packed.symbols[token] for token in expected)
    assert (result["length"], result["seed"], result["temperature"]) == (50, 7, 0.8)
    assert generated(capsys, path, "--length", 50, "--seed", 8)["tokens"] != expected
    goes_on = generated(capsys, path, "--start", "abba", "--length", 3)
    assert goes_on["text"][:4] == "abba"
    start = [0, 1, 1, 0]
    assert goes_on["tokens"] == generate_tokens(packed, start, 3, np.random.default_rng(0))
    assert main(["generate", str(path), "--length", "20"]) == 0
    assert capsys.readouterr().out.endswith("\n")
    for wrong, words in (("xyz", "--start: the network does not know 'x'"), ("", "--start: expe")):
        assert main(["generate", str(path), f"--start={wrong}"]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow_without_jit
def test_words_stand_apart(tmp_path, capsys):
    vocabulary = vocabulary_of("to be or not\nto be", "words")
    network, _ = network_of("relu", FOUR, FOUR, vocabulary=len(vocabulary))
    path = tmp_path / "words.qnn"
    pack_sequence(network, vocabulary.symbols, "words").save(path)
    result = generated(capsys, path, "--length", 12, "--start", "to be")
    words = [vocabulary.symbols[token] for token in result["tokens"]]
    assert result["text"].split() == ["to", "be", *(w for w in words if w != "<eos>")]
    for one, other in pairwise(["be", *words]):
        if "<eos>" not in (one, other):
            assert f"{one} {other}" in result["text"]


@pytest.mark.slow_without_jit
def test_a_file_that_does_not_name_its_symbols_writes_none(tmp_path, capsys):
    network, _ = network_of("relu", FOUR, FOUR)
    path = tmp_path / "text.qnn"
    pack_sequence(network).save(path)
    assert main(["generate", str(path)]) == 2
    assert "does not say what its tokens stand for" in capsys.readouterr().err
    pack_sequence(network, "abcdefghi").save(path)  # none stands for what is unknown
    assert main(["generate", str(path)]) == 2
    assert "damaged packed network file: symbols: " in capsys.readouterr().err


@pytest.mark.slow_without_jit
def test_characters_that_control_a_terminal_are_not_printed(tmp_path, capsys):
    network, _ = network_of("relu", FOUR, FOUR, vocabulary=3)
    path = tmp_path / "text.qnn"
    pack_sequence(network, "\x07\x08\N{REPLACEMENT CHARACTER}").save(path)
    assert main(["generate", str(path), "--length", "40", "--temperature", "9"]) == 0
    out = capsys.readouterr().out
    assert set(out) == {"\N{REPLACEMENT CHARACTER}", "\n"}
    assert "\x07" in generated(capsys, path, "--length", 40, "--temperature", 9)["text"]


def test_a_file_of_the_first_days_gives_the_scores_and_the_text_that_it_gave(capsys):
    path = Path(__file__).parent / "data" / "packed_v3" / "text.qnn"
    packed = PackedSequence.load(path)
    scores = packed.forward(np.array([[0, 1, 2]]))[0, -1]
    expected = [
        *(-0.9290185570716858, 0.5386724472045898, 4.028480529785156, -3.1379289627075195),
        *(-0.7460755705833435, -2.3965532779693604, -1.6916943788528442, 0.15720409154891968),
        0.7359694242477417,
    ]
    np.testing.assert_array_equal(scores, np.float32(expected))
    result = generated(capsys, path, "--length", 20, "--temperature", 3)
    assert result["tokens"] == [5, 2, 0, 0, 7, 8, 4, 5, 2, 8, 7, 0, 7, 0, 6, 1, 7, 3, 2, 2]
