"""Shift-based AdaMax (Algorithm 4): its step is a power of two, its direction a shift."""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits.in_passing import BLOCK, leave_all_signs, leave_signs, room_for_signs
from qnn_ref.bits.operands import read_only
from qnn_ref.checks import Setting, choice, flag
from qnn_ref.compiled import parallel_kernel, prange, serial_kernel
from qnn_ref.optimizers.base import Optimizer, check_update
from qnn_ref.parameter import Parameter
from qnn_ref.shifts import ap2, ap2_reference, ap2_words


def shift_adamax_update_reference(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    constants: Array,
    bound: float,
    torch: bool,
    signs: Words | None = None,
) -> bool:
    """Algorithm 4 in NumPy: the twin of `shift_adamax_update`.

    Parameters, Returns: as `shift_adamax_update`.
    """
    check_update("wgmv", (w, g, m, v), constants, 6, bound)
    room_for_signs(signs, w, g, m, v, constants)
    beta1, rest1, beta2, step, epsilon, _ = constants
    m[:] = beta1 * m + rest1 * g
    v[:] = np.maximum(beta2 * v, np.abs(g))
    norm = ap2_reference(v)
    if torch:
        v[:] = norm + epsilon
        norm = v
    direction = np.divide(m, norm, out=np.zeros_like(m), where=norm > 0)
    w -= step * direction
    np.clip(w, -bound, bound, out=w)
    return leave_all_signs(w, signs)


def _make_kernel(real: Any, word: Any) -> Any:
    """Compile the step for one float type; AP2 is one addition and one mask on the bit pattern.

    Subnormal norms are scaled up by 2^64 first and back after it, both exactly.
    """
    carry, infinity, largest = ap2_words(real, word)
    up, down, zero = real(2.0**64), real(2.0**-64), real(0)

    @serial_kernel
    def rounded(norm, smallest):
        small = norm < smallest
        bits = real(norm * up if small else norm).view(word)
        power = word((bits + carry) & infinity)
        capped = min(power, largest) if bits < infinity else power
        scaled = word(capped).view(real)
        return scaled * down if small else scaled

    @parallel_kernel
    def kernel(w, g, m, v, constants, bound, torch, signs):
        beta1, rest1, beta2, step, epsilon, smallest = constants
        nans = np.uint64(0)
        for block in prange((w.size + BLOCK - 1) // BLOCK):
            first = BLOCK * np.int64(block)
            for k in range(min(BLOCK, w.size - first)):
                i = np.uint64(first + k)  # unsigned: the compiler need not think of places before 0
                m[i] = beta1 * m[i] + rest1 * g[i]
                v[i] = max(beta2 * v[i], abs(g[i]))
                norm = rounded(v[i], smallest)
                if torch:
                    norm += epsilon
                    v[i] = norm
                direction = m[i] / norm if norm > zero else zero
                new = w[i] - step * direction
                if new > bound:
                    new = bound
                if new < -bound:
                    new = -bound
                w[i] = new
            if signs is not None:
                nans += leave_signs(w, first, signs)
        return nans == 0

    return kernel


_KERNELS = {
    np.dtype(np.float32): _make_kernel(np.float32, np.uint32),
    np.dtype(np.float64): _make_kernel(np.float64, np.uint64),
}


def shift_adamax_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    constants: Array,
    bound: float,
    torch: bool,
    signs: Words | None = None,
) -> bool:
    r"""One step of Algorithm 4 with scale and clip, in place: one pass over memory.

    1. :math:`m \leftarrow \beta_1 m + (1-\beta_1) g`
    2. :math:`v \leftarrow \max(\beta_2 v, |g|)`
    3. :math:`w \leftarrow \mathrm{clip}\big(w - \mathrm{step}\cdot(m \ll\gg v^{-1})\big)`, where
       :math:`m \ll\gg v^{-1} = m\,\mathrm{AP2}(v^{-1}) = m / \mathrm{AP2}(v)`, and 0 where v = 0
       (the last equality holds for all float32 mantissas but one, where 1/v rounds across the
       threshold; the form taken here cannot overflow)

    The Torch variant overwrites the state in line 2, :math:`v \leftarrow \mathrm{AP2}(v) +
    \epsilon`, and divides by it.

    Parameters
    ----------
    w, g, m, v : array (n,)
        Latent value, gradient, mean and infinity norm; all but `g` are changed.
    constants : array (6,)
        beta1, 1 - beta1, beta2, step, epsilon, smallest normal number, in the dtype of `w`.
    bound : float
        Clip to +-bound.
    torch : bool
        Whether the stored norm is rounded.
    signs : array (n / 64,) of uint64, optional
        Receives the signs of the new `w`, if n is a multiple of 64: see `bits/in_passing.py`.

    Returns
    -------
    bool
        False if `signs` are none, since a number of the new `w` is NaN.

    Raises
    ------
    TypeError, ValueError
        As `check_update`.

    References
    ----------
    Algorithm 4.
    """
    check_update("wgmv", (w, g, m, v), constants, 6, bound)
    room = room_for_signs(signs, w, g, m, v, constants)
    numbers = read_only(constants), w.dtype.type(bound)
    return bool(_KERNELS[w.dtype](w, read_only(g), m, v, *numbers, bool(torch), room))


