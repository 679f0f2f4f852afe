"""Rows on PyTorch and on libraries that stand on it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

import numpy as np

from rows import BOUND, HALVES, NAN, SPECIAL, row, shown

OLD, NEW = "2.13.0", "2.14.1"


def torch_gradient(function: Callable[[Any], Any], at: np.ndarray = BOUND) -> str:
    """Gradient of the sum of a function of PyTorch."""
    torch = import_module("torch")
    x = torch.tensor(at, requires_grad=True)
    function(x).sum().backward()
    return shown(x.grad)


@row("torch", OLD, "sign(0), sign(-0.0), sign(NaN)", "0 0 0")
@row("torch", NEW, "sign(0), sign(-0.0), sign(NaN)", "0 0 0")
def torch_sign() -> str:
    torch = import_module("torch")
    return shown(torch.sign(torch.tensor(SPECIAL)))


@row("torch", OLD, "clamp with numbers: gradient at -1, 1, 0.5, 1.5", "1 1 1 0")
@row("torch", NEW, "clamp with numbers: gradient at -1, 1, 0.5, 1.5", "0 0 1 0")
def torch_clamp() -> str:
    return torch_gradient(lambda x: x.clamp(-1, 1))


@row("torch", OLD, "clamp with tensors: the same", "1 1 1 0")
@row("torch", NEW, "clamp with tensors: the same", "0.5 0.5 1 0")
def torch_clamp_tensors() -> str:
    one = import_module("torch").tensor(1.0)
    return torch_gradient(lambda x: x.clamp(-one, one))


@row("torch", OLD, "hardtanh: the same", "0 0 1 0")
@row("torch", NEW, "hardtanh: the same", "0 0 1 0")
def torch_hardtanh() -> str:
    return torch_gradient(import_module("torch").nn.functional.hardtanh)


@row("torch", OLD, "BatchNorm1d: running variance of 0, 2 after momentum 1", "2")
@row("torch", NEW, "BatchNorm1d: running variance of 0, 2 after momentum 1", "2")
def torch_variance() -> str:
    torch = import_module("torch")
    norm = torch.nn.BatchNorm1d(1, momentum=1.0)
    norm(torch.tensor([[0.0], [2.0]]))
    return shown(norm.running_var)


def torch_steps(name: str, beta: float, *gradients: float) -> str:
    """How far each gradient moves a weight."""
    torch = import_module("torch")
    weight = torch.zeros(1, requires_grad=True)
    rule = getattr(torch.optim, name)([weight], lr=1.0, betas=(0.0, beta), eps=1.0)
    steps = []
    for gradient in gradients:
        before, weight.grad = weight.item(), torch.tensor([gradient])
        rule.step()
        steps.append(before - weight.item())
    return shown(steps)


@row("torch", OLD, "Adam, epsilon 1, rates 0 and 3/4: first step of gradient 1", "0.5")
@row("torch", NEW, "Adam, epsilon 1, rates 0 and 3/4: first step of gradient 1", "0.5")
def torch_adam() -> str:
    return torch_steps("Adam", 0.75, 1.0)


@row("torch", OLD, "Adamax, epsilon 1, rates 0 and 1/2: steps of gradients 1, 1/4", "0.5 0.2")
@row("torch", NEW, "Adamax, epsilon 1, rates 0 and 1/2: steps of gradients 1, 1/4", "0.5 0.2")
def torch_adamax() -> str:
    return torch_steps("Adamax", 0.5, 1.0, 0.25)


@row("torch", NEW, "CUDA packages that a plain install brings", "yes")
def torch_packages() -> str:
    return "yes" if any("cuda" in need for need in metadata.requires("torch") or []) else "no"


@row("brevitas", "0.13.4", "binary_sign of 0, -0.0, NaN", "1 1 -1")
def brevitas_sign() -> str:
    torch, ops = import_module("torch"), import_module("brevitas.function.ops")
    return shown(ops.binary_sign(torch.tensor(SPECIAL)))


@row("brevitas", "0.13.4", "ClampedBinaryQuant: gradient at -1, 1, 0.5, 1.5", "1 1 1 0")
def brevitas_gradient() -> str:
    quant = import_module("brevitas.core.quant").ClampedBinaryQuant
    scale = import_module("brevitas.core.scaling").ConstScaling(1.0)
    return torch_gradient(lambda x: quant(scale)(x)[0])


def brevitas_layer(scale: float | None = None) -> Any:
    """A dense layer of 64 inputs with the ready binary weight quantizer, of this scale."""
    quant = import_module("brevitas.quant").SignedBinaryWeightPerTensorConst
    if scale is not None:
        quant = quant.let(scaling_const=scale)
    return import_module("brevitas.nn").QuantLinear(64, 128, bias=False, weight_quant=quant)


@row("brevitas", "0.13.4", "scale of the ready binary weight quantizer", "0.1")
def brevitas_scale() -> str:
    return shown(brevitas_layer().quant_weight().scale.detach())


@row(
    "brevitas",
    "0.13.4",
    "256 x 64 signs times 64 x 128: sums that are 0; not so at scale 0.1, below 0; at 1, at 0.125",
    "3246; 3243, 1644; 0; 0",
)
def brevitas_ties() -> str:
    torch, random = import_module("torch"), np.random.default_rng(0)
    weights = random.choice([-1.0, 1.0], (128, 64)).astype(np.float32)
    x = random.choice([-1.0, 1.0], (256, 64)).astype(np.float32)
    ties = x @ weights.T == 0

    def at_ties(scale: float | None) -> np.ndarray:
        layer = brevitas_layer(scale)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weights))
            return layer(torch.tensor(x)).numpy()[ties]

    tenth, one, eighth = at_ties(None), at_ties(1.0), at_ties(0.125)
    bad = [np.count_nonzero(sums) for sums in (one, eighth)]
    return f"{ties.sum()}; {(tenth != 0).sum()}, {(tenth < 0).sum()}; {bad[0]}; {bad[1]}"


@row("bitorch", "0.4.1", "Sign of 0, -0.0, NaN", "1 1 1")
def bitorch_sign() -> str:
    torch = import_module("torch")
    sign = import_module("bitorch.quantizations").Sign()
    return shown(sign(torch.tensor(SPECIAL)).detach())


@row("bitorch", "0.4.1", "Sign: gradient at -1, 1, 0.5, 1.5", "1 1 1 1")
def bitorch_gradient() -> str:
    return torch_gradient(import_module("bitorch.quantizations").Sign())


@row(
    "bnn", "0.1.2", "SignActivation of 0, -0.0, NaN; gradient at -1, 1, 0.5, 1.5", "0 0 0; 0 0 1 0"
)
def bnn_sign() -> str:
    torch, sign = import_module("torch"), import_module("bnn.ops").SignActivation.apply
    return f"{shown(sign(torch.tensor(SPECIAL)))}; {torch_gradient(sign)}"


@row(
    "bnn-lab",
    "1.0.0",
    "binary_sign of 0, -0.0, NaN; gradient at -1, 1, 0.5, 1.5",
    "-1 -1 -1; 1 1 1 0",
)
def bnn_lab_sign() -> str:
    torch, sign = import_module("torch"), import_module("bnn").binary_sign
    return f"{shown(sign(torch.tensor(SPECIAL)))}; {torch_gradient(sign)}"


@row("bnn-lab", "1.0.0", "the word of 1, -1, -1, 0, NaN, and 1 to the end of 64", "14")
def bnn_lab_bits() -> str:
    x = np.ones((1, 64), np.float32)
    x[0, :5] = 1, -1, -1, 0, NAN
    words, _ = import_module("bnn.kernels").pack_binary_pm1(x)
    return str(int(words[0, 0]))


@row(
    "torchao",
    "0.18.0",
    "weights 1, -1 as int1 and as int2: symmetric, asymmetric, without clipping error",
    "0 0, 0 0, nan nan; 0.6667 -1.333, 0.6667 -1.333, 1 -1",
)
def torchao_weights() -> str:
    torch, ao = import_module("torch"), import_module("torchao.quantization")

    def back(kind: Any, mapping: Any) -> str:
        layer = torch.nn.Linear(64, 1, bias=False)
        layer.weight.data = torch.tensor([[1.0, -1.0] * 32])
        config = ao.IntxWeightOnlyConfig(
            weight_dtype=kind, granularity=ao.PerAxis(0), mapping_type=mapping
        )
        ao.quantize_(layer, config)
        return shown(layer.weight.dequantize().detach()[0, :2])

    kinds = (torch.int1, torch.int2)
    names = ("SYMMETRIC", "ASYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR")
    mappings = [ao.MappingType[name] for name in names]
    return "; ".join(", ".join(back(kind, mapping) for mapping in mappings) for kind in kinds)


@row("qtorch", "0.3.0", "fixed_point_quantize to whole numbers of 0.5, 1.5, 2.5", "0 2 2")
def qtorch_ties() -> str:
    torch, quant = import_module("torch"), import_module("qtorch.quant")
    return shown(quant.fixed_point_quantize(torch.tensor(HALVES), wl=8, fl=0, rounding="nearest"))


@row(
    "omnibias-binary",
    "0.1.0a2",
    "2 bits on (-3, 3): values at -1.1, -0.1, 0.1; gradients at the jump 0 and the level 1",
    "-1 -1 1; 0 20",
)
def omnibias_peaks() -> str:
    torch, ops = import_module("torch"), import_module("omnibias.binary.torch.ops")
    levels = ops.kbit_quantize(torch.tensor([-1.1, -0.1, 0.1]), 2, -3.0, 3.0)
    at = np.array([0.0, 1.0], np.float32)
    gradient = torch_gradient(lambda x: ops.kbit_quantize(x, 2, -3.0, 3.0), at)
    return f"{shown(levels)}; {gradient}"
