"""AdaMax (section 2.5): the rule that Algorithm 4 turns into shifts."""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits.in_passing import BLOCK, leave_all_signs, leave_signs, room_for_signs
from qnn_ref.bits.operands import read_only
from qnn_ref.checks import Setting
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.optimizers.base import Optimizer, check_update, scaled_clipped_step
from qnn_ref.parameter import Parameter


def adamax_update_reference(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    constants: Array,
    bound: float,
    signs: Words | None = None,
) -> bool:
    """AdaMax in NumPy: the twin of `adamax_update`.

    Parameters, Returns: as `adamax_update`.
    """
    check_update("wgmu", (w, g, m, u), constants, 5, bound)
    room_for_signs(signs, w, g, m, u, constants)
    beta1, rest1, beta2, rate, scale = constants
    m *= beta1
    m += rest1 * g
    np.maximum(beta2 * u, np.abs(g), out=u)
    direction = np.divide(m, u, out=u.copy(), where=u > 0)  # 0 where u is 0; NaN stays
    scaled_clipped_step(w, rate * direction, scale, bound)
    return leave_all_signs(w, signs)


@parallel_kernel
def _adamax_update(w, g, m, u, constants, bound, signs):
    beta1, rest1, beta2, rate, scale = constants
    nans = np.uint64(0)
    for block in prange((w.size + BLOCK - 1) // BLOCK):
        first = BLOCK * np.int64(block)
        for k in range(min(BLOCK, w.size - first)):
            i = np.uint64(first + k)  # unsigned: the compiler need not think of places before 0
            m[i] = beta1 * m[i] + rest1 * g[i]
            norm, size = beta2 * u[i], abs(g[i])
            u[i] = size if norm < size or size != size else norm  # NaN stays, as in np.maximum
            direction = m[i] / u[i] if u[i] > 0 else u[i]
            new = w[i] - scale * (rate * direction)
            if new > bound:
                new = bound
            if new < -bound:
                new = -bound
            w[i] = new
        if signs is not None:
            nans += leave_signs(w, first, signs)
    return nans == 0


def adamax_update(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    constants: Array,
    bound: float,
    signs: Words | None = None,
) -> bool:
    r"""One AdaMax step with scale and clip, in place: one pass over memory.

    1. :math:`m \leftarrow \beta_1 m + (1-\beta_1) g`
    2. :math:`u \leftarrow \max(\beta_2 u, |g|)`
    3. :math:`w \leftarrow \mathrm{clip}\big(w - \gamma\,\mathrm{rate}\cdot m / u\big)`, and no step
       where u = 0

    Parameters
    ----------
    w, g, m, u : array (n,)
        Latent value, gradient, mean and infinity norm; all but `g` are changed.
    constants : array (5,)
        beta1, 1 - beta1, beta2, rate, gamma in the dtype of `w`.
    bound : float
        Clip to +-bound.
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
    Section 2.5; Kingma and Ba, Algorithm 2; Algorithm 1, line 11.
    """
    check_update("wgmu", (w, g, m, u), constants, 5, bound)
    room = room_for_signs(signs, w, g, m, u, constants)
    numbers = read_only(constants), w.dtype.type(bound)
    return bool(_adamax_update(w, read_only(g), m, u, *numbers, room))


class AdaMax(Optimizer):
    r"""AdaMax: :math:`m \leftarrow \beta_1 m + (1-\beta_1)\delta`,
    :math:`u \leftarrow \max(\beta_2 u, |\delta|)`, step :math:`\frac{\eta}{1-\beta_1^t} \frac mu`.

    Where u is still 0 no gradient has come yet, m is 0 too, and the step is 0.

    Parameters
    ----------
    learning_rate : float
        The rate eta.
    beta1, beta2 : float
        Decay of the mean and of the infinity norm, from 0 to below 1.

    References
    ----------
    Section 2.5; Kingma and Ba, Algorithm 2.
    """

    elementwise = leaves_signs = True
    moments = ("first", "norm")
    norms = frozenset({"norm"})
    beta1, beta2 = Setting(least=0, below=1), Setting(least=0, below=1)

    def __init__(
        self, learning_rate: float = 0.002, beta1: float = 0.9, beta2: float = 0.999
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2 = beta1, beta2

    def constants(self, parameter: Parameter, t: int) -> list[float]:
        rate = self.learning_rate / (1 - self.beta1**t)
        return [self.beta1, 1 - self.beta1, self.beta2, rate, parameter.learning_rate_scale]

    def update(
        self,
        latent: Array,
        grad: Array,
        constants: Array,
        bound: float,
        signs: Words | None = None,
        **moments: Array,
    ) -> bool:
        both = moments["first"], moments["norm"]
        return adamax_update(latent, grad, *both, constants, bound, signs)
