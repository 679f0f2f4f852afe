"""Memory that is used again: only when nobody holds what was in it."""

import gc

import numpy as np
import pytest

from qnn_ref.bits import pack, rooms, signs_matmul, to_panels
from qnn_ref.bits.rooms import kept_empty
from qnn_ref.layers import Dense

LEAST = rooms.LEAST
SHAPE = 2, 2**12


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    """And small arrays wait too: of large ones a page at a time is made."""
    monkeypatch.setattr(rooms, "LEAST", SHAPE[1])
    gc.collect()
    rooms._spare.clear()
    yield
    rooms._spare.clear()


def place(array):
    return array.__array_interface__["data"][0]


def test_it_is_an_array_like_any_other():
    made = kept_empty(SHAPE, np.float32)
    assert type(made) is np.ndarray
    assert (made.shape, made.dtype) == (SHAPE, np.float32)
    assert made.flags.carray
    made[...] = 1
    assert made.sum() == made.size


def test_memory_of_what_is_gone_is_used_again():
    first = kept_empty(SHAPE, np.float32)
    at = place(first)
    del first
    assert place(kept_empty(SHAPE, np.float32)) == at


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x.reshape(-1),
        lambda x: x.T,
        lambda x: x[1:, ::2],
        lambda x: x.view(np.uint32),
        lambda x: x.reshape(-1)[5:].reshape(3, -1)[1:],
        memoryview,
        lambda x: np.asarray(memoryview(x))[1:],
        lambda x: [x],
    ],
)
def test_what_somebody_holds_does_not_change(view):
    first = kept_empty(SHAPE, np.float32)
    first[...] = 7
    held = view(first)
    del first
    gc.collect()
    second = kept_empty(SHAPE, np.float32)
    second[...] = 8
    seen = np.asarray(held)
    assert not np.shares_memory(seen, second)
    assert np.all(seen.view(np.float32) == 7)


def test_at_most_one_piece_waits_and_another_size_lets_it_go():
    arrays = [kept_empty(SHAPE, np.float32) for _ in range(3)]
    arrays.clear()
    assert len(rooms._spare) == 1
    assert kept_empty((3, rooms.LEAST), np.float64).nbytes == 24 * rooms.LEAST
    assert [spare.nbytes for spare in rooms._spare] == [24 * rooms.LEAST]


def test_small_arrays_are_numpys_own_up_to_the_least():
    made = kept_empty((rooms.LEAST - 1,), np.int8)
    assert made.base is None
    del made
    assert not rooms._spare
    kept_empty((rooms.LEAST,), np.int8)
    assert len(rooms._spare) == 1


def test_a_gradient_takes_the_memory_of_the_one_before(monkeypatch):
    """The layer gives up the old gradient first; one that is held elsewhere stays what it was."""
    monkeypatch.setattr(rooms, "LEAST", 1)
    layer = Dense(512).build((256,), np.random.default_rng(0))
    signs = to_panels(pack(np.random.default_rng(1).standard_normal((256, 4))), 4)

    class Products(type(layer.products)):
        def weight_gradient(self, x, dy, signs_only=False):
            return signs_matmul(signs, dy)

    layer.products = Products()
    x, places, held = np.ones((4, 256), np.float32), [], []
    for number in range(4):
        layer.forward(x, training=True)
        layer.backward(np.full((4, 512), number, np.float32))
        places.append(place(layer.weight.grad))
        if number == 2:
            held.append((layer.weight.grad, layer.weight.grad.copy()))
    assert places[0] == places[1] == places[2] != places[3]
    for gradient, before in held:
        np.testing.assert_array_equal(gradient, before)


@pytest.mark.slow_without_jit
def test_a_large_product_is_made_in_it(monkeypatch):
    monkeypatch.setattr(rooms, "LEAST", LEAST)
    rng = np.random.default_rng(0)
    signs = to_panels(pack(rng.standard_normal((2048, 8))), 8)
    x = rng.standard_normal((8, 1024)).astype(np.float32)
    first = signs_matmul(signs, x)
    before, at = first.copy(), place(first)
    del first
    again = signs_matmul(signs, x)
    assert place(again) == at
    np.testing.assert_array_equal(again, before)
