"""Learning rate by epoch (Algorithm 1, line 12)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qnn_ref.checks import real, whole


@dataclass(frozen=True)
class ExponentialDecay:
    r"""Rate :math:`\eta_e = \eta_0\,(\eta_{fin} / \eta_0)^{e / E}` in epoch e of E, from 0.

    Parameters
    ----------
    initial : float
        Rate eta_0 of the first epoch.
    final : float
        Rate that would follow the last epoch.
    epochs : int
        Number E of epochs.

    References
    ----------
    Algorithm 1, line 12; once an epoch, as the authors' code does it, not once a step.
    """

    initial: float
    final: float
    epochs: int

    def __post_init__(self) -> None:
        real("initial", self.initial, above=0)
        real("final", self.final, above=0)
        whole("epochs", self.epochs, 1)

    def __call__(self, epoch: int) -> float:
        """Rate of this epoch, counted from 0."""
        return float(self.initial * (self.final / self.initial) ** (epoch / self.epochs))


@dataclass(frozen=True)
class Halving:
    r"""Rate :math:`\eta_e = \eta_0\,2^{-\lfloor e / n \rfloor}` in epoch e, from 0: a shift.

    Parameters
    ----------
    initial : float
        Rate eta_0 of the first epoch.
    every : int
        Number n of epochs between two halvings.

    References
    ----------
    Section 4.2, the Torch recipes (the paper halves every 10 epochs on MNIST, the code every 20).
    """

    initial: float
    every: int

    def __post_init__(self) -> None:
        real("initial", self.initial, above=0)
        whole("every", self.every, 1)

    def __call__(self, epoch: int) -> float:
        """Rate of this epoch, counted from 0."""
        return math.ldexp(self.initial, -(epoch // self.every))
