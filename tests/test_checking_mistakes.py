"""Every planted mistake is found, in both modes; what looks like one and is correct, is not."""

import numpy as np
import pytest

from qnn_ref.checking import GradientError, check_gradients
from qnn_ref.layers import BatchNorm, Conv2D, Quantize
from tests.broken_layers import (
    MISTAKES,
    BranchesInPieces,
    ConvInPieces,
    EverySecond,
    MaxInPieces,
    TwoBits,
    TwoPaths,
)

CORRECT = [TwoPaths(), EverySecond(), Quantize(TwoBits())]


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=[m.name for m in MISTAKES])
def test_mistake_is_found(mistake, mode):
    rng = np.random.default_rng(3)
    report = check_gradients(**mistake.make(rng), mode=mode, rng=rng)
    assert not report.passed
    with pytest.raises(GradientError) as error:
        report.raise_if_failed()
    assert mistake.words in str(error.value)
    # What is right is not blamed: an error is raised for the tensors that failed only.
    failed = [entry.name for entry in report.entries if not entry.passed]
    assert len(str(error.value).splitlines()) == 1 + len(failed)


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.parametrize("layer", CORRECT, ids=[type(layer).__name__ for layer in CORRECT])
def test_the_correct_layer_behind_a_mistake_passes(layer, mode):
    rng = np.random.default_rng(0)
    layer.build((5,), rng)
    x = rng.uniform(-2, 2, (4, 5))
    check_gradients(layer, x, mode=mode, rng=rng).raise_if_failed()


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.parametrize(
    "layer",
    [
        ConvInPieces(4, (3, 2), stride=(1, 2), padding=(1, 0), bias=True),
        ConvInPieces(4, 3, stride=2, one_padding=True, padding=1),
        MaxInPieces((2, 3), (1, 2), (1, 0)),
        BranchesInPieces([Conv2D(3, 1)], [Conv2D(2, 3, padding=1), BatchNorm()], []),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_correct_layer_behind_a_mistake_about_images_passes(layer, mode):
    rng = np.random.default_rng(0)
    layer.build((5, 6, 2), rng)
    x = rng.normal(size=(3, 5, 6, 2))
    check_gradients(layer, x, mode=mode, rng=rng).raise_if_failed()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "name",
    [
        "WrongElement",
        "MaskedWeightGradient",
        "StrictMask",
        "LateCache",
        "AssignedWinner",
        "BorderLeftOut",
        "EmptyPathForgotten",
        "LossWeightForgotten",
    ],
)
def test_a_small_mistake_is_found_from_any_seed(name, seed):
    (mistake,) = [m for m in MISTAKES if m.name == name]
    rng = np.random.default_rng(seed)
    assert not check_gradients(**mistake.make(rng), rng=rng).passed


def test_full_mode_names_the_element():
    (mistake,) = [m for m in MISTAKES if m.name == "WrongElement"]
    rng = np.random.default_rng(0)
    report = check_gradients(**mistake.make(rng), mode="full", rng=rng)
    good, bad = report.entries
    assert good.passed
    assert bad.index == (1, 2)
    assert bad.analytic == pytest.approx(1.5 * bad.numeric)
    assert "at (1, 2)" in str(report)


@pytest.mark.parametrize("name", ["DropoutInPlace", "CentresInPlace", "softmax_in_place"])
def test_an_array_changed_in_place_is_the_only_fault(name):
    (mistake,) = [m for m in MISTAKES if m.name == name]
    rng = np.random.default_rng(0)
    damage, *others = check_gradients(**mistake.make(rng), mode="full", rng=rng).entries
    assert not damage.passed
    assert damage.relative_error >= 1
    assert all(entry.passed for entry in others)
