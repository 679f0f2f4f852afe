"""A packed network equals the trained one bit for bit; its file is whole or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.checkpoints import FileError, save_arrays
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


def test_file_round_trip(tmp_path):
    rng = np.random.default_rng(3)
    network = random_network(rng)
    images = rng.integers(0, 256, (20, 5, 3, 1), dtype=np.uint8)
    pack(network).save(tmp_path / "network.qnn")
    loaded = PackedNetwork.load(tmp_path / "network.qnn")
    np.testing.assert_array_equal(loaded.scores(images), network.scores(images))
    assert loaded.nbytes == pack(network).nbytes


def test_file_holds_one_bit_a_weight(tmp_path):
    network = random_network(np.random.default_rng(4), (8, 8, 1), (512, 512))
    path = tmp_path / "network.qnn"
    pack(network).save(path)
    weights = sum(p.size for p in network.parameters().values() if p.quantizer)
    assert weights / 8 < path.stat().st_size < weights / 8 + 16_000


def test_every_damaged_byte_is_refused_or_harmless(tmp_path):
    rng = np.random.default_rng(5)
    network = random_network(rng, (2, 2, 1), (3,), classes=2)
    images = rng.integers(0, 256, (4, 2, 2, 1), dtype=np.uint8)
    whole, path = tmp_path / "whole.qnn", tmp_path / "damaged.qnn"
    pack(network).save(whole)
    content, expected = whole.read_bytes(), network.scores(images)
    for position in rng.choice(len(content), 250, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            scores = PackedNetwork.load(path).scores(images)
        except FileError:
            continue
        np.testing.assert_array_equal(scores, expected)
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(FileError, match=r"damaged\.qnn"):
            PackedNetwork.load(path)


def damaged_header(tmp_path, change):
    """A file whose checksums are right and whose content is not."""
    from qnn_ref.packed.file import KIND, VERSION

    network = pack(random_network(np.random.default_rng(6)))
    stages = [{"kind": type(s).__name__} | s.settings() for s in network.stages]
    arrays = {f"{i}/{n}": a for i, s in enumerate(network.stages) for n, a in s.arrays().items()}
    header = {"kind": KIND, "version": VERSION, "input_shape": [5, 3, 1], "stages": stages}
    change(header, arrays)
    path = tmp_path / "strange.qnn"
    save_arrays(path, arrays, header)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h, a: h.update(version=2), "version 2"),
        (lambda h, a: h.update(kind="checkpoint"), "another kind"),
        (lambda h, a: h.update(input_shape=[5, 3, 2]), "damaged"),
        (lambda h, a: h.update(stages=[]), "arrays without a step"),
        (lambda h, a: h["stages"][0].update(kind="Exec"), "damaged"),
        (lambda h, a: h["stages"][0].update(K=99), "damaged"),
        (lambda h, a: h["stages"][0].update(code="1"), "damaged"),
        (lambda h, a: a.pop("1/at"), "damaged"),
        (lambda h, a: a.update({"1/at": a["1/at"].astype(np.int64)}), "at: expected int32"),
        (lambda h, a: a.update({"1/at": a["1/at"][:-1]}), "damaged"),
        (lambda h, a: a.update({"0/words": a["0/words"] | np.uint64(1 << 63)}), "damaged"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_strange_files_are_refused_by_name(tmp_path, change, words):
    path = damaged_header(tmp_path, change)
    with pytest.raises(FileError, match=words):
        PackedNetwork.load(path)


def network_of(*layers, shape=(4,)):
    return Sequential(list(layers), shape, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: network_of(Dense(3)), "expected Pixels as the first layer"),
        (lambda: network_of(Pixels(), Dense(3, None)), "weights of one bit"),
        (lambda: network_of(Pixels(), Dense(3), Quantize()), "real scores at the end"),
        (lambda: network_of(Pixels(), Dense(3), BatchNorm(), Dense(3)), "not quantized"),
        (lambda: network_of(Pixels(), Dense(3), BatchNorm(), BatchNorm()), "one batch norm"),
        (lambda: network_of(Pixels(), BatchNorm(), Dense(3)), r"layer 1 \(BatchNorm\)"),
        (lambda: network_of(Pixels(), Quantize(), Dense(3)), r"layer 1 \(Quantize\)"),
        (lambda: network_of(Pixels(), Dense(3), shape=(2, 2)), "put Flatten before it"),
        (lambda: network_of(Pixels()), "real scores at the end"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_cannot_be_packed_is_refused_with_a_reason(network, words):
    with pytest.raises(ValueError, match=words):
        pack(network())


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.zeros((1, 5, 3, 1)), TypeError, "images: expected uint8"),
        (np.zeros((1, 3, 5, 1), np.uint8), ValueError, r"expected shape \(N, 5, 3, 1\)"),
        (np.zeros((5, 3, 1), np.uint8), ValueError, r"got \(5, 3, 1\)"),
        (np.zeros((0, 5, 3, 1), np.uint8), ValueError, "at least one"),
    ],
    ids=["floats", "turned", "no batch", "empty"],
)
def test_wrong_images(images, error, words):
    with pytest.raises(error, match=words):
        pack(random_network(np.random.default_rng(0))).scores(images)
