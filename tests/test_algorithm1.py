"""Whole training steps against implementations that were written from the paper alone.

The package in float64 and the oracle in plain NumPy take the same five steps: every value of the
forward pass, every gradient, every moment and every updated array agree to 1e-10. A second oracle
lets PyTorch find the gradients.
"""

import itertools

import numpy as np
import pytest

from qnn_ref.layers import BatchNorm, Dense, Dropout, Flatten, HardTanh, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam, AdaMax, ExponentialDecay
from qnn_ref.quantizers import Sign
from qnn_ref.training import Run, batches, train
from tests.oracles import algorithm1, algorithm1_torch

WIDTHS = (9, 7, 6, 4)
BATCH, STEPS = 12, 5
RATES = (0.2, 0.5, 0.5)  # the paper's dropout: input, hidden, hidden
SEEDS = (0, 5, 9)  # of cases without gradients that are nothing but rounding
TOLERANCE = 1e-10


class Case:
    """A network of the package beside the arguments of the oracle, and one batch for each step."""

    def __init__(self, seed, *, binary=True, dropout=False, saturation=1.0, steps=STEPS):
        rng = np.random.default_rng(seed)
        layers = [Pixels(), Flatten()]
        for k, units in enumerate(WIDTHS[1:]):
            if dropout:
                layers.append(Dropout(RATES[k]))
            layers += [Dense(units, Sign() if binary else None), BatchNorm()]
            if k < len(WIDTHS) - 2:
                layers.append(Quantize(Sign(saturation)) if binary else HardTanh())
        self.network = Sequential(layers, (3, 3, 1), rng, np.float64)
        self.dense = [la for la in layers if isinstance(la, Dense)]
        self.norms = [la for la in layers if isinstance(la, BatchNorm)]
        self.dropouts = [la for la in layers if isinstance(la, Dropout)]
        # Sums of a few +-1 often equal their mean; a shift keeps them off the jump of Sign. The
        # gain takes some values of every unit beyond the bound: where none is, a hard tanh is
        # linear, the next batch norm removes the shift, and its gradient is only rounding.
        for norm, units in zip(self.norms, WIDTHS[1:], strict=True):
            norm.gain.assign(rng.uniform(1.5, 3, units) * rng.choice([-1, 1], units))
            norm.shift.assign(rng.uniform(-0.5, 0.5, units))
        self.images = rng.integers(0, 256, (steps, BATCH, WIDTHS[0]), dtype=np.uint8)
        self.labels = rng.integers(0, WIDTHS[-1], (steps, BATCH))
        self.masks = [[] for _ in self.dropouts]
        for layer, masks in zip(self.dropouts, self.masks, strict=True):
            layer.draw_mask = self.remembering(layer.draw_mask, masks)
        self.start = self.arrays()
        self.options = {
            "binary_weights": binary,
            "activation": "sign" if binary else "hard_tanh",
            "saturation": saturation,
        }

    @staticmethod
    def remembering(draw, masks):
        def draw_and_keep(shape):
            masks.append(draw(shape))
            return masks[-1]

        return draw_and_keep

    def arrays(self):
        """Copies of weights, gains and shifts, by layer."""
        return (
            [layer.weight.latent.copy() for layer in self.dense],
            [norm.gain.latent.copy() for norm in self.norms],
            [norm.shift.latent.copy() for norm in self.norms],
        )

    def dropout_options(self):
        """The masks that the package drew, as the oracle wants them: 0 and 1 for each step."""
        if not self.dropouts:
            return {}
        masks = [[m > 0 for m in step] for step in zip(*self.masks, strict=True)]
        return {"dropout_masks": masks, "dropout_rates": RATES}

    def gradients(self):
        return (
            [layer.weight.grad.copy() for layer in self.dense],
            [norm.gain.grad.copy() for norm in self.norms],
            [norm.shift.grad.copy() for norm in self.norms],
        )


def assert_close(got, expected, what):
    for k, (a, b) in enumerate(zip(got, expected, strict=True), 1):
        np.testing.assert_allclose(
            a, b, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{what} of layer {k}"
        )


def smallest(gradients):
    """The smallest magnitude of a gradient that is not exactly zero."""
    sizes = np.concatenate([np.abs(g).ravel() for group in gradients for g in group])
    return sizes[sizes > 0].min()