class ShiftAdaMax(Optimizer):
    r"""Shift-based AdaMax: step :math:`\mathrm{AP2}(\eta / (1-\beta_1^t))`, direction
    :math:`m \ll\gg v^{-1}`.

    With the paper's constants :math:`\eta = 2^{-10}`, :math:`1-\beta_1 = 2^{-3}`,
    :math:`1-\beta_2 = 2^{-10}` both averages need shifts and additions only
    (:math:`\beta_1 m = m - 2^{-3} m`), and the steps are :math:`2^{-7}` at t = 1, :math:`2^{-8}`
    at 2 and 3, :math:`2^{-9}` from 4 to 9, then :math:`2^{-10}`. The paper prints the bias
    correction as a shift by :math:`1 - \beta_1^t`; it has to divide. State and weights are not
    rounded.

    Parameters
    ----------
    learning_rate : float
        The rate eta.
    beta1, beta2 : float
        Decay of the mean and of the infinity norm, from 0 to below 1.
    variant : str
        "paper", or "torch": the stored norm is overwritten by its AP2 plus epsilon in each step.
        AP2(0.999 * 2^k) is 2^k again, so that norm never decays: a running maximum for ever.
    epsilon : float
        Added to the norm by the Torch variant.
    round_scale : bool
        Whether the learning-rate scale of a parameter is rounded by AP2 too, so that its product
        with the step is a shift as well.

    References
    ----------
    Algorithm 4; the variant and the rounded scale from the authors' Torch code (CIFAR-10, SVHN).
    """

    elementwise = leaves_signs = True
    moments = ("first", "norm")
    norms = frozenset({"norm"})
    beta1, beta2 = Setting(least=0, below=1), Setting(least=0, below=1)
    epsilon = Setting(least=0)

    def __init__(
        self,
        learning_rate: float = 2.0**-10,
        beta1: float = 1 - 2.0**-3,
        beta2: float = 1 - 2.0**-10,
        variant: str = "paper",
        epsilon: float = 2.0**-27,
        round_scale: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.variant = choice("variant", variant, ("paper", "torch"))
        self.round_scale = flag("round_scale", round_scale)

    def step_size(self, steps: int) -> float:
        r""":math:`\mathrm{AP2}(\eta / (1-\beta_1^t))` at step t = `steps`, counted from 1."""
        return float(ap2(np.array(self.learning_rate / (1 - self.beta1**steps))))

    def constants(self, parameter: Parameter, t: int) -> list[float]:
        scale = parameter.learning_rate_scale
        if self.round_scale:
            scale = float(ap2(np.array(scale)))
        smallest = float(np.finfo(parameter.dtype).tiny)
        step = self.step_size(t) * scale
        return [self.beta1, 1 - self.beta1, self.beta2, step, self.epsilon, smallest]

    def update(
        self,
        latent: Array,
        grad: Array,
        constants: Array,
        bound: float,
        signs: Words | None = None,
        **moments: Array,
    ) -> bool:
        torch = self.variant == "torch"
        both = moments["first"], moments["norm"]
        return shift_adamax_update(latent, grad, *both, constants, bound, torch, signs)
