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
    is_class = isinstance(function, type)
    apply = getattr(function, "apply", None) if is_class else function
    if not callable(apply):
        raise TypeError(
            "function: expected a class derived from torch.autograd.Function, or a function of "
            f"tensors, got {function!r}"
        )
    name = getattr(function, "__name__", type(function).__name__)
    torch = _torch()
    answers: list[Any] = []
    if is_class and issubclass(function, torch.autograd.Function):
        apply = _noting(function, torch, answers)
    return TorchFunction(apply, name, torch, _signature(function), answers)


def _noting(function: Any, torch: Any, answers: list[Any]) -> Callable[..., Any]:
    """`function.apply`, with what its own backward returned kept in `answers`.

    PyTorch casts a gradient to the type of its tensor, without a word, and refuses one of another
    shape before anybody has seen it.
    """
    if function.backward is torch.autograd.Function.backward:  # it has `vjp`, or none
        return function.apply  # type: ignore[no-any-return]

    def backward(ctx: Any, *dys: Any) -> Any:
        found = function.backward(ctx, *dys)
        answers[:] = found if isinstance(found, tuple) else (found,)
        return found

    noting = type(function.__name__, (function,), {"backward": staticmethod(backward)})
    return noting.apply  # type: ignore[attr-defined, no-any-return]


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
    answers : list, optional
        Filled by `apply` with what the function's own backward returned last.
    """

    def __init__(
        self,
        apply: Callable[..., Any],
        name: str,
        torch: Any,
        signature: inspect.Signature | None = None,
        answers: list[Any] | None = None,
    ) -> None:
        self.apply, self.name, self.torch = apply, name, torch
        self.answers = [] if answers is None else answers
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
        tensors = [self.torch.from_numpy(_writable(array)) for array in arrays]
        real = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
        y = self.apply(*tensors)
        if not y.requires_grad:  # detached, or piecewise constant as PyTorch sees it
            return tuple(None for _ in arrays)
        self.answers.clear()
        upstream = self.torch.from_numpy(_writable(dy)).to(y.dtype)
        try:
            found = iter(self.torch.autograd.grad(y, real, upstream, allow_unused=True))
        except RuntimeError:
            if len(self.answers) != len(tensors):
                raise
            found = (g for g, t in zip(self.answers, tensors, strict=True) if t.is_floating_point())
        by_tensor = [next(found) if t.is_floating_point() else None for t in tensors]
        return tuple(
            None if g is None else self._array(g).astype(self._dtype(i, g), copy=False)
            for i, g in enumerate(by_tensor)
        )

    def _dtype(self, index: int, gradient: Any) -> Any:
        """Type in which the function's own backward computed this gradient."""
        own = self.answers[index] if index < len(self.answers) else gradient
        known = (self.torch.float64, self.torch.float32, self.torch.float16)  # to NumPy too
        return self._array(own if getattr(own, "dtype", None) in known else gradient).dtype

    def _array(self, tensor: Any) -> Array:
        if not isinstance(tensor, self.torch.Tensor):
            raise TypeError(
                f"{self.name}: expected one tensor, got {type(tensor).__name__}; "
                "wrap it in a function that returns one"
            )
        return np.array(tensor.detach().numpy())


def _writable(array: Array) -> Array:
    """The array itself, as PyTorch would lend it, so that what is changed in place shows."""
    return array if array.flags.writeable else array.copy()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            'torch_function needs PyTorch: pip install torch (or "qnn-ref[bench]", which has it)'
        ) from error
    return torch
