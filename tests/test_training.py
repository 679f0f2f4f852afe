"""Algorithm 1 as a loop: order of its lines, history, choice of the epoch, evaluation, seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checks import NotFiniteError
from qnn_ref.datasets import Examples
from qnn_ref.layers import (
    Auxiliary,
    BatchNorm,
    Dense,
    Dropout,
    HardTanh,
    Parameter,
    Pixels,
    Quantize,
)
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam, ExponentialDecay
from qnn_ref.packed import pack
from qnn_ref.quantizers import LinearQuant, Sign, StochasticSign
from qnn_ref.shares import binary_signs, clipped_share, flipped_share, saturated_share
from qnn_ref.training import (
    HISTORY,
    Run,
    batches,
    error_rate,
    explained,
    keep_best,
    train,
    train_step,
)

KEYS = [
    "epoch",
    "learning_rate",
    "loss",
    "training_error",
    "validation_error",
    "flipped",
    "saturated",
    "clipped",
]


def digits(n, seed=0):
    """Five pixels and three classes: the class is where the brightest of three pixels stands."""
    images = np.random.default_rng(seed).integers(0, 256, (n, 5), dtype=np.uint8)
    return images, images[:, :3].argmax(axis=1)


def make_run(seed=0, quantizer=None, dropout=0.0, optimizer=None, hidden=6):
    rng = np.random.default_rng(seed)
    layers = [Pixels(), Dense(hidden), BatchNorm(), Quantize(quantizer or Sign())]
    layers += [Dropout(dropout)] if dropout else []
    network = Sequential([*layers, Dense(3), BatchNorm()], (5,), rng)
    return Run(network, optimizer or Adam(), np.random.default_rng(seed + 1))


SCHEDULE = ExponentialDecay(3e-3, 1e-4, 4)


def fit(run, epochs=2, n=23, batch_size=5, **options):
    images, labels = digits(n)
    options = {"loss": squared_hinge, "schedule": SCHEDULE} | options
    return train(
        run, images, labels, digits(11, seed=9), epochs=epochs, batch_size=batch_size, **options
    )


def assert_same_runs(a, b):
    assert a.history == b.history
    assert a.best_epoch == b.best_epoch
    assert a.optimizer.steps == b.optimizer.steps
    for left, right in ((a.network.arrays(), b.network.arrays()), (a.best, b.best)):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


# Batches


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_batches_are_full_shuffled_and_without_repetition(examples, batch_size, seed):
    got = list(batches(examples, batch_size, np.random.default_rng(seed)))
    assert len(got) == examples // batch_size
    assert all(batch.shape == (batch_size,) for batch in got)
    order = np.random.default_rng(seed).permutation(examples)
    used = len(got) * batch_size
    np.testing.assert_array_equal(np.concatenate([*got, []]), order[:used])


def test_the_incomplete_last_batch_is_dropped_in_training():
    run = make_run()
    fit(run, epochs=3, n=101, batch_size=10)
    assert run.optimizer.steps == 30
    fit(run, epochs=4, n=100, batch_size=10)
    assert run.optimizer.steps == 40


# The loop against the same lines written out


class Recorder(Adam):
    """Adam that remembers the learning rate of each step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def step(self, parameters):
        self.rates.append(self.learning_rate)
        super().step(parameters)


