"""The cost of a network of layers: inference, and a whole step of training (section 5)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from qnn_ref._typing import Shape
from qnn_ref.checks import ANY_STEPS, instance, whole
from qnn_ref.cost.layers import backward_tally, forward_tally
from qnn_ref.cost.operations import Format, Tally, format_of, of_encoding, of_quantizer, product
from qnn_ref.cost.products import Product, backward_products, forward_products
from qnn_ref.cost.record import Cost, Part, Transfer, once
from qnn_ref.cost.sites import Site
from qnn_ref.cost.updates import update_tally
from qnn_ref.grid import Encoding
from qnn_ref.layers import Auxiliary, Embedding, HardTanh, Layer
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.layers.weighted import Multiplying
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Optimizer
from qnn_ref.parameter import Parameter

MOST_EXAMPLES = 2**20
"""Examples at a time, and steps of a sequence: beyond is a mistake."""


def inference_cost(
    network: Sequential, examples: int = 1, number: str = "quantized", steps: int = 1
) -> Cost:
    """What it costs to compute the scores of some images, or of some sequences.

    Parameters
    ----------
    network : Sequential
        Built, trained or not: the cost does not depend on its weights.
    examples : int
        Images or sequences at a time: weights are read once for all of them.
    number : str
        Key of `FORMATS`: "quantized", each operand in its own bits, or all numbers in one format.
    steps : int
        Of a sequence, where the network takes any number.

    Returns
    -------
    Cost

    Raises
    ------
    TypeError, ValueError
        If it is no built network, holds a layer whose operations are not known, or a number or
        format is none.

    References
    ----------
    Section 5, energy of the forward pass.
    """
    sites = list(_sites(network, examples, number, steps, False))
    return Cost(_forward_pass(sites), number, examples)


def training_cost(
    network: Sequential,
    optimizer: Optimizer,
    examples: int = 1,
    number: str = "quantized",
    steps: int = 1,
) -> Cost:
    """What a step of Algorithm 1 costs: forward, backward and update, without the loss.

    Parameters
    ----------
    network : Sequential
        Built.
    optimizer : Optimizer
        Its rule.
    examples : int
        Images or sequences of a batch.
    number : str
        As `inference_cost`.
    steps : int
        As `inference_cost`.

    Returns
    -------
    Cost
        With the phases "forward", "backward" and "update".

    Raises
    ------
    TypeError, ValueError
        As `inference_cost`; also if the optimizer's rule is not known.

    References
    ----------
    Algorithm 1, lines 1 to 11; section 5.
    """
    instance("optimizer", optimizer, Optimizer, "Adam()")
    sites = list(_sites(network, examples, number, steps, True))
    stop = _lowest(network)
    parts = _forward_pass(sites)
    for place, layer, site in reversed(sites):
        if int(place.partition(".")[0]) >= stop:
            part = _backward(place, layer, site)
            parts += [part] if part.operations else []
    form = format_of(number)
    for place, layer, _ in sites:
        parts += [_update(place, p, optimizer, form) for p in layer.parameters().values()]
    return Cost(parts, number, examples)


def _sites(
    network: Sequential, examples: int, number: str, steps: int, training: bool
) -> Iterator[tuple[str, Layer, Site]]:
    """Every layer that runs, with its place and what it is run on."""
    instance("network", network, Sequential, "Sequential([Dense(10)], (784,), rng)")
    examples = whole("examples", examples, 1, MOST_EXAMPLES)
    steps, form = whole("steps", steps, 1, MOST_EXAMPLES), format_of(number)
    heads = {id(inner) for head in network.auxiliaries() for inner in _inside(head)}
    for place, layer in network.walk():
        if not training and (id(layer) in heads or isinstance(layer, Auxiliary)):
            continue
        shape = _known(layer.input_shape, steps)
        out = _known(layer.output_shape(shape), steps)
        yield place, layer, Site(shape, out, examples, form, training)


def _forward_pass(sites: list[tuple[str, Layer, Site]]) -> list[Part]:
    """Parts of the layers that touch a number: a view, such as that of `Flatten`, costs nothing."""
    parts = [(layer, _forward(place, layer, site)) for place, layer, site in sites]
    return [part for layer, part in parts if part.operations or isinstance(layer, Embedding)]


def _inside(layer: Layer) -> Iterator[Layer]:
    for inner in layer.sublayers():
        yield inner
        yield from _inside(inner)


def _known(shape: Shape, steps: int) -> Shape:
    """A shape with a number of steps in the place of any number."""
    return tuple(steps if size == ANY_STEPS else size for size in shape)


def _lowest(network: Sequential) -> int:
    """Number of the lowest layer that backward visits."""
    return network._stop


def _add_products(found: Tally, products: list[Product], form: Format) -> Tally:
    for one in products:
        found += product(one.a, one.b, one.pairs, one.sums, form)
    return found


def _input_bits(layer: Layer, encoding: Encoding | None, form: Format) -> int:
    """Bits of a number that comes in: in one format an operand of a product is of that format."""
    operand = encoding is not None or isinstance(layer, Multiplying)
    return _bits(operand, encoding, form)


def _output_bits(layer: Layer, encoding: Encoding | None, form: Format) -> int:
    """Bits of a number that goes out: activations and rows of a table are operands, no sums."""
    operand = encoding is not None or isinstance(layer, HardTanh | Recurrent | Embedding)
    return _bits(operand, encoding, form)


def _bits(operand: bool, encoding: Encoding | None, form: Format) -> int:
    if not form.bits:
        return of_encoding(encoding).bits
    return form.bits if operand else WIDTHS[form.sums]


WIDTHS = {"float32": 32, "float16": 16, "int32": 32, "int8": 8}
"""Bits of a number by the name of its format."""


def _is_weight(name: str) -> bool:
    """Whether a parameter of this name is an operand of products; a bias or a gain is none."""
    return name.endswith("weight")


def _weight_bits(name: str, parameter: Parameter, form: Format) -> int:
    """Bits of a number of a parameter, as products see it; biases and the like are real."""
    if form.bits:
        return form.bits if _is_weight(name) else WIDTHS[form.other]
    return of_quantizer(parameter.quantizer).bits


def _encodings(layer: Layer, training: bool) -> tuple[Encoding | None, Encoding | None]:
    before = layer.training_encoding if training else layer.encoding
    return before, layer.output_encoding(before, training)


def _read_forward(layer: Layer, site: Site) -> list[Transfer]:
    """Its own parameters, read once; of a table only rows; those of a state in each step."""
    found = []
    for name, parameter in layer.parameters().items():
        width = _weight_bits(name, parameter, site.form)
        if isinstance(layer, Embedding):
            found.append(Transfer("rows", parameter.size * width, site.m * width))
        else:
            found.append(_weights(layer, name, parameter.size * width, site))
    return found


def _read_backward(layer: Layer, site: Site) -> list[Transfer]:
    """The parameters that a gradient is formed with; none of a bias, a shift, a table."""
    found = []
    for name, parameter in layer.parameters().items():
        above = layer.needs_input_gradient or not isinstance(layer, Multiplying)
        unused = name in ("bias", "shift") or isinstance(layer, Embedding)
        if name == "recurrent_weight" or (above and not unused):
            bits = parameter.size * _weight_bits(name, parameter, site.form)
            found.append(_weights(layer, name, bits, site))
    return found


def _weights(layer: Layer, name: str, bits: int, site: Site) -> Transfer:
    again = isinstance(layer, Recurrent) and name == "recurrent_weight"
    return Transfer("weights", bits, bits * (site.shape[0] if again else 1))


def _forward(place: str, layer: Layer, site: Site) -> Part:
    products = forward_products(layer, site)
    operations = _add_products(Counter(forward_tally(layer, site)), products, site.form)
    before, after = _encodings(layer, site.training)
    transfers = [once("inputs", site.n * _input_bits(layer, before, site.form))]
    transfers += _read_forward(layer, site)
    transfers.append(once("outputs", site.m * _output_bits(layer, after, site.form)))
    if site.training and site.quantized:  # line 1: latent weights are read, their codes written
        for name, parameter in layer.parameters().items():
            if parameter.quantizer is not None:
                transfers.append(once("latent weights", 32 * parameter.size))
                bits = parameter.size * _weight_bits(name, parameter, site.form)
                transfers.append(once("weights", bits))
    return Part(place, "forward", operations, tuple(transfers), tuple(products))


def _backward(place: str, layer: Layer, site: Site) -> Part:
    products = backward_products(layer, site)
    operations = _add_products(Counter(backward_tally(layer, site)), products, site.form)
    real, before = WIDTHS[site.form.other], _encodings(layer, True)[0]
    passes_on = layer.needs_input_gradient and layer.differentiable
    transfers = [
        once("gradients out", site.m * real),
        once("inputs", site.n * _input_bits(layer, before, site.form)),  # kept by the forward pass
        *_read_backward(layer, site),
        once("gradients in", site.n * real if passes_on else 0),
    ]
    for parameter in layer.parameters().values():
        transfers.append(once("weight gradients", parameter.size * real))
    return Part(place, "backward", operations, tuple(transfers), tuple(products))


def _update(place: str, parameter: Parameter, optimizer: Optimizer, form: Format) -> Part:
    operations = update_tally(optimizer, parameter, form)
    bits = parameter.size * WIDTHS[form.other]
    names = ("latent weights", *optimizer.moments)
    transfers = [once("weight gradients", bits)]
    transfers += [Transfer(name, bits, 2 * bits) for name in names]  # read and written
    return Part(place, "update", operations, tuple(transfers))


class Memory(NamedTuple):
    """Bytes of a network's parameters: all of them in floats, and in the bits they need.

    Parameters
    ----------
    weights : int
        Numbers that a quantizer turns into few bits; of a float network all.
    float_bytes : int
        Of these weights in 32 bits.
    quantized_bytes : int
        Of these weights in their bits, without gaps.
    other_bytes : int
        Biases, gains and shifts, in 32 bits in both.

    References
    ----------
    Section 5.1: 32 times less for one bit.
    """

    weights: int
    float_bytes: int
    quantized_bytes: int
    other_bytes: int

    @property
    def factor(self) -> float:
        """How many times less the weights take (a scalar)."""
        return self.float_bytes / self.quantized_bytes if self.quantized_bytes else 1.0


def memory_of(network: Sequential) -> Memory:
    """Bytes of the parameters of a network, without the heads that only training has.

    Parameters
    ----------
    network : Sequential
        Built.

    Returns
    -------
    Memory

    Raises
    ------
    TypeError
        If it is no network.

    References
    ----------
    Section 5.1.
    """
    sites = _sites(network, 1, "quantized", 1, False)
    parameters = [(name, p) for _, la, _ in sites for name, p in la.parameters().items()]
    weights = [p for name, p in parameters if _is_weight(name)]
    bits = sum(p.size * of_quantizer(p.quantizer).bits for p in weights)
    count, all_of_them = sum(p.size for p in weights), sum(p.size for _, p in parameters)
    return Memory(count, 4 * count, math.ceil(bits / 8), 4 * (all_of_them - count))


__all__ = ["Memory", "inference_cost", "memory_of", "training_cost"]
