"""A packed network equals the trained one bit for bit; steps that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.packed.thresholds import Threshold
from qnn_ref.quantizers import Sign, StochasticSign


def random_network(
    rng, shape=(5, 3, 1), hidden=(7, 70), classes=4, norm=BatchNorm, dtype=np.float32, **kinds
):
    """A network with odd numbers everywhere: gains of both signs and 0, statistics off 0 and 1."""
    bias, dropout, quantizer = (
        kinds.get("bias", False),
        kinds.get("dropout"),
        kinds.get("quantizer", Sign()),
    )
    layers = [Pixels(), Flatten()]
    if dropout:
        layers.append(Dropout(dropout))
    for units in hidden:
        layers += [Dense(units, bias=bias), norm(), Quantize(quantizer)]
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(Dense(classes, bias=bias))
    if kinds.get("last_norm", True):
        layers.append(norm())
    network = Sequential(layers, shape, rng, dtype)
    for name, parameter in network.parameters().items():
        if name.endswith(("gain", "shift", "bias")):
            value = rng.normal(size=parameter.shape)
            value[rng.random(parameter.shape) < 0.1] = 0
            parameter.assign(value)
    for name, buffer in network.buffers().items():
        buffer[...] = (
            rng.normal(size=buffer.shape)
            if name.endswith("mean")
            else rng.uniform(0.1, 2, buffer.shape)
        )
    return network


def equal_bits(network, images):
    packed, trained = pack(network).scores(images), network.scores(images)
    assert packed.dtype == trained.dtype
    words = {4: np.uint32, 8: np.uint64}[trained.itemsize]
    np.testing.assert_array_equal(packed.view(words), trained.view(words))


@pytest.mark.parametrize("norm", [BatchNorm, ShiftBatchNorm])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 9),
    hidden=st.lists(st.sampled_from([1, 2, 63, 64, 65, 130]), max_size=2),
    batch=st.integers(1, 5),
    bias=st.booleans(),
    last_norm=st.booleans(),
)
def test_scores_equal_the_trained_network_bit_for_bit(
    norm, dtype, seed, height, hidden, batch, bias, last_norm
):
    rng = np.random.default_rng(seed)
    network = random_network(
        rng, (height, 2, 3), hidden, norm=norm, dtype=dtype, bias=bias, last_norm=last_norm
    )
    images = rng.integers(0, 256, (batch, height, 2, 3), dtype=np.uint8)
    images[:, 0] = rng.choice([0, 127, 128, 255], images[:, 0].shape)
    equal_bits(network, images)


def test_dropout_and_stochastic_signs_are_switched_off():
    rng = np.random.default_rng(0)
    network = random_network(rng, dropout=0.4, quantizer=StochasticSign())
    images = rng.integers(0, 256, (50, 5, 3, 1), dtype=np.uint8)
    state = rng.bit_generator.state
    equal_bits(network, images)
    assert rng.bit_generator.state == state


def test_a_hard_tanh_before_the_sign_folds_too():
    rng = np.random.default_rng(1)
    layers = [Pixels(), Flatten(), Dense(9), BatchNorm(), HardTanh(), Quantize(), Dense(3)]
    network = Sequential(layers, (4, 4, 1), rng)
    equal_bits(network, rng.integers(0, 256, (30, 4, 4, 1), dtype=np.uint8))


def test_batches_change_nothing_and_none_is_dropped():
    rng = np.random.default_rng(2)
    packed = pack(random_network(rng))
    images = rng.integers(0, 256, (23, 5, 3, 1), dtype=np.uint8)
    whole = packed.scores(images)
    for batch_size in (1, 5, 22, 23, 24):
        np.testing.assert_array_equal(packed.scores(images, batch_size), whole)
    np.testing.assert_array_equal(packed.predict(images), whole.argmax(axis=1))


def test_steps_that_do_not_chain_are_refused():
    stages = pack(random_network(np.random.default_rng(3))).stages
    kinds = [type(stage).__name__ for stage in stages]
    assert kinds == [*("PixelsDense", "Threshold", "XnorDense", "Threshold", "XnorDense"), "Scores"]
    PackedNetwork(stages, (5, 3, 1))
    PackedNetwork(stages, (15,))
    for steps, shape, words in (
        ([], (5, 3, 1), "stages: expected Scores at the end"),
        (stages[:-1], (5, 3, 1), "stages: expected Scores at the end"),
        (stages, (5, 2, 1), r"\(PixelsDense\): expected 15 inputs, got \(10,\)"),
        (stages[2:], (7,), r"\(XnorDense\): expected bits, got pixels"),
        (stages, (15, 0), r"input_shape: expected a tuple .* got \(15, 0\)"),
        (stages, (), "input_shape: expected a tuple .* got an empty one"),
        (stages, (2**20, 2**20), "from 1 to 2\\^24 numbers"),
        (stages[:2] + stages[4:], (5, 3, 1), r"\(XnorDense\): expected 70 inputs, got \(7,\)"),
        (
            [stages[0], stages[3], stages[5]],
            (15,),
            r"\(Threshold\): expected 70 channels, got \(7,\)",
        ),
        ([stages[0], stages[5]], (5, 3, 1), r"\(Scores\): mean: expected 7 classes, got 4"),
    ):
        with pytest.raises(ValueError, match=words):
            PackedNetwork(steps, shape)


def test_scores_are_those_of_sums():
    """A step that is missing is not covered up: words of bits are no sums."""
    network = Sequential([Pixels(), Dense(3)], (4,), np.random.default_rng(0))
    product, scores = pack(network).stages
    threshold = Threshold(np.zeros(3, np.int32), np.zeros(3, np.bool_))
    with pytest.raises(ValueError, match=r"step 2 \(Scores\): expected integers, got bits"):
        PackedNetwork([product, threshold, scores], (4,))


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.zeros((1, 5, 3, 1)), TypeError, "images: expected uint8"),
        (np.zeros((1, 3, 5, 1), np.uint8), ValueError, r"expected shape \(N, 5, 3, 1\)"),
        (np.zeros((5, 3, 1), np.uint8), ValueError, r"got \(5, 3, 1\)"),
        (np.zeros((0, 5, 3, 1), np.uint8), ValueError, "at least one"),
        ([[[[1]]]], TypeError, "images: expected a NumPy array, got list"),
        ([[1], [1, 2]], TypeError, "images: expected a NumPy array, got list"),
        (None, TypeError, "images: expected a NumPy array, got NoneType"),
        (np.array(3, np.uint8), ValueError, r"got \(\)"),
    ],
    ids=["floats", "turned", "no batch", "empty", "list", "ragged", "none", "scalar"],
)
def test_wrong_images(images, error, words):
    with pytest.raises(error, match=words):
        pack(random_network(np.random.default_rng(0))).scores(images)


def test_images_may_be_any_view():
    packed = pack(random_network(np.random.default_rng(0)))
    images = np.random.default_rng(1).integers(0, 256, (4, 5, 3, 2), dtype=np.uint8)[..., ::-2]
    expected = packed.scores(images.copy())
    np.testing.assert_array_equal(packed.scores(images), expected)
    np.testing.assert_array_equal(packed.scores(images[::-1]), expected[::-1])


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "3", None])
def test_a_batch_size_is_a_whole_number(size):
    packed = pack(random_network(np.random.default_rng(0)))
    with pytest.raises((TypeError, ValueError), match="batch_size: expected a whole number"):
        packed.scores(np.zeros((2, 5, 3, 1), np.uint8), size)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_is_not_finite_is_not_packed(tmp_path, value):
    """Each of its arrays, by name; and a packed one that was spoilt is not saved."""
    network = random_network(np.random.default_rng(0), bias=True)
    packed = pack(network)
    for name in [*network.parameters(), *network.buffers()]:
        broken = network.copy()
        if name in broken.buffers():
            broken.buffers()[name].flat[-1] = value
        else:
            with broken.parameters()[name].edit() as latent:
                latent.flat[-1] = value
        with pytest.raises(ValueError, match=rf"network: {name}: expected finite .*got {value}"):
            pack(broken)
    packed.stages[-1].gain[1] = value
    with pytest.raises(ValueError, match=r"5/gain: expected finite numbers, got .* at \[1\]"):
        packed.save(tmp_path / "a.qnn")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"scores are not finite, first that of \[0, 1\]"):
        packed.predict(np.full((2, 5, 3, 1), 7, np.uint8))


def test_scores_whose_squares_overflow_are_scores():
    network = random_network(np.random.default_rng(0))
    packed = pack(network)
    packed.stages[-1].gain[:] = 1e30
    images = np.random.default_rng(1).integers(0, 256, (9, 5, 3, 1), dtype=np.uint8)
    scores = packed.scores(images)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() > 1e29