@pytest.mark.parametrize("dropout, quantizer", [(0.0, Sign()), (0.5, StochasticSign())])
def test_the_loop_is_algorithm_1_line_by_line(dropout, quantizer):
    run = make_run(3, quantizer, dropout, Recorder())
    fit(run, epochs=3, schedule=ExponentialDecay(0.1, 0.02, 4))  # fast: signs flip every epoch

    twin = make_run(3, quantizer, dropout)
    network, optimizer, rng = twin.network, twin.optimizer, twin.rng
    (images, labels), validation = digits(23), digits(11, seed=9)
    rates = []
    for epoch in range(3):
        optimizer.learning_rate = 0.1 * (0.02 / 0.1) ** (epoch / 4)
        signs = [p.latent >= 0 for p in network.parameters().values() if p.quantizer]
        losses, wrong, saturated = [], 0, []
        order = rng.permutation(23)
        for first in (0, 5, 10, 15):  # 23 images: four batches of 5, the rest is dropped
            batch = order[first : first + 5]
            rates.append(optimizer.learning_rate)
            scores = network.forward(images[batch], training=True)
            loss, gradient = squared_hinge(scores, labels[batch])
            hidden = np.abs(network.layers[3].saved()[0])
            network.backward(gradient)
            optimizer.step(network.parameters())
            losses.append(loss)
            wrong += int(np.sum(scores.argmax(axis=1) != labels[batch]))
            saturated.append(np.mean(hidden > 1))
        weights = [p for p in network.parameters().values() if p.quantizer]
        flips = sum(np.sum(s != (p.latent >= 0)) for s, p in zip(signs, weights, strict=True))
        entry = run.history[epoch]
        assert set(entry) == set(KEYS)
        assert entry["epoch"] == epoch
        assert entry["learning_rate"] == optimizer.learning_rate
        np.testing.assert_allclose(entry["loss"], np.mean(losses), rtol=1e-12)
        assert entry["training_error"] == 100 * wrong / 20
        missed = int(np.sum(network.forward(validation[0]).argmax(axis=1) != validation[1]))
        assert entry["validation_error"] == 100 * missed / 11
        assert entry["flipped"] == flips / (5 * 6 + 6 * 3) > 0
        np.testing.assert_allclose(entry["saturated"], np.mean(saturated), rtol=1e-12)
        at_clip = sum(np.sum(np.abs(p.latent) == 1) for p in weights)
        assert entry["clipped"] == at_clip / (5 * 6 + 6 * 3) > 0

    assert run.optimizer.rates == rates  # one rate an epoch
    assert len(set(rates)) == 3
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(run.network.arrays()[name], array, err_msg=name)


def test_history_stays_in_its_ranges_and_is_plain_numbers():
    run = make_run()
    fit(run, epochs=4, schedule=ExponentialDecay(0.1, 0.01, 4))
    assert [entry["epoch"] for entry in run.history] == [0, 1, 2, 3]
    for entry in run.history:
        assert all(type(value) in (int, float) for value in entry.values())
        assert 0 <= entry["training_error"] <= 100
        assert 0 <= entry["validation_error"] <= 100
        assert all(0 <= entry[key] <= 1 for key in ("flipped", "saturated", "clipped"))
        assert entry["loss"] > 0
    assert any(entry["flipped"] > 0 for entry in run.history)
    assert any(entry["clipped"] > 0 for entry in run.history)


def test_a_small_network_learns_a_small_task():
    run = make_run(1, hidden=24)
    fit(run, epochs=30, n=300, batch_size=20, schedule=ExponentialDecay(1e-2, 1e-4, 30))
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]
    assert error_rate(run.best_network(), *digits(300)) < 15
    weight = run.network.parameters()["1.Dense.weight"]
    assert set(np.unique(weight.quantized)) == {-1, 1}
    assert np.max(np.abs(weight.latent)) <= 1
    assert np.unique(weight.latent).size > 2


def test_a_float_network_has_no_signs_to_flip():
    rng = np.random.default_rng(0)
    layers = [Pixels(), Dense(6, None), BatchNorm(), HardTanh(), Dense(3, None), BatchNorm()]
    run = fit(Run(Sequential(layers, (5,), rng), SGD(0.1), rng))
    for entry in run.history:
        assert entry["flipped"] == entry["saturated"] == entry["clipped"] == 0


# Going on


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    a, b, c = (fit(make_run(seed, StochasticSign(), 0.3), epochs=3) for seed in (5, 5, 6))
    assert_same_runs(a, b)
    assert a.history != c.history