def forward_backward(case, step):
    """Lines 1 to 9 with the package: loss, scores, and the gradients in their parameters."""
    images = case.images[step].reshape(BATCH, 3, 3, 1)
    scores = case.network.forward(images, training=True)
    loss, delta = squared_hinge(scores, case.labels[step])
    case.network.backward(delta)
    return loss, scores


OPTIMIZERS = {"adam": Adam, "adamax": AdaMax, "sgd": SGD}
VARIANTS = {
    "binary": {},
    "binary with dropout": {"dropout": True},
    "relaxed bound": {"saturation": 2.0},
    "float twin": {"binary": False},
    "float twin with dropout": {"binary": False, "dropout": True},
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_five_training_steps_agree_with_the_oracle(variant, optimizer, seed):
    case = Case(seed, **VARIANTS[variant])
    rate, decay = 0.05, 0.9
    update = OPTIMIZERS[optimizer](rate)
    taken = []
    for step in range(STEPS):
        update.learning_rate = rate * decay ** (step // 2)  # line 12, every second step
        loss, scores = forward_backward(case, step)
        update.step(case.network.parameters())
        moments = {n: [m.copy() for m in ms.values()] for n, ms in update.state.items()}
        running = [[b.copy() for b in norm.buffers().values()] for norm in case.norms]
        taken.append((loss, scores, case.gradients(), case.arrays(), moments, running))

    binary = case.options["binary_weights"]
    records = algorithm1.train_steps(
        *case.start,
        case.images,
        case.labels,
        STEPS,
        optimizer=optimizer,
        learning_rate=rate,
        decay=decay,
        steps_per_epoch=2,
        scale_rates=binary,
        clip=binary,
        **case.options,
        **case.dropout_options(),
    )
    for record, (loss, scores, gradients, arrays, moments, running) in zip(
        records, taken, strict=True
    ):
        assert record["margin"] > 1e-8  # nothing lies so near a jump that rounding decides
        assert smallest(gradients) > 1e-7  # nor is a gradient that ADAM magnifies only rounding
        assert_close([scores, loss], [record["scores"], record["loss"]], "scores, loss")
        names = ("weight", "gain", "shift")
        for name, got, values in zip(names, gradients, arrays, strict=True):
            assert_close(got, record[f"{name}_gradients"], f"{name} gradient")
            assert_close(values, record[f"{name}s"], name)
        assert_close([r[0] for r in running], record["running_means"], "running mean")
        assert_close([r[1] for r in running], record["running_inverse_deviations"], "running r")
        if optimizer == "sgd":
            continue
        for name in names:
            mine = [m for n, m in moments.items() if n.endswith(f".{name}")]
            for i, moment in enumerate(("first", "second")):
                expected = [m[moment] for m in record[f"{name}_moments"]]
                assert_close([m[i] for m in mine], expected, f"{moment} moment of {name}")

    if binary:  # the case has seen what it is about: clipped weights and masked activations
        assert all(np.abs(w).max() <= 1 for w in case.arrays()[0])
        if optimizer != "sgd":
            assert any(np.any(np.abs(w) == 1) for w in case.arrays()[0])
        hidden = np.concatenate([np.abs(a).ravel() for a in records[0]["activations"][:-1]])
        assert np.any(hidden > case.options["saturation"])
        assert np.any(hidden < case.options["saturation"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("binary", [True, False])
def test_a_trained_network_infers_what_the_oracle_infers(binary, seed):
    case = Case(seed, binary=binary)
    update = Adam(0.05)
    for step in range(STEPS):
        forward_backward(case, step)
        update.step(case.network.parameters())
    images = np.random.default_rng(seed).integers(0, 256, (50, 3, 3, 1), dtype=np.uint8)
    expected = algorithm1.inference(
        *case.arrays(),
        [norm.running_mean for norm in case.norms],
        [norm.running_inverse_deviation for norm in case.norms],
        images.reshape(50, -1),
        binary_weights=binary,
        activation=case.options["activation"],
    )
    assert_close([case.network.scores(images, 7)], [expected["scores"]], "scores")
    np.testing.assert_array_equal(case.network.predict(images), expected["classes"])


def test_the_training_loop_takes_the_steps_of_the_oracle():
    epochs, examples = 2, 3 * BATCH + 5  # three full batches an epoch, five images are left over
    case = Case(7)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (examples, 3, 3, 1), dtype=np.uint8)
    labels = rng.integers(0, WIDTHS[-1], examples)
    schedule = ExponentialDecay(0.05, 0.01, epochs)
    run = Run(case.network, Adam(), np.random.default_rng(2))
    train(
        run,
        images,
        labels,
        (images, labels),
        loss=squared_hinge,
        epochs=epochs,
        batch_size=BATCH,
        schedule=schedule,
    )

    shuffle = np.random.default_rng(2)
    order = [b for _ in range(epochs) for b in batches(examples, BATCH, shuffle)]
    assert len(order) == 6
    records = algorithm1.train_steps(
        *case.start,
        np.stack([images[b].reshape(BATCH, -1) for b in order]),
        np.stack([labels[b] for b in order]),
        len(order),
        learning_rate=0.05,
        decay=(0.01 / 0.05) ** (1 / epochs),
        steps_per_epoch=3,
    )
    assert min(record["margin"] for record in records) > 1e-8
    last = records[-1]
    weights, gains, shifts = case.arrays()
    assert_close(weights, last["weights"], "weights")
    assert_close(gains, last["gains"], "gains")
    assert_close(shifts, last["shifts"], "shifts")
    for entry, first in zip(run.history, (0, 3), strict=True):
        steps = records[first : first + 3]
        assert_close([entry["loss"]], [np.mean([r["loss"] for r in steps])], "loss")
        hidden = [[np.abs(a) > 1 for a in r["activations"][:-1]] for r in steps]
        shares = [np.mean(np.concatenate([h.ravel() for h in step])) for step in hidden]
        assert_close([entry["saturated"]], [np.mean(shares)], "saturated share")
    statistics = last["running_means"], last["running_inverse_deviations"]
    classes = algorithm1.inference(
        last["weights"], last["gains"], last["shifts"], *statistics, images.reshape(examples, -1)
    )["classes"]
    assert run.history[-1]["validation_error"] == 100 * np.sum(classes != labels) / examples


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_agree_with_those_of_pytorch(variant, seed):
    pytest.importorskip("torch", reason="PyTorch, the second oracle, is not installed")
    case = Case(seed, **VARIANTS[variant], steps=1)
    loss, scores = forward_backward(case, 0)
    masks = case.dropout_options()
    if masks:
        masks["dropout_masks"] = masks["dropout_masks"][0]
    expected = algorithm1_torch.gradients(
        *case.start, case.images[0], case.labels[0], **case.options, **masks
    )
    assert_close([loss, scores], [expected["loss"], expected["scores"]], "loss, scores")
    for name, got in zip(("weight", "gain", "shift"), case.gradients(), strict=True):
        assert_close(got, expected[f"{name}_gradients"], f"{name} gradient")


@pytest.mark.parametrize("binary", [True, False])
def test_input_gradient_agrees_with_the_oracle(binary):
    """Without Pixels the gradient goes down to the input."""
    rng = np.random.default_rng(0)
    layers = []
    for units in WIDTHS[1:]:
        layers += [Dense(units, Sign() if binary else None), BatchNorm()]
        layers += [Quantize() if binary else HardTanh()] if units != WIDTHS[-1] else []
    network = Sequential(layers, WIDTHS[:1], rng, np.float64)
    norms = layers[1::3]
    for norm in norms:
        norm.shift.assign(rng.uniform(-0.5, 0.5, norm.shift.shape))
    x, labels = rng.normal(size=(BATCH, WIDTHS[0])), rng.integers(0, WIDTHS[-1], BATCH)
    scores = network.forward(x, training=True)
    dx = network.backward(squared_hinge(scores, labels)[1])
    expected = algorithm1.gradients(
        [layer.weight.latent for layer in layers[::3]],
        [norm.gain.latent for norm in norms],
        [norm.shift.latent for norm in norms],
        x,
        labels,
        binary_weights=binary,
        activation="sign" if binary else "hard_tanh",
        pixels=False,
    )
    assert expected["margin"] > 1e-8
    assert_close([scores, dx], [expected["scores"], expected["input_gradient"]], "scores, dx")


def test_the_layers_stand_in_the_order_of_the_paper():
    kinds = [type(layer).__name__ for layer in Case(0).network.layers]
    assert kinds[:2] == ["Pixels", "Flatten"]
    assert kinds[2:] == [*["Dense", "BatchNorm", "Quantize"] * 2, "Dense", "BatchNorm"]
    assert [layer.weight.shape for layer in Case(0).dense] == list(itertools.pairwise(WIDTHS))
