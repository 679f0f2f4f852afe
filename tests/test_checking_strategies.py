"""The public strategies draw what they promise, and name their extra where it is missing."""

import contextlib
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, seed, settings
from hypothesis import strategies as st

from qnn_ref.checking import check_gradients, edges
from qnn_ref.checking import strategies as qst
from qnn_ref.layers import RNN, Conv2D
from qnn_ref.losses import squared_hinge
from qnn_ref.quantizers import LinearGradient, LinearQuant, LogQuant, Sign, StochasticSign

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype):
    values = qst.special_values(dtype)
    one = dtype(1)
    for needed in (0.5, 1.5, 2.0, 0.25, 2**-3, np.finfo(dtype).smallest_subnormal, one):
        for sign in (-1, 1):
            assert sign * float(needed) in values
    for base in (1, 2, 0.5):
        for towards in (0, np.inf):
            beside = float(np.nextafter(dtype(base), dtype(towards)))
            assert beside != base
            assert {beside, -beside} <= set(values)
    assert any(v == 0 and math.copysign(1, v) < 0 for v in values)
    assert all(float(dtype(v)) == v for v in values)
    assert max(map(abs, values)) <= 4
    assert max(map(abs, qst.special_values(dtype, 0.7))) <= 0.7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "wanted",
    [
        lambda v: v == 0 and math.copysign(1, v) < 0,
        lambda v: v == 1,
        lambda v: v == -1,
        lambda v: 0 < abs(v) < 1e-37,
        lambda v: v != 1 and abs(v - 1) < 1e-6,
    ],
)
def test_floats_hit_the_edges(dtype, wanted):
    find(qst.floats(dtype), wanted, settings=settings(max_examples=2000, database=None))


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from([0.7, 1.0, 4.0]))
def test_floats_stay_in_their_bounds(data, dtype, largest):
    value = data.draw(qst.floats(dtype, largest))
    assert abs(value) <= float(dtype(largest))
    assert float(dtype(value)) == value


@given(st.data(), st.sampled_from(DTYPES))
def test_arrays_and_signs(data, dtype):
    x = data.draw(qst.arrays(qst.shapes(), dtype))
    assert x.dtype == dtype
    assert 1 <= x.ndim <= 4
    assert 1 <= min(x.shape) <= max(x.shape) <= 6
    assert np.isfinite(x).all()
    assert data.draw(qst.arrays((2, 3), dtype)).shape == (2, 3)
    assert data.draw(qst.shapes(3, 2)) in [
        (a, b, c) for a in (1, 2) for b in (1, 2) for c in (1, 2)
    ]
    signs = data.draw(qst.signs((5,), dtype))
    assert signs.dtype == dtype
    assert set(signs) <= {-1, 1}
    halves = data.draw(qst.arrays((3,), dtype, elements=st.sampled_from([0.5, 1.5])))
    assert set(halves) <= {0.5, 1.5}


@given(st.data())
def test_images_labels_sizes_and_seeds(data):
    images = data.draw(qst.images((2, 3, 3, 1)))
    assert images.dtype == np.uint8
    assert images.shape == (2, 3, 3, 1)
    labels = data.draw(qst.labels(7, 3))
    assert labels.dtype == np.int64
    assert labels.shape == (7,)
    assert set(labels) <= {0, 1, 2}
    assert 1 <= data.draw(qst.ragged_sizes()) <= 200
    assert 1 <= data.draw(qst.ragged_sizes(9)) <= 9
    np.random.default_rng(data.draw(qst.seeds()))


@pytest.mark.parametrize("size", [1, 63, 64, 65, 127, 128, 129, 191, 200])
def test_sizes_around_words_are_drawn(size):
    assert find(qst.ragged_sizes(), lambda n: n == size) == size


@given(qst.dense_layers(), qst.dense_layers(np.float32))
@settings(max_examples=30)
def test_dense_layers_run(double, single):
    for (layer, x), dtype in ((double, np.float64), (single, np.float32)):
        assert layer.forward(x).shape == (*x.shape[:-1], layer.units)
        assert x.dtype == layer.weight.dtype == dtype