def test_training_in_pieces_is_training_in_one_go():
    whole = fit(make_run(2, StochasticSign(), 0.3), epochs=4)
    pieces = make_run(2, StochasticSign(), 0.3)
    for epochs in (1, 3, 3, 4):
        assert fit(pieces, epochs) is pieces
        assert len(pieces.history) == epochs
    assert_same_runs(whole, pieces)


def test_after_epoch_is_called_with_the_finished_epoch():
    seen = []
    fit(make_run(), epochs=3, after_epoch=lambda run: seen.append(dict(run.history[-1])))
    assert [entry["epoch"] for entry in seen] == [0, 1, 2]


def test_progress_goes_to_standard_error_and_only_if_wanted(capfd):
    fit(make_run())
    assert capfd.readouterr() == ("", "")
    fit(make_run(), progress=True)
    out, error = capfd.readouterr()
    assert out == ""
    assert "8/8" in error.replace(" ", "")
    assert "validation=" in error


def test_the_bar_is_as_long_as_what_is_left(capfd):
    run = fit(make_run(), epochs=1)
    fit(run, epochs=3, progress=True)
    assert "8/8" in capfd.readouterr().err.replace(" ", "")


# The best epoch


def test_of_equally_good_epochs_the_later_one_is_kept_with_its_own_arrays():
    run = make_run()
    kept = []
    for epoch, error in enumerate([5.0, 3.0, 3.0, 4.0, 3.5]):
        run.network.parameters()["2.BatchNorm.shift"].assign(np.full(6, epoch, np.float32))
        run.network.buffers()["5.BatchNorm.running_mean"][...] = 10 + epoch
        run.history.append({"validation_error": error})
        keep_best(run)
        kept.append(run.best_epoch)
    assert kept == [0, 1, 2, 2, 2]
    np.testing.assert_array_equal(run.best["2.BatchNorm.shift"], np.full(6, 2))
    np.testing.assert_array_equal(run.best["5.BatchNorm.running_mean"], np.full(3, 12))
    best = run.best_network()
    np.testing.assert_array_equal(best.parameters()["2.BatchNorm.shift"].latent, np.full(6, 2))
    np.testing.assert_array_equal(
        run.network.parameters()["2.BatchNorm.shift"].latent, np.full(6, 4)
    )


def test_best_network_has_the_validation_error_of_the_best_epoch():
    run = fit(make_run(4), epochs=8, n=60)
    errors = [entry["validation_error"] for entry in run.history]
    last = max(i for i, e in enumerate(errors) if e == min(errors))
    assert run.best_epoch == last
    assert error_rate(run.best_network(), *digits(11, seed=9)) == min(errors)


def test_before_the_first_epoch_the_best_network_is_the_network():
    run = make_run()
    assert run.best_epoch is None
    for name, array in run.best_network().arrays().items():
        np.testing.assert_array_equal(array, run.network.arrays()[name])


# Evaluation


class Guesser:
    """Predicts class 1 for every image whose one pixel is set."""

    output_shape = (2,)

    def predict(self, images, batch_size):
        self.batch_size = batch_size
        return images[:, 0].astype(int)


def test_error_rate_counts_and_then_divides():
    labels = np.zeros(260, int)
    images = np.zeros((260, 1), np.uint8)
    images[140:256] = 1  # 140 of the first 256 right, then 2 of 4
    images[258:] = 1
    error = error_rate(Guesser(), images, labels, batch_size=256)
    assert error == 100 * (260 - 142) / 260
    assert isinstance(error, float)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 10, 11, 1000])
def test_error_rate_is_over_all_images_for_every_batch_size(batch_size):
    run = make_run(7)
    fit(run)
    images, labels = digits(10, seed=3)
    wrong = np.sum(run.network.forward(images).argmax(axis=1) != labels)
    assert error_rate(run.network, images, labels, batch_size) == 100 * wrong / 10


