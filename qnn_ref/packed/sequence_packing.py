"""From a trained recurrent network to its packed form: `pack_sequence`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import to_planes
from qnn_ref.checks import all_finite, instance, plain_array
from qnn_ref.grid import Grid
from qnn_ref.layers import RNN, Dense, Dropout, Embedding, Layer
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.network import Sequential
from qnn_ref.packed.packing import pack_scores
from qnn_ref.packed.product_stages import GridDense
from qnn_ref.packed.recurrent_stages import GridRecurrent, Rows, describe_quantizer
from qnn_ref.packed.sequence import PackedSequence
from qnn_ref.packed.stages import Stage
from qnn_ref.quantizers import Encoding, Quantizer


def pack_sequence(
    network: Sequential, symbols: Sequence[str] = (), level: str = "characters"
) -> PackedSequence:
    """Turn a trained recurrent network into bits and integers.

    Parameters
    ----------
    network : Sequential
        `Embedding`, then `RNN` or `LSTM` layers, then `Dense`, at most with a batch norm behind it;
        all with quantized weights and states. Dropout is left out, as in inference.
    symbols : sequence of str
        What the tokens stand for; the file keeps them.
    level : {"characters", "words"}
        What a symbol is.

    Returns
    -------
    PackedSequence
        With the same scores and states, bit for bit, as the network in inference.

    Raises
    ------
    TypeError
        If it is no network.
    ValueError
        If a layer cannot be packed exactly, or a number of the network is not finite; the message
        says which and why.

    References
    ----------
    Algorithm 5, for the networks of section 4.4.
    """
    instance("network", network, Sequential)
    for name, array in network.arrays().items():
        all_finite(f"network: {name}", array)
    stages: list[Stage] = []
    end: list[Layer] = []
    for index, layer in enumerate(network.layers):
        try:
            _take(layer, index, stages, end)
        except (ValueError, TypeError) as error:
            raise ValueError(f"layer {index} ({type(layer).__name__}): {error}") from error
    if not end:
        raise ValueError("network: expected a Dense layer at the end, which gives the scores")
    return PackedSequence([*stages, pack_scores(end)], symbols, level)


def _take(layer: Layer, index: int, stages: list[Stage], end: list[Layer]) -> None:
    """Pack one layer; what stands from the `Dense` layer on is put to the end."""
    if (index == 0) != isinstance(layer, Embedding):
        raise ValueError("expected one Embedding, as the first layer")
    if isinstance(layer, Dropout):
        return
    if isinstance(layer, Embedding):
        grid = grid_of_weights(layer.weight_quantizer)
        stages.append(Rows(to_planes(layer.weight.codes, grid), layer.units, grid))
    elif isinstance(layer, Recurrent) and not end:
        stages.append(pack_cell(layer))
    elif isinstance(layer, Dense) and not end:
        grid, weights = grid_of_input(layer.encoding), grid_of_weights(layer.weight_quantizer)
        words = to_planes(layer.weight.codes.T, weights)
        stages.append(GridDense(words, layer.fan_in, grid, weights))
        end.append(layer)
    elif end and hasattr(layer, "affine"):
        end.append(layer)
    else:
        raise ValueError("this layer has no packed form here")


def pack_cell(layer: Recurrent) -> GridRecurrent:
    """Pack a recurrent layer.

    Parameters
    ----------
    layer : RNN or LSTM

    Returns
    -------
    GridRecurrent

    Raises
    ------
    ValueError
        If an operand of its products is real, or the sums do not fit in 31 bits.
    """
    grid, weights = grid_of_input(layer.encoding), grid_of_weights(layer.weight_quantizer)
    if layer.quantizer is None:
        raise ValueError("expected a quantized state (quantizer=LinearQuant(4)), got a real one")
    return GridRecurrent(
        words=to_planes(layer.input_weight.codes.T, weights),
        state_words=to_planes(layer.recurrent_weight.codes.T, weights),
        bias=layer.bias.latent.copy(),
        cell=type(layer).__name__,
        activation=layer.activation if isinstance(layer, RNN) else "",
        features=layer.input_weight.shape[0],
        units=layer.units,
        grid=grid,
        weights=weights,
        input_scale=layer.input_scale * layer.input_weight.scale,
        state_scale=layer.hidden_scale * layer.recurrent_weight.scale,
        quantizer=describe_quantizer(layer.quantizer),
    )


def grid_of_input(encoding: Encoding | None) -> Grid:
    """The grid of what flows in, or ValueError."""
    if encoding is None or encoding.grid is None:
        raise ValueError("its input is not quantized: quantize the table or state before it")
    return encoding.grid


def grid_of_weights(quantizer: Quantizer | None) -> Grid:
    """The grid of quantized weights, or ValueError."""
    if quantizer is None:
        raise ValueError("expected quantized weights (weight_quantizer=LinearQuant(4)), got real")
    grid = quantizer.encoding.grid
    assert grid is not None  # every quantizer's own encoding lies on one
    return grid


def identical_steps(network: Sequential, packed: PackedSequence, tokens: Array) -> int:
    """Count the steps whose scores from both networks are equal bit for bit.

    Parameters
    ----------
    network : Sequential
    packed : PackedSequence
    tokens : array (batch, time) of integers

    Returns
    -------
    int
        From 0 to batch x time. Bits are compared, so 0 and -0.0 differ.
    """
    plain_array("tokens", tokens)
    trained, from_bits = network.forward(tokens), packed.forward(tokens)
    if trained.dtype != from_bits.dtype:
        return 0
    bits = f"u{trained.dtype.itemsize}"
    return int(np.all(trained.view(bits) == from_bits.view(bits), axis=-1).sum())
