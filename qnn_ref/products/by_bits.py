"""The products of a layer on packed bits: XNOR and popcount forward, table lookup backward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import lt
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import (
    SignKernel,
    SignMatrix,
    conv_input_gradient,
    conv_weight_gradient,
    pack,
    pack_panels,
    pack_sign_kernel,
    signs_matmul,
    to_planes,
    unpack,
    xnor_conv,
    xnor_matmul,
)
from qnn_ref.bits.grids import GridMatrix, grids_matmul, pack_grid_matrix
from qnn_ref.bits.panels import PANEL, Panels, both_ways
from qnn_ref.bits.transpose import transposed
from qnn_ref.geometry import Geometry
from qnn_ref.grid import Grid
from qnn_ref.parameter import Parameter, Unformed
from qnn_ref.products.plain import EXACT_IN_FLOAT32, PlainProducts
from qnn_ref.quantizers import Sign


def are_signs(parameter: Parameter) -> bool:
    """Whether the codes of a parameter are the signs of its latent value, in float32.

    Parameters
    ----------
    parameter : Parameter

    Returns
    -------
    bool
        A scalar.

    References
    ----------
    Eq. (1).
    """
    return isinstance(parameter.quantizer, Sign) and parameter.dtype == np.float32


@dataclass(frozen=True)
class GridPacking:
    """How codes (fan_in, units) of a grid are packed; equal ones are one key of a cache.

    Parameters
    ----------
    grid : Grid

    References
    ----------
    Section 3, products by planes of both factors.
    """

    grid: Grid

    def __call__(self, codes: Array) -> GridMatrix:
        """The codes as bits."""
        return pack_grid_matrix(codes, self.grid)


class SignsGradient(Unformed):
    """Line 9 of Algorithm 1 with signs: a product that is looked up when its rows are wanted.

    Parameters
    ----------
    signs : Panels
        Inputs of the batch, (fan_in, batch).
    dy : array (batch, units)
        Gradient of the sums; nobody else changes it.

    References
    ----------
    Algorithm 1, line 9.
    """

    def __init__(self, signs: Panels, dy: Array) -> None:
        super().__init__((signs.N, dy.shape[1]), dy.dtype)
        self.signs, self.dy = signs, dy

    def rows(self, first: int, out: Array) -> None:
        """Look up some rows, which begin with a panel."""
        panels = self.signs.words[first // PANEL : -(-(first + len(out)) // PANEL)]
        signs_matmul(Panels(panels, len(out), self.signs.K), self.dy, out)

    def array(self) -> Array:
        """Look up all rows."""
        return signs_matmul(self.signs, self.dy)

    def surely_finite(self) -> bool:
        """Whether the sum S of squares is finite: sums of n numbers are at most sqrt(n S)."""
        flat = self.dy.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            return math.isfinite(np.dot(flat, flat))


class BitProducts(PlainProducts):
    r"""The products on packed bits: XNOR and popcount forward, table lookup backward.

    Where the weights are signs in float32, and there are enough of them, no product sees a float
    weight: they live as bits, in both directions, a sixteenth of the room of the floats.

    ================ =============================================================
    forward          signs times signs: XNOR, popcount (`xnor_matmul`), exact
    forward          codes times codes of few bits: planes of both (`grids_matmul`), exact
    forward          real numbers or pixels times signs: lookup (`signs_matmul`)
    input gradient   real numbers times signs: lookup
    weight gradient  signs times real numbers: lookup
    ================ =============================================================

    The forward product of codes equals the plain one exactly, everything else up to the rounding
    of the additions. Whatever does not fit goes the plain way: other quantizers, float64, small
    layers, sums that are not exact in float32.

    References
    ----------
    Algorithm 1, lines 2, 8, 9; section 6.
    """

    least_weights = 2**17
    """Dense layers with fewer weights are multiplied plainly: packing costs more than it saves."""

    most_pairs = 12
    """Codes and weights with more pairs of planes than this are multiplied plainly."""

    least_outputs = 64
    """Fewer outputs than this do not earn back the tables of a lookup."""

    least_unformed = 2**23
    """Bytes from which on the gradient of weights waits until an optimizer asks for its rows."""

    def weights(self, parameter: Parameter) -> Any:
        """Weights as bits where they are signs and many, else their codes."""
        if not are_signs(parameter) or parameter.size < self.least_weights:
            return super().weights(parameter)
        return parameter.cached_signs(both_ways)

    def forward(self, x: Array, w: Any, largest: float = 0.0, signs: bool = False) -> Array:
        """Line 2 by XNOR and popcount of signs, eq. (8), or by lookup of real numbers."""
        if not isinstance(w, SignMatrix):
            return super().forward(x, w, largest, signs)
        fan_in, units = w.shape
        if signs and fan_in < EXACT_IN_FLOAT32:
            return xnor_matmul(pack(x), w.columns, fan_in).astype(x.dtype)
        if units < self.least_outputs or EXACT_IN_FLOAT32 <= largest * fan_in < np.inf:
            return super().forward(x, unpack(w.columns.to_words(), fan_in, x.dtype).T, largest)
        return transposed(signs_matmul(w.columns, transposed(x)))

    def of_codes(
        self,
        x: Array,
        parameter: Parameter,
        grid: Grid | None,
        largest: float = 0.0,
        signs: bool = False,
    ) -> Array:
        """Line 2 by the planes of codes and weights, where both have few bits."""
        quantizer = parameter.quantizer
        if grid is None or quantizer is None or are_signs(parameter) or x.dtype != np.float32:
            return super().of_codes(x, parameter, grid, largest, signs)
        weights = quantizer.encoding.grid
        pairs = grid.planes * (self.most_pairs + 1 if weights is None else weights.planes)
        large = largest * len(parameter.latent) >= 2**31
        if pairs > self.most_pairs or large or parameter.size < self.least_weights:
            return super().of_codes(x, parameter, grid, largest, signs)
        assert weights is not None
        matrix = parameter.cached_codes(GridPacking(weights))
        return grids_matmul(to_planes(x, grid), matrix, grid).astype(x.dtype)

    def input_gradient(self, dy: Array, w: Any) -> Array:
        """Line 8 by lookup."""
        if not isinstance(w, SignMatrix):
            return super().input_gradient(dy, w)
        return transposed(signs_matmul(w.rows, transposed(dy)))

    def weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array:
        """Line 9 by lookup."""
        if not self._looked_up(x, dy, signs):
            return super().weight_gradient(x, dy, signs)
        return signs_matmul(pack_panels(x).columns, dy)

    def later_weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array | Unformed:
        """Line 9 by lookup, a large one some rows at a time."""
        large = x.shape[1] * dy.shape[1] * x.itemsize >= self.least_unformed
        if not large or not self._looked_up(x, dy, signs):
            return self.weight_gradient(x, dy, signs)
        return SignsGradient(pack_panels(x).columns, dy.copy())

    def _looked_up(self, x: Array, dy: Array, signs: bool) -> bool:
        """Whether line 9 is a product of signs, and large enough for its tables."""
        fan_in, units = x.shape[1], dy.shape[1]
        few = fan_in < self.least_outputs or fan_in * units < self.least_weights
        return signs and not few and x.dtype == np.float32

    def conv(
        self,
        x: Array,
        parameter: Parameter,
        geometry: Geometry,
        border: float = 0.0,
        largest: float = 0.0,
        signs: bool = False,
    ) -> Array:
        """Line 2 of a convolution by XNOR and popcount of signs."""
        kernel = self._kernel(parameter, geometry, signs)
        if kernel is None:
            return super().conv(x, parameter, geometry, border, largest, signs)
        place = x.shape[-1], geometry.stride, geometry.padding, int(border)
        return xnor_conv(pack(x), kernel.forward, *place).astype(x.dtype)

    def conv_input_gradient(
        self, dy: Array, parameter: Parameter, geometry: Geometry, signs: bool = False
    ) -> Array:
        """Line 8 of a convolution by lookup."""
        kernel = self._kernel(parameter, geometry, signs)
        if kernel is None:
            return super().conv_input_gradient(dy, parameter, geometry, signs)
        return conv_input_gradient(kernel, dy, geometry.image, geometry.padding)

    def conv_weight_gradient(
        self, x: Array, dy: Array, geometry: Geometry, border: float = 0.0, signs: bool = False
    ) -> Array:
        """Line 9 of a convolution by lookup."""
        if not self._fits(x.shape[-1], dy.shape[-1], geometry, signs and x.dtype == np.float32):
            return super().conv_weight_gradient(x, dy, geometry, border, signs)
        return conv_weight_gradient(x, dy, geometry.kernel, geometry.padding, int(border))

    def _fits(self, channels: int, units: int, geometry: Geometry, signs: bool) -> bool:
        """Whether a convolution has products on bits: of signs, many, with each window a shift."""
        shifts = geometry.stride == (1, 1) and all(map(lt, geometry.padding, geometry.kernel))
        return signs and shifts and min(channels, units) >= self.least_outputs

    def _kernel(self, parameter: Parameter, geometry: Geometry, signs: bool) -> SignKernel | None:
        """Weights of a convolution as bits, where it has products on them."""
        channels, units = parameter.shape[2:]
        fits = self._fits(channels, units, geometry, signs and are_signs(parameter))
        return parameter.cached(pack_sign_kernel) if fits else None


BITS = BitProducts()
