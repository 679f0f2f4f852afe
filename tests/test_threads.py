"""Whose threads have the cores: kernels' in small work, and while signs are at work."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from qnn_ref import Sequential
from qnn_ref.bits import threads
from qnn_ref.bits.threads import (
    WORTH_WAKING,
    blas_threads,
    one_blas_thread,
    threads_for,
    worth_waking,
)
from qnn_ref.layers import BatchNorm, Dense, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import SGD
from qnn_ref.products import PlainProducts
from qnn_ref.training import Run


class Library:
    """A BLAS that notes how many threads it is told to use."""

    def __init__(self, count):
        self.num_threads, self.told = count, []

    def set_num_threads(self, count):
        self.num_threads = count
        self.told.append(count)


@pytest.fixture
def libraries(monkeypatch):
    found = [Library(4), Library(1), Library(None)]
    monkeypatch.setattr(threads, "_blas", lambda: found)
    return found


def counts(libraries):
    return [library.num_threads for library in libraries]


def test_one_inside_and_what_was_before_afterwards(libraries):
    assert blas_threads() == 4
    with one_blas_thread():
        assert counts(libraries) == [1, 1, None]
        with one_blas_thread():
            assert counts(libraries) == [1, 1, None]
        assert counts(libraries) == [1, 1, None]
    assert counts(libraries) == [4, 1, None]
    assert libraries[0].told == [1, 4]
    assert libraries[1].told == libraries[2].told == []  # which had one, or do not say


def test_an_error_inside_puts_them_back_too(libraries):
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert counts(libraries) == [4, 1, None]


def test_the_last_of_several_python_threads_puts_them_back(libraries):
    first_is_in, second_is_out = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            first_is_in.set()
            second_is_out.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    first_is_in.wait(10)
    with one_blas_thread():
        pass
    assert counts(libraries)[0] == 1
    second_is_out.set()
    thread.join()
    assert counts(libraries)[0] == 4


class Watched(BatchNorm):
    """Notes the threads that NumPy has while it runs."""

    seen = ()

    def forward(self, x, training=False):
        self.seen = (*self.seen, blas_threads())
        return super().forward(x, training)

    def backward(self, dy):
        self.seen = (*self.seen, blas_threads())
        return super().backward(dy)


def network_of(*settings, products=None):
    layers = [Dense(6, *settings), Watched(), Quantize(), Dense(3, *settings), Watched()]
    network = Sequential(layers, (5,), np.random.default_rng(0))
    if products is not None:
        network.use_products(products)
    return network


@pytest.mark.parametrize(
    ("network", "inside"),
    [
        (lambda: network_of(), 1),
        (lambda: network_of(None), 4),  # real weights: NumPy's products are all there is
        (lambda: network_of(products=PlainProducts()), 4),
        (lambda: network_of().copy(np.float64), 4),
    ],
)
def test_a_network_of_signs_trains_and_predicts_with_one(libraries, network, inside):
    network = network()
    x = np.random.default_rng(1).normal(size=(4, 5)).astype(network.layers[0].weight.dtype)
    scores = network.forward(x, training=True)
    network.backward(squared_hinge(scores, np.array([0, 1, 2, 0]))[1])
    network.scores(x)
    for layer in network.layers:
        if isinstance(layer, Watched):
            assert layer.seen == 3 * (inside,)
    assert counts(libraries) == [4, 1, None]


def test_an_optimizer_and_a_last_look_do_so_too(libraries, monkeypatch):
    network, optimizer = network_of(None), SGD()
    for parameter in network.parameters().values():
        parameter.grad = np.ones(parameter.shape, parameter.dtype)
    optimizer.step(network.parameters())
    assert libraries[0].told == [1, 4]
    Run(network, optimizer, np.random.default_rng(0)).refuse_not_finite()
    assert libraries[0].told == [1, 4, 1, 4]


def test_the_real_library_is_found():
    """NumPy's own, where threadpoolctl knows it: told, and put back."""
    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas_threads()
    with one_blas_thread():
        assert blas_threads() == 1
    assert blas_threads() == before


def test_what_had_two_has_two_again(monkeypatch):
    library = Library(2)
    monkeypatch.setattr(threads, "_blas", lambda: [library])
    with one_blas_thread():
        pass
    assert library.told == [1, 2]


def test_without_a_library_one_thread_multiplies(monkeypatch):
    monkeypatch.setattr(threads, "_blas", list)
    assert blas_threads() == 1


class Kernels:
    """Numba's threads: how many there may be, how many are told to work."""

    def __init__(self, most, now):
        self.config = SimpleNamespace(NUMBA_NUM_THREADS=most)
        self.get_num_threads, self.told = lambda: now, []

    def set_num_threads(self, count):
        self.told.append(count)


@pytest.mark.parametrize(
    ("most", "now", "work", "told"),
    [
        (4, 3, WORTH_WAKING - 1, [1, 3]),
        (2, 2, 0, [1, 2]),
        (4, 3, WORTH_WAKING, []),
        (4, 1, 0, []),
        (1, 1, 0, []),
    ],
)
def test_small_work_leaves_the_other_threads_asleep(monkeypatch, most, now, work, told):
    kernels = Kernels(most, now)
    monkeypatch.setattr(threads, "numba", kernels)
    with threads_for(work):
        assert kernels.told == told[:1]
    assert kernels.told == told
    kernels.told.clear()
    with pytest.raises(KeyError), threads_for(work):
        raise KeyError
    assert kernels.told == told


@pytest.mark.parametrize(
    ("now", "work", "worth"),
    [(2, WORTH_WAKING, True), (2, WORTH_WAKING - 1, False), (1, 2 * WORTH_WAKING, False)],
)
def test_work_is_worth_waking_if_it_is_long_and_there_are_others(monkeypatch, now, work, worth):
    monkeypatch.setattr(threads, "numba", Kernels(4, now))
    assert worth_waking(work) is worth
