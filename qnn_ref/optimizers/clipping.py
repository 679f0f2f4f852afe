"""Gradients that are too long are shortened (recurrent networks need it)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import instance, real
from qnn_ref.optimizers.base import checked_gradient
from qnn_ref.parameter import Parameter


def gradient_norm(parameters: Mapping[str, Parameter]) -> float:
    r"""Length of all gradients together: :math:`\sqrt{\sum g^2}`, summed in float64.

    Parameters
    ----------
    parameters : dict of Parameter
        With the gradients, of any shapes, that backward left.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If a gradient is none, or not finite, with the name of its parameter.
    RuntimeError
        If there is none yet.

    References
    ----------
    Not in the paper; see `clip_by_norm`.
    """
    instance("parameters", parameters, Mapping)  # type: ignore[type-abstract]
    norm = math.hypot(*(_length(name, p) for name, p in parameters.items()))
    return real("parameters: length of their gradients", norm)


def _length(name: str, parameter: Parameter) -> float:
    """Length of one gradient, in units of its largest number: a square may leave float64."""
    gradient = checked_gradient(name, instance(name, parameter, Parameter)).ravel()
    largest = float(np.abs(gradient).max(initial=0))
    if largest == 0:
        return 0.0
    wide = gradient.astype(np.float64)
    wide /= largest
    return largest * math.sqrt(float(np.dot(wide, wide)))


def clip_by_norm(parameters: Mapping[str, Parameter], limit: float) -> float:
    r"""Shorten all gradients by one factor, to a length of `limit`, if they are longer.

    :math:`g \leftarrow g \cdot \mathrm{limit} / \|g\|` where the length of all together exceeds
    the limit; otherwise they stay as they are, to the bit. One factor keeps the direction.

    Parameters
    ----------
    parameters : dict of Parameter
        With the gradients that backward left; those are replaced.
    limit : float
        Above 0.

    Returns
    -------
    float
        The length before.

    Raises
    ------
    TypeError, ValueError
        If the limit is none, or a gradient is none or not finite: nothing is changed then.
    RuntimeError
        If there is no gradient yet.

    References
    ----------
    Not in the paper, which does not say how its recurrent networks were trained; the common remedy
    against gradients that grow from step to step.
    """
    limit = real("limit", limit, above=0)
    norm = gradient_norm(parameters)
    if norm > limit:
        for parameter in parameters.values():
            parameter.grad = _times(parameter.grad, limit / norm)
    return norm


def _times(gradient: Array | None, factor: float) -> Array:
    """A gradient, any shape, times a factor below 1 that its own type may not hold."""
    assert gradient is not None
    return np.asarray(gradient.astype(np.float64) * factor, gradient.dtype)
