"""Parameter with its two faces, the checks that every layer shares, and the Glorot scale."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.checks import ANY_STEPS
from qnn_ref.layers import (
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HardTanh,
    Layer,
    Parameter,
    Quantize,
    glorot_scale,
)
from qnn_ref.layers.base import in_float_type, needs_rng
from qnn_ref.layers.rows import (
    backward_row,
    build_row,
    forward_row,
    layer_list,
    naming,
    tell_row,
)
from qnn_ref.quantizers import (
    Encoding,
    LinearGradient,
    LinearQuant,
    LogQuant,
    Quantizer,
    Sign,
    StochasticSign,
)

SEEDS = st.integers(0, 2**32)


class Halves(Quantizer):
    """Codes are the nearest whole number of halves."""

    def encode(self, x, noise=None):
        return np.round(2 * x), 0.5


# The scale gamma of Algorithm 1


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_glorot_scale_is_the_inverse_of_the_initialisation_coefficient(fan_in, fan_out):
    scale = glorot_scale(fan_in, fan_out)
    assert isinstance(scale, float)
    assert math.isclose(1 / scale, math.sqrt(1.5 / (fan_in + fan_out)), rel_tol=1e-12)


@pytest.mark.parametrize(
    "fan_in, fan_out, scale",
    [
        (784, 4096, 57.04),  # the MNIST networks of section 4.2
        (4096, 4096, 73.90),
        (4096, 10, 52.32),
        (784, 2048, 43.45),
        (2048, 10, 37.04),
        (9 * 3, 9 * 128, 28.0),  # the first convolution for CIFAR-10
    ],
)
def test_glorot_scale_of_the_papers_layers(fan_in, fan_out, scale):
    assert abs(glorot_scale(fan_in, fan_out) - scale) < 0.06


# Parameter: latent and quantized


@given(st.sampled_from([np.float32, np.float64]), SEEDS)
def test_latent_is_real_and_quantized_is_plus_or_minus_one(dtype, seed):
    start = np.random.default_rng(seed).uniform(-1, 1, (3, 4)).astype(dtype)
    start[0, 0] = 0
    p = Parameter(start, Sign(), bound=1.0)
    np.testing.assert_array_equal(p.latent, start)
    np.testing.assert_array_equal(p.quantized, np.where(start >= 0, 1, -1))
    assert p.quantized.dtype == p.latent.dtype == p.dtype == dtype
    assert p.shape == (3, 4)
    assert p.size == 12
    assert p.grad is None


def test_quantized_is_scale_times_codes():
    p = Parameter(np.array([0.4, -0.9, 0.1], np.float32), Halves())
    np.testing.assert_array_equal(p.codes, [1, -2, 0])
    np.testing.assert_array_equal(p.quantized, np.array([0.5, -1, 0], np.float32))
    assert p.scale == 0.5
    assert p.quantized.dtype == np.float32


def test_without_a_quantizer_both_faces_are_the_same():
    p = Parameter(np.array([0.3, -2.0]))
    np.testing.assert_array_equal(p.quantized, p.latent)
    assert p.scale == 1
    assert p.bound == math.inf
    assert p.learning_rate_scale == 1
    p.assign(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(p.codes, [1, 2])


def test_starting_value_is_copied_and_the_latent_view_is_read_only():
    start = np.array([[0.5, -0.5], [0.25, 1.0]])
    p = Parameter(start.T, Sign())
    start[...] = -9
    np.testing.assert_array_equal(p.latent, [[0.5, 0.25], [-0.5, 1.0]])
    assert p.latent.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        p.latent[0, 0] = 3


def test_codes_are_made_once_for_each_latent_value():
    calls = []

    class Counting(Sign):
        def encode(self, x, noise=None):
            calls.append(x)
            return super().encode(x, noise)

    p = Parameter(np.array([0.5, -0.5]), Counting())
    for times in (1, 2):
        for _ in range(3):
            assert (p.codes[0], p.scale, p.quantized[1]) == (1, 1, -1)
        assert len(calls) == times
        p.assign(np.array([0.25, -0.25]))


def test_assign_and_edit_drop_the_cached_codes():
    p = Parameter(np.array([0.5, -0.5]), Sign())
    np.testing.assert_array_equal(p.quantized, [1, -1])
    p.assign(np.array([-0.25, 0.25]))
    np.testing.assert_array_equal(p.latent, [-0.25, 0.25])
    np.testing.assert_array_equal(p.quantized, [-1, 1])
    with p.edit() as latent:
        latent *= -1
    np.testing.assert_array_equal(p.quantized, [1, -1])


def break_off(p):
    with p.edit() as latent:
        latent[0] = -1
        raise KeyError


def test_an_edit_that_fails_half_way_leaves_no_stale_codes():
    p = Parameter(np.array([0.5, 0.5]), Sign())
    np.testing.assert_array_equal(p.codes, [1, 1])
    with pytest.raises(KeyError):
        break_off(p)
    np.testing.assert_array_equal(p.codes, Sign().quantize(p.latent))


def test_assigned_values_are_copied_in_the_parameters_float_type():
    p = Parameter(np.zeros(2, np.float32), Sign())
    value = np.array([0.1, -0.1])
    p.assign(value)
    value[...] = 7
    assert p.dtype == np.float32
    np.testing.assert_array_equal(p.latent, np.array([0.1, -0.1], np.float32))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_not_finite_is_not_assigned(wrong):
    p = Parameter(np.array([0.5, -0.5], np.float32), Sign())
    with pytest.raises(ValueError, match=r"^value: expected finite numbers, got -?(nan|inf) at"):
        p.assign(np.array([0.25, wrong]))
    np.testing.assert_array_equal(p.latent, [0.5, -0.5])


def test_astype_changes_latent_codes_and_gradient():
    p = Parameter(np.array([0.1, -0.7], np.float32), Sign())
    assert p.codes.dtype == np.float32
    p.grad = np.ones(2, np.float32)
    p.astype(np.float64)
    assert p.dtype == p.codes.dtype == p.grad.dtype == np.float64
    np.testing.assert_array_equal(p.latent, np.array([0.1, -0.7], np.float32).astype(np.float64))


def test_a_deep_copy_has_arrays_of_its_own():
    for quantizer in (None, Sign()):
        p = Parameter(np.array([0.5, -0.5]), quantizer)
        _ = p.codes
        twin = copy.deepcopy(p)
        twin.assign(np.array([-0.5, 0.75]))
        np.testing.assert_array_equal(p.latent, [0.5, -0.5])
        np.testing.assert_array_equal(p.quantized, [0.5, -0.5] if quantizer is None else [1, -1])
        expected = [-0.5, 0.75] if quantizer is None else [-1, 1]
        np.testing.assert_array_equal(twin.quantized, expected)


# What every layer shares


def test_layer_defaults_say_nothing_and_hold_nothing():
    layer = Layer().build((3, 2))
    assert layer.input_shape == (3, 2)
    assert layer.dtype == np.float32
    assert layer.output_shape((3, 2)) == (3, 2)
    assert layer.output_encoding(None) is None
    assert layer.parameters() == {}
    assert layer.buffers() == {}
    assert layer.sublayers() == []
    assert layer.differentiable
    assert layer.needs_input_gradient
    assert Layer.needs_input_gradient


def test_astype_reaches_layers_inside_layers_and_forgets_the_last_forward():
    class Holder(Layer):
        def __init__(self):
            self.inner = Dense(2)

        def sublayers(self):
            return [self.inner]

    holder = Holder().build((3,))
    holder.inner.build((3,), np.random.default_rng(0))
    holder.inner.forward(np.ones((2, 3), np.float32), training=True)
    holder.astype(np.float64)
    assert holder.dtype == holder.inner.dtype == holder.inner.weight.dtype == np.float64
    with pytest.raises(RuntimeError, match="training=True"):
        holder.inner.backward(np.ones((2, 2)))


def test_a_layer_makes_its_arrays_when_its_input_is_known():
    """`make` needs no arguments, and what does not fit is refused after it."""

    class Scale(Layer):
        def make(self):
            self.gain = Parameter(np.full(self.input_shape[-1], 2, self.dtype))
            self.seen = self.rng, self.encoding

        def output_shape(self, input_shape):
            if len(input_shape) != 1:
                raise ValueError(f"input: expected rows, got {input_shape}")
            return input_shape

    rng = np.random.default_rng(0)
    layer = Scale().build((3,), rng, Sign().encoding, np.float64)
    assert layer.gain.dtype == np.float64
    assert layer.gain.shape == (3,)
    assert layer.seen == (rng, Sign().encoding)
    with pytest.raises(ValueError, match="input: expected rows"):
        Scale().build((3, 2), rng)


def test_building_again_forgets_the_last_forward():
    rng = np.random.default_rng(0)
    layer = Dense(2).build((3,), rng)
    layer.forward(np.ones((2, 3), np.float32), training=True)
    layer.needs_input_gradient = False
    layer.build((3,), rng)
    assert layer.needs_input_gradient
    with pytest.raises(RuntimeError, match=r"Dense\.backward"):
        layer.backward(np.ones((2, 2), np.float32))


class Keeps(Layer):
    """A stranger's layer, which keeps its input and looks at nothing."""

    def forward(self, x, training=False):
        self._saved = x
        return x


