"""Chapter 11, what it costs: the bytes of a network, in floats and packed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong

# 11.1 Memory


def memory_bytes(widths: Array) -> tuple[Array, Array]:
    """The right answer to 11.1: what the arrays of a packed network hold."""
    return bytes_with(widths)


def _cases(rng: np.random.Generator) -> Iterator[Case]:
    simple = ([1, 1], [64, 1], [65, 1], [1, 3], [3, 1, 1], [64, 3, 2], [70, 5, 130, 2])
    for widths in (*simple, [784, 4096, 4096, 4096, 10]):
        yield (np.array(widths, np.int64),)
    for _ in range(12):
        yield (rng.integers(1, 300, rng.integers(2, 7)),)


def bytes_with(
    widths: Array,
    word: int = 64,
    gaps: str = "rows",
    threshold: int = 5,
    last: bool = False,
    number: int = 4,
    bits: int = 1,
    turned: bool = False,
) -> tuple[Array, Array]:
    """Count the bytes, with a place for each mistake.

    Parameters
    ----------
    widths : array (L + 1,) of int64
    word : int
        Bits that a row is filled up to.
    gaps : {"rows", "columns", "matrix", "down", "one more", "count", "none"}
        What fills whole words: the inputs of a unit, the units of an input, all of them, or
        nothing. Or words of a row are rounded down, or have one more at the end, or are counted.
    threshold : int
        Bytes of a hidden unit besides its weights.
    last : bool
        Whether scores have thresholds.
    number : int
        Bytes of a float.
    bits : int
        What the packed bytes are counted in: 1 for bytes, 8 for bits.
    turned : bool
        Whether the results change places.

    Returns
    -------
    floats, packed : arrays (L,) of int64
    """
    n, m = widths[:-1], widths[1:]
    size = word // 8
    weights = {
        "rows": size * -(-n // word) * m,
        "columns": size * -(-m // word) * n,
        "matrix": size * -(-n * m // word),
        "down": size * (n // word) * m,
        "one more": size * (n // word + 1) * m,
        "count": -(-n // word) * m,
        "none": -(-n * m // 8),
    }[gaps]
    hidden = np.ones(len(m), np.int64)
    hidden[-1] = last
    found = number * n * m, bits * (weights + threshold * m * hidden)
    return found[::-1] if turned else found


def _flips_of_one_bit(widths: Array) -> tuple[Array, Array]:
    floats, packed = bytes_with(widths, threshold=4)
    packed[:-1] += -(-widths[1:-1] // 8)
    return floats, packed


def _thresholds_of_inputs(widths: Array) -> tuple[Array, Array]:
    floats, packed = bytes_with(widths, threshold=0)
    packed[1:] += 5 * widths[1:-1]
    return floats, packed


MEMORY = Exercise(
    id="11.1",
    title="The bytes of a network",
    name="memory_bytes",
    task=(
        "Return two arrays of int64, the bytes of each layer's weights as float32, and those of "
        "its packed form: rows of one bit a weight in whole words of 64 bits, and for each hidden "
        "unit a threshold (int32) and a flip (one byte)."
    ),
    section="section 5.1",
    spec=memory_bytes,
    cases=_cases,
    gives=("float bytes", "packed bytes"),
    axes=("w",),
    simple=(1, 64),
    simplify=("widths",),
    wrong=(
        Wrong(
            "bits for bytes",
            lambda widths: bytes_with(widths, bits=8),
            "Your packed sizes are 8 times too large: they count bits.",
        ),
        Wrong(
            "padding ignored",
            lambda widths: bytes_with(widths, gaps="none"),
            "Your weights lie without gaps. The row of a unit fills whole words of 64 bits.",
        ),
        Wrong(
            "whole bytes",
            lambda widths: bytes_with(widths, word=8),
            "Your rows end at a whole byte. The kernels read words of 64 bits.",
        ),
        Wrong(
            "words of 32 bits",
            lambda widths: bytes_with(widths, word=32),
            "Your words have 32 bits, as those of the paper's GPU kernel. Ours have 64.",
        ),
        Wrong(
            "thresholds forgotten",
            lambda widths: bytes_with(widths, threshold=0),
            "Weights only: each hidden unit also has a threshold and a flip.",
        ),
        Wrong(
            "flips forgotten",
            lambda widths: bytes_with(widths, threshold=4),
            "A threshold takes four bytes, and a bit that turns the comparison one more.",
        ),
        Wrong(
            "thresholds of scores",
            lambda widths: bytes_with(widths, last=True),
            "The last layer has no thresholds: its scores stay real numbers.",
        ),
        Wrong(
            "packed along the units",
            lambda widths: bytes_with(widths, gaps="columns"),
            "Your words lie along the units. A word holds inputs of one unit, which XOR meets.",
        ),
        Wrong(
            "float64",
            lambda widths: bytes_with(widths, number=8),
            "A float32 has four bytes.",
        ),
        Wrong(
            "bits of a float",
            lambda widths: bytes_with(widths, number=32),
            "Your floats are 8 times too large: a float32 has 32 bits, which are four bytes.",
        ),
        Wrong(
            "results exchanged",
            lambda widths: bytes_with(widths, turned=True),
            "Your results come in the other order: floats first.",
        ),
        Wrong(
            "words rounded down",
            lambda widths: bytes_with(widths, gaps="down"),
            "Your rows lose their last bits: a word that is not full is a word all the same.",
        ),
        Wrong(
            "one word more",
            lambda widths: bytes_with(widths, gaps="one more"),
            "Your rows of 64 inputs take two words. They fill one.",
        ),
        Wrong(
            "words for bytes",
            lambda widths: bytes_with(widths, gaps="count"),
            "You count words. Each has eight bytes.",
        ),
        Wrong(
            "all rows in one",
            lambda widths: bytes_with(widths, gaps="matrix"),
            "Your rows share words. Each unit begins a word of its own.",
        ),
        Wrong(
            "flips of one bit",
            _flips_of_one_bit,
            "Your flips are packed as bits. Each takes a byte.",
        ),
        Wrong(
            "thresholds a layer late",
            _thresholds_of_inputs,
            "Your thresholds stand in the layer after their units. They belong to those that the "
            "layer computes.",
        ),
    ),
    hints=(
        "A unit's row has as many bits as the layer has inputs. How many whole words is that?",
        "Words of a row: the inputs divided by 64, rounded up. Eight bytes each, for each unit; "
        "hidden units have five more.",
        "Two views of widths, all but the last and all but the first, do all layers at once; "
        "-(-n // 64) rounds up; what hidden units have besides is added to a part of the result.",
    ),
)

EXERCISES = (MEMORY,)

QUESTIONS = (
    Question(
        "11.1a",
        "How many additions of int8 cost as much as one multiplication of float32?",
        123,
        about=5,
        no={4: "That is what a multiplication of float32 costs beside an addition of float32."},
    ),
    Question(
        "11.1b",
        "How many multiplications of float32 does one access to DRAM cost?",
        351,
        about=20,
        no={27: "That is beside a memory of 1 MB: 100 pJ."},
    ),
    Question(
        "11.2a",
        "One image, float32: what costs more, operations or memory?",
        "memory",
        ("operations", "memory"),
        no={"operations": "Each weight is used once for an image, and comes from DRAM."},
    ),
    Question(
        "11.2b",
        "By which factor does the energy of memory fall, from float32 to one bit: less than 32, "
        "32, or more?",
        "more",
        ("less", "32", "more"),
        no={"32": "So many accesses fewer. But 512 KB lie in another memory than 16 MB."},
    ),
    Question(
        "11.3a",
        "Which layer's products cost most in few bits, beside its pairs?",
        "first",
        ("first", "middle", "last"),
        no={"middle": "They have one plane of bits. Which layer has eight?"},
    ),
    Question(
        "11.3b",
        "In a convolution, how often is each weight used for one image of 32 x 32?",
        1024,
        no={1: "That is so in a dense layer.", 9: "So many taps has a window."},
    ),
    Question(
        "11.4a",
        "A batch of 100 in place of one: what do the operations of an image cost then?",
        "the same",
        ("a 100th", "the same", "100 times"),
        no={"a 100th": "So much of the reading of weights. Each image has its own products."},
    ),
    Question(
        "11.5a",
        "Two bits for weights and activations instead of one: times the XNORs, times the weights' "
        "bits?",
        (4, 2),
        no={(2, 2): "Each plane of one meets each plane of the other."},
    ),
    Question(
        "11.6a",
        "Which phase of a training step costs most in few bits?",
        "update",
        ("forward", "backward", "update"),
        no={
            "forward": "It is the one that bits make cheap.",
            "backward": "Its additions cost more than the forward pass; another reads more floats.",
        },
    ),
    Question(
        "11.7a",
        "42 % of the filters are computed: how many times fewer XNORs is that?",
        2.4,
        about=0.05,
        no={3: "That is what the paper says. 1 / 0.42 is less."},
    ),
    Question(
        "11.7b",
        "And the energy of XNORs, counts and additions together, is it 2.4 times less, 1.2 times "
        "less, or more than before?",
        "1.2 times less",
        ("2.4 times less", "1.2 times less", "more"),
        no={"2.4 times less": "The additions of the maps' sums stay, and they are no single bits."},
    ),
)
