"""Gradients of one training step of Algorithm 1 by PyTorch's autograd: a second opinion.

Nothing of the backward pass is written here except the rule of Sign, Eq. (4); batch normalisation
and its gradient are PyTorch's own. PyTorch is imported when a function is called, so that this
module can be imported without it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def straight_through_sign(x: Any, saturation: float) -> Any:
    """Sign of a tensor; its gradient passes where |x| <= saturation, the bound included."""
    import torch

    class StraightThroughSign(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (x,) = ctx.saved_tensors
            return dy * (x.abs() <= saturation).to(dy.dtype)

    return StraightThroughSign.apply(x)


def gradients(
    weights: Sequence[npt.ArrayLike],
    gains: Sequence[npt.ArrayLike],
    shifts: Sequence[npt.ArrayLike],
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    epsilon: float = 1e-4,
    binary_weights: bool = True,
    activation: str = "sign",
    saturation: float = 1.0,
    dropout_masks: Sequence[npt.ArrayLike] | None = None,
    dropout_rates: Sequence[float] | None = None,
    pixels: bool = True,
) -> dict[str, Any]:
    """The same step as `algorithm1.gradients`, with the same arguments.

    Returns
    -------
    dict
        NumPy arrays "loss", "scores", "weight_gradients", "gain_gradients", "shift_gradients",
        "input_gradient" under the same names as there.
    """
    import torch

    def leaf(array: npt.ArrayLike) -> Any:
        return torch.tensor(np.array(array, dtype=np.float64), requires_grad=True)

    W, g, b = ([leaf(array) for array in arrays] for arrays in (weights, gains, shifts))
    first = np.asarray(images).astype(np.float64)
    x = leaf(first / 127.5 - 1.0 if pixels else first)

    def dropped(h: Any, k: int) -> Any:
        if dropout_masks is None or dropout_rates is None:
            return h
        mask = torch.tensor(np.array(dropout_masks[k], dtype=np.float64))
        return h * mask / (1.0 - dropout_rates[k])

    h = dropped(x, 0)
    for k in range(len(W)):
        # No mask for weights: projection onto [-1, 1] stands for it, line 11.
        binary = straight_through_sign(W[k], float("inf")) if binary_weights else W[k]
        h = torch.nn.functional.batch_norm(
            h @ binary, None, None, weight=g[k], bias=b[k], training=True, eps=epsilon
        )
        if k == len(W) - 1:
            break
        if activation == "sign":
            h = straight_through_sign(h, saturation)
        elif activation == "hard_tanh":
            h = torch.clamp(h, -1.0, 1.0)  # hardtanh would drop the gradient at the bound itself
        elif activation == "tanh":
            h = torch.tanh(h)
        else:
            raise ValueError(f"activation: expected sign, hard_tanh or tanh, got {activation!r}")
        h = dropped(h, k + 1)

    classes = torch.as_tensor(np.asarray(labels).astype(np.int64))
    targets = 2.0 * torch.nn.functional.one_hot(classes, h.shape[1]).to(h.dtype) - 1.0
    loss = torch.clamp(1.0 - targets * h, min=0.0).square().mean()
    loss.backward()
    return {
        "loss": loss.item(),
        "scores": h.detach().numpy(),
        "weight_gradients": [tensor.grad.numpy() for tensor in W],
        "gain_gradients": [tensor.grad.numpy() for tensor in g],
        "shift_gradients": [tensor.grad.numpy() for tensor in b],
        "input_gradient": x.grad.numpy(),
    }
