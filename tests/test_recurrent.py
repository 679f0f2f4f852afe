"""What RNN and LSTM share: states handed over, any number of steps, products, refusals."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref import Sequential
from qnn_ref.layers import LSTM, RNN, BatchNorm, Branches, Dense, Dropout, Embedding, Quantize
from qnn_ref.products import BITS, PLAIN, BitProducts, PlainProducts
from qnn_ref.quantizers import Encoding, LinearQuant, LogQuant, Sign, StochasticSign

SEEDS = st.integers(0, 2**32)
KINDS = st.sampled_from([LSTM, RNN])
SIGNS = Encoding(1.0, -1, 1, 2)


def built(kind, seed=0, units=4, features=3, dtype=np.float64, encoding=None, **options):
    options = {"weight_quantizer": LinearQuant(2), "quantizer": LinearQuant(3)} | options
    rng = np.random.default_rng(seed)
    layer = kind(units, **options).build((-1, features), rng, encoding, dtype)
    layer.bias.assign(rng.normal(size=layer.bias.shape).astype(dtype))
    return layer, rng


def arrays_of(state):
    return state if isinstance(state, tuple) else (state,)


def same_states(one, other):
    for a, b in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# States handed over


@given(KINDS, st.integers(1, 6), st.integers(1, 6), SEEDS)
def test_a_sequence_in_two_parts_is_the_whole_one_to_the_bit(kind, first, second, seed):
    layer, rng = built(kind, seed, dtype=np.float32)
    x = rng.normal(size=(2, first + second, 3)).astype(np.float32)
    whole = layer.forward(x)
    state = layer.final_state
    parts = [layer.forward(x[:, :first])]
    parts.append(layer.forward(x[:, first:], state=layer.final_state))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    same_states(layer.final_state, state)


@given(KINDS, st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_gradients_of_two_parts_with_that_of_the_state_between_are_those_of_the_whole(
    kind, first, second, seed
):
    layer, rng = built(kind, seed)
    x, dy = rng.normal(size=(2, first + second, 3)), rng.normal(size=(2, first + second, 4))
    layer.forward(x, True)
    dx = layer.backward(dy)
    whole = {name: p.grad.copy() for name, p in layer.parameters().items()}
    begin = copy.deepcopy(layer)
    begin.forward(x[:, :first], True)
    layer.forward(x[:, first:], True, begin.final_state)
    later = layer.backward(dy[:, first:])
    earlier = begin.backward(dy[:, :first], layer.state_gradient)
    np.testing.assert_allclose(np.concatenate([earlier, later], 1), dx, atol=1e-12)
    for name, parameter in layer.parameters().items():
        both = parameter.grad + begin.parameters()[name].grad
        np.testing.assert_allclose(both, whole[name], atol=1e-12)
    # Truncated: without it, nothing of the later steps reaches the earlier ones.
    assert (begin.backward(0 * dy[:, :first]) == 0).all()
    assert not any(p.grad.any() for p in begin.parameters().values())


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_without_a_state_a_layer_begins_with_zeros_that_are_quantized(kind):
    layer, rng = built(kind, quantizer=Sign())
    x = rng.normal(size=(2, 3, 3))
    y = layer.forward(x)
    zeros = tuple(np.zeros((2, 4)) for _ in layer.names)
    np.testing.assert_array_equal(layer.forward(x, state=zeros), y)
    if kind is RNN:  # the sign of 0 is +1: every unit begins with it
        z = x[:, 0] @ layer.input_weight.quantized + layer.bias.latent
        z += layer.recurrent_weight.quantized.sum(axis=0)
        np.testing.assert_array_equal(y[:, 0], np.where(np.maximum(z, 0) >= 0, 1, -1))


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_final_state_is_real_and_its_own_array(kind):
    layer, rng = built(kind)
    y = layer.forward(rng.normal(size=(2, 3, 3)), training=True)
    first = arrays_of(layer.final_state)
    assert [a.shape for a in first] == [(2, 4)] * len(layer.names)
    codes, scale = layer.quantizer.encode(first[0])
    np.testing.assert_array_equal(codes, y[:, -1])
    assert not np.array_equal(codes * scale, first[0])
    dy = rng.normal(size=y.shape)
    dx = layer.backward(dy)
    for array in first:
        array[:] = np.nan
    np.testing.assert_array_equal(layer.backward(dy), dx)


def test_a_state_that_was_given_stays_as_it_was():
    layer, rng = built(LSTM)
    state = tuple(rng.normal(size=(2, 2, 4)))
    before = copy.deepcopy(state)
    y = layer.forward(rng.normal(size=(2, 3, 3)), True, state)
    layer.backward(np.ones_like(y), state)
    same_states(state, before)


@pytest.mark.parametrize(
    ("kind", "state", "error", "words"),
    [
        (RNN, np.zeros((3, 4)), ValueError, r"state: .*\(2, 4\)"),
        (RNN, np.zeros((2, 4), np.float32), TypeError, "state: .*float64"),
        (RNN, [[0.0] * 4] * 2, ValueError, "state: |state, h: "),
        (RNN, (np.zeros((2, 4)),) * 2, ValueError, r"state: expected 1 arrays \(h\), got 2"),
        (RNN, np.full((2, 4), np.nan), ValueError, "state: expected finite"),
        (LSTM, np.zeros((2, 4)), ValueError, r"state: expected 2 arrays \(h, c\), got 1"),
        (LSTM, (np.zeros((2, 4)), np.zeros((2, 5))), ValueError, "state, c: "),
        (LSTM, (np.zeros((2, 4)), np.full((2, 4), np.inf)), ValueError, "state, c: expected fin"),
        (LSTM, (None, np.zeros((2, 4))), TypeError, "state, h: expected"),
        (LSTM, {"h": 0, "c": 0}, ValueError, "state: expected 2 arrays"),
        (
            RNN,
            np.ma.masked_array(np.zeros((2, 4))),
            TypeError,
            "state: .*NumPy array, got numpy.Ma",
        ),
        (LSTM, (np.zeros((2, 4)), np.zeros((2, 4)).view(np.recarray)), TypeError, "state, c: "),
    ],
)
def test_a_state_that_is_none_is_refused_by_name(kind, state, error, words):
    layer, rng = built(kind)
    x = rng.normal(size=(2, 3, 3))
    with pytest.raises((error, TypeError), match=r"^" + words.replace("|", "|^")):
        layer.forward(x, state=state)
    y = layer.forward(x, training=True)
    with pytest.raises((error, TypeError), match=r"^d" + words.replace("|", "|^d")):
        layer.backward(np.ones_like(y), state)


# What a cell can be made of


class Typed(Sign):
    def encode(self, x, noise=None):
        raise TypeError("no weights of this")


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_what_is_no_cell_is_refused_by_name(kind):
    assert (kind(1).units, kind(2**31 - 1).units) == (1, 2**31 - 1)
    for arguments, words in (
        ((0,), "units: expected"),
        ((2**31,), "units: expected .* 1 to 2147483647"),
        ((2, "two bits"), "weight_quantizer: "),
        ((2, None, "two bits"), "quantizer: "),
    ):
        with pytest.raises((TypeError, ValueError), match="^" + words):
            kind(*arguments)
    with pytest.raises(TypeError, match=r"^weight_quantizer: no weights of this"):
        kind(2, Typed()).build((2, 2), np.random.default_rng(0))


def test_sums_that_are_no_exact_whole_numbers_are_refused():
    """The largest codes are 2^14 and 2^30, so 2^9 units are one too many."""
    rng, weights, states = np.random.default_rng(0), LogQuant(5), LogQuant(6)
    assert weights.encoding.largest * states.encoding.largest == 2**44
    with pytest.raises(ValueError, match=r"^weight_quantizer: sums of 512 products of up to 1.75"):
        RNN(512, weights, states).build((1, 1), rng)
    assert RNN(511, weights, states).build((1, 1), rng).units == 511


def test_a_cell_changes_its_type_and_forgets_its_states():
    layer, rng = built(LSTM)
    layer.forward(rng.normal(size=(2, 3, 3)))
    layer.astype(np.float32)
    assert layer.final_state is None
    assert layer.forward(rng.normal(size=(2, 3, 3)).astype(np.float32)).dtype == np.float32
    assert {p.dtype for p in layer.parameters().values()} == {np.dtype(np.float32)}


def test_an_encoded_state_is_drawn_in_training_only():
    layer, rng = built(RNN, units=200, quantizer=StochasticSign())
    h = rng.uniform(-0.5, 0.5, (1, 200))
    np.testing.assert_array_equal(layer.encode(h), np.where(h >= 0, 1, -1))
    assert np.any(layer.encode(h, training=True) != layer.encode(h))


# Any number of steps


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_steps_may_be_any_number_or_a_fixed_one(kind):
    layer, rng = built(kind)
    assert layer.output_shape((-1, 3)) == (-1, 4)
    for steps in (1, 2, 9):
        assert layer.forward(rng.normal(size=(2, steps, 3))).shape == (2, steps, 4)
    fixed = kind(4).build((5, 3), rng, dtype=np.float64)
    assert fixed.output_shape((5, 3)) == (5, 4)
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, 5, 3\), got \(2, 4, 3\)"):
        fixed.forward(rng.normal(size=(2, 4, 3)))
    with pytest.raises(
        ValueError, match=r"^x: expected shape \(batch, steps, 3\), got \(2, 4, 5\)"
    ):
        layer.forward(rng.normal(size=(2, 4, 5)))
    with pytest.raises(ValueError, match=r"^x: expected at least one example, got an empty batch"):
        layer.forward(np.zeros((2, 0, 3)))
    for shape in ((3,), (2, 3, 4)):
        with pytest.raises(ValueError, match=r"^input_shape: expected \(steps, features\), got"):
            kind(4).build(shape, rng)


def test_a_gradient_has_the_steps_of_the_last_training_forward():
    layer, rng = built(LSTM)
    layer.forward(rng.normal(size=(2, 5, 3)), training=True)
    layer.forward(rng.normal(size=(2, 6, 3)))
    layer.backward(np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match=r"^dy: expected shape \(batch, 5, 4\), got \(2, 6, 4\)"):
        layer.backward(np.ones((2, 6, 4)))


def test_layers_that_need_every_size_say_so():
    from qnn_ref.layers import Conv2D, Flatten

    for layer, shape in ((Flatten(), (-1, 3)), (Conv2D(2, 1), (-1, 3, 3)), (Dense(2), (-1,))):
        name = type(layer).__name__
        with pytest.raises(ValueError, match=f"^input_shape: {name} needs to know every size"):
            layer.build(shape, np.random.default_rng(0))
    for wrong in ((3, -1), (-2, 3), (0, 3)):
        with pytest.raises(ValueError, match=r"^input_shape: expected a tuple of whole numbers"):
            LSTM(2).build(wrong, np.random.default_rng(0))


# Products


class Counting(PlainProducts):
    """Plain products that note what is asked of them."""

    def __init__(self):
        self.asked = []

    def forward(self, x, w, largest=0.0, signs=False):
        self.asked.append(("forward", x.shape, largest, signs))
        return super().forward(x, w, largest, signs)

    def input_gradient(self, dy, w):
        self.asked.append(("input_gradient", dy.shape))
        return super().input_gradient(dy, w)

    def weight_gradient(self, x, dy, signs=False):
        self.asked.append(("weight_gradient", x.shape, signs))
        return super().weight_gradient(x, dy, signs)


@pytest.mark.parametrize(("kind", "blocks"), [(LSTM, 4), (RNN, 1)])
def test_inputs_and_weight_gradients_take_one_product_for_all_steps(kind, blocks):
    codes = LinearQuant(2).encoding
    layer, rng = built(kind, quantizer=Sign(), encoding=codes)
    layer.products = counting = Counting()
    layer.forward(2.0 * rng.integers(0, 4, (2, 5, 3)) - 3, training=True)
    layer.backward(rng.normal(size=(2, 5, 4)))
    asked = counting.asked
    assert asked[0] == ("forward", (10, 3), 9, False)
    assert asked[1:6] == [("forward", (2, 4), 3, True)] * 5
    assert asked[6:11] == [("input_gradient", (2, 4 * blocks))] * 5
    assert asked[11:] == [
        ("weight_gradient", (10, 3), False),
        ("weight_gradient", (10, 4), True),
        ("input_gradient", (10, 4 * blocks)),
    ]


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_products_of_bits_give_the_same_states_to_the_bit(kind):
    options = {"weight_quantizer": Sign(), "quantizer": Sign(), "features": 70, "units": 72}
    layer, rng = built(kind, dtype=np.float32, encoding=SIGNS, **options)
    twin = copy.deepcopy(layer)
    twin.products, layer.products = PLAIN, BitProducts()
    layer.products.least_weights = layer.products.least_outputs = 1
    x = rng.choice(np.float32([-1, 1]), (3, 4, 70))
    y = layer.forward(x, True)
    np.testing.assert_array_equal(y, twin.forward(x, True))
    same_states(layer.final_state, twin.final_state)
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx, expected = layer.backward(dy), twin.backward(dy)
    np.testing.assert_allclose(dx, expected, atol=1e-5 * np.abs(expected).max())
    for name, parameter in layer.parameters().items():
        other = twin.parameters()[name].grad
        np.testing.assert_allclose(parameter.grad, other, atol=1e-5 * np.abs(other).max())
    assert layer.products is not BITS


def test_sums_of_codes_too_large_for_float32_are_exact():
    sixteen = LinearQuant(16)
    layer, rng = built(RNN, units=3, features=301, dtype=np.float32, encoding=sixteen.encoding,
                       weight_quantizer=LinearQuant(8), quantizer=sixteen)  # fmt: skip
    x = (2 * rng.integers(30000, 32768, (1, 1, 301)) + 1).astype(np.float32)
    w = layer.input_weight.codes
    seen = sixteen.encode(np.zeros((1, 3), np.float32))[0]
    s = (x[0].astype(np.int64) @ w.astype(np.int64)).astype(np.float32)
    z = layer.input_sums(s, layer.input_weight.scale)
    r = (seen.astype(np.int64) @ layer.recurrent_weight.codes.astype(np.int64)).astype(np.float32)
    z = layer.add_state(z, r, layer.recurrent_weight.scale)
    np.testing.assert_array_equal(layer.forward(x)[:, 0], sixteen.encode(np.maximum(z, 0))[0])


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_a_quantized_gradient_is_what_every_backward_product_sees(kind):
    layer, rng = built(kind)
    layer.gradient_quantizer = LogQuant(2, None)  # one power of two, or 0
    layer.products = Seen()
    y = layer.forward(rng.normal(size=(2, 5, 3)), True)
    layer.backward(rng.normal(size=y.shape))
    for dz in layer.products.gradients:
        mantissa = np.frexp(np.abs(dz[dz != 0]))[0]
        assert (mantissa == 0.5).all()
    assert len(layer.products.gradients) == 5 + 3


class Seen(PlainProducts):
    """Plain products that keep the gradients that they see."""

    def __init__(self):
        self.gradients = []

    def input_gradient(self, dy, w):
        self.gradients.append(dy)
        return super().input_gradient(dy, w)

    def weight_gradient(self, x, dy, signs=False):
        self.gradients.append(dy)
        return super().weight_gradient(x, dy, signs)


def test_drawn_weights_are_drawn_once_a_forward_and_used_again_on_the_way_back():
    layer, rng = built(RNN, weight_quantizer=StochasticSign(), quantizer=None, activation="tanh")
    x = rng.normal(size=(1, 6, 3))
    y = layer.forward(x, True)
    used, state = layer.saved().weights, np.zeros((1, 4))
    for t in range(6):
        z = x[:, t] @ used[0].codes + layer.bias.latent + state @ used[1].codes
        state = np.tanh(z)
        np.testing.assert_allclose(y[:, t], state, atol=1e-12)
    dx = layer.backward(np.eye(4)[None, :1].repeat(6, 1) * (np.arange(6) == 5)[None, :, None])
    dz = np.zeros((1, 4))
    dz[0, 0] = 1 - y[0, 5, 0] ** 2
    np.testing.assert_allclose(dx[:, 5], dz @ used[0].codes.T, atol=1e-12)
    dz = (dz @ used[1].codes.T) * (1 - y[:, 4] ** 2)
    np.testing.assert_allclose(dx[:, 4], dz @ used[0].codes.T, atol=1e-12)
    again = layer.forward(x, True)
    assert not np.array_equal(again, y)
    np.testing.assert_array_equal(layer.forward(x), layer.forward(x))  # inference draws nothing


def test_states_are_drawn_in_training_only():
    layer, rng = built(LSTM, quantizer=StochasticSign())
    x = rng.normal(size=(4, 6, 3))
    np.testing.assert_array_equal(layer.forward(x), layer.forward(x))
    assert not np.array_equal(layer.forward(x, True), layer.forward(x, True))


# Weights


@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_latent_weights_start_within_their_quantizers_range_and_are_clipped_there(kind):
    layer, _ = built(kind, units=40, features=30, weight_quantizer=LinearQuant(2, high=0.25))
    for weight, fan_in in ((layer.input_weight, 30), (layer.recurrent_weight, 40)):
        assert weight.bound == 0.25
        assert 0.2 < np.abs(weight.latent).max() <= 0.25
        assert weight.learning_rate_scale == pytest.approx(0.25 * np.sqrt((fan_in + 40) / 1.5))
    layer, _ = built(kind, weight_quantizer=Sign())
    assert layer.input_weight.bound == 1
    layer, _ = built(kind, units=40, features=30, weight_quantizer=None)
    assert layer.input_weight.bound == np.inf
    assert 0.9 < np.abs(layer.input_weight.latent).max() / np.sqrt(6 / 70) <= 1
    assert 0.9 < np.abs(layer.recurrent_weight.latent).max() / np.sqrt(6 / 80) <= 1


def test_a_state_without_a_fixed_grid_is_refused():
    with pytest.raises(TypeError, match=r"^quantizer: LogQuant: its range comes from the data"):
        LSTM(3, quantizer=LogQuant(4, None)).build((2, 3), np.random.default_rng(0))


def test_sums_beyond_float64_are_refused():
    many = LogQuant(7, 0)
    for encoding, quantizer in ((many.encoding, None), (None, many)):
        with pytest.raises(ValueError, match=r"^weight_quantizer: sums of .* no exact whole"):
            LSTM(3, many, quantizer).build((2, 5), np.random.default_rng(0), encoding)


# In a network


def language_model(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    row = [Embedding(9, 5), LSTM(6), Dropout(0.3), RNN(7), BatchNorm(), Quantize(), Dense(9)]
    return Sequential(row, (-1,), rng, dtype), rng


def test_a_network_hands_states_on_by_the_places_of_its_layers():
    network, rng = language_model()
    x = rng.integers(0, 9, (2, 8))
    whole = network.forward(x)
    first = network.forward(x[:, :3])
    state = network.final_state
    assert list(state) == ["1.LSTM", "3.RNN"]
    assert [a.shape for a in arrays_of(state["1.LSTM"])] == [(2, 6)] * 2
    second = network.forward(x[:, 3:], state=state)
    np.testing.assert_array_equal(np.concatenate([first, second], 1), whole)
    np.testing.assert_array_equal(network.forward(x[:, 3:], False, None), network.forward(x[:, 3:]))
    network.forward(x[:, 3:], state=state)
    handed = network.final_state
    network.forward(x[:, 3:])  # nothing is kept by itself
    assert not np.array_equal(network.final_state["1.LSTM"][0], handed["1.LSTM"][0])
    assert network.output_shape == (-1, 9)
    assert "(steps, 9)" in network.summary()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: [*s], TypeError, "state: expected an object of Mapping"),
        (lambda s: {"1.LSTM": s["1.LSTM"]}, ValueError, "state: expected one for each of 1.LSTM, "),
        (lambda s: s | {"0.Embedding": 1}, ValueError, "state: expected one for each of 1.LSTM, "),
        (lambda s: {}, ValueError, "state: expected one for each of 1.LSTM, 3.RNN, got none"),
        (lambda s: s | {"3.RNN": s["1.LSTM"]}, ValueError, r"layer 3 \(RNN\): state: expected 1"),
    ],
)
def test_a_network_refuses_states_that_are_none(change, error, words):
    network, rng = language_model()
    x = rng.integers(0, 9, (2, 8))
    with pytest.raises(RuntimeError, match=r"^final_state: call forward first"):
        network.final_state  # noqa: B018
    network.forward(x)
    with pytest.raises(error, match=r"^" + words):
        network.forward(x, state=change(network.final_state))


def test_recurrent_layers_inside_others_get_no_state():
    branches = Branches([LSTM(2)], [RNN(3, quantizer=LinearQuant(4))])
    network = Sequential([branches], (4, 3), np.random.default_rng(0))
    x = np.ones((2, 4, 3), np.float32)
    assert network.forward(x).shape == (2, 4, 5)
    state = network.final_state
    with pytest.raises(ValueError, match=r"^state: 0.0.LSTM stands inside another layer"):
        network.forward(x, state=state)


def test_a_network_chooses_products_gradients_and_boundaries_of_recurrent_layers_too():
    network, _ = language_model()
    network.use_products(PLAIN)
    network.quantize_gradients(LogQuant(4, None))
    network.relax_boundaries(3.0)
    for layer in (network.layers[1], network.layers[3]):
        assert layer.products is PLAIN
        assert layer.gradient_quantizer == LogQuant(4, None)
        assert layer.quantizer.saturation == 3
    float_layer = LSTM(2, None, None)
    float_layer.relax(2.0)
    assert float_layer.quantizer is None


def test_predict_is_a_class_for_each_step():
    network, rng = language_model()
    x = rng.integers(0, 9, (5, 4))
    np.testing.assert_array_equal(network.predict(x), network.forward(x).argmax(-1))


def test_a_copy_in_another_type_has_no_state_of_the_first():
    network, rng = language_model()
    network.forward(rng.integers(0, 9, (2, 3)))
    twin = network.copy(np.float64)
    with pytest.raises(RuntimeError, match=r"^final_state: call forward first"):
        twin.final_state  # noqa: B018


def test_codes_that_dropout_took_off_the_grid_are_multiplied_as_they_are():
    rng = np.random.default_rng(0)
    row = [Quantize(), Dropout(0.5), RNN(3, Sign(), None, "tanh")]
    network = Sequential(row, (-1, 80), rng, np.float64)
    layer, x = network.layers[2], rng.normal(size=(2, 1, 80))
    assert not layer.takes_signs(training=True)
    assert layer.takes_signs(training=False)
    y = network.forward(x, training=True)
    dropped = layer.saved().steps
    assert set(np.unique(dropped)) == {-2, 0, 2}
    z = dropped[0] @ layer.input_weight.codes
    np.testing.assert_allclose(y[:, 0], np.tanh(z), atol=1e-12)


@pytest.mark.parametrize("quantizer", [Sign(), LinearQuant(2)])
@pytest.mark.parametrize("kind", [LSTM, RNN])
def test_zeros_of_dropout_are_no_codes_in_training(kind, quantizer):
    """On codes alone a product may run on bits; in training there are zeros among them."""
    options = {"encoding": quantizer.encoding, "quantizer": None, "weight_quantizer": quantizer}
    layer, rng = built(kind, features=70, dtype=np.float32, **options)
    layer.tell_training_encoding(None)
    twin = copy.deepcopy(layer)
    twin.products, layer.products = PLAIN, BitProducts()
    layer.products.least_weights = layer.products.least_outputs = 1
    x = rng.choice(np.float32([-2, 0, 2]), (2, 3, 70))
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y, twin.forward(x, training=True), atol=1e-5)
    np.testing.assert_allclose(layer.backward(y), twin.backward(y), atol=1e-3)
    for name, parameter in layer.parameters().items():
        np.testing.assert_allclose(parameter.grad, twin.parameters()[name].grad, atol=1e-3)


@pytest.mark.parametrize(
    ("scale", "weights"), [(1.0, LinearQuant(4, high=0.5)), (2.0, Sign()), (0.5, LogQuant(3))]
)
def test_gradients_count_the_units_of_all_codes_once(scale, weights):
    """The same cell with codes of another unit: relu is linear, and nothing is rounded here."""
    rng = np.random.default_rng(0)
    states = LinearQuant(4, high=15 * scale)
    layer = RNN(2, weights, states).build((1, 3), rng, Encoding(scale, -9, 9, 1), np.float64)
    plain = RNN(2, None, None).build((1, 3), rng, None, np.float64)
    for ours, theirs in zip(layer.parameters().values(), plain.parameters().values(), strict=True):
        theirs.assign(ours.quantized)
    codes, h = rng.integers(-9, 10, (4, 1, 3)).astype(float), scale * np.array([[1.0, 3]] * 4)
    dy = rng.normal(size=(4, 1, 2))
    y = plain.forward(scale * codes, training=True, state=h)
    inside = y <= 15 * scale  # where the straight-through gradient passes
    layer.forward(codes, training=True, state=h)
    dx, expected = layer.backward(dy), plain.backward(dy * inside / scale)
    np.testing.assert_allclose(dx / scale, expected, atol=1e-12)
    np.testing.assert_allclose(layer.state_gradient, plain.state_gradient, atol=1e-12)
    for name, parameter in layer.parameters().items():
        np.testing.assert_allclose(parameter.grad, plain.parameters()[name].grad, atol=1e-12)
    assert np.abs(expected).max() > 0.1
