"""Layers and losses with one planted mistake each; the gradient checker must find every one.

Each entry of `MISTAKES` makes a subject and an input on which the mistake has an effect. Sizes are
unequal wherever the mistake does not need a square.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from qnn_ref.geometry import add_windows, pad_images, taps, windows
from qnn_ref.layers import (
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.layers.base import Layer
from qnn_ref.layers.normalization import channel_mean
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.quantizers import Encoding, Quantizer, Sign, StochasticSign, hard_tanh

# Straight-through mask ---------------------------------------------------------------------------


class MissingMask(Sign):
    def backward(self, dy, x):
        return dy


class StrictMask(Sign):
    def backward(self, dy, x):
        return dy * (np.abs(x) < self.saturation)


class InvertedMask(Sign):
    def backward(self, dy, x):
        return dy * (np.abs(x) >= self.saturation)


class OneSidedMask(Sign):
    def backward(self, dy, x):
        return dy * (x <= self.saturation)


class MaskOfTheGradient(Sign):
    def backward(self, dy, x):
        return np.clip(dy, -1, 1)


class ForgottenSaturation(Sign):
    def backward(self, dy, x):
        return dy * (np.abs(x) <= 1)


class DoubledSlope(StochasticSign):
    def backward(self, dy, x):
        return 2 * super().backward(dy, x)


class DroppedHalf(StochasticSign):
    """The slope of the hard sigmoid, without the factor 2 of 2 p - 1."""

    def backward(self, dy, x):
        return super().backward(dy, x) / 2


class TwoBits(Quantizer):
    """A correct quantizer with the levels -1, -1/3, 1/3, 1; codes are odd integers."""

    def encode(self, x, noise=None):
        return np.clip(2 * np.floor(1.5 * x + 2) - 3, -3, 3), 1 / 3

    def surrogate(self, x):
        return hard_tanh(x)

    def backward(self, dy, x):
        return dy * (np.abs(x) <= 1)


class ForgottenCodeScale(Quantize):
    """The gradient of codes taken for that of values."""

    def backward(self, dy):
        return self.quantizer.backward(dy, self.saved()[0])


class StrictHardTanh(HardTanh):
    def backward(self, dy):
        return dy * (np.abs(self.saved()) < self.saturation)


class UnmaskedHardTanh(HardTanh):
    def backward(self, dy):
        return dy


class HardTanhInPlace(HardTanh):
    def backward(self, dy):
        dy[np.abs(self.saved()) > self.saturation] = 0
        return dy.copy()


# Dense -------------------------------------------------------------------------------------------


class SwappedAxis(Dense):
    """Line 8 without the transpose; only square weights let it run."""

    def backward(self, dy):
        super().backward(dy)
        return dy @ self.weight.quantized


class TransposedWeightGradient(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad = self.weight.grad.T
        return dx


class LatentInputGradient(Dense):
    """Line 8 with the latent weights in place of the binary ones."""

    def backward(self, dy):
        super().backward(dy)
        return dy @ self.weight.latent.T


class MaskedWeightGradient(Dense):
    """A hard tanh on the weights: what was clipped to +-1 never comes back."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad = self.weight.grad * (np.abs(self.weight.latent) < 1)
        return dx