@pytest.mark.parametrize(
    ("dy", "error", "words"),
    [
        (np.ones((5, 4, 2), "f"), ValueError, r"expected a batch of 3, .*, got 5"),
        (np.ones((3, 4, 1), "f"), ValueError, r"expected shape \(batch, 4, 2\), got \(3, 4, 1\)"),
        (np.ones((3, 2, 4), "f"), ValueError, r"expected shape \(batch, 4, 2\)"),
        (np.ones((4, 2), "f"), ValueError, r"expected shape \(batch, 4, 2\), got \(4, 2\)"),
        (np.ones((3, 1, 4, 2), "f"), ValueError, r"expected shape \(batch, 4, 2\)"),
        (np.ones((3, 4, 2)), TypeError, "expected dtype float32, as the layer, got float64"),
        (np.ma.ones((3, 4, 2), "f"), TypeError, "expected a NumPy array, got .*MaskedArray"),
        ([[1.0]], TypeError, "expected a NumPy array, got list"),
    ],
)
def test_a_gradient_is_that_of_the_last_output(dy, error, words):
    layer = Keeps().build((4, 2))
    x = np.ones((3, 4, 2), "f")
    layer.check_input(x)
    layer.forward(x)
    assert layer.saved(np.zeros_like(x)) is x
    with pytest.raises(error, match=f"^dy: {words}"):
        layer.saved(dy)
    assert layer.saved() is x


