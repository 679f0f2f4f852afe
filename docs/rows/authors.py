"""Rows on the authors' three programs, and on Theano and Lasagne, with which they wrote one.

Torch7 is in no package index: its expressions are written here in NumPy's float32, and compared
with what the authors' files answered when Torch7 was built and they were run
(`tests/data/authors`).
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rows import BOUND, SPECIAL, row, shown
from rows.torch import NEW, OLD

RECORDS = Path(__file__).parents[2] / "tests" / "data" / "authors"
NUMPY = ("numpy", "")  # any version
THEANO = ("theano-pymc", "1.1.2")
TINY = np.array([-(2.0**-24), -(2.0**-25), -0.0, 0.0, 2.0**-24, 2.0**-23], np.float32)
"""Around 0, where x + 1 is rounded."""


def record(name: str, *keys: str) -> Any:
    """What is recorded in float32."""
    value = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    for key in keys:
        value = value[key]
    return np.array(value, np.float32)


def unequal(one: Any, two: Any) -> int:
    """Number of unequal values."""
    return int(np.count_nonzero(np.asarray(one) != np.asarray(two)))


def unit(x: np.ndarray) -> np.ndarray:
    """(x + 1) / 2, cut to [0, 1]: -1 to 1 becomes 0 to 1."""
    return np.clip((x + np.float32(1)) / np.float32(2), np.float32(0), np.float32(1))


def torch7_activation(x: np.ndarray) -> np.ndarray:
    """Sign of (x + 1) / 2 - 1/2."""
    return np.sign(unit(x) - np.float32(0.5))


def torch7_weight(w: np.ndarray) -> np.ndarray:
    """Twice the nearest of 0 and 1, less 1; a half goes away from zero."""
    return np.where(unit(w) >= 0.5, 1, -1)


@row(
    *NUMPY, "Torch7's activation in float32 at -2^-24, -2^-25, -0, 0, 2^-24, 2^-23", "-1 0 0 0 0 1"
)
def torch7_signs() -> str:
    return shown(torch7_activation(TINY))


@row(*NUMPY, "Torch7's weights in float32 there", "-1 1 1 1 1 1")
def torch7_weights() -> str:
    return shown(torch7_weight(TINY))


@row(*NUMPY, "of 30 recorded activations, gradients, weights of Torch7: not so", "0 0 0")
def torch7_record() -> str:
    neurons = ("torch_binarized_neurons", "outputs", "float32", "neurons")
    x = record("torch_binarized_neurons", "inputs", "x")
    dy = record("torch_binarized_neurons", "inputs", "dy")
    w = record("torch_binary_linear_and_conv", "inputs", "weight_values", "w")
    signs = record("torch_binary_linear_and_conv", "outputs", "float32", "weight_values", "weightB")
    differ = (
        unequal(record(*neurons, "output_alone"), torch7_activation(x)),
        unequal(record(*neurons, "gradInput_htanh"), dy * (np.abs(x) < 1)),
        unequal(signs, torch7_weight(w)),
    )
    return shown(differ)


@row(*NUMPY, "Torch7's running variance less 0.9: in units of a tenth of the unbiased", "1 1 1 1 1")
def torch7_variance() -> str:
    name, norm = "torch_library_batch_norm", ("outputs", "float32", "lib_batchnorm")
    batch = record(name, "inputs", "batches")[0].astype(np.float64)
    added = record(name, *norm, "running_var") - 0.9
    return shown(added / (0.1 * batch.var(axis=0, ddof=1)))


@row(
    "torch", OLD, "the authors' sign behind hardtanh: 0, -0.0, NaN; 30 records unlike", "0 0 0; 0 0"
)
@row(
    "torch", NEW, "the authors' sign behind hardtanh: 0, -0.0, NaN; 30 records unlike", "0 0 0; 0 0"
)
def pytorch_signs() -> str:
    torch, modules = import_module("torch"), ("pytorch_modules", "outputs", "float32")

    class Sign(torch.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return x.sign()

        @staticmethod
        def backward(_: Any, dy: Any) -> Any:
            return dy

    def sign(x: Any) -> Any:
        return Sign.apply(torch.nn.functional.hardtanh(x))

    x = torch.tensor(record(*modules, "binarize", "x"), requires_grad=True)
    sign(x).backward(torch.tensor(record(*modules, "binarize", "dy")))
    values = record(*modules, "hardtanh_binarize", "output")
    gradients = record(*modules, "hardtanh_binarize", "gradInput")
    differ = unequal(values, sign(x).detach()), unequal(gradients, x.grad)
    return f"{shown(sign(torch.tensor(SPECIAL)))}; {shown(differ)}"


def theano() -> Any:
    """Theano, which asks NumPy for a BLAS that newer ones do not name."""
    os.environ.setdefault("THEANO_FLAGS", "blas__ldflags=")
    return import_module("theano")


def theano_round(mode: str | None, at: np.ndarray = TINY) -> str:
    """Twice the nearest of 0 and 1, less 1, around 0."""
    T, x = theano().tensor, theano().tensor.fvector()
    y = 2 * T.round(T.clip((x + 1) / 2, 0, 1), mode=mode) - 1
    return shown(theano().function([x], y)(at))


@row(
    *THEANO, "half_away_from_zero: the sign at -2^-24, -2^-25, -0, 0, 2^-24, 2^-23", "-1 1 1 1 1 1"
)
def theano_away() -> str:
    return theano_round("half_away_from_zero")


@row(*THEANO, "half_to_even, which is what round does: the same", "-1 -1 -1 -1 -1 1")
def theano_even() -> str:
    default = theano_round(None)
    return default if default == theano_round("half_to_even") else "not what round does"


@row(*THEANO, "both signs of 0, -0.0, NaN", "1 1 nan; -1 -1 nan")
def theano_sign() -> str:
    modes = ("half_away_from_zero", "half_to_even")
    return "; ".join(theano_round(mode, SPECIAL) for mode in modes)


@row(*THEANO, "29 records of the authors' activation, its gradient, their weights: unlike", "0 0 0")
def theano_record() -> str:
    T, x = theano().tensor, theano().tensor.fvector()
    file = ("theano_binary_net", "outputs", "float32", "unit")
    half = T.clip((x + 1.0) / 2.0, 0, 1)
    away, even = (T.round(half, mode=m) for m in ("half_away_from_zero", "half_to_even"))
    slope = T.grad((2.0 * half - 1.0).sum(), x)
    at = record(*file, "x")
    activation, gradient, weight = theano().function([x], [2 * away - 1, slope, 2 * even - 1])(at)
    factors = np.arange(1, len(at) + 1, dtype=np.float32)
    differ = (
        unequal(record(*file, "binary_tanh"), activation),
        unequal(record(*file, "gradient_of_weighted_sum"), gradient * factors),
        unequal(record(*file, "binarization_of_weights"), weight),
    )
    return shown(differ)


@row(*THEANO, "gradient of its clip at -1, 1, 0.5, 1.5", "1 1 1 0")
def theano_clip() -> str:
    x = theano().tensor.fvector()
    slope = theano().grad(theano().tensor.clip(x, -1, 1).sum(), x)
    return shown(theano().function([x], slope)(BOUND))


@row(*THEANO, "convolution of 1, 0, 0 with the kernel 1, 2, 3", "3")
def theano_flip() -> str:
    x, w = theano().tensor.ftensor4("x"), theano().tensor.ftensor4("w")
    product = theano().function([x, w], import_module("theano.tensor.nnet").conv2d(x, w))
    one, two = (np.array([[[values]]], np.float32) for values in ([1, 0, 0], [1, 2, 3]))
    return shown(product(one, two))


@row("lasagne", "0.1", "adam, epsilon 1, rates 0 and 3/4: first step of gradient 1", "0.3333")
def lasagne_adam() -> str:
    spec, package = util.find_spec("lasagne"), ModuleType("lasagne")
    package.__path__ = list(spec.submodule_search_locations or []) if spec else []
    sys.modules["lasagne"] = package  # its layers need modules that Theano 1.0 does not have
    weight = theano().shared(np.zeros(1))
    gradient = theano().tensor.ones_like(weight)
    adam = import_module("lasagne.updates").adam
    theano().function([], updates=adam([gradient], [weight], 1.0, 0.0, 0.75, 1.0))()
    return shown(-weight.get_value())
