"""Integer products of onnxruntime beside ours: the same whole numbers, bit for bit.

Skipped with a message where onnx or onnxruntime is not installed. Its operands are 8 bits wide and
stand on a zero point: what ours packs into single bits or bit planes is there a byte each.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checking import strategies as qst
from qnn_ref.layers import Conv2D, Dense, Pixels
from qnn_ref.products import BitProducts, PlainProducts
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign

reason = "onnx and onnxruntime are not installed"
onnx = pytest.importorskip("onnx", reason=reason)
onnxruntime = pytest.importorskip("onnxruntime", reason=reason)

OPSET, IR_VERSION = 17, 8
PRODUCTS = st.sampled_from([BitProducts(), PlainProducts()])
CODES = st.sampled_from([Sign(), LinearQuant(2), LinearQuant(3, reading="unsigned"), LogQuant(3)])
ZERO = 128  # of unsigned bytes that hold codes of both signs


def product(operator, x, w, **settings_):
    """One node of integer operands: x as bytes about the zero point, w as signed bytes."""
    helper, kinds = onnx.helper, onnx.TensorProto
    names = ["x", "w", "zero"]
    arrays = [(x + ZERO).astype(np.uint8), w.astype(np.int8), np.array(ZERO, np.uint8)]
    types = [kinds.UINT8, kinds.INT8, kinds.UINT8]
    inputs = [
        helper.make_tensor_value_info(name, kind, list(a.shape))
        for name, kind, a in zip(names, types, arrays, strict=True)
    ]
    node = helper.make_node(operator, names, ["y"], **settings_)
    shape = [None] * (2 if operator == "MatMulInteger" else 4)
    output = helper.make_tensor_value_info("y", kinds.INT32, shape)
    graph = helper.make_graph([node], "product", inputs, [output])
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


def sums(layer, x):
    """The product of codes itself, before any scale."""
    numbers = layer.largest_product, layer.takes_signs(False)
    if isinstance(layer, Dense):
        return layer.products.forward(x, layer.products.weights(layer.weight), *numbers)
    place = layer.geometry(layer.input_shape)
    return layer.products.conv(x, layer.weight, place, layer.border, *numbers)


def drawn_codes(quantizer, shape, rng):
    return rng.choice(quantizer.levels, shape).astype(np.float32)


@settings(max_examples=40)
@given(
    qst.ragged_sizes(), st.integers(1, 9), st.integers(1, 70), CODES, CODES, PRODUCTS, qst.seeds()
)
def test_products_of_codes(fan_in, batch, units, inputs, weights, products, seed):
    rng = np.random.default_rng(seed)
    layer = Dense(units, weights).build((fan_in,), rng, inputs.encoding)
    layer.products = products
    x = drawn_codes(inputs, (5, fan_in), rng)
    expected = product("MatMulInteger", x, layer.weight.codes)
    np.testing.assert_array_equal(sums(layer, x), expected)


@settings(max_examples=30)
@given(qst.kernel_shapes(), st.sampled_from([1, 3, 64, 70]), CODES, CODES, PRODUCTS, qst.seeds())
def test_convolutions_of_codes(place, channels, inputs, weights, products, seed):
    """With a border of zeros, which is the zero point there."""
    rng = np.random.default_rng(seed)
    layer = Conv2D(5, place.kernel, stride=place.stride, padding=place.padding,
                   weight_quantizer=weights)  # fmt: skip
    layer.build((*place.image, channels), rng, inputs.encoding)
    layer.products = products
    x = drawn_codes(inputs, (2, *place.image, channels), rng)
    expected = product(
        "ConvInteger",
        x.transpose(0, 3, 1, 2),
        layer.weight.codes.transpose(3, 2, 0, 1),
        strides=list(place.stride),
        pads=[*place.padding, *place.padding],
    )
    np.testing.assert_array_equal(sums(layer, x), expected.transpose(0, 2, 3, 1))


@given(qst.images((3, 20)), PRODUCTS, qst.seeds())
def test_products_of_pixels(images, products, seed):
    """2p - 255 fits in no byte: twice the product of bytes, less 255 times the sum of weights."""
    rng = np.random.default_rng(seed)
    pixels = Pixels().build((20,))
    layer = Dense(7).build((20,), rng, pixels.output_encoding(None))
    layer.products = products
    codes = layer.weight.codes
    of_bytes = product("MatMulInteger", images.astype(int) - ZERO, codes) + ZERO * codes.sum(axis=0)
    expected = 2 * of_bytes - 255 * codes.sum(axis=0)
    np.testing.assert_array_equal(sums(layer, pixels.forward(images)), expected)