def test_without_a_look_at_the_input_any_batch_may_come_back():
    layer = Keeps().build((2,))
    layer.forward(np.ones((3, 2), "f"))
    for batch in (1, 2, 3):
        layer.saved(np.ones((batch, 2), "f"))


class Owner:
    """What a network is to a layer."""


def test_a_layer_belongs_to_one_network_as_long_as_that_lives():
    layer, owner, other = Layer().build((2,)), Owner(), Owner()
    layer.join(owner)
    layer.join(other)  # takes nothing away
    del other
    shallow = copy.copy(layer)
    assert vars(shallow).keys() == vars(layer).keys() - {"_network"}
    assert shallow.build((3,)).input_shape == (3,)
    with pytest.raises(ValueError, match="belongs to a network already"):
        layer.build((3,))
    del owner
    assert layer.build((3,)).input_shape == (3,)
    owner = Owner()
    layer.join(owner)  # the old one is gone
    with pytest.raises(ValueError, match="belongs to a network already"):
        layer.build((3,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_above_0_is_one_in_the_layers_float_type(dtype):
    kind, name = np.dtype(dtype), np.dtype(dtype).name
    info = np.finfo(dtype)
    for value in (info.max, 1.0, 0.5, info.smallest_subnormal):
        in_float_type("scale", float(value), kind)
    in_float_type("scale", 1e-60, np.dtype(np.float64))
    for value, number in ((0.0, "0"), (-1.0, "-1"), (np.inf, "inf"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=f"^scale: .* is {number} in {name}"):
            in_float_type("scale", value, kind)
    for value, number in ((1e-60, "0"), (1e60, "inf")):
        with pytest.raises(ValueError, match=f"^scale: .* is {number} in float32"):
            in_float_type("scale", value, np.dtype(np.float32))


def test_sizes_at_their_ends_are_taken():
    assert Dense(1).units == 1
    assert Dense(2**31 - 1).units == 2**31 - 1


def test_sums_below_2_to_the_53_are_exact():
    half = Encoding(1.0, -(2.0**52), 2.0**52, 1)
    rng = np.random.default_rng(0)
    assert Dense(2).build((1,), rng, half).largest_product == 2.0**52
    with pytest.raises(ValueError, match=r"^weight_quantizer: sums of 2 products of up to 4\.5"):
        Dense(2).build((2,), rng, half)


# Layers in a row


class Steps(Layer):
    """Write down that they are called, and how."""

    def __init__(self, log):
        self.log = log

    def forward(self, x, training=False):
        self.log.append((self, "forward", training))
        return x + 1

    def backward(self, dy):
        self.log.append((self, "backward"))
        return dy * 2


@pytest.mark.parametrize("lowest", [0, 1, 2])
def test_a_row_is_walked_up_and_down(lowest):
    log = []
    row = [Steps(log) for _ in range(3)]
    assert build_row(row, (2,), None, None, np.float64) == (2,)
    assert all(layer.input_shape == (2,) and layer.dtype == np.float64 for layer in row)
    assert forward_row(row, np.zeros(2), True).tolist() == [3, 3]
    assert log == [(layer, "forward", True) for layer in row]
    log.clear()
    up = [(layer, "backward") for layer in row[::-1]]
    assert backward_row(row, np.ones(2)).tolist() == [8, 8]
    assert log == up
    log.clear()
    assert backward_row(row, np.ones(2), lowest).tolist() == [2 ** (3 - lowest)] * 2
    assert log == up[: 3 - lowest]


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        (Dense(2), TypeError, "layers: expected a list of layers, got Dense"),
        (iter([Dense(2)]), TypeError, "layers: expected a list of layers, got list_iterator"),
        ([Dense(2), Dense], TypeError, r"layers\[1\]: expected .*Dense\(10\)"),
        ([BUILT_TWICE := Dense(2), Dense(3), BUILT_TWICE], ValueError, "layers: the same layer"),
        ([Branches([BUILT_TWICE]), BUILT_TWICE], ValueError, "layers: the same layer object"),
    ],
)
def test_what_is_no_row_of_layers_is_refused(row, error, words):
    with pytest.raises(error, match=f"^{words}"):
        layer_list("layers", row)


def test_a_row_of_layers_is_a_list():
    row = (Dense(2), Branches([Dense(2)]))
    assert layer_list("layers", row) == list(row)


@pytest.mark.parametrize("error", [ValueError, TypeError, RuntimeError])
def test_errors_name_their_place(error):
    layer = Dense(2)
    words = r"^path 2: layer 7 \(Dense\): wrong$"
    with pytest.raises(error, match=words), naming("path 2"), naming(7, layer):
        raise error("wrong")
    with pytest.raises(KeyError, match=r"^'wrong'$"), naming("path 2"):
        raise KeyError("wrong")
    with naming("path 2"):
        pass


def test_what_dropout_makes_of_codes_is_told_to_all_layers_behind_it():
    signs = Sign().encoding
    row = [Dropout(0.5), Dense(2), Quantize(), Dense(3)]
    build_row(row, (4,), np.random.default_rng(0), signs, np.float32)
    tell_row(row, signs)
    assert row[0].training_encoding == row[3].training_encoding == signs
    assert row[1].encoding == signs
    assert not row[1].training_encoding.on_grid


BUILT = Layer().build((4, 2))


class Nothing(Quantizer):
    """Says where it ends, but not how it encodes."""

    encoding = Encoding(1.0, -1, 1, 2)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: Parameter(np.zeros(3)).assign(np.zeros(4)),
            ValueError,
            ["value:", "(3,)", "(4,)"],
        ),
        (lambda: Parameter(np.zeros((1, 3))).assign(np.zeros(3)), ValueError, ["value:", "(1, 3)"]),
        (lambda: Parameter(np.zeros(3)).assign(1.0), ValueError, ["value:", "(3,)", "()"]),
        (lambda: BUILT.check_input(np.zeros((2, 4), "f")), ValueError, ["x:", "(batch, 4, 2)"]),
        (lambda: BUILT.check_input(np.zeros((1, 3, 2), "f")), ValueError, ["x:", "(1, 3, 2)"]),
        (lambda: BUILT.check_input(np.zeros((4, 2), "f")), ValueError, ["x:", "(4, 2)"]),
        (lambda: BUILT.check_input(np.zeros((1, 2, 4), "f")), ValueError, ["x:", "(1, 2, 4)"]),
        (lambda: BUILT.check_input(np.zeros((0, 4, 2), "f")), ValueError, ["x:", "at least one"]),
        (lambda: BUILT.check_input(np.zeros((1, 4, 2))), TypeError, ["x:", "float32", "float64"]),
        (
            lambda: BUILT.check_input(np.zeros((1, 4, 2), np.int32)),
            TypeError,
            ["x:", "float32", "int32"],
        ),
        (lambda: Layer().check_input(np.zeros((1, 2))), RuntimeError, ["Layer", "not built"]),
        (lambda: BUILT.forward(np.zeros((1, 4, 2))), TypeError, ["Layer", "forward"]),
        (lambda: BUILT.backward(np.zeros((1, 4, 2))), TypeError, ["Layer", "backward"]),
        (lambda: BUILT.saved(), RuntimeError, ["Layer.backward", "training=True"]),
        (lambda: BUILT.check_input(np.ma.ones((1, 4, 2), "f")), TypeError, ["x:", "MaskedArray"]),
        (lambda: BUILT.check_input(np.zeros((1, 4, 2))), TypeError, ["float32, as the layer, got"]),
        (
            lambda: BUILT.check_input(np.zeros((1, 4, 2)), np.uint8),
            TypeError,
            ["x: expected dtype uint8, got float64"],
        ),
        (lambda: BUILT.pointwise(np.zeros((1, 4, 2))), TypeError, ["Layer", "each channel"]),
        (lambda: Layer().build((2,), None, "signs"), TypeError, ["encoding:", "str"]),
        (lambda: Dense(0), ValueError, ["units:", "0"]),
        (lambda: Dense(2**31), ValueError, ["units:", "2147483648"]),
        (lambda: Dense(2, "sign"), TypeError, ["weight_quantizer:", "str"]),
        (
            lambda: Dense(2, Nothing()).build((2,), np.random.default_rng(0)),
            TypeError,
            ["weight_quantizer:", "Nothing"],
        ),
        (lambda: needs_rng(None, BUILT), TypeError, ["rng:", "Layer", "NoneType"]),
        (lambda: needs_rng(7, BUILT), TypeError, ["rng:", "Generator", "int"]),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_settings_are_shown():
    assert repr(Dense(3, bias=True)) == "Dense(3, bias=True)"
    assert repr(Dense(3, None)) == "Dense(3, None)"
    assert Dense(3).settings() == {"units": 3, "weight_quantizer": Sign(), "bias": False}


