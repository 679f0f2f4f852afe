"""Training along a text, and what is counted of all its tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.checkpoints import load_checkpoint, save_checkpoint
from qnn_ref.datasets.tokens import lanes
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.language import TextRun, in_every_step, train_text
from qnn_ref.layers import LSTM, RNN, Dense, Embedding
from qnn_ref.likelihood import bits_per_symbol, perplexity, text_nats
from qnn_ref.losses import softmax_cross_entropy
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam
from qnn_ref.quantizers import LinearQuant

SYMBOLS = 5
TEXT = np.random.default_rng(3).integers(0, SYMBOLS, 241)


def make_network(cell="lstm", seed=0, weights=None):
    rng = np.random.default_rng(seed)
    states = LinearQuant(4, reading="unsigned") if cell == "rnn" else LinearQuant(3)
    body = RNN(6, weights, states) if cell == "rnn" else LSTM(6, weights, states)
    layers = [Embedding(SYMBOLS, 4, weights), body, Dense(SYMBOLS, weights, bias=True)]
    return Sequential(layers, (-1,), rng)


def make_run(cell="lstm", seed=0, count=4):
    network = make_network(cell, seed, LinearQuant(2, reading="fixed-point"))
    return TextRun(network, Adam(1e-2), np.random.default_rng(seed), lanes=count)


def train_on(run, epochs=2, steps=7, after=None, every=0, longest=0.5):
    def validation(network):
        return bits_per_symbol(text_nats(network, TEXT[:50], 0), 50)

    return train_text(
        run,
        lanes(TEXT, run.lanes),
        validation,
        epochs=epochs,
        steps=steps,
        schedule=lambda epoch: 1e-2 / (epoch + 1),
        longest=longest,
        after=after,
        every=every,
    )


def same_text_runs(a, b):
    assert a.history == b.history
    assert (a.window, a.nats, a.tokens, a.best_epoch) == (b.window, b.nats, b.tokens, b.best_epoch)
    for ours, theirs in (
        (a.network.arrays(), b.network.arrays()),
        (a.best, b.best),
        (a.place()[0], b.place()[0]),
    ):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


class OneOfEach:
    """A stand-in for a network: scores follow from the number of steps that it has seen."""

    output_shape = (-1, SYMBOLS)

    def __init__(self):
        self.final_state = None

    def forward(self, x, state=None):
        seen = np.zeros(len(x), int) if state is None else state
        steps = seen[:, None] + np.arange(x.shape[1])
        self.final_state = seen + x.shape[1]
        return np.sin(steps[..., None] * np.arange(1, SYMBOLS + 1)).astype(np.float32)


def nats_by_hand(tokens, count):
    """A loop over tokens, whose lanes start anew every `ceil(N / count)`."""
    length, total = math.ceil(len(tokens) / count), 0.0
    for place, token in enumerate(tokens):
        scores = np.sin(np.float64(place % length) * np.arange(1, SYMBOLS + 1))
        scores = scores.astype(np.float32).astype(np.float64)
        total += math.log(sum(math.exp(s) for s in scores)) - scores[token]
    return total


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 11))
def test_every_token_counts_once_whatever_the_windows(size, count, steps):
    tokens = TEXT[:size]
    found = text_nats(OneOfEach(), tokens, before=0, lanes=count, steps=steps)
    assert found == pytest.approx(nats_by_hand(tokens, count), abs=1e-9)


def test_windows_and_pieces_change_nothing_but_rounding(monkeypatch):
    network = make_network("rnn")
    found = text_nats(network, TEXT, before=2, steps=1000)
    assert text_nats(network, TEXT, before=2, steps=7) == pytest.approx(found, rel=1e-9)
    monkeypatch.setattr("qnn_ref.likelihood.SCORES_AT_ONCE", 1)
    assert text_nats(network, TEXT, before=2, steps=1000) == pytest.approx(found, rel=1e-12)
    assert (
        text_nats(network, TEXT, 2)
        == text_nats(network, TEXT, 2, 1)
        != text_nats(network, TEXT, 2, 2)
    )
    other = text_nats(network, TEXT, before=1, steps=1000)
    assert other != found  # the first token is foreseen from the one before it


def test_a_network_without_an_idea_needs_the_logarithm_of_its_symbols():
    network = make_network()
    for parameter in network.parameters().values():
        parameter.assign(np.zeros_like(parameter.latent))
    nats = text_nats(network, TEXT, 0)
    assert bits_per_symbol(nats, len(TEXT)) == pytest.approx(math.log2(SYMBOLS))
    assert perplexity(nats, len(TEXT)) == pytest.approx(SYMBOLS)


def test_one_token_is_a_text_and_half_a_nat_is_a_sum():
    assert bits_per_symbol(math.log(2), 1) == pytest.approx(1)
    assert perplexity(0.5, 1) == pytest.approx(math.sqrt(math.e))
    assert perplexity(0, 3) == 1
    most = math.log(np.finfo(np.float64).max)
    assert perplexity(most, 1) == pytest.approx(np.finfo(np.float64).max, rel=1e-9)
    with pytest.raises(ValueError, match=r"are a perplexity beyond float64"):
        perplexity(np.nextafter(most, np.inf), 1)


def test_scores_of_any_size_are_summed_and_no_others():
    network = make_network()
    bias = network.layers[-1].bias
    bias.assign(np.array([3e8, 0, 0, 0, 0], np.float32))
    assert 1e8 < text_nats(network, TEXT, 0) < 1e12
    with pytest.raises(ValueError, match=r"nats: .* are a perplexity beyond float64"):
        perplexity(text_nats(network, TEXT, 0), len(TEXT))
    network.layers[-1].weight.assign(np.full((6, SYMBOLS), 3e38, np.float32))
    with pytest.raises(ValueError, match="network: its scores are not finite"):
        text_nats(network, TEXT, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tokens": TEXT + 1}, "tokens: expected 0 to 4"),
        ({"tokens": TEXT[:0]}, "tokens: expected at least one, got none"),
        ({"before": 5}, "before: expected a whole number from 0 to 4"),
        ({"lanes": 0}, "lanes: expected a whole number"),
        ({"steps": 0}, "steps: expected a whole number"),
    ],
)
def test_wrong_arguments_of_the_sum_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        text_nats(make_network(), **({"tokens": TEXT, "before": 0} | arguments))


def test_the_loss_of_sequences_is_the_mean_over_all_steps():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(3, 4, SYMBOLS)), rng.integers(0, SYMBOLS, (3, 4))
    cost, gradient = in_every_step(softmax_cross_entropy)(scores, labels)
    flat_cost, flat = softmax_cross_entropy(scores.reshape(12, -1), labels.ravel())
    assert cost == flat_cost
    np.testing.assert_array_equal(gradient, flat.reshape(scores.shape))
    with pytest.raises(ValueError, match=r"scores: expected shape \(batch, steps, classes\)"):
        in_every_step(softmax_cross_entropy)(scores, labels.ravel())


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_each_window_begins_with_the_state_of_the_one_before(cell):
    """The losses of an epoch with rate 0 are those of one pass over whole lanes."""
    run = make_run(cell)
    run.optimizer.learning_rate = 1e-30
    before = run.network.copy()
    train_text(
        run,
        lanes(TEXT, 4),
        lambda network: 1.0,
        epochs=1,
        steps=7,
        schedule=lambda epoch: 1e-30,
    )
    x, y = lanes(TEXT, 4)
    cost, _ = in_every_step(softmax_cross_entropy)(before.forward(x), y)
    assert run.history[0]["training_bits"] == pytest.approx(cost / math.log(2), rel=1e-6)
    assert (run.state, run.window, run.nats, run.tokens) == ({}, 0, 0.0, 0)


def test_a_run_learns_a_text_that_repeats_itself():
    pattern = np.tile([0, 1, 2, 3], 60)
    run = make_run("lstm")
    train_text(
        run,
        lanes(pattern, 4),
        lambda network: bits_per_symbol(text_nats(network, pattern[:40], 3), 40),
        epochs=12,
        steps=5,
        schedule=lambda epoch: 3e-2,
        longest=1.0,
    )
    assert run.history[-1]["validation_bits"] < 1 < run.history[0]["validation_bits"]
    assert run.best_network().arrays().keys() == run.network.arrays().keys()
    assert "bits a symbol of the validation part" in repr(run)


def test_gradients_are_shortened_before_the_step(monkeypatch):
    lengths = []
    step = Adam.step

    def watched(self, parameters):
        squares = [np.sum(p.grad.astype(np.float64) ** 2) for p in parameters.values()]
        lengths.append(math.sqrt(sum(squares)))
        step(self, parameters)

    monkeypatch.setattr(Adam, "step", watched)
    train_on(make_run(), epochs=1, longest=1e-3)
    assert lengths == pytest.approx([1e-3] * len(lengths), rel=1e-5)
    lengths.clear()
    train_on(make_run(), epochs=1, longest=None)
    assert min(lengths) > 1e-2


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("stop", [1, 3, 9, 10])
def test_a_run_that_stops_inside_the_text_ends_in_the_same_bits(tmp_path, cell, stop):
    """An epoch has 9 windows of 7 steps, the last of 4."""
    path, calls = tmp_path / "checkpoint.npz", []

    def keep(run):
        save_checkpoint(path, run)
        calls.append((len(run.history), run.window))
        if len(calls) == stop:
            raise KeyboardInterrupt

    whole = train_on(make_run(cell))
    with pytest.raises(KeyboardInterrupt):
        train_on(make_run(cell), after=keep, every=1)
    places = [(0, window) for window in range(1, 9)] + [(1, 0), (1, 1)]
    assert calls == places[:stop]
    resumed = make_run(cell)
    load_checkpoint(path, resumed)
    assert (len(resumed.history), resumed.window) == places[stop - 1]
    same_text_runs(whole, train_on(resumed))


def change(path, change_arrays=None, **numbers):
    arrays, header = load_arrays(path, "checkpoint", 2)
    header["place"] |= numbers
    save_arrays(path, (change_arrays or dict)(arrays), header)


@pytest.mark.parametrize(
    ("arrays", "numbers", "words"),
    [
        (None, {"window": -1}, "place: window: expected a whole number"),
        (None, {"window": 0}, "place: expected states of none, got 1.LSTM"),
        (None, {"nats": "much"}, "place: nats"),
        (None, {"tokens": 1.5}, "place: tokens"),
        (None, {"more": 1}, "place: expected window, nats and tokens"),
        (lambda a: {k: v for k, v in a.items() if "place" not in k}, {}, "got none"),
        (lambda a: a | {"place/1.LSTM/1": np.zeros((3, 6), "f")}, {}, "place: 1.LSTM, c"),
        (lambda a: a | {"place/1.LSTM/2": np.zeros((4, 6), "f")}, {}, "place: 1.LSTM: expected 2"),
        (lambda a: a | {"place/1.RNN/0": np.zeros((4, 6), "f")}, {}, "place: expected states of"),
    ],
)
def test_a_place_that_is_none_is_refused(tmp_path, arrays, numbers, words):
    run, path = make_run(), tmp_path / "checkpoint.npz"

    def keep(run):
        save_checkpoint(path, run)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on(run, after=keep, every=2)
    change(path, arrays, **numbers)
    other = make_run(seed=1)
    before = other.network.arrays()
    with pytest.raises(FileError, match=words):
        load_checkpoint(path, other)
    assert all((other.network.arrays()[name] == array).all() for name, array in before.items())


def test_a_text_that_does_not_fit_is_refused():
    run = make_run()
    for text, words in (
        (lanes(TEXT, 3), r"text: expected two arrays \(4, length\), got \(3, 80\)"),
        ((TEXT[:8].reshape(4, 2), TEXT[:4].reshape(4, 1)), "text: expected two arrays"),
    ):
        with pytest.raises(ValueError, match=words):
            train_text(run, text, float, epochs=1, steps=5, schedule=lambda e: 1e-3)
    with pytest.raises(ValueError, match="run: stands behind window 9 of an epoch of 1"):
        train_text(
            replace(run, window=9),
            (TEXT[:8].reshape(4, 2),) * 2,
            float,
            epochs=1,
            steps=5,
            schedule=lambda e: 1e-3,
        )


def short_training(run, text=TEXT[:16], **options):
    """One epoch of 3 windows, with a validation that costs nothing."""
    defaults = {"epochs": 1, "steps": 1, "schedule": lambda epoch: 1e-3}
    return train_text(run, lanes(text, run.lanes), lambda network: 1.0, **(defaults | options))


def test_a_run_has_one_lane_unless_it_says_more():
    assert TextRun(make_network(), Adam(), np.random.default_rng(0)).lanes == 1


def test_the_ranges_of_a_history_of_texts():
    assert TextRun.ranges == {
        "learning_rate": {"above": 0},
        "training_bits": {"least": 0},
        "validation_bits": {"least": 0},
        "clipped": {"least": 0, "most": 1},
    }


def test_without_further_options_it_is_quiet_and_calls_after_each_epoch_only(capfd):
    """Windows of one step, too; and no epoch is an answer."""
    seen, run = [], make_run()
    short_training(run, epochs=2, after=lambda run: seen.append((len(run.history), run.window)))
    assert seen == [(1, 0), (2, 0)]
    assert capfd.readouterr() == ("", "")
    before = make_run()
    assert short_training(before, epochs=0).history == []
    assert before.optimizer.steps == 0


def test_a_place_at_the_end_of_an_epoch_is_behind_it():
    run = replace(make_run(), window=3)
    assert len(lanes(TEXT[:16], 4)[0][0]) == 3
    with pytest.raises(ValueError, match=r"^run: stands behind window 3 of an epoch of 3"):
        short_training(run)


def test_the_bar_counts_the_windows_that_are_left_to_train(monkeypatch):
    bars = []

    class Counting:
        def __init__(self, total, **how):
            self.total, self.how, self.done, self.redrawn = total, how, 0, []
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count=1):
            self.done += count

        def set_postfix(self, refresh, **values):
            self.redrawn.append(refresh)

    def stop(run):
        if (len(run.history), run.window) == (1, 2):
            raise KeyboardInterrupt

    monkeypatch.setattr("qnn_ref.language.progress_bar", Counting)
    run = make_run()
    with pytest.raises(KeyboardInterrupt):
        short_training(run, epochs=2, after=stop, every=1)
    short_training(run, epochs=1)  # it is in the second epoch already
    short_training(run, epochs=3)  # from the third window of the second epoch
    short_training(run, epochs=3)  # nothing is left
    short_training(run, epochs=1)  # nor here
    counts = [(bar.total, bar.done, len(bar.redrawn)) for bar in bars]
    assert counts == [(6, 5, 1), (0, 0, 0), (6, 6, 2), (0, 0, 0), (0, 0, 0)]
    assert not any(redrawn for bar in bars for redrawn in bar.redrawn)
    assert all(bar.how == {"unit": "window", "show": False} for bar in bars)


@pytest.mark.parametrize(
    ("step", "when"), [(1, "epoch 1, window 1"), (3, "after epoch 1"), (4, "epoch 2, window 1")]
)
def test_what_a_step_destroys_is_told_before_anybody_is_called(step, when):
    class Destroyer(Adam):
        def step(self, parameters):
            super().step(parameters)
            if self.steps == step:
                with parameters["2.Dense.bias"].edit() as bias:
                    bias[1] = np.inf

    seen, run = [], make_run()
    run.optimizer = Destroyer(1e-2)
    with pytest.raises(FloatingPointError, match=rf"^{when}: 2\.Dense\.bias: expected finite"):
        short_training(run, epochs=2, every=1, after=lambda run: seen.append(run.optimizer.steps))
    assert seen == list(range(1, step))
    assert len(run.history) == step // 4


def test_a_rate_that_is_none_is_refused_before_the_first_step():
    run = make_run()
    with pytest.raises(ValueError, match=r"^schedule\(2\): expected a finite number above 0"):
        short_training(run, epochs=3, schedule=lambda epoch: [1e-3, 1e-3, 0.0][epoch])
    assert run.optimizer.steps == 0


def test_scores_of_sequences_are_an_array():
    with pytest.raises(TypeError, match=r"^scores: expected a NumPy array, got list"):
        in_every_step(softmax_cross_entropy)([[[0.0, 1.0]]], [[1]])