def test_error_rate_of_right_and_wrong_labels():
    images = np.array([[0], [1], [1], [0]], np.uint8)
    assert error_rate(Guesser(), images, images[:, 0]) == 0
    assert error_rate(Guesser(), images, 1 - images[:, 0]) == 100
    assert error_rate(Guesser(), images, np.zeros(4, int)) == 50


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([0, 1, -1, 0], ValueError, "labels: expected 0 to 1, got -1"),
        ([0, 1, 2, 0], ValueError, "labels: expected 0 to 1"),
        ([0, 1, 5, 0], ValueError, "labels: expected 0 to 1"),
        ([0.0, 1.0, 2.0, 0.0], TypeError, "labels: expected integers, got float64"),
        ([0, 1, True, 0], TypeError, "labels: expected integers, got bool"),
        (np.array([True, False, True, True]), TypeError, "labels: expected integers, got bool"),
        ([0, 1, np.nan, 0], TypeError, "labels: expected integers, got float64"),
        (["0", "1", "0", "0"], TypeError, "labels: expected integers"),
        ([0, 1, None, 0], TypeError, "labels: expected integers, got object"),
    ],
)
def test_labels_that_are_no_classes_are_neither_right_nor_wrong(labels, error, words):
    with pytest.raises(error, match=words):
        error_rate(Guesser(), np.zeros((4, 1), np.uint8), labels)


def test_labels_are_compared_with_the_classes_of_real_networks_too():
    network = make_run().network
    for kind in (network, pack(network)):
        assert 0 <= error_rate(kind, IMAGES[:4], [0, 1, 2, 0]) <= 100
        with pytest.raises(ValueError, match="labels: expected 0 to 2, got 0 to 3"):
            error_rate(kind, IMAGES[:4], [0, 1, 3, 0])


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, None])
def test_error_rate_refuses_a_batch_size_that_is_none(batch_size):
    with pytest.raises((TypeError, ValueError), match=r"^batch_size: expected a whole number"):
        error_rate(Guesser(), np.zeros((4, 1), np.uint8), [0, 0, 0, 0], batch_size)