def test_a_generator_is_handed_on():
    rng = np.random.default_rng(0)
    assert needs_rng(rng, BUILT) is rng


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (Layer, 0),
        (Flatten, 0),
        (Quantize, 2),
        (HardTanh, 2),
        (BatchNorm, 2),
        (lambda: Dense(3), 2),
        (lambda: Dropout(0.5), 2),
        (lambda: Embedding(5, 2), 1),
    ],
)
def test_sequences_of_any_length_have_axes_enough(make, axes):
    """A layer says how many axes it needs behind the batch, or that it needs to know all sizes."""
    for shape in ((ANY_STEPS,), (ANY_STEPS, 3), (ANY_STEPS, 2, 3)):
        layer = make()
        if 0 < axes <= len(shape):
            assert layer.build(shape, np.random.default_rng(0)).input_shape == shape
        else:
            with pytest.raises(ValueError, match=r"^input(_shape)?: "):
                layer.build(shape, np.random.default_rng(0))


def test_a_state_goes_to_its_layer_only():
    class Remembers(Steps):
        def forward(self, x, training=False, state="none"):
            self.log.append(state)
            return x

    log = []
    row = [Remembers(log), Remembers(log), Remembers(log)]
    forward_row(row, np.zeros(2), False, {1: "given"})
    forward_row(row, np.zeros(2), False, {})
    forward_row(row, np.zeros(2), False)
    assert log == ["none", "given", "none"] + 6 * ["none"]


