#!/usr/bin/env bash
# PyTorch 2.13.0: the gradient of two spellings of one clip, exactly at its bound.
#
# Guess: hardtanh(x) is clamp(x, -1, 1), and relu6(x) is clamp(x, 0, 6); so are their gradients.
# Seen: the values are equal everywhere, the gradients are not: at the bound clamp passes dy whole,
#   hardtanh and relu6 pass nothing.
# It matters here: the straight-through estimator is written either way. Weights that are clipped
#   to [-1, 1] stand exactly at the bound, and only one of the two spellings ever moves them again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.nn.functional import hardtanh, relu6

SPELLINGS = {
    "clamp(x, -1, 1)": (lambda x: x.clamp(-1, 1), (-1.0, 1.0)),
    "hardtanh(x)": (hardtanh, (-1.0, 1.0)),
    "clamp(x, 0, 6)": (lambda x: x.clamp(0, 6), (0.0, 6.0)),
    "relu6(x)": (relu6, (0.0, 6.0)),
}


def at_the_bounds(clip, bounds):
    """Values and gradients, for dy = 1."""
    x = torch.tensor(bounds, requires_grad=True)
    y = clip(x)
    y.sum().backward()
    return y.tolist(), x.grad.tolist()


found = {name: at_the_bounds(*spelling) for name, spelling in SPELLINGS.items()}
for name, (values, gradients) in found.items():
    print(f"torch {torch.__version__}: {name}: values {values}, gradients {gradients}")
assert found == {
    "clamp(x, -1, 1)": ([-1.0, 1.0], [1.0, 1.0]),
    "hardtanh(x)": ([-1.0, 1.0], [0.0, 0.0]),
    "clamp(x, 0, 6)": ([0.0, 6.0], [1.0, 1.0]),
    "relu6(x)": ([0.0, 6.0], [0.0, 0.0]),
}, "the behaviour has changed"
PYTHON
