"""`qnn-ref check package.module:Name`: one's own layers, quantizers and functions."""

import json
import textwrap

import pytest

from qnn_ref.cli import main

SOURCE = """
import numpy as np
from qnn_ref.layers import Layer, Dense
from qnn_ref.network import Sequential
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Quantizer

print("a line that is no part of the answer")

def ternary(x):
    return np.where(x > 0.5, 1.0, np.where(x < -0.5, -1.0, 0.0))

def ternary_backward(dy, x):
    return dy * (np.abs(x) <= 1)

def ternary_surrogate(x):
    return np.clip(x, -1, 1)

def matmul(x, w):
    return x @ w

def matmul_backward(dy, x, w):
    return dy @ w.T, x.T @ dy

matmul.example_shape = (4, 3), (3, 2)

def affine_forward(x, w):
    return x @ w, (x, w)

def affine_backward(dy, cache):
    x, w = cache
    return dy @ w.T, 2 * (x.T @ dy)

def lone(x):
    return x

def clumsy(x):
    raise KeyError("nothing here")

clumsy.backward = lone

class Scaled(Layer):
    def __init__(self, units, factor=1):
        self.units, self.factor = units, factor

    def make(self):
        start = self.rng.uniform(-1, 1, (self.input_shape[0], self.units))
        self.weight = Parameter(start.astype(self.dtype))

    def parameters(self):
        return {"weight": self.weight}

    def output_shape(self, shape):
        return (self.units,)

    def forward(self, x, training=False):
        if training:
            self._saved = x
        return x @ self.weight.latent

    def backward(self, dy):
        self.weight.grad = self.factor * self.saved(dy).T @ dy
        return dy @ self.weight.latent.T

class Ternary(Quantizer):
    saturation = 2.0

    def encode(self, x, noise=None):
        return ternary(x), 1.0

    def surrogate(self, x):
        return np.clip(x, -2, 2)

    def backward(self, dy, x):
        return dy * (np.abs(x) <= 2)

class Duck:
    example_shape = 4, 5

    def forward(self, x):
        self.x = x
        return x ** 2

    def backward(self, dy):
        return dy * 2 * self.x

built = Scaled(2).build((3,), np.random.default_rng(0))

def network():
    return Sequential([Dense(3), Scaled(2)], (4,), np.random.default_rng(0))
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "lend").mkdir()
    (tmp_path / "lend" / "mine.py").write_text(textwrap.dedent(SOURCE))
    (tmp_path / "broken_module.py").write_text("x = 1 +\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "needs.py").write_text("import there_is_no_such_module\n")
    monkeypatch.chdir(tmp_path)


def call(capsys, *arguments):
    capsys.readouterr()
    code = main(["check", *arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.mark.parametrize(
    "arguments",
    [
        ["lend.mine:ternary", "--shape", "4,5"],
        ["lend.mine:matmul"],
        ["lend.mine:matmul", "--shape", "7,3", "--shape", "3,1"],
        ["lend.mine:Scaled(3)", "--shape", "4,5"],
        ["lend.mine:Scaled(units=3)", "--shape", "4,5"],
        ["lend.mine:Ternary"],
        ["lend.mine:Ternary()", "--shape", "3"],
        ["lend.mine:Duck"],
        ["lend.mine:built"],
        ["lend.mine:network()"],
        ["Flatten", "lend.mine:Duck"],
        ["lend.mine:Scaled(40)", "--shape", "9,60"],
    ],
    ids=" ".join,
)
def test_what_is_right_passes(capsys, arguments):
    code, answer, _ = call(capsys, *arguments)
    assert (code, answer["passed"]) == (0, True)
    keys = {"layer", "tensor", "absolute_error", "relative_error", "tolerance", "passed"}
    assert all(keys <= entry.keys() for entry in answer["entries"])


@pytest.mark.parametrize(
    ("arguments", "tensor"),
    [
        (["lend.mine:Scaled(3, 2)", "--shape", "4,5"], "weight"),
        (["lend.mine:affine_forward", "--shape", "4,3", "--shape", "3,2"], "w"),
    ],
)
def test_what_is_wrong_is_named(capsys, arguments, tensor):
    code, answer, _ = call(capsys, *arguments)
    assert code == 1
    assert [e["tensor"] for e in answer["entries"] if not e["passed"]] == [tensor]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere:Name"], "there is no module nowhere"),
        (["lend.nowhere:Name"], "there is no module lend.nowhere"),
        (["lend.mine:Ternay"], "lend.mine has no Ternay; did you mean 'Ternary'?"),
        (["lend.mine:"], "expected module:Name"),
        ([":Name"], "expected module:Name"),
        (["lend.mine:Scaled(3"], "expected module:Name"),
        (["lend.mine:Scaled(len([]))"], "with plain values"),
        (["lend.mine:Scaled"], "missing a required argument: 'units'"),
        (["lend.mine:Scaled(3, size=4)"], "unexpected keyword argument 'size'"),
        (["lend.mine:Scaled(3)"], "--shape: lend.mine:Scaled(3): give the shape of x"),
        (["lend.mine:Scaled(3)", "--shape", "4,5", "--shape", "2"], "takes one array, got 2"),
        (["lend.mine:lone", "--shape", "3"], "named lone_backward"),
        (["lend.mine:clumsy", "--shape", "3"], "KeyError: 'nothing here' ("),
        (["lend.mine:matmul", "--shape", "7,3", "--shape", "4,1"], "matmul"),
        (["broken_module:Name"], "SyntaxError"),
        (["leaves:Name"], "it ended the program with exit code 3"),
        (["needs:Name"], "No module named 'there_is_no_such_module'"),
        (["Dense", "--shape", "3"], "--shape: expected a NAME of your own"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use_is_a_line(capsys, arguments, words):
    code, answer, err = call(capsys, *arguments)
    assert code == 2
    assert words in answer["error"]
    assert "fault of qnn-ref" not in err
    assert "Traceback" not in err