# Layers with weights

THIRDS = Encoding(1 / 4, -3, 3, 2)


@pytest.mark.parametrize(("unit", "high"), [(1.0, 1.0), (2.0, 1.0), (0.25, 6.0), (1.0, 6.0)])
def test_products_of_codes_become_numbers(unit, high):
    """Units of inputs and of weights multiply; the bias is added last."""
    quantizer = LinearQuant(2, high=high)
    encoding = Encoding(unit, -7, 7, 2)
    layer = Dense(2, quantizer, bias=True).build((3,), np.random.default_rng(0), encoding)
    layer.bias.assign(np.float32([5, -7]))
    s = np.float32([[1, -3], [15, 0]])
    expected = s * np.float32(unit * high / 3) + np.float32([5, -7])
    np.testing.assert_allclose(layer.finish(s), expected, rtol=1e-6)
    np.testing.assert_allclose(layer.finish(s, layer.weight), expected, rtol=1e-6)
    other = Parameter(np.zeros((3, 2), np.float32), LinearQuant(2, high=3.0))
    np.testing.assert_allclose(
        layer.finish(s, other), s * np.float32(unit) + np.float32([5, -7]), rtol=1e-6
    )
    assert layer.input_scale == unit
    assert layer.output_scale == pytest.approx(unit * high / 3)
    assert layer.largest_product == 7 * 3
    assert layer.build((3,), np.random.default_rng(0)).input_scale == 1


