"""PyTorch functions as pairs of plain NumPy functions; PyTorch itself is optional."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref._typing import Array


def torch_function(function: Any) -> TorchFunction:
    """Make a function of tensors one of arrays, with its backward, for `check_gradients`.

    Parameters
    ----------
    function : class derived from torch.autograd.Function, or any function of tensors
        Of a class, `apply` is called. Tensors are float64 on the CPU.

    Returns
    -------
    TorchFunction
        Called with arrays it gives an array; its `backward(dy, *arrays)` gives their gradients.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError
        If it is no function.

    Examples
    --------
    A sign with the straight-through gradient of eq. (4), in a class `StraightThrough`::

        check_gradients(torch_function(StraightThrough), x, surrogate=hard_tanh, rng=rng)
    """
    apply = getattr(function, "apply", None) if isinstance(function, type) else function
    if not callable(apply):
        raise TypeError(
            "function: expected a class derived from torch.autograd.Function, or a function of "
            f"tensors, got {function!r}"
        )
    name = getattr(function, "__name__", type(function).__name__)
    return TorchFunction(apply, name, _torch(), _signature(function))


def _signature(function: Any) -> inspect.Signature | None:
    """Names of the arrays, for reports: those of `forward` without `ctx`."""
    is_class = isinstance(function, type)
    try:
        found = inspect.signature(function.forward if is_class else function)
    except (TypeError, ValueError, AttributeError):  # built in
        return None
    names = list(found.parameters.values())
    return found.replace(parameters=names[1:] if is_class else names)


class TorchFunction:
    """A function of arrays that calls one of tensors; `torch_function` makes it.

    Parameters
    ----------
    apply : function
        Of tensors, gives one tensor.
    name : str
    torch : module
    signature : Signature or None
        Its parameters have the names of the arrays.
    """

    def __init__(
        self,
        apply: Callable[..., Any],
        name: str,
        torch: Any,
        signature: inspect.Signature | None = None,
    ) -> None:
        self.apply, self.name, self.torch = apply, name, torch
        if signature is not None:
            self.__signature__ = signature

    def __deepcopy__(self, memo: Any) -> TorchFunction:
        return self  # it holds no state, and modules cannot be copied

    def __call__(self, *arrays: Array) -> Array:
        """Value at these arrays."""
        with self.torch.no_grad():
            return self._array(self.apply(*map(self.torch.from_numpy, arrays)))

    def backward(self, dy: Array, *arrays: Array) -> tuple[Array | None, ...]:
        """Gradients of the arrays by PyTorch's backward pass; None where it gives none."""
        tensors = [self.torch.from_numpy(array.copy()) for array in arrays]
        real = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
        y = self.apply(*tensors)
        if not y.requires_grad:  # detached, or piecewise constant as PyTorch sees it
            return tuple(None for _ in arrays)
        found = self.torch.autograd.grad(
            y, real, self.torch.from_numpy(np.array(dy)).to(y.dtype), allow_unused=True
        )
        gradients = iter(None if g is None else self._array(g) for g in found)
        return tuple(next(gradients) if t.is_floating_point() else None for t in tensors)

    def _array(self, tensor: Any) -> Array:
        if not isinstance(tensor, self.torch.Tensor):
            raise TypeError(
                f"{self.name}: expected one tensor, got {type(tensor).__name__}; "
                "wrap it in a function that returns one"
            )
        return np.array(tensor.detach().numpy())


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            'torch_function needs PyTorch: pip install torch (or "qnn-ref[bench]", which has it)'
        ) from error
    return torch
