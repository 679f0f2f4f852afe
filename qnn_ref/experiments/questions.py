"""Questions that the field argues about, each a sweep of minutes over the network of `bits-sweep`.

What do latent weights carry besides their sign? How often do signs flip? Does the clip matter, or
the mask? How much of the result is batch norm's? Whether the straight-through gradient points
downhill is asked in `downhill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.experiments.bits_sweep import SMALL
from qnn_ref.experiments.description import checksums
from qnn_ref.experiments.recipe import IMAGE_SHAPES, Recipe
from qnn_ref.experiments.runs import split, start_run
from qnn_ref.experiments.sweep import ERRORS, IMAGES, Sweep
from qnn_ref.layers import BatchNorm, Layer
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.parameter import Parameter
from qnn_ref.training import Run, error_rate, train

RESETS = ("never", "once", "each epoch")
NORMS = ("batch norm", "shift-based", "constant, hidden", "constant, all")


class Constant(Layer):
    r"""Divide sums of n signs by :math:`\sqrt n`, their size by chance.

    Parameters
    ----------
    fan_in : int
        n.

    References
    ----------
    Not in the paper: what stands in for batch norm where its share is asked for.
    """

    def __init__(self, fan_in: int) -> None:
        self.factor = np.float32(1 / np.sqrt(fan_in))

    def forward(self, x: Array, training: bool = False) -> Array:
        found: Array = x * self.factor
        return found

    def backward(self, dy: Array) -> Array:
        found: Array = dy * self.factor
        return found


@dataclass(frozen=True)
class Unnormalized(Recipe):
    """A dense recipe with divisions in place of its batch norms.

    Parameters
    ----------
    scores_too : bool
        Whether the last one goes too. The other settings are those of `Recipe`.
    """

    scores_too: bool = False

    def layers(self, classes: int) -> list[Layer]:
        found, fan_in = list[Layer](), iter(self.fan_ins())
        for layer in super().layers(classes):
            found.append(Constant(next(fan_in)) if isinstance(layer, BatchNorm) else layer)
        return found if self.scores_too else [*found[:-1], self.last_norm()]

    def fan_ins(self) -> list[int]:
        """Inputs of a unit, for each layer with weights."""
        height, width, channels = IMAGE_SHAPES[self.dataset]
        return [height * width * channels, *self.hidden]


@dataclass(frozen=True)
class Variant:
    """A recipe with one thing changed that a recipe has no setting for.

    Parameters
    ----------
    recipe : Recipe
    reset : str
        When all latent weights of a layer get one magnitude and keep only their signs: "never",
        "once" (after the second epoch) or "each epoch".
    magnitude : float
        Which.
    clip, mask : bool
        Whether latent weights are clipped, and gradients stopped where abs(a) > 1.
    norm : str
        "batch norm", "shift-based", or a division by sqrt(n): "constant, hidden" (the scores keep
        their batch norm) or "constant, all".
    seed : int
    about : str
    """

    recipe: Recipe
    reset: str = "never"
    magnitude: float = 0.0
    clip: bool = True
    mask: bool = True
    norm: str = "batch norm"
    seed: int = 0
    about: str = ""

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.recipe.dataset

    @property
    def all_epochs(self) -> int:
        """Of the training."""
        return self.recipe.all_epochs


def binary(network: Sequential) -> list[Parameter]:
    """The quantized weights of a network, layer by layer."""
    return [p for p in network.parameters().values() if p.quantizer is not None]


def start(variant: Variant, dataset: Any) -> Run:
    """A fresh run of the variant.

    Parameters
    ----------
    variant : Variant
    dataset : Dataset

    Returns
    -------
    Run
    """
    recipe = replace(variant.recipe, seed=variant.seed)
    if variant.norm == "shift-based":
        recipe = replace(recipe, norm="shift-S")
    if variant.norm.startswith("constant"):
        recipe = Unnormalized(**vars(recipe), scores_too=variant.norm == "constant, all")
    run = start_run(recipe, dataset.train_images.shape[1:], len(dataset.classes))
    if not variant.clip:
        for parameter in binary(run.network):
            parameter.bound = np.inf
    if not variant.mask:
        run.network.relax_boundaries(1e9)
    return run


def reset_magnitudes(network: Sequential, magnitude: float) -> None:
    """Give every latent weight the same magnitude; its sign stays.

    Parameters
    ----------
    network : Sequential
    magnitude : float
    """
    for parameter in binary(network):
        signs = np.where(parameter.latent >= 0, 1, -1)
        parameter.assign((magnitude * signs).astype(parameter.latent.dtype))


class Watch:
    """Called after each epoch: resets latent weights, and counts flips by layer.

    Parameters
    ----------
    variant : Variant
    network : Sequential
        Before the first step.
    """

    def __init__(self, variant: Variant, network: Sequential) -> None:
        self.variant, self.flips = variant, list[list[float]]()
        self.signs = [parameter.latent >= 0 for parameter in binary(network)]

    def __call__(self, run: Run) -> None:
        now = [parameter.latent >= 0 for parameter in binary(run.network)]
        self.flips.append(
            [100 * float((a != b).mean()) for a, b in zip(self.signs, now, strict=True)]
        )
        self.signs = now
        epoch, reset = len(run.history), self.variant.reset
        if reset == "each epoch" or (reset == "once" and epoch == 2):
            reset_magnitudes(run.network, self.variant.magnitude)


def carry_out(variant: Variant, dataset: Any) -> dict[str, str]:
    """Train a variant, and measure its best epoch.

    Parameters
    ----------
    variant : Variant
    dataset : Dataset

    Returns
    -------
    dict
        Errors in percent, and for each layer the share of signs in percent that changed in the
        first and in the last epoch.
    """
    run = start(variant, dataset)
    watch, (training, validation) = Watch(variant, run.network), split(variant.recipe, dataset)
    train(
        run,
        training.images,
        training.labels,
        (validation.images, validation.labels),
        loss=squared_hinge,
        epochs=variant.all_epochs,
        batch_size=variant.recipe.batch_size,
        schedule=variant.recipe.schedule(),
        after_epoch=watch,
    )
    assert run.best_epoch is not None
    test = error_rate(run.best_network(), dataset.test_images, dataset.test_labels)
    found = {
        "validation_error": f"{run.history[run.best_epoch]['validation_error']:.3f}",
        "test_error": f"{test:.3f}",
    }
    for name, epoch in (("first", 0), ("last", -1)):
        for layer, share in enumerate(watch.flips[epoch], 1):
            found[f"flipped_{name}_{layer}"] = f"{share:.2f}"
    return found


LAYERS = len(SMALL.hidden) + 1
FLIPS = tuple(f"flipped_{when}_{k}" for when in ("first", "last") for k in range(1, LAYERS + 1))
MEASURE = replace(IMAGES, columns=(*ERRORS, *FLIPS), carry_out=carry_out, checksums=checksums)


def _sweep(name: str, about: str, cases: Sequence[tuple[dict[str, str], Variant]]) -> Sweep:
    return Sweep(f"{name}", f"{about}, {3 * len(cases)} runs", cases, measure=MEASURE)


LATENT_WEIGHTS = _sweep(
    "latent-weights",
    "what latent weights carry: their magnitudes are set to a constant, signs stay",
    [
        ({"magnitude": f"{m:g}", "reset": when}, Variant(SMALL, when, m))
        for when in RESETS
        for m in ((0.01, 0.1, 0.5, 1.0) if when != "never" else (0.0,))
    ],
)
SIGN_FLIPS = _sweep(
    "sign-flips",
    "how often signs change, by layer, epoch and learning rate",
    [
        (
            {"rate": f"{rate:g}", "decay": "to 1/32"},
            Variant(replace(SMALL, initial_rate=rate, final_rate=rate / 32)),
        )
        for rate in (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
    ],
)
CLIP_OR_NOT = _sweep(
    "clip-or-not",
    "latent weights clipped or not, gradients masked or not (eq. 4)",
    [
        (
            {"mask": "mask" if mask else "no mask", "clip": "clip" if clip else "no clip"},
            Variant(SMALL, clip=clip, mask=mask),
        )
        for mask in (True, False)
        for clip in (True, False)
    ],
)
NORM_SHARE = _sweep(
    "norm-share",
    "batch norm, by shifts, or a constant in its place, at three rates",
    [
        (
            {"rate": f"{rate:g}", "norm": norm},
            Variant(replace(SMALL, initial_rate=rate, final_rate=rate / 32), norm=norm),
        )
        for norm in NORMS
        for rate in (3e-2, 3e-3, 3e-4)
    ],
)
QUESTIONS = (LATENT_WEIGHTS, SIGN_FLIPS, CLIP_OR_NOT, NORM_SHARE)