def test_products_of_real_numbers_have_no_largest():
    rng = np.random.default_rng(0)
    for encoding, quantizer in ((None, Sign()), (THIRDS.off_grid(), Sign()), (THIRDS, None)):
        assert Dense(2, quantizer).build((3,), rng, encoding).largest_product == 0


@pytest.mark.parametrize(
    ("quantizer", "bound"),
    [(Sign(), 1), (LinearQuant(3, high=2.5), 2.5), (LogQuant(4), 1), (LogQuant(4, None), 1)],
    ids=repr,
)
def test_weights_start_where_their_quantizer_reaches(quantizer, bound):
    """Uniform up to the largest level; 1 where that follows the data. Float ones as Glorot's."""
    layer = Dense(300, quantizer).build((200,), np.random.default_rng(0))
    weight = layer.weight
    for start, end in ((weight.latent, bound), (Dense(300, None), math.sqrt(6 / 500))):
        if isinstance(start, Dense):
            start = start.build((200,), np.random.default_rng(0)).weight.latent
        assert 0.999 * end < start.max() <= end
        assert -end <= start.min() < -0.999 * end
        assert abs(start.mean()) < 0.02 * end
    assert weight.bound == bound
    assert weight.learning_rate_scale == pytest.approx(bound * glorot_scale(200, 300))
    assert layer.bias is None
    assert list(layer.parameters()) == ["weight"]


def test_what_a_layer_takes_for_signs():
    signs = Sign().encoding
    layer = Dense(2).build((3,), np.random.default_rng(0), signs)
    assert layer.takes_signs(True)
    assert layer.takes_signs(False)
    layer.tell_training_encoding(signs.off_grid())
    assert not layer.takes_signs(True)
    assert layer.takes_signs(False)
    for encoding in (None, THIRDS):
        layer.build((3,), np.random.default_rng(0), encoding)
        assert not layer.takes_signs(True)
        assert not layer.takes_signs(False)


def test_a_gradient_is_quantized_only_if_that_was_asked_for():
    layer = Dense(2).build((3,), np.random.default_rng(0))
    dy = np.float32([[0.3, -1]])
    assert layer.quantized_gradient(dy) is dy
    layer.gradient_quantizer = LinearGradient(2)
    np.testing.assert_array_equal(layer.quantized_gradient(dy), [[0, -1]])


def test_weights_that_were_drawn_serve_the_way_back_too():
    layer = Dense(9, StochasticSign()).build((9,), np.random.default_rng(0))
    assert layer.used_weight is layer.weight
    assert layer.draw_weight(training=False) is layer.weight
    assert layer.used_weight is layer.weight
    drawn = layer.draw_weight(training=True)
    assert drawn is not layer.weight
    assert layer.used_weight is drawn
    assert layer.draw_weight(training=False) is layer.weight
    assert layer.used_weight is drawn
    assert layer.build((9,), np.random.default_rng(0)).used_weight is layer.weight