def test_scores_that_are_no_numbers_are_no_error_rate():
    network = make_run().network
    with network.parameters()["5.BatchNorm.shift"].edit() as shift:
        shift[:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        error_rate(network, IMAGES, LABELS)


def test_scores_that_overflow_are_no_error_rate_and_warn_of_nothing():
    network = make_run().network
    network.buffers()["5.BatchNorm.running_inverse_deviation"][...] = 3e38
    with pytest.raises(ValueError, match=r"not finite, first the output of 5\.BatchNorm"):
        error_rate(network, IMAGES, LABELS)


def test_labels_of_another_shape_are_refused_instead_of_broadcast():
    images = np.zeros((4, 1), np.uint8)
    for labels in (np.zeros((4, 1), int), np.zeros(1, int), np.zeros((), int)):
        with pytest.raises(ValueError, match=r"^labels: expected shape \(4,\)"):
            error_rate(Guesser(), images, labels)


# Shares


def test_flipped_share_is_the_share_of_changed_signs_over_all_layers():
    run = make_run()
    first = run.network.parameters()["1.Dense.weight"]
    before = binary_signs(run.network)
    assert [s.shape for s in before] == [(5, 6), (6, 3)]
    value = first.latent.copy()
    value[0] *= -1  # one row of 6 signs
    value[1] *= 0.5
    first.assign(value)
    assert flipped_share(before, binary_signs(run.network)) == 6 / 48
    assert flipped_share([], []) == 0


def test_zero_counts_as_plus_one_also_in_the_share_of_flips():
    run = make_run()
    weight = run.network.parameters()["4.Dense.weight"]
    weight.assign(np.full((6, 3), 0.5, np.float32))
    before = binary_signs(run.network)
    weight.assign(np.where(np.arange(18).reshape(6, 3) % 2, 0.0, -0.0).astype(np.float32))
    assert flipped_share(before, binary_signs(run.network)) == 0


@pytest.mark.parametrize("saturation", [1.0, 2.0])
def test_saturated_share_counts_what_the_mask_stops(saturation):
    layers = [Quantize(Sign(saturation)), BatchNorm(), Quantize(StochasticSign(saturation))]
    network = Sequential(layers, (4,), np.random.default_rng(0), np.float64)
    b = saturation
    x = np.array([[0.0, b, -b, b + 0.1], [b - 0.1, -b - 0.1, 5 * b, 0.3]])
    network.forward(x, training=True)
    second = network.layers[2].saved()[0]
    expected = 3 + np.sum(np.abs(second) > b)
    assert saturated_share(network) == expected / 16


def test_saturated_share_looks_at_signs_only():
    """Activations of more bits have a range, not the bound of eq. (4)."""
    layers = [Quantize(Sign()), Dense(4), HardTanh(), Quantize(LinearQuant(2))]
    network = Sequential(layers, (4,), np.random.default_rng(0), np.float64)
    network.forward(np.array([[0.0, 2.0, -3.0, 0.5], [1.0, -1.0, 0.1, 7.0]]), training=True)
    assert saturated_share(network) == 3 / 8


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_saturated_share_is_the_share_of_lost_gradients(seed):
    network = make_run(seed).network
    network.forward(digits(9, seed)[0], training=True)
    layer = network.layers[3]
    lost = layer.backward(np.ones((9, 6), np.float32)) == 0
    assert saturated_share(network) == np.mean(lost)


def test_clipped_share_counts_bounded_weights_at_exactly_their_bound():
    bounded = Parameter(np.array([1.0, -1.0, 0.999, 0.0]), Sign(), 1.0)
    wide = Parameter(np.array([2.0, 1.0]), Sign(), 2.0)
    free = Parameter(np.array([1.0, 1.0, 1.0]))
    assert clipped_share([bounded, free]) == 0.5
    assert clipped_share([bounded, wide, free]) == 0.5
    assert clipped_share([wide]) == 0.5
    assert clipped_share([free]) == 0
    assert clipped_share([]) == 0


# Errors


IMAGES, LABELS = digits(12)
VALIDATION = digits(4)


class Tensor:
    """An array of another library."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        return Tensor(self.array[index])


def call(images=IMAGES, labels=LABELS, validation=VALIDATION, **options):
    run = make_run()
    before = run.network.arrays()
    usual = {"loss": squared_hinge, "epochs": 4, "batch_size": 4, "schedule": SCHEDULE}
    try:
        train(run, images, labels, validation, **usual | options)
    finally:
        assert run.optimizer.steps == 0
        assert run.history == []
        for name, array in run.network.arrays().items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"batch_size": 13}, ValueError, ["batch_size:", "1 to 12", "13"]),
        ({"batch_size": 0}, ValueError, ["batch_size:", "0"]),
        ({"batch_size": -4}, ValueError, ["batch_size:", "-4"]),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, ValueError, ["images:", "at least one"]),
        ({"labels": LABELS[:-1]}, ValueError, ["labels:", "12", "11"]),
        ({"labels": LABELS + 1}, ValueError, ["labels:", "0 to 2", "3"]),
        ({"labels": LABELS - 1}, ValueError, ["labels:", "0 to 2", "-1"]),
        ({"labels": LABELS.astype(float)}, TypeError, ["labels:", "integers", "float64"]),
        ({"labels": LABELS[:, None]}, ValueError, ["labels:", "(12,)", "(12, 1)"]),
        (
            {"validation": (VALIDATION[0], VALIDATION[1][:3])},
            ValueError,
            ["validation[1]:", "(4,)", "(3,)"],
        ),
        (
            {"validation": (VALIDATION[0], VALIDATION[1] + 2)},
            ValueError,
            ["validation[1]:", "0 to 2"],
        ),
        (
            {"validation": (VALIDATION[0][:0], VALIDATION[1][:0])},
            ValueError,
            ["validation[0]:", "at least one"],
        ),
        ({"images": IMAGES.astype(np.float32)}, TypeError, ["layer 0 (Pixels):", "uint8"]),
        ({"images": IMAGES[:, :4]}, ValueError, ["layer 0 (Pixels):", "(batch, 5)", "(4, 4)"]),
        ({"images": IMAGES.tolist()}, TypeError, ["images:", "NumPy array", "list"]),
        ({"images": Tensor(IMAGES)}, TypeError, ["images:", "NumPy array", "Tensor"]),
        ({"images": None}, TypeError, ["images:", "NoneType"]),
        ({"images": np.uint8(3)}, TypeError, ["images:", "uint8"]),
        ({"images": IMAGES.astype(object)}, TypeError, ["images:", "uint8", "object"]),
        ({"images": Examples}, TypeError, ["images:", "type"]),
        ({"labels": [1.0] * 12}, TypeError, ["labels:", "float64"]),
        ({"labels": [True] + [1] * 11}, TypeError, ["labels:", "bool"]),
        ({"labels": [None] * 12}, TypeError, ["labels:", "object"]),
        ({"labels": [[1], [2, 0]]}, ValueError, ["labels:", "rows"]),
        ({"labels": np.full(12, np.nan)}, TypeError, ["labels:", "float64"]),
        ({"labels": LABELS == 1}, TypeError, ["labels:", "bool"]),
        ({"validation": VALIDATION[0]}, TypeError, ["validation:", "pair"]),
        ({"validation": (*VALIDATION, 1)}, TypeError, ["validation:", "pair"]),
        ({"validation": (VALIDATION[0].tolist(), VALIDATION[1])}, TypeError, ["validation[0]:"]),
        (
            {"validation": (VALIDATION[0].astype(float), VALIDATION[1])},
            TypeError,
            ["validation[0]:", "uint8"],
        ),
        ({"batch_size": 4.0}, TypeError, ["batch_size:", "4.0"]),
        ({"batch_size": True}, TypeError, ["batch_size:", "True"]),
        ({"epochs": 2.5}, TypeError, ["epochs:", "2.5"]),
        ({"after_epoch": 3}, TypeError, ["after_epoch:", "function", "int"]),
        ({"progress": "yes"}, TypeError, ["progress:", "True or False", "yes"]),
        ({"epochs": -1}, ValueError, ["epochs:", "-1"]),
        ({"epochs": None}, TypeError, ["epochs:", "None"]),
        ({"loss": "squared_hinge"}, TypeError, ["loss:", "function", "str"]),
        ({"schedule": 0.1}, TypeError, ["schedule:", "function", "float"]),
        ({"schedule": lambda e: np.nan}, ValueError, ["schedule(0):", "nan"]),
        ({"schedule": lambda e: [0.1, 0.1, 0.1, np.inf][e]}, ValueError, ["schedule(3):", "inf"]),
        ({"schedule": lambda e: 0.01 - 0.01 * e}, ValueError, ["schedule(1):", "above 0", "0.0"]),
        ({"schedule": lambda e: -0.01}, ValueError, ["schedule(0):", "above 0", "-0.01"]),
        ({"schedule": lambda e: None}, TypeError, ["schedule(0):", "None"]),
        ({"schedule": lambda e: "0.1"}, TypeError, ["schedule(0):", "'0.1'"]),
        ({"schedule": lambda e: np.full(1, 0.1)}, TypeError, ["schedule(0):", "ndarray"]),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(options, error, words):
    with pytest.raises(error) as caught:
        call(**options)
    for word in words:
        assert word in str(caught.value)


def test_one_image_is_enough_to_choose_by_and_a_number_is_none():
    run, (images, labels) = make_run(), digits(6)
    options = {"loss": squared_hinge, "schedule": SCHEDULE, "epochs": 1, "batch_size": 3}
    train(run, images, labels, (images[:1], labels[:1]), **options)
    assert run.history[0]["validation_error"] in (0.0, 100.0)
    with pytest.raises(ValueError, match=r"^images: expected at least one image, got shape \(\)"):
        train(make_run(), np.array(3, np.uint8), labels, (images, labels), **options)


def test_floating_images_are_looked_at_whole():
    layers = [Dense(6, None), BatchNorm(), HardTanh(), Dense(3, None), BatchNorm()]
    images = IMAGES.astype(np.float32)
    images[7, 2] = np.nan  # not in the first batch
    rng = np.random.default_rng(0)
    run = Run(Sequential(layers, (5,), rng), SGD(0.1), rng)
    options = {"loss": squared_hinge, "epochs": 1, "batch_size": 4, "schedule": SCHEDULE}
    with pytest.raises(ValueError, match=r"^images: expected finite numbers, got nan at \[7, 2\]"):
        train(run, images, LABELS, (images[:4], LABELS[:4]), **options)


def test_a_network_that_is_not_finite_is_refused_before_the_first_step():
    run = make_run()
    with run.network.parameters()["5.BatchNorm.gain"].edit() as gain:
        gain[:] = np.inf
    with pytest.raises(ValueError, match=r"^network: its scores are not finite, .*5\.Batch"):
        fit(run)
    assert run.optimizer.steps == 0


@pytest.mark.parametrize("place", range(3))
def test_a_run_is_made_of_objects_not_of_classes(place):
    parts = [make_run().network, Adam(), np.random.default_rng(0)]
    names = ["network", "optimizer", "rng"]
    parts[place] = type(parts[place])
    with pytest.raises(TypeError, match=f"^{names[place]}: expected an object of .*the class"):
        Run(*parts)
    parts[place] = 3
    with pytest.raises(TypeError, match=f"^{names[place]}: expected an object of .*got int"):
        Run(*parts)


# Numbers that are none, on the way


def fails_with(run, words, **options):
    """The run stops with these words, reports no epoch and keeps nothing of it."""
    seen, epochs = [], len(run.history)
    with pytest.raises(FloatingPointError) as caught:
        fit(run, epochs=epochs + 3, after_epoch=seen.append, **options)
    for word in words:
        assert word in str(caught.value)
    assert seen == []
    assert len(run.history) == epochs


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32("nan")])
def test_a_loss_that_is_no_number_stops_the_run_and_says_when(value):
    calls = []

    def loss(scores, labels):
        calls.append(1)
        cost, gradient = squared_hinge(scores, labels)
        return (value if len(calls) == 3 else cost), gradient

    words = ["epoch 1, learning rate 0.003, batch 3: loss: expected a finite number"]
    fails_with(make_run(), words, loss=loss)


def test_a_gradient_that_is_no_number_stops_the_run_and_names_the_parameter():
    def loss(scores, labels):
        cost, gradient = squared_hinge(scores, labels)
        return cost, gradient * np.float32(np.nan)

    words = ["epoch 3, learning rate", "batch 1: 1.Dense.weight: gradient: expected finite", "nan"]
    fails_with(fit(make_run(), epochs=2), words, loss=loss)


def test_a_rate_that_explodes_stops_the_run_and_names_the_first_layer():
    rng = np.random.default_rng(0)
    run = Run(Sequential([Pixels(), Dense(6, None), Dense(3, None)], (5,), rng), SGD(0.1), rng)
    words = ["epoch 1, learning rate 1e+38, batch 2: ", "not finite is that of 1.Dense"]
    fails_with(run, words, schedule=lambda epoch: 1e38)


def test_the_layer_is_looked_for_as_it_trains():
    class Exploding(HardTanh):
        def forward(self, x, training=False):
            return super().forward(x, training) * np.float32(np.inf if training else 1)

    network = Sequential([Exploding(), Dense(2)], (3,), np.random.default_rng(0))
    words = r"^batch 7: no; the first output that is not finite is that of 0.Exploding"
    with (
        pytest.raises(FloatingPointError, match=words),
        explained("batch 7", network, np.ones((2, 3), np.float32)),
    ):
        raise NotFiniteError("no")
    with (
        pytest.raises(FloatingPointError, match=r"^after epoch 1: no$"),
        explained("after epoch 1"),
    ):
        raise NotFiniteError("no")


@pytest.mark.parametrize("where", ["2.BatchNorm.gain", "5.BatchNorm.shift"])
def test_the_last_step_may_not_destroy_the_network_either(where):
    """One step an epoch: no forward follows it that could notice."""

    class Destroyer(SGD):
        def step(self, parameters):
            super().step(parameters)
            if self.steps == 3:
                with parameters[where].edit() as latent:
                    latent[1] = np.inf

    run = fit(make_run(optimizer=Destroyer()), epochs=2, n=5)
    words = ["after epoch 3, learning rate", f"{where}: expected finite numbers, got inf at [1]"]
    fails_with(run, words, n=5)


def test_moments_that_overflow_stop_the_run_too():
    """A gradient of 1e25 is a number, its square in float32 is none, and Adam would stand still."""

    def loss(scores, labels):
        cost, gradient = squared_hinge(scores, labels)
        return cost, gradient * np.float32(1e25)

    words = ["after epoch 1", "second: expected finite numbers, got inf"]
    fails_with(make_run(), words, loss=loss)


def test_statistics_that_are_no_numbers_stop_the_run_too():
    class Destroyer(SGD):
        network = None

        def step(self, parameters):
            super().step(parameters)
            self.network.buffers()["2.BatchNorm.running_mean"][3] = np.nan

    run = make_run(optimizer=Destroyer())
    run.optimizer.network = run.network
    fails_with(run, ["after epoch 1", "2.BatchNorm.running_mean: expected finite", "[3]"])


# One step


def test_a_step_gives_the_loss_before_it_and_the_scores():
    run, twin = make_run(3), make_run(3)
    cost, scores = train_step(run.network, run.optimizer, squared_hinge, IMAGES, LABELS)
    expected = twin.network.forward(IMAGES, training=True)
    np.testing.assert_array_equal(scores, expected)
    assert cost == squared_hinge(expected, LABELS)[0]
    assert run.optimizer.steps == 1


def test_the_ranges_of_a_history():
    """Rates above 0; errors in per cent; shares."""
    percent, share = {"least": 0, "most": 100}, {"least": 0, "most": 1}
    ranges = {
        "learning_rate": {"above": 0},
        "loss": {},
        "training_error": percent,
        "saturated": share,
        "validation_error": percent,
        "flipped": share,
        "clipped": share,
    }
    assert ranges == HISTORY


def test_a_run_says_where_it_stands():
    run = make_run()
    assert repr(run).endswith("0 steps>")
    assert "best epoch" not in repr(run)
    fit(run, epochs=1)
    error = run.history[0]["validation_error"]
    assert repr(run).endswith(f", best epoch 0: {error:.2f} % of the validation set wrong>")


def test_between_epochs_there_is_no_place_to_go_to():
    run = make_run()
    assert run.place() == ({}, {})
    run.go_to(*run.place())
    for place in (({"order": np.arange(3)}, {}), ({}, {"batch": 2})):
        with pytest.raises(ValueError, match=r"^place: expected a run between two epochs"):
            run.go_to(*place)


def test_no_epochs_are_allowed_and_change_nothing():
    run = make_run()
    before = run.network.arrays()
    fit(run, epochs=0)
    assert run.history == []
    for name, array in run.network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_step_adds_the_heads_costs_and_clips_the_norm_of_the_gradients():
    rng = np.random.default_rng(0)
    layers = [Dense(4, None), Auxiliary([Dense(3, None)], 0.5), Dense(3, None)]
    network = Sequential(layers, (5,), rng)
    x, labels = rng.normal(size=(6, 5)).astype(np.float32), rng.integers(0, 3, 6)
    scores = network.forward(x, training=True)
    costs = squared_hinge(scores, labels)[0], squared_hinge(network.layers[1].scores, labels)[0]
    cost, _ = train_step(network, SGD(1e-30), squared_hinge, x, labels, longest=0.01)
    assert cost == pytest.approx(costs[0] + 0.5 * costs[1], rel=1e-5)
    squares = [np.sum(p.grad.astype(float) ** 2) for p in network.parameters().values()]
    assert np.sqrt(sum(squares)) == pytest.approx(0.01, rel=1e-3)
