"""The guide `docs/write_a_layer.md`: its code and its commands run, and what it quotes is said."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from qnn_ref.checking import GradientError
from qnn_ref.cli import main

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "write_a_layer.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
PLAIN = [block for block in BLOCKS if "torch" not in block]
COMMANDS = re.findall(r"^qnn-ref (check .*)$", TEXT, re.M)


def run(blocks):
    found = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), found)
    return found


def test_the_code_runs_and_everything_passes(capsys):
    run(PLAIN)
    printed = capsys.readouterr().out
    assert printed.count("passed") >= 7
    assert "FAILED" not in printed


def test_the_code_of_pytorch():
    pytest.importorskip("torch", reason="PyTorch is optional: pip install torch")
    run(block for block in BLOCKS if "torch" in block or "def sign(" in block or block is BLOCKS[0])


TORCH_MISTAKES = {
    "return dy @ (alpha * s).T, alpha": ("return dy @ s.T, alpha", r"ScaledSign\.x: .* mean \|w\|"),
    "alpha * g + s": ("g + s", r"ScaledSign\.w: the gradient .*sign\(w\)"),
    "w.numel()": ("1", r"ScaledSign\.w: the gradient has the term in sign\(w\)"),
    "x.abs() <= 1": ("x.abs() < 1", r"StraightThrough\.x: the gradient is 0 at the bound"),
}


@pytest.mark.parametrize("right", TORCH_MISTAKES)
def test_a_mistake_in_a_function_of_pytorch_is_named(capsys, right):
    pytest.importorskip("torch", reason="PyTorch is optional: pip install torch")
    wrong, words = TORCH_MISTAKES[right]
    blocks = [b for b in BLOCKS if "torch" in b or "def sign(" in b or b is BLOCKS[0]]
    assert any(right in block for block in blocks)
    run(block.replace(right, wrong) if "torch" in block else block for block in blocks)
    assert re.search(words, capsys.readouterr().out)


MISTAKES = {
    "dy @ w.T, x.T @ dy": ("dy @ w.T / len(x), x.T @ dy", "the gradient is 4 times too"),
    "np.abs(x) <= 1": ("np.abs(x) < 1", "is 0 at the bound, x = -1, where it should"),
    "return dy @ (alpha * s).T": ("return dy @ s.T", "mean |weight|, "),
    '    jumps = {"sign": "identity"}': ("    jumps = {}", "your forward jumps at weight = 0, and"),
    "+ sign(w) * (g * sign(w)).sum() / w.size": (
        "",
        "scaled.w: the gradient lacks the term in sig",
    ),
    "self.weight.grad = ": ("unused = ", "weight: the gradient was forgotten"),
}


@pytest.mark.parametrize("right", MISTAKES)
def test_a_mistake_in_it_is_named(capsys, right):
    wrong, words = MISTAKES[right]
    last = next(i for i, block in enumerate(PLAIN) if right in block)
    try:
        run([*PLAIN[:last], PLAIN[last].replace(right, wrong)])
        said = capsys.readouterr().out
    except GradientError as error:
        said = str(error)
    assert words in said


def test_the_commands_run(tmp_path, monkeypatch, capsys):
    source = "\n".join(PLAIN) + '\nscaled.surrogate = {"sign": "identity"}\n'
    (tmp_path / "my_layers.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    assert len(COMMANDS) == 4
    for command in COMMANDS:
        arguments = [word.strip("'") for word in command.split()]
        assert main(arguments) == 0, capsys.readouterr()
        capsys.readouterr()


def test_help_of_a_layer_leads_to_the_guide():
    code = "from qnn_ref.layers import Layer; help(Layer)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "docs/write_a_layer.md" in out.stdout
    for kind in ("identity", "quantizer", "ratio", "choice", "no surrogate"):
        assert f'"{kind}"' in out.stdout
        assert f'`"{kind}"`' in TEXT