@pytest.mark.parametrize(
    "wanted",
    [
        lambda layer, x: layer.weight.quantizer and np.any(np.abs(layer.weight.latent) == 1),
        lambda layer, x: layer.weight.quantizer is None,
        lambda layer, x: layer.bias is not None,
        lambda layer, x: x.ndim == 3,
        lambda layer, x: len(x) == 1,
    ],
)
def test_dense_layers_of_every_kind(wanted):
    options = settings(max_examples=200, database=None, phases=[Phase.generate])
    find(qst.dense_layers(), lambda pair: wanted(*pair), settings=options)


# Where a quantizer changes its mind


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("quantizer", "jumps", "bends"),
    [
        (Sign(), [0], [-1, 1]),
        (StochasticSign(2.0), [0], [-2, 2]),
        (Sign(0.7), [0], [-0.7, 0.7]),
        (LinearQuant(1), [0], [-1, 1]),
        (LinearQuant(2, high=600.0), [-400, 0, 400], [-600, 600]),
        (LinearQuant(2, reading="fixed-point"), [-0.75, -0.25, 0.25], [-1, 1]),
        (LinearQuant(2, reading="unsigned", saturation=2.0), [1 / 6, 0.5, 5 / 6], [0, 2]),
        (LogQuant(2, exponent=-3), [-(2**-3.5), 2**-3.5], [-0.125, 0.125]),
        (LogQuant(4, exponent=None), [], []),
        (LinearGradient(3), [], []),
    ],
    ids=str,
)
def test_edges_are_found_from_the_values(quantizer, jumps, bends, dtype):
    found = edges.thresholds(quantizer, dtype)
    assert len(found) == len(jumps)
    for number, expected in zip(found, jumps, strict=True):
        assert number == pytest.approx(expected, rel=4 * float(np.finfo(dtype).eps))
        here = np.array([number], dtype)
        below = np.nextafter(here, dtype(-np.inf))
        assert quantizer.encode(below)[0] != quantizer.encode(here)[0]
    assert edges.bounds(quantizer, dtype) == [float(dtype(v)) for v in bends]


class Ternary:
    """Of a stranger: no base class, no encoding, and nothing bends."""

    def encode(self, x):
        return np.sign(x) * (np.abs(x) >= 0.5), 1.0

    def surrogate(self, x):
        return np.tanh(x)


def test_edges_of_a_quantizer_of_a_stranger():
    assert edges.bounds(Ternary()) == []
    below = float(np.nextafter(np.float32(-0.5), np.float32(0)))
    assert edges.thresholds(Ternary()) == [below, 0.5]
    assert find(qst.quantizer_inputs(Ternary()), lambda x: np.any(x == np.float32(below))) == below


@settings(max_examples=30)
@given(st.data(), qst.quantizers(), st.sampled_from(DTYPES))
def test_around_draws_floats_of_its_type(data, quantizer, dtype):
    value = data.draw(qst.around(quantizer, dtype))
    assert float(dtype(value)) == value
    assert abs(data.draw(qst.around(quantizer, dtype, largest=0.25))) <= 0.25


class All(Exception):
    """Each kind was met: more examples would tell nothing new."""


def met(strategy, run, *wrong, examples=50):
    """Whether one run of so many examples meets an example of each kind, without shrinking."""
    kinds = set()

    @seed(run)
    @settings(max_examples=examples, database=None, phases=[Phase.generate])
    @given(strategy)
    def test(x):
        kinds.update(kind for kind in wrong if np.any(kind(x)))
        if len(kinds) == len(wrong):
            raise All

    with contextlib.suppress(All):
        test()
    return len(kinds) == len(wrong)


STRICT = {
    "arrays": (qst.arrays(qst.shapes()), 1.0),
    "another bound": (qst.quantizer_inputs(Sign(0.7), (1,), np.float64), 0.7),
    "codes of two bits": (qst.quantizer_inputs(LinearQuant(2, high=0.3)), np.float32(0.3)),
}


@pytest.mark.parametrize(("strategy", "bound"), STRICT.values(), ids=STRICT)
def test_a_strict_mask_is_met_within_50_examples_in_20_of_20_runs(strategy, bound):
    def wrong(x):
        return (np.abs(x) < bound) != (np.abs(x) <= bound)

    assert sum(met(strategy, run, wrong) for run in range(20)) == 20


