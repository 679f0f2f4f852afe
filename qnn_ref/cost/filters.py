"""Repeated filters: how many of a binary layer's filters are different (section 5.3).

A binary filter of one input map has kh * kw taps of +-1, so at most 2^(kh kw) forms. A form and its
negative give the same sums up to the sign.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import as_array, instance, plain_array, whole
from qnn_ref.geometry import pair
from qnn_ref.layers import Conv2D
from qnn_ref.network import Sequential

MOST_TAPS = 62
"""Of a filter whose forms have numbers: 2^62 is far inside int64."""


class UniqueFilters(NamedTuple):
    """Share of different forms among the 2D filters of a layer, from 0 to 1, counted in three ways.

    Parameters
    ----------
    per_layer : float
        Among all C * N filters.
    per_map : float
        Among the N filters of an input map, in the mean over the maps: they see the same windows.
    per_map_up_to_sign : float
        The same, with a form and its negative counted as one.

    References
    ----------
    Section 5.3; which of the three the paper counts is not certain.
    """

    per_layer: float
    per_map: float
    per_map_up_to_sign: float


def filter_forms(codes: Array) -> Array:
    r"""Number the form of each 2D filter: :math:`\sum_t 2^t\,[\mathrm{codes}_t = +1]`.

    Tap t counts in the order of reading, so form 0 is all -1, and the negative of form f is
    2^(kh kw) - 1 - f.

    Parameters
    ----------
    codes : array (kh, kw, C, N) of +-1
        Binary weights of N filters on C maps.

    Returns
    -------
    array (C, N) of int64

    Raises
    ------
    TypeError
        If it is no array of real numbers.
    ValueError
        If there are not four axes, no taps or more than 62, or other numbers than +-1.

    References
    ----------
    Section 5.3.
    """
    plain_array("codes", codes)
    if codes.dtype.kind not in "iuf":
        raise TypeError(f"codes: expected real numbers, got {codes.dtype}")
    if codes.ndim != 4 or not 1 <= codes.shape[0] * codes.shape[1] <= MOST_TAPS:
        raise ValueError(
            f"codes: expected shape (kh, kw, C, N) with 1 to {MOST_TAPS} taps, got {codes.shape}"
        )
    if not np.isin(codes, (-1, 1)).all():
        raise ValueError("codes: expected +1 and -1 only; latent weights are not binary")
    kh, kw, *layer = codes.shape
    taps = codes.reshape(kh * kw, *layer) > 0
    return np.tensordot(2 ** np.arange(kh * kw), taps, 1)


def form_filters(forms: Array, kernel: tuple[int, int]) -> Array:
    r"""Give the filters with these numbers: the inverse of `filter_forms`.

    Parameters
    ----------
    forms : array (...) of integers
        From 0 to 2^(kh kw) - 1.
    kernel : pair of int
        Height and width: 1 to 62 taps.

    Returns
    -------
    array (..., kh, kw) of int8
        +1 and -1.

    Raises
    ------
    TypeError
        If `forms` holds no integers, or `kernel` no whole numbers.
    ValueError
        If a number is that of no form, or there are more than 62 taps.

    References
    ----------
    Section 5.3.
    """
    kh, kw = pair("kernel", kernel, 1)
    if kh * kw > MOST_TAPS:
        raise ValueError(f"kernel: expected at most {MOST_TAPS} taps, got {kh} x {kw}")
    numbers = as_array("forms", forms)
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"forms: expected integers, got {numbers.dtype}")
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < 2 ** (kh * kw):
        raise ValueError(
            f"forms: expected numbers from 0 to {2 ** (kh * kw) - 1}, got {numbers.min()} to "
            f"{numbers.max()}"
        )
    taps = numbers.astype(np.int64)[..., None] >> np.arange(kh * kw) & 1
    return (2 * taps - 1).astype(np.int8).reshape(*numbers.shape, kh, kw)


def unique_filters(codes: Array) -> UniqueFilters:
    """Count the different 2D filters of a layer in three ways.

    Parameters
    ----------
    codes : array (kh, kw, C, N) of +-1
        Binary weights of N filters on C maps; none of the axes is empty.

    Returns
    -------
    UniqueFilters

    Raises
    ------
    TypeError, ValueError
        As `filter_forms`, or if there are no filters.

    References
    ----------
    Section 5.3.
    """
    forms = filter_forms(codes)
    if forms.size == 0:
        raise ValueError(f"codes: expected at least one filter, got shape {codes.shape}")
    kh, kw = codes.shape[:2]
    negatives = 2 ** (kh * kw) - 1 - forms
    up_to_sign = np.minimum(forms, negatives)

    def share(rows: Array) -> float:
        return float(np.mean([len(np.unique(row)) / len(row) for row in rows]))

    return UniqueFilters(share(forms.reshape(1, -1)), share(forms), share(up_to_sign))


def binary_kernels(network: Sequential) -> list[tuple[str, Array]]:
    """Codes of the convolutions whose weights are of one bit.

    Parameters
    ----------
    network : Sequential
        Built.

    Returns
    -------
    list of (str, array (kh, kw, C, N) of +-1)
        By place, as `Sequential.walk` names it.

    Raises
    ------
    TypeError
        If it is no network.

    References
    ----------
    Section 5.3.
    """
    instance("network", network, Sequential, "Sequential([Conv2D(8, 3)], (32, 32, 3), rng)")
    layers = [(place, layer) for place, layer in network.walk() if isinstance(layer, Conv2D)]
    codes = [(place, layer.weight.codes) for place, layer in layers]
    return [(place, array) for place, array in codes if np.isin(array, (-1, 1)).all()]


class FilterOperations(NamedTuple):
    """What a binary convolution does at one place of its window, each filter computed once or not.

    Parameters
    ----------
    plain : int
        XNORs, and as many counts, of all filters: kh kw C N.
    per_map : int
        Of the filters that differ, those of each input map by themselves.
    per_map_up_to_sign : int
        The same, with a filter and its negative computed once.
    additions : int
        Of the results of a map to the sums of its N filters, C N: they stay, and in the plain form
        they are part of the counts.

    References
    ----------
    Section 5.3.
    """

    plain: int
    per_map: int
    per_map_up_to_sign: int
    additions: int

    @property
    def saving(self) -> float:
        """How many times fewer XNORs and counts are left, negatives shared (a scalar)."""
        return self.plain / self.per_map_up_to_sign


def filter_operations(codes: Array) -> FilterOperations:
    """Count the operations of a layer's convolution at one place, with and without repetition.

    Parameters
    ----------
    codes : array (kh, kw, C, N) of +-1
        Binary weights of N filters on C maps; none of the axes is empty.

    Returns
    -------
    FilterOperations

    Raises
    ------
    TypeError, ValueError
        As `unique_filters`.

    References
    ----------
    Section 5.3: the paper says three times fewer XNOR-popcount operations on its CIFAR-10 network.
    """
    shares = unique_filters(codes)
    kh, kw, C, N = codes.shape
    taps = kh * kw
    differ, up_to_sign = (round(share * C * N) for share in shares[1:])
    return FilterOperations(taps * C * N, taps * differ, taps * up_to_sign, C * N)


def expected_unique_share(filters: int, forms: int) -> float:
    r"""Share of different forms among random filters: :math:`\frac FN (1 - (1 - \frac1F)^N)`.

    Parameters
    ----------
    filters : int
        Number N of filters, at least 1.
    forms : int
        Number F of equally probable forms, at least 1: 512 for 3 x 3, or 256 up to the sign.

    Returns
    -------
    float
        The expectation, a scalar from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If one of them is no whole number, or below 1.

    References
    ----------
    Not in the paper: what its shares have to be compared with.
    """
    filters, forms = whole("filters", filters, 1), whole("forms", forms, 1)
    return forms / filters * (1 - (1 - 1 / forms) ** filters)