class NegatedWeightGradient(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad = -self.weight.grad
        return dx


class OneExampleWeightGradient(Dense):
    """No sum over the batch."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad = np.outer(self.saved()[0][0], dy[0])
        return dx


class MeanWeightGradient(Dense):
    """A mean over the batch in place of the sum."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad = self.weight.grad / len(dy)
        return dx


class AddedWeightGradient(Dense):
    """+= in place of =: the gradient of the last batch is still in it."""

    def backward(self, dy):
        old = self.weight.grad
        dx = super().backward(dy)
        if old is not None:
            self.weight.grad = self.weight.grad + old
        return dx


class OneExampleBiasGradient(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad = dy[0].copy()
        return dx


class NoBiasGradient(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad = None
        return dx


class StaleCodes(Dense):
    """Keeps the quantized weights of its first forward pass."""

    def forward(self, x, training=False):
        self.kept = getattr(self, "kept", self.weight.quantized)
        y = x @ self.kept
        if training:
            self._saved = x, False, x.shape
        return y


class FirstCache(Dense):
    """Keeps the input of the first forward pass."""

    def forward(self, x, training=False):
        kept = self._saved
        y = super().forward(x, training)
        if kept is not None:
            self._saved = kept
        return y


class LateCache(Dense):
    """Keeps the input of the forward pass before this one."""

    def forward(self, x, training=False):
        kept = self.previous if hasattr(self, "previous") else None
        y = super().forward(x, training)
        self.previous = self._saved
        if kept is not None:
            self._saved = kept
        return y


class ForgottenPixelScale(Dense):
    """1/255 in forward, but in neither gradient."""

    def backward(self, dy):
        rows, _, shape = self.saved()
        self.weight.grad = rows.T @ dy
        return (dy @ self.weight.codes.T).reshape(shape)


class PixelScaleInOneGradient(Dense):
    def backward(self, dy):
        super().backward(dy)
        return dy @ self.weight.codes.T


class SinglePrecision(Dense):
    def backward(self, dy):
        return super().backward(dy).astype(np.float32)


class WrongElement(Dense):
    """One element of one gradient is wrong, by half."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad[1, 2] *= 1.5
        return dx


# Batch norm --------------------------------------------------------------------------------------


class NormBase(BatchNorm):
    def parts(self, dy):
        normalized, r = self.saved()
        return normalized, r, self.gain.latent


class ForgottenGain(NormBase):
    def backward(self, dy):
        return super().backward(dy) / self.gain.latent


class ForgottenDeviation(NormBase):
    def backward(self, dy):
        return super().backward(dy) / self.parts(dy)[1]


class MissingMeanTerm(NormBase):
    def backward(self, dy):
        super().backward(dy)
        normalized, r, gain = self.parts(dy)
        return gain * r * (dy - normalized * channel_mean(dy * normalized))


class MissingVarianceTerm(NormBase):
    def backward(self, dy):
        super().backward(dy)
        _, r, gain = self.parts(dy)
        return gain * r * (dy - channel_mean(dy))


class UnbiasedBackward(NormBase):
    """m - 1 in the backward pass, m in the forward pass."""

    def backward(self, dy):
        super().backward(dy)
        normalized, r, gain = self.parts(dy)
        m = dy.size // dy.shape[-1]
        mean = channel_mean(dy * normalized) * m / (m - 1)
        return gain * r * (dy - channel_mean(dy) - normalized * mean)


class BatchAxisOnly(NormBase):
    """Spatial input: sums over the batch, but not over height and width."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.shift.grad = dy.sum(axis=0)[0, 0]
        return dx


class GainGradientWithoutNormalized(NormBase):
    def backward(self, dy):
        dx = super().backward(dy)
        self.gain.grad = dy.sum(axis=0)
        return dx


class MeanShiftGradient(NormBase):
    def backward(self, dy):
        dx = super().backward(dy)
        self.shift.grad = channel_mean(dy)
        return dx


class RunningStatistics(NormBase):
    """Backward with the running inverse deviation in place of the batch's."""

    def backward(self, dy):
        return super().backward(dy) / self.parts(dy)[1] * self.running_inverse_deviation


class CentresInPlace(NormBase):
    def forward(self, x, training=False):
        x -= x.mean(axis=0)
        return super().forward(x, training)


# Dropout, reshaping, sums ------------------------------------------------------------------------


class MaskFromOutput(Dropout):
    """Reads the mask back from the output: zeros of the input look dropped."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        self._saved = np.divide(y, x, out=np.zeros_like(x), where=x != 0)
        return y


class UnscaledDropout(Dropout):
    def backward(self, dy):
        return dy * (self.saved() > 0)


class FreshMask(Dropout):
    """Draws another mask on the way back."""

    def backward(self, dy):
        return dy * (self.rng.random(dy.shape) >= self.rate) / (1 - self.rate)


class DropoutInPlace(Dropout):
    def backward(self, dy):
        dy *= self.saved()
        return dy


class OtherOrder(Flatten):
    def backward(self, dy):
        return dy.reshape(self.saved(), order="F")


class ShapeOnly(Flatten):
    """The right shape, the wrong places."""

    def backward(self, dy):
        return np.ascontiguousarray(dy.reshape(self.saved())[:, ::-1])


class TwoPaths(Layer):
    """y = 2 x beside y = 3 x, joined along the channels: the backward pass adds both. Correct."""

    def output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])

    def forward(self, x, training=False):
        return np.concatenate([2 * x, 3 * x], axis=-1)

    def split(self, dy):
        half = dy.shape[-1] // 2
        return 2 * dy[..., :half], 3 * dy[..., half:]

    def backward(self, dy):
        first, second = self.split(dy)
        return first + second


class AssignedPath(TwoPaths):
    """= in place of +=: the last branch wins."""

    def backward(self, dy):
        return self.split(dy)[1].copy()


class EverySecond(Layer):
    """Keeps every second column; the gradient of the others is 0. Correct."""

    stride: ClassVar[int] = 2

    def output_shape(self, input_shape):
        return ((input_shape[0] + 1) // 2,)

    def forward(self, x, training=False):
        self._saved = x.shape
        return x[:, ::2]

    def backward(self, dy):
        dx = np.zeros(self.saved())
        dx[:, ::2] = dy
        return dx


class ForgottenStride(EverySecond):
    def backward(self, dy):
        dx = np.zeros(self.saved())
        dx[:, : dy.shape[1]] = dy
        return dx


class DeadLayer(HardTanh):
    def backward(self, dy):
        return np.zeros_like(dy)


class Forgetful(HardTanh):
    """Returns nothing."""

    def backward(self, dy):
        return None


class UndeclaredJump(Quantize):
    """A sign that does not say that it jumps: its differences are 0, its gradient is not."""

    jumps: ClassVar[dict[str, str]] = {}


# Convolution -------------------------------------------------------------------------------------


class ConvInPieces(Conv2D):
    """The backward pass in pieces, so that a mistake can replace one. Correct."""

    def add(self, drows, shape):
        return add_windows(drows, shape, self.stride)

    def crop(self, dx):
        (top, left), (high, wide, _) = self.padding, self.input_shape
        return dx[:, top : top + high, left : left + wide]

    def weight_gradient(self, rows, ds):
        return np.tensordot(rows, ds, axes=((0, 1, 2), (0, 1, 2)))

    def backward(self, dy):
        padded = pad_images(self.saved(dy)[0], self.padding, self.border)
        rows, ds = windows(padded, self.kernel, self.stride), dy * self.input_scale
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=(0, 1, 2))
        self.weight.grad = self.weight_gradient(rows, ds)
        drows = np.tensordot(ds, self.weight.quantized, axes=(3, 3))
        return self.crop(self.add(drows, padded.shape))


class StrideForgotten(ConvInPieces):
    def add(self, drows, shape):
        _, high, wide, kh, kw, _ = drows.shape
        dx = np.zeros(shape)
        for u in range(kh):
            for v in range(kw):
                dx[:, u : u + high, v : v + wide] += drows[:, :, :, u, v]
        return dx


class AssignedWindows(ConvInPieces):
    """= in place of +=: of the windows that share a pixel the last one wins."""

    def add(self, drows, shape):
        _, high, wide, kh, kw, _ = drows.shape
        dx = np.zeros(shape)
        for u in range(kh):
            for v in range(kw):
                rows = slice(u, u + self.stride[0] * (high - 1) + 1, self.stride[0])
                columns = slice(v, v + self.stride[1] * (wide - 1) + 1, self.stride[1])
                dx[:, rows, columns] = drows[:, :, :, u, v]
        return dx


class KernelSidesSwapped(ConvInPieces):
    """kw x kh in place of kh x kw: as many numbers, other places."""

    def add(self, drows, shape):
        kh, kw = self.kernel
        other = drows.reshape(*drows.shape[:3], kw, kh, drows.shape[-1])
        return super().add(other.transpose(0, 1, 2, 4, 3, 5), shape)


class FlippedKernel(ConvInPieces):
    def add(self, drows, shape):
        return super().add(drows[:, :, :, ::-1, ::-1], shape)


class BorderOffByOne(ConvInPieces):
    def crop(self, dx):
        return super().crop(np.roll(dx, 1, axis=1))


class BorderSidesSwapped(ConvInPieces):
    """The border on the left taken for the one on top."""

    def crop(self, dx):
        (left, top), (high, wide, _) = self.padding, self.input_shape
        whole = np.zeros((len(dx), top + high, left + wide, dx.shape[3]))
        whole[:, : dx.shape[1], : dx.shape[2]] = dx[:, : top + high, : left + wide]
        return whole[:, top:, left:]


class BorderKept(ConvInPieces):
    def crop(self, dx):
        return dx


class SizeFromTheOutput(ConvInPieces):
    """The input's size counted back from the output's: rows that no window reached are missing."""

    def crop(self, dx):
        high, wide, _ = self.output_shape(self.input_shape)
        rows = self.stride[0] * (high - 1) + self.kernel[0]
        columns = self.stride[1] * (wide - 1) + self.kernel[1]
        return dx[:, :rows, :columns]


class LastPartOnly(ConvInPieces):
    """= in place of += over the images that are written out together."""

    def weight_gradient(self, rows, ds):
        for part in (slice(0, 2), slice(2, None)):
            grad = super().weight_gradient(rows[part], ds[part])
        return grad


class TapsTransposed(ConvInPieces):
    def weight_gradient(self, rows, ds):
        return super().weight_gradient(rows, ds).transpose(1, 0, 2, 3).copy()


class BorderLeftOut(ConvInPieces):
    """Ones stand in the border, and zeros in the gradient of the weights."""

    def weight_gradient(self, rows, ds):
        x = pad_images(self._saved[0], self.padding, 0)
        return super().weight_gradient(windows(x, self.kernel, self.stride), ds)


class ConvBiasOfOnePlace(ConvInPieces):
    """A sum over the batch, but not over height and width."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad = dy.sum(axis=0)[0, 0]
        return dx


class ScaleMissingInWeightGradient(ConvInPieces):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad = self.weight.grad / self.input_scale
        return dx


class ScaleMissingInInputGradient(ConvInPieces):
    def backward(self, dy):
        return super().backward(dy) / self.input_scale


class WeightScaleForgotten(ConvInPieces):
    """Codes of the weights taken for their values."""

    def backward(self, dy):
        return super().backward(dy) / self.weight.scale


# Pooling -----------------------------------------------------------------------------------------


class MaxInPieces(MaxPool2D):
    """The gradient given out window by window, in loops. Correct."""

    def give(self, place, share):
        place += share

    def at(self, winner):
        return divmod(winner, self.size[1])

    def backward(self, dy):
        winners, shape = self.saved(dy)
        dx = np.zeros(shape)
        for b, i, j, c in np.ndindex(winners.shape):
            u, v = self.at(int(winners[b, i, j, c]))
            place = dx[b, self.stride[0] * i + u, self.stride[1] * j + v, c : c + 1]
            self.give(place, dy[b, i, j, c])
        return self.without_border(dx)


class AssignedWinner(MaxInPieces):
    """= in place of +=: a pixel that wins two windows."""

    def give(self, place, share):
        place[:] = share


class WinnerInColumns(MaxInPieces):
    """Places counted column by column on the way back."""

    def at(self, winner):
        return divmod(winner, self.size[0])[::-1]


class EveryWinner(MaxPool2D):
    """Mask x == max: ties get the gradient several times."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        if training:
            self.equal = [tap == y for tap in taps(x, self.size, self.stride)]
        return y

    def backward(self, dy):
        dx = np.zeros((len(dy), *self.input_shape))
        for tap, equal in zip(taps(dx, self.size, self.stride), self.equal, strict=True):
            tap += dy * equal
        return dx


class LastWinner(EveryWinner):
    """Forward takes the first of equals, backward the last."""

    def backward(self, dy):
        dx, left = np.zeros((len(dy), *self.input_shape)), np.ones(dy.shape)
        for tap, equal in reversed(
            list(zip(taps(dx, self.size, self.stride), self.equal, strict=True))
        ):
            tap += dy * equal * left
            left = left * ~equal
        return dx


class MaxOfTheBorder(MaxPool2D):
    """Takes the border for a part of the image on the way back."""

    def without_border(self, padded):
        return padded[:, : self.input_shape[0], : self.input_shape[1]]


class AssignedShare(AveragePool2D):
    """= in place of +=: of the windows that share a pixel the last one wins."""

    def backward(self, dy):
        dx = np.zeros(self.saved(dy))
        for tap in taps(dx, self.size, self.stride):
            tap[:] = dy / self.area
        return self.without_border(dx)


class AreaForgotten(AveragePool2D):
    def backward(self, dy):
        return super().backward(dy) * self.area


class AreaOfSums(AveragePool2D):
    """Of codes the layer gives the sum; the gradient is that of the mean."""

    def backward(self, dy):
        return super().backward(dy) / self.area


class AreaInsideOnly(AveragePool2D):
    """Forward counts the border, backward does not."""

    def backward(self, dy):
        inside = np.zeros(self.saved(dy))
        self.without_border(inside)[:] = 1
        return super().backward(dy * self.area / sum(taps(inside, self.size, self.stride)))


# Branches, auxiliary classifiers -----------------------------------------------------------------


class BranchesInPieces(Branches):
    """The gradients of the paths, and how they are joined. Correct."""

    def split(self, dy):
        return np.split(dy, np.cumsum(self.saved())[:-1], axis=-1)

    def gradients(self, dy):
        for path, part in zip(self.paths, self.split(dy), strict=True):
            for layer in reversed(path):
                part = layer.backward(part)
            yield part

    def backward(self, dy):
        return sum(self.gradients(dy))


class LastPathWins(BranchesInPieces):
    """= in place of +=."""

    def backward(self, dy):
        return list(self.gradients(dy))[-1].copy()


class MeanOfPaths(BranchesInPieces):
    def backward(self, dy):
        return sum(self.gradients(dy)) / len(self.paths)


class OtherOrderOfPaths(BranchesInPieces):
    """The gradient's channels dealt out from the last path to the first."""

    def split(self, dy):
        ends = np.cumsum(self.saved()[::-1])
        return np.split(dy, ends[:-1], axis=-1)[::-1]


class InterleavedPaths(BranchesInPieces):
    """The right number of channels for each path, but every second one."""

    def split(self, dy):
        return [dy[..., start :: len(self.paths)] for start in range(len(self.paths))]


class EmptyPathForgotten(BranchesInPieces):
    """A path without layers passes the input on, so it passes a gradient back."""

    def backward(self, dy):
        pairs = zip(self.paths, self.gradients(dy), strict=True)
        return sum(gradient for path, gradient in pairs if path)


class HeadForgotten(Auxiliary):
    """The head learns, but the layers below do not hear of it."""

    def backward(self, dy):
        super().backward(dy)
        return dy.copy()


class HeadOnly(Auxiliary):
    def backward(self, dy):
        return super().backward(dy) - dy


class HeadDoesNotLearn(Auxiliary):
    """The head's backward pass is left out."""

    def backward(self, dy):
        self.saved(dy)
        return dy.copy()


class LossWeightForgotten(Auxiliary):
    """The weight stands at the head's cost, but not at its gradient."""

    def learn(self, loss, labels):
        cost, gradient = loss(self.scores, labels)
        self.receive(gradient)
        return self.weight * cost


class LossWeightTwice(Auxiliary):
    def backward(self, dy):
        self.receive(self._dscores * self.weight)
        return super().backward(dy)


# Losses ------------------------------------------------------------------------------------------


def hinge_without_two(scores, targets):
    loss, gradient = squared_hinge(scores, targets)
    return loss, gradient / 2


def hinge_over_batch_only(scores, targets):
    loss, gradient = squared_hinge(scores, targets)
    return loss, gradient * scores.shape[1]


def hinge_with_other_sign(scores, targets):
    loss, gradient = squared_hinge(scores, targets)
    return loss, -gradient


def hinge_without_margin(scores, targets):
    """A gradient where the margin is already kept."""
    loss, _ = squared_hinge(scores, targets)
    return loss, -2 * targets * (1 - targets * scores) / scores.size


def softmax_without_target(scores, labels):
    loss, gradient = softmax_cross_entropy(scores, labels)
    gradient[np.arange(len(labels)), labels] += 1 / len(labels)
    return loss, gradient


def softmax_summed(scores, labels):
    loss, gradient = softmax_cross_entropy(scores, labels)
    return loss, gradient * len(labels)


def softmax_in_place(scores, labels):
    result = softmax_cross_entropy(scores, labels)
    scores -= scores.max(axis=1, keepdims=True)
    return result


# The list ----------------------------------------------------------------------------------------


class Mistake(NamedTuple):
    """How to make one broken subject and its input; `words` stand in the report."""

    name: str
    make: Callable[[np.random.Generator], dict[str, Any]]
    words: str


def _activations(rng, shape=(4, 5)):
    """Inside and outside the bounds, and exactly on them."""
    x = rng.uniform(-2, 2, shape)
    x.flat[:2] = 1, -1
    return x


def _quantize(quantizer):
    def make(rng):
        layer = Quantize(quantizer).build((5,), rng)
        return {"subject": layer, "x": _activations(rng) * quantizer.saturation}

    return Mistake(type(quantizer).__name__, make, "input")


def _elementwise(layer, words="input"):
    def make(rng):
        return {"subject": layer.build((5,), rng), "x": _activations(rng)}

    return Mistake(type(layer).__name__, make, words)


def _dense(cls, words, shape=(4, 5), units=3, encoding=None, scale=1.0, **options):
    def make(rng):
        layer = cls(units, **options).build(shape[1:], rng, encoding)
        layer.weight.assign(np.clip(2 * layer.weight.latent, -1, 1))  # some at the clip
        return {"subject": layer, "x": scale * rng.normal(size=shape)}

    return Mistake(cls.__name__, make, words)


def _norm(cls, words, shape=(7, 3)):
    def make(rng):
        return {"subject": cls().build(shape[1:]), "x": 1 + 3 * rng.normal(size=shape)}

    return Mistake(cls.__name__, make, words)


def _dropout(cls, words="input"):
    def make(rng):
        x = rng.normal(size=(6, 5)) * rng.integers(0, 2, (6, 5))
        return {"subject": cls(0.4).build((5,), rng), "x": x}

    return Mistake(cls.__name__, make, words)


def _reshaping(cls):
    def make(rng):
        return {"subject": cls().build((3, 4, 2)), "x": rng.normal(size=(2, 3, 4, 2))}

    return Mistake(cls.__name__, make, "input")


def _columns(cls):
    def make(rng):
        return {"subject": cls().build((5,)), "x": rng.normal(size=(4, 5))}

    return Mistake(cls.__name__, make, "input")


def _conv(cls, words, shape=(3, 4, 5, 2), encoding=None, scale=1.0, **options):
    """Sides of image, kernel, stride and border differ unless the mistake needs them."""
    chosen = {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0)} | options

    def make(rng):
        layer = cls(3, **chosen).build(shape[1:], rng, encoding)
        return {"subject": layer, "x": scale * rng.normal(size=shape)}

    return Mistake(cls.__name__, make, words)


def _pool(cls, size=3, stride=2, padding=0, encoding=None, tied=False):
    def make(rng):
        layer = cls(size, stride, padding).build((5, 6, 2), rng, encoding)
        shape = 2, 5, 6, 2
        x = rng.choice([-1.0, 1.0], shape) if tied else rng.normal(size=shape)
        return {"subject": layer, "x": x}

    return Mistake(cls.__name__, make, "input")


def _branches(cls):
    """Three paths of as many channels, so that every order of them fits."""

    def make(rng):
        paths = [Conv2D(2, 1)], [Conv2D(2, (3, 1), padding=(1, 0)), BatchNorm()], []
        return {"subject": cls(*paths).build((3, 4, 2), rng), "x": rng.normal(size=(3, 3, 4, 2))}

    return Mistake(cls.__name__, make, "input")


def _auxiliary(cls, words, weight=0.3):
    """In a network, with a loss for both classifiers."""

    def make(rng):
        layers = [Dense(6), BatchNorm(), cls([Dense(3, bias=True)], weight), Dense(3, bias=True)]
        return {
            "subject": Sequential(layers, (5,), rng),
            "x": rng.normal(size=(4, 5)),
            "labels": rng.integers(0, 3, 4),
            "loss": squared_hinge,
        }

    return Mistake(cls.__name__, make, words)


def _loss(function, words="scores", signed=False):
    def make(rng):
        labels = rng.choice([-1, 1], (5, 3)) if signed else rng.integers(0, 3, 5)
        scores = 2 * rng.normal(size=(5, 3))
        if signed:
            scores[0] = 2 * labels[0]  # beyond the margin
        return {"subject": function, "x": scores, "labels": labels}

    return Mistake(function.__name__, make, words)


def _in_a_network(layer, words):
    """The mistake in the second of two blocks: everything below it is wrong too."""

    def make(rng):
        layers = [Pixels(), Dense(6), BatchNorm(), Quantize(), Dense(5), layer, Dense(3)]
        network = Sequential(layers, (4,), rng)
        images = rng.integers(0, 256, (9, 4), dtype=np.uint8)
        return {
            "subject": network,
            "x": images,
            "labels": rng.integers(0, 3, 9),
            "loss": squared_hinge,
        }

    return Mistake(f"network with {type(layer).__name__}", make, words)


PIXEL_CODES = Pixels().output_encoding(None)
SIGNS = Encoding(1.0, -1, 1, 2)

MISTAKES = [
    _quantize(MissingMask()),
    _quantize(StrictMask()),
    _quantize(InvertedMask()),
    _quantize(OneSidedMask()),
    _quantize(MaskOfTheGradient()),
    _quantize(ForgottenSaturation(1.5)),
    _quantize(DoubledSlope()),
    _quantize(DroppedHalf()),
    _elementwise(ForgottenCodeScale(TwoBits())),
    _elementwise(StrictHardTanh()),
    _elementwise(UnmaskedHardTanh()),
    _elementwise(HardTanhInPlace(), "upstream gradient (changed in place)"),
    _elementwise(DeadLayer()),
    _elementwise(Forgetful(), "backward left no gradient"),
    _elementwise(UndeclaredJump()),
    _dense(SwappedAxis, "input", units=5),
    _dense(TransposedWeightGradient, "tensor is float64 (5, 3), gradient float64 (3, 5)"),
    _dense(TransposedWeightGradient, "weight", units=5),
    _dense(LatentInputGradient, "input"),
    _dense(MaskedWeightGradient, "weight"),
    _dense(NegatedWeightGradient, "weight"),
    _dense(OneExampleWeightGradient, "weight"),
    _dense(MeanWeightGradient, "weight"),
    _dense(AddedWeightGradient, "weight"),
    _dense(OneExampleBiasGradient, "bias", bias=True),
    _dense(NoBiasGradient, "backward left no gradient", bias=True),
    _dense(StaleCodes, "weight"),
    _dense(FirstCache, "weight"),
    _dense(LateCache, "weight"),
    _dense(ForgottenPixelScale, "weight", encoding=PIXEL_CODES, scale=100),
    _dense(PixelScaleInOneGradient, "input", encoding=PIXEL_CODES, scale=100),
    _dense(SinglePrecision, "gradient float32"),
    _dense(WrongElement, "weight"),
    _norm(ForgottenGain, "input"),
    _norm(ForgottenDeviation, "input"),
    _norm(MissingMeanTerm, "input"),
    _norm(MissingVarianceTerm, "input"),
    _norm(UnbiasedBackward, "input"),
    _norm(BatchAxisOnly, "shift", (4, 3, 2, 3)),
    _norm(GainGradientWithoutNormalized, "gain"),
    _norm(MeanShiftGradient, "shift"),
    _norm(RunningStatistics, "input"),
    _norm(CentresInPlace, "input (changed in place)"),
    _dropout(MaskFromOutput),
    _dropout(UnscaledDropout),
    _dropout(FreshMask),
    _dropout(DropoutInPlace, "upstream gradient (changed in place)"),
    _reshaping(OtherOrder),
    _reshaping(ShapeOnly),
    _columns(AssignedPath),
    _columns(ForgottenStride),
    _conv(StrideForgotten, "input"),
    _conv(AssignedWindows, "input"),
    _conv(AssignedWindows, "input", kernel=3, stride=2, padding=0),
    _conv(KernelSidesSwapped, "input"),
    _conv(FlippedKernel, "input"),
    _conv(BorderOffByOne, "input"),
    _conv(BorderSidesSwapped, "input"),
    _conv(BorderKept, "tensor is float64 (3, 4, 5, 2), gradient float64 (3, 6, 5, 2)"),
    _conv(SizeFromTheOutput, "gradient float64 (3, 3, 5, 2)", kernel=3, stride=2, padding=0),
    _conv(LastPartOnly, "weight"),
    _conv(TapsTransposed, "weight", kernel=3),
    _conv(BorderLeftOut, "weight", one_padding=True),
    _conv(ConvBiasOfOnePlace, "bias", bias=True),
    _conv(ScaleMissingInWeightGradient, "weight", encoding=PIXEL_CODES, scale=100),
    _conv(ScaleMissingInInputGradient, "input", encoding=PIXEL_CODES, scale=100),
    _conv(WeightScaleForgotten, "input", weight_quantizer=TwoBits()),
    _pool(AssignedWinner),
    _pool(WinnerInColumns, (2, 3), (1, 2)),
    _pool(EveryWinner, tied=True),
    _pool(LastWinner, 2, 2, tied=True),
    _pool(MaxOfTheBorder, padding=1),
    _pool(AssignedShare),
    _pool(AreaForgotten),
    _pool(AreaOfSums, encoding=SIGNS),
    _pool(AreaInsideOnly, padding=1),
    _branches(LastPathWins),
    _branches(MeanOfPaths),
    _branches(OtherOrderOfPaths),
    _branches(InterleavedPaths),
    _branches(EmptyPathForgotten),
    _auxiliary(HeadForgotten, "0.Dense.weight"),
    _auxiliary(HeadOnly, "0.Dense.weight"),
    _auxiliary(HeadDoesNotLearn, "backward left no gradient"),
    _auxiliary(LossWeightForgotten, "2.0.Dense.weight"),
    _auxiliary(LossWeightTwice, "2.0.Dense.weight"),
    _loss(hinge_without_two),
    _loss(hinge_over_batch_only),
    _loss(hinge_with_other_sign),
    _loss(hinge_without_margin, signed=True),
    _loss(softmax_without_target),
    _loss(softmax_summed),
    _loss(softmax_in_place, "scores (changed in place)"),
    _in_a_network(ForgottenGain(), "1.Dense.weight"),
    _in_a_network(MissingMeanTerm(), "1.Dense.weight"),
    _in_a_network(UnmaskedHardTanh(), "1.Dense.weight"),
    _in_a_network(Quantize(MissingMask()), "1.Dense.weight"),
    _in_a_network(DropoutInPlace(0.3), "5.DropoutInPlace.upstream gradient"),
]