def test_both_zeros_are_met_within_50_examples_in_20_of_20_runs():
    inputs = qst.quantizer_inputs(Sign(), (2,))

    def zero(x):
        return (x == 0) & ~np.signbit(x)

    def minus_zero(x):
        return (x == 0) & np.signbit(x)

    assert sum(met(inputs, run, zero, minus_zero) for run in range(20)) == 20


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda x: np.abs(x) == 1, [1.0]),
        (lambda x: x == -1, [-1.0]),
        (lambda x: x == np.nextafter(np.float32(1), np.float32(0)), [0.99999994]),
    ],
)
def test_a_fault_is_shown_on_one_element(wrong, expected):
    x = find(qst.quantizer_inputs(Sign()), lambda x: bool(wrong(x).any()))
    np.testing.assert_array_equal(x, np.array(expected, np.float32))


# Whole things to check

ONE = settings(max_examples=1, database=None, phases=[Phase.generate])


@given(qst.kernel_shapes(5))
def test_kernel_shapes_fit(place):
    for image, kernel, stride, padding in zip(*place, strict=True):
        assert 1 <= image <= 5
        assert 1 <= kernel <= image + 2 * padding
        assert stride >= 1
        assert padding >= 0


@pytest.mark.parametrize(
    "wanted",
    [
        lambda p: p.image == (1, 1),
        lambda p: p.kernel[0] > p.image[0],
        lambda p: p.kernel == p.image,
        lambda p: p.kernel[0] % 2 == 0 and p.kernel[0] != p.kernel[1],
        lambda p: p.stride[1] > p.kernel[1],
    ],
    ids=["one pixel", "larger than the image", "the whole image", "even", "pixels left out"],
)
def test_kernel_shapes_of_every_kind(wanted):
    find(qst.kernel_shapes(), wanted, settings=settings(database=None, phases=[Phase.generate]))


@given(qst.sequences(3), st.data())
def test_sequences_and_batches(x, data):
    assert x.ndim == 3
    assert x.shape[2] == 3
    images, labels = data.draw(qst.batches((2, 1, 3), 4))
    assert images.dtype == np.uint8
    assert images.shape == (len(labels), 2, 1, 3)
    reals, _ = data.draw(qst.batches((5,), 2, np.float32))
    assert reals.dtype == np.float32


def test_there_is_a_strategy_for_every_layer_with_a_gradient():
    import qnn_ref.layers as rooms

    kinds = {n for n in rooms.__all__ if isinstance(getattr(rooms, n), type)}
    kinds = {n for n in kinds if issubclass(getattr(rooms, n), rooms.Layer)}
    kinds = {n for n in kinds if getattr(rooms, n).differentiable}
    drawn = set()
    for name in sorted(kinds - {"Layer", "Branches", "Auxiliary"}):  # of layers, not layers alone
        layer, x = find(qst.layers([name]), lambda pair: True, settings=ONE)
        assert x.shape == (1, *layer.input_shape)
        drawn.add(type(layer).__name__)
    assert drawn == kinds - {"Layer", "Branches", "Auxiliary"}


@pytest.mark.parametrize("names", [["Dense", "Pixels"], [], ["dense"]])
def test_other_names_are_refused(names):
    with pytest.raises(ValueError, match=r"names: expected some of Dense, Conv2D"):
        qst.layers(names)


# Everything that is exported is drawn from, and used --------------------------------------------


def runs(pair):
    """A layer that is drawn is built: it goes forward and backward, on numbers."""
    layer, x = pair
    y = layer.forward(x, training=True)
    assert y.shape == (len(x), *layer.output_shape(layer.input_shape))
    assert np.isfinite(y).all()
    assert layer.backward(np.ones_like(y)).shape == x.shape


def learns(case):
    network, x, targets = case
    scores = network.forward(x, training=True)
    network.backward(squared_hinge(scores, targets)[1])
    found = [p.grad for layer in network.layers for p in layer.parameters().values()]
    assert found
    assert all(np.isfinite(gradient).all() for gradient in found)


def convolves(place):
    layer = Conv2D(2, place.kernel, stride=place.stride, padding=place.padding)
    layer.build((*place.image, 1), np.random.default_rng(0))
    runs((layer, np.ones((2, *place.image, 1), np.float32)))


