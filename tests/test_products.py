"""The three products of a layer: Algorithm 1, lines 2, 8 and 9; plain and on bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.bits import SignMatrix, pack, pack_sign_kernel, unpack
from qnn_ref.geometry import Geometry, output_size, windows
from qnn_ref.parameter import Parameter
from qnn_ref.products import BITS, PLAIN, BitProducts, PlainProducts, by_bits
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign, StochasticSign

DTYPES = st.sampled_from([np.float32, np.float64])
SIZES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32)


def product_by_hand(a, b):
    """Sum of products, index by index, in Python's exact integers or floats."""
    a, b = a.tolist(), b.tolist()
    inner, columns = range(len(b)), range(len(b[0]))
    return np.array([[sum(row[k] * b[k][n] for k in inner) for n in columns] for row in a])


@given(SIZES, SIZES, SIZES, DTYPES, SEEDS)
def test_forward_is_the_sum_over_fan_in_and_exact_for_codes(batch, fan_in, units, dtype, seed):
    rng = np.random.default_rng(seed)
    x = 2 * rng.integers(0, 256, (batch, fan_in)) - 255
    w = 2 * rng.integers(0, 2, (fan_in, units)) - 1
    s = PLAIN.forward(x.astype(dtype), w.astype(dtype), 255)
    np.testing.assert_array_equal(s, product_by_hand(x, w))
    assert s.dtype == dtype


@given(SIZES, SIZES, SIZES, SEEDS)
def test_gradients_are_the_transposed_products(batch, fan_in, units, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, fan_in))
    w = rng.normal(size=(fan_in, units))
    dy = rng.normal(size=(batch, units))
    dx, dw = PLAIN.input_gradient(dy, w), PLAIN.weight_gradient(x, dy)
    np.testing.assert_allclose(dx, product_by_hand(dy, w.T), atol=1e-12)
    np.testing.assert_allclose(dw, product_by_hand(x.T, dy), atol=1e-12)
    # <dy, x w> = <dx, x> = <dw, w>: what makes them gradients of the forward product.
    inner = np.sum(dy * PLAIN.forward(x, w))
    np.testing.assert_allclose([np.sum(dx * x), np.sum(dw * w)], inner, atol=1e-11)


@given(DTYPES, SEEDS)
def test_gradients_keep_the_float_type(dtype, seed):
    rng = np.random.default_rng(seed)
    x, w, dy = (rng.normal(size=s).astype(dtype) for s in ((4, 3), (3, 2), (4, 2)))
    assert PLAIN.forward(x, w).dtype == dtype
    assert PLAIN.input_gradient(dy, w).dtype == dtype
    assert PLAIN.weight_gradient(x, dy).dtype == dtype


@pytest.mark.parametrize("largest", [0.0, np.inf, 255.0])
def test_real_numbers_and_small_sums_take_the_plain_product(largest):
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(5, 40)).astype(np.float32), rng.normal(size=(40, 6)).astype(np.float32)
    np.testing.assert_array_equal(PlainProducts().forward(x, w, largest), x @ w)


def test_sums_beyond_float32_are_formed_in_float64_and_rounded_once():
    fan_in, units = 150_001, 16  # sums reach 255 * 150,001 = 3.8e7, over 2^24 = 1.7e7
    rng = np.random.default_rng(4)
    x = 2.0 * rng.integers(200, 256, (2, fan_in)) - 255
    w = np.where(rng.random((fan_in, units)) < 0.98, 1.0, -1.0)
    exact = x @ w  # whole numbers far below 2^53
    assert np.all(np.abs(exact) > 2**24)
    got = PLAIN.forward(x.astype(np.float32), w.astype(np.float32), 255)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, exact.astype(np.float32))


