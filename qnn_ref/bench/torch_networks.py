"""Our networks in PyTorch, float32, with the straight-through estimator as an autograd function.

The peer is given every help that costs no exactness: images as floats beforehand, targets as +-1,
the fused Adam, weights in inference as signs beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.measure import Call
from qnn_ref.bench.peers import library
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Pixels, Quantize
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential

Step = Callable[[Any], Any]

BETAS = (0.9, 0.999)


def make_sign(torch: Any) -> tuple[Step, Step]:
    """Sign with the identity as its slope, for weights, and with that of the hard tanh."""

    class Sign(torch.autograd.Function):  # type: ignore[misc, name-defined]
        """Sign with a straight-through gradient everywhere."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return torch.where(x >= 0, 1.0, -1.0)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy

    class MaskedSign(torch.autograd.Function):  # type: ignore[misc, name-defined]
        """Sign whose gradient passes where abs(x) <= 1."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.where(x >= 0, 1.0, -1.0)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy * (ctx.saved_tensors[0].abs() <= 1)

    return Sign.apply, MaskedSign.apply


class TorchNetwork:
    """A network of ours with the same numbers, as PyTorch tensors.

    Parameters
    ----------
    network : Sequential
        Of Pixels, Dense, Conv2D, MaxPool2D, BatchNorm, Quantize and Flatten, all weights binary.
    training : bool
        Whether weights are latent and learn, and batch norm uses the batch.
    """

    def __init__(self, network: Sequential, training: bool) -> None:
        self.torch = library("torch")
        self.training = training
        self.weight_sign, self.activation_sign = make_sign(self.torch)
        self.weights: list[Any] = []
        self.rates: list[float] = []
        self.others: list[Any] = []
        self.image: tuple[int, ...] = ()  # height, width, channels before a Flatten
        self.scale = 1.0
        self.steps = [self.step_of(layer) for layer in network.layers if not skipped(layer)]

    def scores(self, x: Any) -> Any:
        """Scores (batch, classes) of what `images` gave."""
        for step in self.steps:
            x = step(x)
        return x

    def images(self, pixels: Array) -> Any:
        """Pixels (batch, height, width, channels) as floats from -1 to 1, channels in front."""
        x = (2 * pixels.transpose(0, 3, 1, 2).astype(np.float32) - 255) * np.float32(self.scale)
        return self.torch.from_numpy(np.ascontiguousarray(x))

    def step_of(self, layer: Layer) -> Step:
        """One layer as a function of a tensor."""
        functional = self.torch.nn.functional
        if isinstance(layer, Pixels):
            self.scale, self.image = layer.scale, layer.input_shape
            return lambda x: x
        if isinstance(layer, Conv2D):
            w = self.weight(layer, layer.weight.latent.transpose(3, 2, 0, 1))
            padding = layer.padding
            return lambda x: functional.conv2d(x, self.binary(w), padding=padding)
        if isinstance(layer, Dense):
            w = self.weight(layer, self.reordered(layer.weight.latent))
            return lambda x: x @ self.binary(w)
        if isinstance(layer, BatchNorm):
            return self.batch_norm(layer)
        if isinstance(layer, MaxPool2D):
            size = layer.size
            return lambda x: functional.max_pool2d(x, size)
        if isinstance(layer, Flatten):
            self.image = layer.input_shape
            return lambda x: x.flatten(1)
        if isinstance(layer, Quantize):
            return self.activation_sign
        raise TypeError(f"layer: {type(layer).__name__} has no form here")

    def weight(self, layer: Dense | Conv2D, latent: Array) -> Any:
        """Keep a weight with its learning-rate scale; in inference its signs."""
        w = self.torch.from_numpy(np.array(latent, order="C"))
        if not self.training:
            return self.weight_sign(w)
        self.weights.append(w.requires_grad_())
        self.rates.append(layer.weight.learning_rate_scale)
        return w

    def binary(self, w: Any) -> Any:
        """The weight that a product sees."""
        return self.weight_sign(w) if self.training else w

    def reordered(self, latent: Array) -> Array:
        """Rows of the first dense weight after images in the order of channels in front."""
        if not self.image:
            return latent
        (height, width, channels), self.image = self.image, ()
        rows = latent.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
        return rows.reshape(latent.shape)

    def batch_norm(self, layer: BatchNorm) -> Step:
        """Batch norm with our gains, shifts and running averages."""
        torch = self.torch
        gain, shift = (torch.from_numpy(p.latent.copy()) for p in layer.parameters().values())
        mean = torch.from_numpy(layer.running_mean.copy())
        variance = layer.inverse_deviation.astype(np.float64) ** -2 - layer.epsilon
        variance = torch.from_numpy(variance.astype(np.float32))
        if self.training:
            self.others += [gain.requires_grad_(), shift.requires_grad_()]
        training, momentum, epsilon = self.training, layer.momentum, layer.epsilon
        return lambda x: torch.nn.functional.batch_norm(
            x, mean, variance, gain, shift, training, momentum, epsilon
        )


def skipped(layer: Layer) -> bool:
    """Whether a layer does nothing here: a Flatten of what is flat."""
    return isinstance(layer, Flatten) and len(layer.input_shape) == 1


class TorchTraining:
    """Training steps of a network on one batch: square hinge, fused Adam, clip.

    Parameters
    ----------
    network : Sequential
    pixels : array of uint8 (batch, height, width, channels)
    labels : array of int (batch,)
    learning_rate : float
    compiled : bool
        Whether forward and backward are compiled by PyTorch.
    """

    def __init__(
        self,
        network: Sequential,
        pixels: Array,
        labels: Array,
        learning_rate: float,
        compiled: bool = False,
    ) -> None:
        self.network = TorchNetwork(network, training=True)
        self.torch = torch = self.network.torch
        self.images = self.network.images(pixels)
        targets = 2 * np.eye(network.output_shape[-1], dtype=np.float32)[labels] - 1
        self.targets = torch.from_numpy(targets)
        groups = [
            {"params": [w], "lr": learning_rate * rate}
            for w, rate in zip(self.network.weights, self.network.rates, strict=True)
        ]
        groups.append({"params": self.network.others, "lr": learning_rate})
        self.optimizer = torch.optim.Adam(groups, betas=BETAS, eps=1e-8, fused=True)
        self.loss = torch.compile(self.square_hinge) if compiled else self.square_hinge

    def square_hinge(self, images: Any, targets: Any) -> Any:
        """Loss of a batch: the mean over images and classes."""
        margins = 1 - targets * self.network.scores(images)
        return self.torch.clamp(margins, min=0).square().mean()

    def step(self) -> Any:
        """One step; return the loss before it."""
        loss = self.loss(self.images, self.targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        with self.torch.no_grad():
            for w in self.network.weights:
                w.clamp_(-1, 1)
        return loss.detach()


def torch_inference(network: Sequential, pixels: Array, batch_size: int) -> Call:
    """Prepare the classification of images in batches: a call that returns scores."""
    peer = TorchNetwork(network, training=False)
    torch, images = peer.torch, peer.images(pixels)

    def call() -> Any:
        with torch.inference_mode():
            return torch.cat([peer.scores(part) for part in images.split(batch_size)])

    return call
