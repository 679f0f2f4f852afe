"""The signs that an update leaves: those of the weights it wrote, only where they are wanted."""

import copy

import numpy as np
import pytest

from qnn_ref import parameter as parameter_module
from qnn_ref.bits import pack
from qnn_ref.bits.in_passing import BLOCK, leave_all_signs, leave_signs
from qnn_ref.bits.panels import both_ways
from qnn_ref.compiled import serial_kernel
from qnn_ref.layers import Parameter
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import Adam, Optimizer, base
from qnn_ref.optimizers.adam import adam_update, adam_update_reference
from qnn_ref.optimizers.adamax import adamax_update, adamax_update_reference
from qnn_ref.optimizers.sgd import sgd_update, sgd_update_reference
from qnn_ref.optimizers.shift_adamax import shift_adamax_update, shift_adamax_update_reference
from qnn_ref.quantizers import Sign
from qnn_ref.training import train_step
from tests.test_unformed import KINDS, Formed, Waiting, after_backward, batch, network_of

DTYPES = [np.float32, np.float64]
RULES = {
    "Adam": (adam_update, adam_update_reference, 4, (0.9, 0.1, 0.99, 0.01, 0.5, 0.1, 0.01, 1e-8)),
    "AdaMax": (adamax_update, adamax_update_reference, 4, (0.9, 0.1, 0.99, 0.1, 0.5)),
    "SGD": (sgd_update, sgd_update_reference, 3, (0.9, 0.1, 0.5)),
    "ShiftAdaMax": (
        *(shift_adamax_update, shift_adamax_update_reference, 4),
        (0.875, 0.125, 0.99, 0.5, 1e-8, float(np.finfo(np.float32).tiny)),
    ),
}


