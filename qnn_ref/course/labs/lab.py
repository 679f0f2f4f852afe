"""The eight labs: which line is wrong, what mends it, and how a mended program is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from qnn_ref.checks import choice
from qnn_ref.course.labs import probes

PROGRAMS = Path(__file__).with_name("programs")
STUB = "    pass  # asserts stand here\n"


@dataclass(frozen=True)
class Lab:
    """A program with one wrong line.

    Parameters
    ----------
    id : str
        "lab1" to "lab8", also the name of its file.
    title : str
    wrong : str
        The line, without its indentation.
    mended : str
        What may stand in its place, one line or several.
    test : str
        The body of a test that would have found it.
    probe : function
        `(program, mended one) -> str`: what a program still does wrong, or nothing.
    hints : tuple of three str
    """

    id: str
    title: str
    wrong: str
    mended: str
    test: str
    probe: Callable[[ModuleType, ModuleType], str]
    hints: tuple[str, str, str]

    @property
    def source(self) -> str:
        """The program as a student gets it."""
        return (PROGRAMS / f"{self.id}.txt").read_text(encoding="utf-8")

    @property
    def number(self) -> int:
        """Number of the wrong line."""
        return [line.strip() for line in self.source.splitlines()].index(self.wrong) + 1

    @property
    def mended_source(self) -> str:
        """The program with the right line."""
        lines = self.source.splitlines()
        old = lines[self.number - 1]
        indent = old[: len(old) - len(old.lstrip())]
        new = "\n".join(f"{indent}{line}" for line in self.mended.splitlines())
        lines[self.number - 1] = new
        return "\n".join(lines) + "\n"

    @property
    def solution(self) -> str:
        """All that is asked: the line named and mended, and the test."""
        body = "".join(f"    {line}\n" for line in self.test.splitlines())
        named = self.mended_source.replace("LINE = 0", f"LINE = {self.number}", 1)
        return named.replace(STUB, body, 1)


LABS = (
    Lab(
        "lab1",
        "Three points worse",
        "return dy * (np.abs(dy) <= 1)",
        "return dy * (np.abs(x) <= 1)",
        "x = np.array([0.5, -1.0, 2.0, -3.0])\n"
        "assert lab.sign_backward(np.full(4, 0.1), x).tolist() == [0.1, 0.1, 0, 0]\n"
        "assert lab.sign_backward(np.full(4, 10.0), x).tolist() == [10, 10, 0, 0]",
        probes.mask,
        (
            "It learns, so most gradients are right. Which function decides where none passes?",
            "Eq. (4): the gradient of x is that of Sign(x) where |x| <= 1, and 0 elsewhere.",
            "Call each function by hand, with numbers for which you know the answer; one of its "
            "two arguments it never looks at.",
        ),
    ),
    Lab(
        "lab2",
        "Saved, loaded, and another network",
        "weights = latent.astype(np.float16)",
        "weights = sign(latent).astype(np.int8)",
        "latent = np.array([[0.3, -0.7], [-0.0, 1.0]])\n"
        "file = io.BytesIO()\n"
        "lab.save(file, latent)\n"
        "file.seek(0)\n"
        "x = np.array([[1.0, 2.0], [-3.0, 0.5]])\n"
        "assert np.array_equal(lab.loaded_scores(x, lab.load(file)), lab.scores(x, latent))",
        probes.saved,
        (
            "Two sets of weights belong to a binary layer. Which one do products see?",
            "The trained network's scores are x times Sign(latent).",
            "Write, read, and compare the scores of both for one small matrix.",
        ),
    ),
    Lab(
        "lab3",
        "One bit in a thousand",
        "border = mean - shift / (gain * r)  # batch_norm(border) = 0",
        "sums = np.arange(-K, K + 1)[:, None] + np.zeros(len(mean), int)\n"
        "count = (batch_norm(sums, gain, shift, mean, r) >= 0).sum(axis=0)\n"
        "border = np.where(turned, count - K - 1, K + 1 - count)",
        "layer = lab.a_layer(300, np.random.default_rng(1))\n"
        "s = np.arange(-lab.K, lab.K + 1)[:, None] + np.zeros(300, int)\n"
        "assert np.array_equal(lab.folded_bits(s, lab.fold(layer)), lab.float_bits(s, layer))",
        probes.folded,
        (
            "The algebra is that of real numbers. What does float32 do on the way?",
            "The trained code rounds three times, in its own order; where the exact value is 0, "
            "nobody can say to which side.",
            "There are only 2K + 1 sums: ask batch_norm itself about all of them, and count.",
        ),
    ),
    Lab(
        "lab4",
        "A frame around every map",
        "frame = np.pad(np.zeros(shape), len(w) // 2)",
        "frame = np.pad(np.zeros(shape), len(w) // 2, constant_values=1)",
        "for k in (1, 3, 5):\n"
        "    w = np.arange(k * k).reshape(k, k) % 2 * 2 - 1\n"
        "    x = np.arange(30).reshape(5, 6) % 3 % 2 * 2 - 1\n"
        "    assert np.array_equal(lab.bit_sums(x, w), lab.float_sums(x, w))",
        probes.border,
        (
            "Inside nothing is wrong. What is different at the border, and in a corner?",
            "Padded with +1, a window has its outside weights added; that sum is the table.",
            "Print `outside` for a 3 x 3 kernel of ones: in a corner five taps are outside.",
        ),
    ),
    Lab(
        "lab5",
        "Weights that never come back",
        "np.clip(moved, -1, 1)",
        "moved = np.clip(moved, -1, 1)",
        "latent, gradient = np.array([0.5, -0.5]), np.array([-10.0, 10.0])\n"
        "for _ in range(3):\n"
        "    latent = lab.step(latent, gradient, 1.0)\n"
        "assert latent.tolist() == [1, -1]",
        probes.clip,
        (
            "A weight at 8 must walk back eight units before its sign changes. Who should stop it?",
            "Algorithm 1, line 11: the latent weights after a step are those of Clip(...).",
            "What does np.clip return, and what does it leave alone?",
        ),
    ),
    Lab(
        "lab6",
        "A checker that finds nothing",
        "covector = np.ones_like(y)",
        "covector = rng.normal(size=y.shape)",
        "rng = np.random.default_rng(3)\n"
        "x = rng.normal(size=(5, 2))\n"
        "assert lab.check(lab.batch_norm, lab.forgetful_backward, x, rng) > 1e-3\n"
        "right = lambda dy, x: 3 * dy\n"
        "assert lab.check(lambda x: 3 * x, right, x, rng) < 1e-6",
        probes.covector,
        (
            "The check multiplies the outputs by numbers and adds them up. What is that sum here?",
            "The outputs of a batch norm sum to 0 in each column, whatever goes in.",
            "An argument of `check` is never used.",
        ),
    ),
    Lab(
        "lab7",
        "Good in training, bad in use",
        "return self.momentum * running + (1 - self.momentum) * new",
        "return (1 - self.momentum) * running + self.momentum * new",
        "norm = lab.BatchNorm(1, momentum=0.25)\n"
        "norm.training(np.array([[3.0], [5.0]]))\n"
        "assert abs(norm.mean[0] - 1) < 1e-12\n"
        "assert abs(norm.inverse[0] - (0.75 + 0.25 / np.sqrt(1 + 1e-4))) < 1e-12",
        probes.momentum,
        (
            "Which numbers are used in inference that are not used in training?",
            "With momentum 0.1 a batch counts one tenth, and what was known nine tenths.",
            "The last batch of an epoch has three images. How far does it move the mean?",
        ),
    ),
    Lab(
        "lab8",
        "Fine for a hundred steps",
        "self.v = ap2(np.maximum(self.beta2 * self.v, np.abs(gradient)))",
        "self.v = np.maximum(self.beta2 * self.v, np.abs(gradient))",
        "optimizer = lab.ShiftAdaMax(1)\n"
        "optimizer.step(np.zeros(1), np.ones(1))\n"
        "for _ in range(200):\n"
        "    optimizer.step(np.zeros(1), np.full(1, 1e-3))\n"
        "assert optimizer.v[0] < 0.1",
        probes.decay,
        (
            "Steps are m / v. After a large gradient, which of the two remembers it?",
            "v shrinks by the factor beta2 in each step. What does AP2 make of 63/64?",
            "Algorithm 4 rounds what it multiplies by, not what it keeps.",
        ),
    ),
)


def lab(name: str) -> Lab:
    """The lab of this id.

    Parameters
    ----------
    name : str
        "lab1", or "1".

    Returns
    -------
    Lab

    Raises
    ------
    ValueError
        If there is none.
    """
    known = {each.id: each for each in LABS}
    full = f"lab{name}" if name.isdigit() else name
    return known[choice("LAB", full, list(known))]
