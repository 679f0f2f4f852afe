"""The public strategies draw what they promise, and name their extra where it is missing."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from qnn_ref.checking import strategies as qst

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