def quantizes(quantizer):
    noise = np.full(3, 0.5)
    codes, scale = quantizer.encode(np.array([-1.0, 0.0, 0.7]), noise)
    np.testing.assert_array_equal(codes, np.round(codes))
    assert scale > 0
    assert np.isfinite(quantizer.backward(np.ones(3), np.array([-1.0, 0.0, 0.7]))).all()


def multiplies(x):
    assert (x @ np.ones(x.shape[-1:])).shape == x.shape[:-1]


def recurs(x):
    runs((RNN(2).build(x.shape[1:], np.random.default_rng(0)), x.astype(np.float32)))


def is_float(value):
    assert isinstance(value, float)
    assert np.isfinite(value)


def labels_go_with_it(batch):
    x, targets = batch
    scores = np.zeros((len(x), 10), np.float32)
    assert np.isfinite(squared_hinge(scores, targets)[0])


USES = {
    "KernelShape": (lambda: st.just(qst.KernelShape((3, 4), (2, 2), (1, 2), (0, 1))), convolves),
    "around": (lambda: qst.around(Sign()), is_float),
    "arrays": (lambda: qst.arrays((2, 3)), multiplies),
    "batches": (lambda: qst.batches((2, 2, 3), 10), labels_go_with_it),
    "dense_layers": (qst.dense_layers, runs),
    "floats": (qst.floats, is_float),
    "images": (lambda: qst.images((2, 3, 3, 1)), multiplies),
    "kernel_shapes": (qst.kernel_shapes, convolves),
    "labels": (
        lambda: qst.labels(4, 3),
        lambda found: labels_go_with_it((np.zeros((4, 1)), found)),
    ),
    "layers": (qst.layers, runs),
    "networks": (qst.networks, learns),
    "quantizer_inputs": (lambda: qst.quantizer_inputs(Sign()), multiplies),
    "quantizers": (qst.quantizers, quantizes),
    "ragged_sizes": (qst.ragged_sizes, lambda size: multiplies(np.ones((2, size)))),
    "seeds": (qst.seeds, np.random.default_rng),
    "sequences": (lambda: qst.sequences(3), recurs),
    "shapes": (qst.shapes, lambda shape: multiplies(np.ones(shape))),
    "signs": (lambda: qst.signs((2, 3)), lambda x: multiplies(np.sqrt(x * x))),
    "special_values": (lambda: st.sampled_from(qst.special_values()), is_float),
}


@pytest.mark.parametrize("name", qst.__all__)
def test_everything_exported_draws_what_can_be_used(name):
    strategy, use = USES[name]

    @settings(max_examples=8, database=None, derandomize=True, deadline=None)
    @given(strategy())
    def drawn(value):
        use(value)

    drawn()


def right(report):
    """Where a batch norm divides by nearly nothing, differences scatter, and the report says so."""
    return all(entry.passed or "not resolved" in str(entry.note) for entry in report.entries)


# The same examples each time: whether differences of one more network can be resolved is another
# question.


@settings(max_examples=20, derandomize=True)
@given(qst.layers())
def test_every_layer_has_the_gradient_that_it_states(pair):
    assert right(check_gradients(*pair, mode="full", rng=np.random.default_rng(0)))


@settings(max_examples=15, derandomize=True)
@given(qst.networks())
def test_every_network_has_the_gradient_that_it_states(case):
    network, x, labels = case
    options = {"labels": labels, "loss": squared_hinge, "floor": 1e-8}
    assert right(check_gradients(network, x, rng=np.random.default_rng(0), **options))


def test_a_fault_of_a_layer_is_shown_on_one_weight():
    layer, x = find(qst.layers(["Dense"]), lambda pair: bool((pair[0].weight.latent == -1).any()))
    assert layer.weight.latent.tolist() == [[-1]]
    assert x.size == 1


def test_without_hypothesis_the_extra_is_named():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import qnn_ref.checking\n"
        "from qnn_ref.checking import strategies\n"
        "strategies.special_values()\n"
        "try: strategies.floats()\n"
        "except ImportError as error: sys.stdout.write(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "qnn-ref[check]"' in done.stdout


def test_the_checker_does_not_load_hypothesis():
    code = "import sys, qnn_ref.checking; sys.exit('hypothesis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