@serial_kernel
def leave(w, first, signs):
    """A block as compiled code packs it."""
    return leave_signs(w, first, signs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_signs(dtype):
    x = np.random.default_rng(0).standard_normal(BLOCK + 128).astype(dtype)
    x[[3, 70, BLOCK]], x[[5, 64, -1]], x[9] = 0.0, -0.0, -np.inf
    ours, plain = (np.full(len(x) // 64, 99, np.uint64) for _ in range(2))
    for first in (BLOCK, 0):
        assert leave(x, first, ours) == leave_signs(x, first, plain) == 0
        np.testing.assert_array_equal(ours, plain)
    np.testing.assert_array_equal(ours, pack(x))
    x[BLOCK + 70] = np.nan
    for function in (leave, leave_signs):
        assert not function(x, 0, ours)
        assert function(x, BLOCK, ours)
    assert not leave_all_signs(x, ours)
    assert leave_all_signs(x, None)


def case(kind, dtype, size):
    run, twin, count, constants = RULES[kind]
    rng = np.random.default_rng(size)
    arrays = [rng.standard_normal(size).astype(dtype) for _ in range(count)]
    arrays[-1] = np.abs(arrays[-1])
    more = (False,) if kind == "ShiftAdaMax" else ()
    return run, twin, arrays, (np.array(constants, dtype), 1.0, *more)


@pytest.mark.parametrize(
    ("kind", "dtype"), [*((kind, np.float32) for kind in RULES), ("Adam", np.float64)]
)
def test_signs_are_those_of_the_new_weights(kind, dtype):
    for size in (0, 64, BLOCK + 128):
        run, twin, arrays, numbers = case(kind, dtype, size)
        without, expected = copy.deepcopy(arrays), copy.deepcopy(arrays)
        signs, theirs = (np.full(size // 64, 99, np.uint64) for _ in range(2))
        assert run(*arrays, *numbers, signs) is True
        assert twin(*expected, *numbers, theirs) is True
        assert run(*without, *numbers) is True
        np.testing.assert_array_equal(signs, pack(arrays[0]))
        np.testing.assert_array_equal(signs, theirs)
        for one, other, third in zip(arrays, without, expected, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(one, third)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("place", [0, 63, BLOCK + 5])
def test_a_weight_that_is_nan_is_told(kind, place):
    run, twin, arrays, numbers = case(kind, np.float32, BLOCK + 64)
    arrays[0][place] = np.nan
    signs = np.zeros(BLOCK // 64 + 1, np.uint64)
    assert twin(*copy.deepcopy(arrays), *numbers, signs.copy()) is False
    assert run(*arrays, *numbers, signs) is False


@pytest.mark.parametrize("kind", RULES)
def test_room_that_does_not_fit_is_refused_before_anything_is_written(kind):
    for size, signs, message in (
        (128, np.zeros(3, np.uint64), "signs: expected shape"),
        (128, np.zeros(2, np.int64), "signs: expected an array of uint64"),
        (100, np.zeros(1, np.uint64), "signs: expected none for 100 weights"),
        (128, np.zeros(4, np.uint64)[::2], r"signs: .*contiguous"),
    ):
        for function in RULES[kind][:2]:
            _, _, arrays, numbers = case(kind, np.float32, size)
            before = copy.deepcopy(arrays)
            with pytest.raises((TypeError, ValueError), match=message):
                function(*arrays, *numbers, signs)
            np.testing.assert_array_equal(arrays, before)
    run, _, arrays, numbers = case(kind, np.float32, 128)
    with pytest.raises(ValueError, match=r"signs: .*memory"):
        run(*arrays, *numbers, arrays[0].view(np.uint64)[:2])


@pytest.fixture
def small_signs(monkeypatch):
    """Optimizers leave the signs of small parameters too."""
    monkeypatch.setattr(parameter_module, "LEAST_SIGNS", 1)


@pytest.mark.parametrize("products", [Waiting, Formed])
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_with_signs_that_were_left(kind, products, monkeypatch):
    monkeypatch.setattr(base, "ROOM", 16 * 64)  # gradients that wait are formed in several parts

    def after_steps(network):
        optimizer, left = KINDS[kind](), []
        for step in range(3):
            train_step(network, optimizer, squared_hinge, *batch(network, seed=step))
            left.append([p._signs is not None for p in network.parameters().values()])
        return network.arrays(), left

    packed, left = after_steps(network_of(products(), (70, 128, 64)))
    assert not np.any(left)
    monkeypatch.setattr(parameter_module, "LEAST_SIGNS", 1)
    ours, left = after_steps(network_of(products(), (70, 128, 64)))
    assert np.all(left)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, packed[name])


def wanted(shape=(3, 64), dtype=np.float32):
    values = np.random.default_rng(0).uniform(-1, 1, shape).astype(dtype)
    parameter = Parameter(values, Sign(), 1.0)
    parameter.cached_signs(both_ways)
    parameter.grad = np.ones(shape, dtype)
    return parameter


def test_signs_are_dropped_with_the_next_change(small_signs):
    parameter, optimizer = wanted(), Adam(0.9)
    optimizer.step({"w": parameter})
    assert parameter._signs is not None
    negative = -np.ones(parameter.shape, np.float32)
    parameter.assign(negative)
    words = parameter.cached_signs(both_ways).rows.to_words()
    np.testing.assert_array_equal(words, pack(negative))


def test_left_signs_are_the_ones_that_are_taken(small_signs):
    parameter = wanted()
    Adam(0.9).step({"w": parameter})
    right = pack(parameter.latent)
    np.testing.assert_array_equal(parameter.cached_signs(both_ways).rows.to_words(), right)
    Adam(0.9).step({"w": parameter})
    parameter._signs[...] = 5
    assert (parameter.cached_signs(both_ways).rows.to_words() == 5).all()
    assert parameter._signs is None  # they are no longer needed


@pytest.mark.parametrize("shape", [(3, 63), (64, 3), (2, 65)])
def test_rows_that_are_no_whole_words_are_packed_later(shape, small_signs):
    parameter = wanted(shape)
    assert parameter.room_for_signs() is None
    Adam().step({"w": parameter})
    assert parameter._signs is None


def test_few_weights_and_unwanted_signs_are_not_packed(small_signs, monkeypatch):
    parameter = Parameter(np.zeros((2, 64), np.float32), Sign(), 1.0)
    assert parameter.room_for_signs() is None
    assert wanted().room_for_signs().shape == (3,)
    monkeypatch.setattr(parameter_module, "LEAST_SIGNS", 3 * 64 + 1)
    assert wanted().room_for_signs() is None


def test_a_weight_that_became_nan_has_no_signs_and_is_named(small_signs):
    parameter = wanted()
    with parameter.edit() as latent:
        latent[1, 7] = np.nan
    Adam().step({"w": parameter})
    with pytest.raises(ValueError, match=r"weight: .*finite"):
        parameter.cached_signs(both_ways)


@pytest.mark.parametrize("row", [0, 69])
def test_one_part_with_nan_leaves_no_signs_at_all(row, small_signs, monkeypatch):
    monkeypatch.setattr(base, "ROOM", 16 * 64)
    parameter = after_backward(Waiting(), widths=(70, 128, 64)).parameters()["1.Dense.weight"]
    assert parameter.room_for_signs() is not None
    with parameter.edit() as latent:
        latent[row, 7] = np.nan
    Adam().step({"w": parameter})
    assert parameter._signs is None


def test_an_update_of_ones_own_is_not_asked_for_signs(small_signs):
    class Own(Adam):
        def update(self, latent, grad, constants, bound, **moments):
            assert "signs" not in moments
            latent -= grad

    assert [kind.leaves_signs for kind in (Optimizer, Adam, Own)] == [False, True, False]
    parameter = wanted()
    Own().step({"w": parameter})
    assert parameter._signs is None