def test_a_sum_of_nothing_is_zero():
    s = PLAIN.forward(np.empty((3, 0), np.float32), np.empty((0, 2), np.float32), 1)
    np.testing.assert_array_equal(s, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: PLAIN.forward(a, b),
        lambda a, b: PLAIN.input_gradient(a, b.T),
        lambda a, b: PLAIN.weight_gradient(a.T, b),
    ],
)
def test_operands_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError, match=r"size 4 is different from 3|mismatch"):
        call(np.ones((2, 3)), np.ones((4, 5)))


# Products of bits

RELATIVE = 1e-6  # in float32: a few roundings


def eager():
    """Products of bits for matrices of any size."""
    bits = BitProducts()
    bits.least_weights = bits.least_outputs = 1
    return bits


def binary_weights(rng, fan_in, units, quantizer=None, dtype=np.float32):
    return Parameter(rng.uniform(-1, 1, (fan_in, units)).astype(dtype), quantizer or Sign())


def random_signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.float32), shape)


def assert_close(result, a, b):
    """The product of a and b: its error is small against sums of that size, cancelled or not."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert result.dtype == np.float32
    assert result.shape == (len(a), b.shape[1])
    size = np.sqrt(np.square(a) @ np.square(b))
    assert np.linalg.norm(result - a @ b) <= RELATIVE * np.linalg.norm(size)


RAGGED = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 63, 64, 65, 100, 129]))


@given(RAGGED, RAGGED, RAGGED, SEEDS)
def test_bits_give_the_three_products_of_signs(batch, fan_in, units, seed):
    """Forward exactly; gradients to rounding, and exactly where the sums are whole numbers."""
    rng, bits = np.random.default_rng(seed), eager()
    parameter = binary_weights(rng, fan_in, units)
    w, codes = bits.weights(parameter), parameter.codes.astype(np.float64)
    assert isinstance(w, SignMatrix)
    assert w.shape == (fan_in, units)
    x = random_signs(rng, batch, fan_in)
    y = bits.forward(x, w, 1.0, signs=True)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x @ codes)
    dy = rng.normal(size=(batch, units)).astype(np.float32)
    assert_close(bits.input_gradient(dy, w), dy, codes.T)
    assert_close(bits.weight_gradient(x, dy, signs=True), x.T, dy)
    whole = rng.integers(-99, 100, (batch, units)).astype(np.float32)
    dx, dw = bits.input_gradient(whole, w), bits.weight_gradient(x, whole, signs=True)
    np.testing.assert_array_equal(dx, whole @ codes.T)
    np.testing.assert_array_equal(dw, x.T @ whole)
    # <dy, x w> = <dx, x> = <dw, w>, in whole numbers: exactly.
    inner = np.sum(whole * y.astype(np.float64))
    assert np.sum(dx * x.astype(np.float64)) == np.sum(dw * codes) == inner


@given(RAGGED, RAGGED, RAGGED, SEEDS)
def test_bits_give_the_products_of_pixels_and_of_real_numbers(batch, fan_in, units, seed):
    rng, bits = np.random.default_rng(seed), eager()
    parameter = binary_weights(rng, fan_in, units)
    w, codes = bits.weights(parameter), parameter.codes
    pixels = (2.0 * rng.integers(0, 256, (batch, fan_in)) - 255).astype(np.float32)
    y = bits.forward(pixels, w, 255.0)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, PLAIN.forward(pixels, codes, 255.0))
    halves = random_signs(rng, batch, fan_in) * rng.choice(np.array([0, 2], "f4"), (batch, fan_in))
    np.testing.assert_array_equal(bits.forward(halves, w), PLAIN.forward(halves, codes))
    real = rng.normal(size=(batch, fan_in)).astype(np.float32)
    assert_close(bits.forward(real, w), real, codes)
    dy = rng.normal(size=(batch, units)).astype(np.float32)
    np.testing.assert_array_equal(bits.weight_gradient(real, dy), PLAIN.weight_gradient(real, dy))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("batch", "fan_in", "units"), [(100, 784, 512), (64, 512, 512)])
def test_bits_of_whole_layers(batch, fan_in, units):
    """As they come, without lowered limits: tolerance is that of float32 against float64."""
    rng = np.random.default_rng(0)
    parameter = binary_weights(rng, fan_in, units)
    w, codes = BITS.weights(parameter), parameter.codes.astype(np.float64)
    x, dy = random_signs(rng, batch, fan_in), rng.normal(size=(batch, units)).astype(np.float32)
    np.testing.assert_array_equal(BITS.forward(x, w, 1.0, signs=True), x @ codes)
    assert_close(BITS.forward(x / 3, w), x / 3, codes)
    assert_close(BITS.input_gradient(dy, w), dy, codes.T)
    assert_close(BITS.weight_gradient(x, dy, signs=True), x.T, dy)


def test_small_layers_go_the_plain_way_bit_for_bit():
    rng = np.random.default_rng(1)
    parameter = binary_weights(rng, 256, 511)  # one unit less than 2^17 weights
    w = BITS.weights(parameter)
    assert w.base is parameter.codes or w is parameter.codes
    x, dy = random_signs(rng, 9, 256), rng.normal(size=(9, 511)).astype(np.float32)
    np.testing.assert_array_equal(BITS.forward(x, w, 1.0, True), PLAIN.forward(x, w, 1.0))
    np.testing.assert_array_equal(BITS.input_gradient(dy, w), PLAIN.input_gradient(dy, w))
    dw = BITS.weight_gradient(x, dy, True)
    np.testing.assert_array_equal(dw, PLAIN.weight_gradient(x, dy))
    assert isinstance(BITS.weights(binary_weights(rng, 256, 512)), SignMatrix)


def test_few_inputs_or_outputs_do_not_pay_for_tables():
    """Real numbers times 63 outputs, and gradients of 63 inputs, are multiplied plainly."""
    rng = np.random.default_rng(2)
    bits = BitProducts()
    bits.least_weights = 1
    parameter = binary_weights(rng, 100, 63)
    real = rng.normal(size=(9, 100)).astype(np.float32)
    assert_close(bits.forward(real, bits.weights(parameter)), real, parameter.codes)
    x, dy = random_signs(rng, 9, 63), rng.normal(size=(9, 100)).astype(np.float32)
    np.testing.assert_array_equal(bits.weight_gradient(x, dy, True), PLAIN.weight_gradient(x, dy))


@given(RAGGED, RAGGED, RAGGED, SEEDS)
def test_float64_goes_the_plain_way_bit_for_bit(batch, fan_in, units, seed):
    rng, bits = np.random.default_rng(seed), eager()
    parameter = binary_weights(rng, fan_in, units, dtype=np.float64)
    w, codes = bits.weights(parameter), PLAIN.weights(parameter)
    np.testing.assert_array_equal(w, codes)
    x = random_signs(rng, batch, fan_in).astype(np.float64)
    dy = rng.normal(size=(batch, units))
    np.testing.assert_array_equal(bits.forward(x, w, 1.0, True), PLAIN.forward(x, codes, 1.0))
    np.testing.assert_array_equal(bits.input_gradient(dy, w), PLAIN.input_gradient(dy, codes))
    dw = bits.weight_gradient(x, dy, True)
    np.testing.assert_array_equal(dw, PLAIN.weight_gradient(x, dy))
    assert dw.dtype == np.float64


@pytest.mark.parametrize("quantizer", [LinearQuant(2), LogQuant(4), None])
def test_other_weights_go_the_plain_way_bit_for_bit(quantizer):
    rng, bits = np.random.default_rng(3), eager()
    parameter = Parameter(rng.uniform(-1, 1, (70, 80)).astype(np.float32), quantizer)
    w = bits.weights(parameter)
    np.testing.assert_array_equal(w, parameter.codes)
    x, dy = random_signs(rng, 9, 70), rng.normal(size=(9, 80)).astype(np.float32)
    np.testing.assert_array_equal(bits.forward(x, w, 3.0, True), PLAIN.forward(x, w, 3.0))
    np.testing.assert_array_equal(bits.input_gradient(dy, w), PLAIN.input_gradient(dy, w))
    assert_close(bits.weight_gradient(x, dy, True), x.T, dy)


@pytest.mark.slow_without_jit
def test_bits_form_sums_beyond_float32_in_float64_and_round_once():
    # Sums reach 255 * 150,001 = 3.8e7, over 2^25: those of four odd numbers at a time round too.
    fan_in, units = 150_001, 64
    rng = np.random.default_rng(5)
    x = 2.0 * rng.integers(254, 256, (2, fan_in)) - 255
    parameter = Parameter(np.where(rng.random((fan_in, units)) < 0.999, 0.5, -0.5).astype("f4"))
    parameter.quantizer = Sign()
    exact = x @ np.sign(parameter.latent.astype(np.float64))
    assert np.all(exact > 2**25)
    assert np.any(exact % 2 == 1)
    got = BITS.forward(x.astype(np.float32), BITS.weights(parameter), 255.0)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, exact.astype(np.float32))


def test_weights_of_a_convolution_are_a_matrix_too():
    """(kh, kw, channels, units) as (kh kw channels, units), in both forms."""
    rng = np.random.default_rng(6)
    parameter = Parameter(rng.uniform(-1, 1, (3, 3, 8, 20)).astype(np.float32), Sign())
    w, codes = eager().weights(parameter), PLAIN.weights(parameter)
    assert w.shape == codes.shape == (72, 20)
    x = random_signs(rng, 5, 72)
    np.testing.assert_array_equal(eager().forward(x, w, 1.0, True), x @ codes)


# The bits of a parameter


def test_signs_are_the_codes_and_are_kept():
    rng = np.random.default_rng(7)
    parameter = binary_weights(rng, 70, 20)
    signs = eager().weights(parameter)
    assert eager().weights(parameter) is signs
    assert parameter._encoded is None  # no codes were made for them
    np.testing.assert_array_equal(unpack(signs.columns.to_words(), 70).T, parameter.codes)
    np.testing.assert_array_equal(unpack(signs.rows.to_words(), 20), parameter.codes)


def assign(parameter, value):
    parameter.assign(value)


def edit(parameter, value):
    with parameter.edit() as latent:
        latent[...] = value


def edit_and_fail(parameter, value):
    def fail():
        with parameter.edit() as latent:
            latent[...] = value
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()


@pytest.mark.parametrize("change", [assign, edit, edit_and_fail])
def test_signs_follow_the_latent_value(change):
    rng = np.random.default_rng(8)
    parameter = binary_weights(rng, 30, 20)
    old, value = eager().weights(parameter), -parameter.latent
    change(parameter, value)
    new = eager().weights(parameter)
    np.testing.assert_array_equal(new.rows.to_words(), pack(value))
    assert np.any(new.rows.words != old.rows.words)


@pytest.mark.parametrize("change", [assign, edit, edit_and_fail])
def test_the_kernel_of_a_convolution_follows_the_latent_value(change):
    value = np.random.default_rng(11).uniform(-1, 1, (3, 2, 5, 4)).astype(np.float32)
    parameter = Parameter(value, Sign())
    old = parameter.cached(pack_sign_kernel)
    assert parameter.cached(pack_sign_kernel) is old
    assert parameter._encoded is None
    change(parameter, -value)
    new, expected = parameter.cached(pack_sign_kernel), pack_sign_kernel(-value)
    assert new.size == (3, 2, 5, 4)
    np.testing.assert_array_equal(new.backward.words, expected.backward.words)
    np.testing.assert_array_equal(new.forward.words, expected.forward.words)
    assert np.any(new.backward.words != old.backward.words)
    parameter.astype(np.float64)
    assert parameter.cached(pack_sign_kernel) is not new


def bits_of(parameter):
    """The weights as bits, or None where the products take codes."""
    w = eager().weights(parameter)
    return w if isinstance(w, SignMatrix) else None


def test_only_signs_of_float32_are_bits():
    rng = np.random.default_rng(9)
    value = rng.uniform(-1, 1, (30, 20)).astype(np.float32)
    assert bits_of(Parameter(value)) is None
    assert bits_of(Parameter(value, LinearQuant(1))) is None
    assert bits_of(Parameter(value, LogQuant(4))) is None
    assert bits_of(Parameter(value.astype(np.float64), Sign())) is None
    np.testing.assert_array_equal(
        bits_of(Parameter(value, StochasticSign())).rows.words,
        bits_of(Parameter(value, Sign())).rows.words,
    )
    parameter = Parameter(value, Sign())
    assert bits_of(parameter) is not None
    parameter.astype(np.float64)
    assert bits_of(parameter) is None
    parameter.astype(np.float32)
    np.testing.assert_array_equal(bits_of(parameter).rows.to_words(), pack(value))


def test_a_weight_without_a_sign_is_refused_by_name():
    parameter = binary_weights(np.random.default_rng(10), 30, 20)
    with parameter.edit() as latent:
        latent[29, 19] = np.nan
    with pytest.raises(ValueError, match=r"weight: .* got nan at \[29, 19\]"):
        _ = bits_of(parameter)


@pytest.mark.parametrize("products", [PLAIN, BITS], ids=["plain", "bits"])
def test_sums_beyond_float32_are_rounded_once(products):
    """Partial sums of float32 would be rounded on the way from 2^24 on."""
    rng, fan_in, end = np.random.default_rng(0), 7, 3_000_000
    x = rng.integers(-end, end + 1, (2_000, fan_in)).astype(np.float32)
    w = rng.choice(np.float32([-1, 1]), (fan_in, 3))
    sums = products.forward(x, w, largest=float(end))
    assert 2**24 <= end * fan_in < 2**25
    assert sums.dtype == np.float32
    exact = x.astype(np.int64) @ w.astype(np.int64)
    np.testing.assert_array_equal(sums, exact.astype(np.float32))


# Which way a product goes


WAYS = ("xnor_matmul", "signs_matmul", "xnor_conv", "conv_input_gradient", "conv_weight_gradient")


@pytest.fixture
def taken(monkeypatch):
    """The ways on bits that were taken, in their order."""
    found = []
    for name in WAYS:
        real = getattr(by_bits, name)

        def watched(*arguments, name=name, real=real):
            found.append(name)
            return real(*arguments)

        monkeypatch.setattr(by_bits, name, watched)
    return found


def few(outputs=4, weights=24):
    """Products on bits for small layers."""
    bits = BitProducts()
    bits.least_outputs, bits.least_weights = outputs, weights
    return bits


@pytest.mark.parametrize(
    ("fan_in", "units", "largest", "signs", "way"),
    [
        (6, 4, 0.0, False, ["signs_matmul"]),
        (6, 4, 255.0, False, ["signs_matmul"]),
        (6, 4, np.inf, False, ["signs_matmul"]),
        (6, 4, 2.0**24 / 6 - 1, False, ["signs_matmul"]),
        (6, 4, 2.0**24 / 6 + 1, False, []),
        (8, 3, 0.0, False, []),  # few outputs
        (8, 3, 0.0, True, ["xnor_matmul"]),
        (6, 4, 1.0, True, ["xnor_matmul"]),
        (5, 4, 0.0, False, []),  # few weights
        (5, 4, 1.0, True, []),
    ],
)
def test_forward_goes_on_bits_where_it_pays(fan_in, units, largest, signs, way, taken):
    rng, bits = np.random.default_rng(0), few()
    parameter, x = binary_weights(rng, fan_in, units), random_signs(rng, 3, fan_in)
    s = bits.forward(x, bits.weights(parameter), largest, signs)
    assert taken == way
    np.testing.assert_array_equal(s, x @ parameter.codes)


@pytest.mark.parametrize(
    ("fan_in", "units", "signs", "dtype", "way"),
    [
        (4, 6, True, np.float32, ["signs_matmul"]),
        (4, 5, True, np.float32, []),
        (3, 8, True, np.float32, []),
        (4, 6, False, np.float32, []),
        (4, 6, True, np.float64, []),
        (24, 1, True, np.float32, ["signs_matmul"]),
    ],
)
def test_the_gradient_of_weights_goes_on_bits_where_it_pays(
    fan_in, units, signs, dtype, way, taken
):
    rng = np.random.default_rng(0)
    x, dy = random_signs(rng, 3, fan_in).astype(dtype), random_signs(rng, 3, units).astype(dtype)
    np.testing.assert_array_equal(few().weight_gradient(x, dy, signs), x.T @ dy)
    assert taken == way


@pytest.mark.parametrize(
    ("channels", "units", "stride", "padding", "signs", "on_bits"),
    [
        (4, 5, (1, 1), (1, 2), True, True),
        (5, 4, (1, 1), (0, 0), True, True),
        (3, 4, (1, 1), (0, 0), True, False),
        (4, 3, (1, 1), (0, 0), True, False),
        (4, 4, (2, 1), (0, 0), True, False),
        (4, 4, (1, 2), (0, 0), True, False),
        (4, 4, (1, 1), (2, 0), True, False),  # padding of a whole window
        (4, 4, (1, 1), (0, 3), True, False),
        (4, 4, (1, 1), (0, 0), False, False),
    ],
)
def test_convolutions_go_on_bits_where_it_pays(
    channels, units, stride, padding, signs, on_bits, taken
):
    """And have the same results as the plain ones, whichever way they go."""
    rng, bits, image, kernel = np.random.default_rng(0), few(), (4, 5), (2, 3)
    output = output_size(image, kernel, stride, padding)
    geometry = Geometry(image, kernel, stride, padding, output)
    latent = rng.uniform(-1, 1, (*kernel, channels, units)).astype(np.float32)
    parameter = Parameter(latent, Sign())
    x = random_signs(rng, 2, *image, channels)
    dy = random_signs(rng, 2, *output, units)
    results = []
    for products in (bits, PLAIN):
        results.append(
            (
                products.conv(x, parameter, geometry, 1.0, 1.0, signs),
                products.conv_input_gradient(dy, parameter, geometry, signs),
                products.conv_weight_gradient(x, dy, geometry, 1.0, signs),
            )
        )
    ways = ["xnor_conv", "conv_input_gradient", "conv_weight_gradient"]
    assert taken == (ways if on_bits else [])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_no_sign_is_multiplied_plainly(taken):
    """Defaults say nothing of signs, and outside the images stands 0."""
    rng, bits, image, kernel = np.random.default_rng(0), few(), (4, 4), (2, 2)
    geometry = Geometry(image, kernel, (1, 1), (1, 1), (5, 5))
    latent = rng.uniform(-1, 1, (*kernel, 4, 4)).astype(np.float32)
    x = rng.normal(size=(2, *image, 4)).astype(np.float32)
    dy = rng.normal(size=(2, 5, 5, 4)).astype(np.float32)
    for quantizer in (Sign(), None):
        parameter = Parameter(latent, quantizer)
        for products in (bits, PLAIN):
            y = products.conv(x, parameter, geometry)
            dw = products.conv_weight_gradient(x, dy, geometry)
            products.conv_input_gradient(dy, parameter, geometry)
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            rows = windows(padded, kernel, (1, 1))
            expected = np.einsum("bijuvc,uvcn->bijn", rows, parameter.codes)
            np.testing.assert_allclose(y, expected, atol=1e-5)
            expected = np.einsum("bijuvc,bijn->uvcn", rows, dy)
            np.testing.assert_allclose(dw, expected, atol=1e-4)
    assert taken == []
