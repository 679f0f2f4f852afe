"""Every planted mistake is found, in both modes; what looks like one and is correct, is not."""

import json

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

# What the first line of the report says of each mistake.
SAYS = {
    "MissingMask": "passes where |x| > 1 too: the mask is missing",
    "StrictMask": "at the bound, x = 1, where it should pass: the mask is strict",
    "InvertedMask": "the mask is inverted",
    "OneSidedMask": "where x < -1 too: the mask is missing on one side",
    "MaskOfTheGradient": "is masked by dy, not by x",
    "ForgottenSaturation": "the mask ends at the wrong bound",
    "DoubledSlope": "is 2 times too large",
    "DroppedHalf": "is 2 times too small",
    "ForgottenCodeScale": "the scale of the codes, 0.3333",
    "StrictHardTanh": "the mask is strict",
    "UnmaskedHardTanh": "the mask is missing",
    "HardTanhInPlace": "backward changes its upstream gradient dy in place",
    "DeadLayer": "is 0 everywhere",
    "Forgetful": "was forgotten",
    "UndeclaredJump": "your forward jumps at input = 0, and the checker was not told",
    "SwappedAxis": "input: the gradient uses weight where its transpose belongs",
    "TransposedWeightGradient": "weight: the gradient is transposed",
    "LatentInputGradient": "uses the latent weight where the quantized one belongs",
    "MaskedWeightGradient": "is 0 where |weight| >= 1: a mask on the weights",
    "NegatedWeightGradient": "has the wrong sign",
    "OneExampleWeightGradient": "counts only example 0 of dy: a sum over the examples is missing",
    "MeanWeightGradient": "is 4 times too small, the batch size: a mean stands where a sum belongs",
    "AddedWeightGradient": "+= stands where = belongs",
    "OneExampleBiasGradient": "bias: the gradient counts only example 0 of dy",
    "NoBiasGradient": "bias: the gradient was forgotten",
    "StaleCodes": "weight: the gradient is not 0, but the output does not depend on it",
    "FirstCache": "is that of an earlier forward pass",
    "LateCache": "is that of an earlier forward pass",
    "ForgottenPixelScale": "is 255 times too large: the scale of the input's codes, 0.0039",
    "PixelScaleInOneGradient": "the scale of the input's codes, 0.003922, is missing",
    "SinglePrecision": "backward computes in float32",
    "WrongElement": "is wrong in 1 of 15 elements, at weight[1, 2]",
    "ForgottenGain": "input: the gradient lacks the factor gain",
    "ForgottenDeviation": "lacks the factor 1 / deviation of the batch",
    "MissingMeanTerm": "the one through the mean",
    "MissingVarianceTerm": "lacks the term in x - mean: the one through the variance",
    "UnbiasedBackward": "by 6, not 7: m - 1 for m",
    "BatchAxisOnly": "shift: the gradient counts only row 0 of dy",
    "GainGradientWithoutNormalized": "gain: the gradient is the plain sum of dy",
    "MeanShiftGradient": "is 7 times too small, the batch size: a mean",
    "RunningStatistics": "off by a factor that depends on the channel only",
    "CentresInPlace": "forward changes its input in place",
    "MaskFromOutput": "is 0 wherever x is 0: the mask was read back from the output",
    "UnscaledDropout": "1 - rate, 0.6",
    "FreshMask": "is another one each time",
    "DropoutInPlace": "backward changes its upstream gradient dy in place",
    "OtherOrder": "the right numbers in the wrong places",
    "ShapeOnly": "runs backwards along axis 1",
    "AssignedPath": "counts only channels [5, 6, 7, 8, 9] of dy",
    "ForgottenStride": "the right numbers in the wrong places",
    "StrideForgotten": "is wrong in 72 of 120 elements",
    "AssignedWindows": "= stands where += belongs",
    "KernelSidesSwapped": "takes the sides of the kernel for each other",
    "FlippedKernel": "uses weight turned by 180 degrees",
    "BorderOffByOne": "is moved by one along axis 1",
    "BorderSidesSwapped": "is wrong in 96 of 120 elements",
    "BorderKept": "counts the padding",
    "SizeFromTheOutput": "has the wrong shape",
    "LastPartOnly": "counts only example 2 of dy",
    "TapsTransposed": "has axes 0 and 1 exchanged",
    "BorderLeftOut": "counts the padding wrongly: forward has 1 in the border",
    "ConvBiasOfOnePlace": "bias: the gradient counts only row 0 of dy",
    "ScaleMissingInWeightGradient": "weight: the gradient is 255 times too large",
    "ScaleMissingInInputGradient": "input: the gradient is 255 times too large",
    "WeightScaleForgotten": "the scale of the weights' codes, 0.3333, is missing",
    "AssignedWinner": "= stands where += belongs",
    "WinnerInColumns": "goes to other elements than the maxima",
    "EveryWinner": "all equal maxima get it",
    "LastWinner": "goes to other elements than the maxima",
    "MaxOfTheBorder": "the border counts as a part of the image",
    "AssignedShare": "= stands where += belongs",
    "AreaForgotten": "the area of the window, 9, once too often",
    "AreaOfSums": "the area of the window, 9, is missing",
    "AreaInsideOnly": "padding is counted wrongly",
    "LastPathWins": "counts only channels [4, 5] of dy",
    "MeanOfPaths": "the number of paths, 3, is missing",
    "OtherOrderOfPaths": "follows channels [4, 5] of dy where it should follow [0, 1]",
    "InterleavedPaths": "follows channels [1, 4] of dy where it should follow [2, 3]",
    "EmptyPathForgotten": "counts only channels [0, 1, 2, 3] of dy",
    "HeadForgotten": "does not follow the gradient of the auxiliary scores",
    "HeadOnly": "does not follow the gradient of the output",
    "HeadDoesNotLearn": "bias: the gradient was forgotten",
    "LossWeightForgotten": "the weight of the loss, 0.3, is missing",
    "LossWeightTwice": "the weight of the loss, 0.3, once too often",
    "hinge_without_two": "is 2 times too small",
    "hinge_over_batch_only": "the number of classes, 3, once too often",
    "hinge_with_other_sign": "has the wrong sign",
    "hinge_without_margin": "is not 0 in 3 elements on which the output does not depend",
    "softmax_without_target": "at the label of each example only",
    "softmax_summed": "is 5 times too large, the batch size: a sum stands where a mean belongs",
    "softmax_in_place": "changes its scores in place",
    "network with ForgottenGain": "5.ForgottenGain.input: the gradient lacks the factor gain",
    "network with MissingMeanTerm": "5.MissingMeanTerm.input: the gradient lacks a term",
    "network with UnmaskedHardTanh": "5.UnmaskedHardTanh.input: the gradient passes where |x| > 1",
    "network with Quantize": "5.Quantize.input: the gradient passes where |x| > 1 too",
    "network with DropoutInPlace": "5.DropoutInPlace: backward changes its upstream gradient dy",
}

CORRECT = [TwoPaths(), EverySecond(), Quantize(TwoBits())]


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=[m.name for m in MISTAKES])
def test_mistake_is_found(mistake, mode):
    rng = np.random.default_rng(3)
    report = check_gradients(**mistake.make(rng), mode=mode, rng=rng)
    assert not report.passed
    first, *_ = str(report).splitlines()
    assert SAYS[mistake.name] in first
    with pytest.raises(GradientError) as error:
        report.raise_if_failed()
    assert mistake.words in str(error.value)
    assert str(error.value).splitlines()[0] == first
    # What is right is not blamed: an error has a line for the tensors that failed only.
    failed = [entry.name for entry in report.entries if not entry.passed]
    below = str(error.value).partition("gradients are wrong:\n")[2]
    assert len(below.splitlines()) == len(failed)
    json.dumps(report.to_json(), allow_nan=False)


def test_every_mistake_has_its_words():
    assert SAYS.keys() == {mistake.name for mistake in MISTAKES}


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
