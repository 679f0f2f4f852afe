"""Chapter 4, from floats to bits: words, XOR and popcount, bit planes, thresholds, a layer."""

from __future__ import annotations

from qnn_ref.course.chapters._thresholds import PACKED_LAYER, THRESHOLD
from qnn_ref.course.chapters._words import DOT, PACK, PLANES
from qnn_ref.course.exercise import Question

EXERCISES = (PACK, DOT, PLANES, THRESHOLD, PACKED_LAYER)
QUESTIONS = (
    Question(
        "4.1a",
        "Which number is [+1, -1, -1, -1, -1, -1, -1, -1]?",
        1,
        no={
            128: "That is element 0 at the other end, where bit 7 is. It goes to the bit that "
            "counts 1.",
            254: "There a bit 1 would mean -1.",
            127: "There a bit 1 would mean -1, and element 0 would be bit 7.",
        },
    ),
    Question(
        "4.1b",
        "How many of -2, -0.0, 0.0, 1e-45 and 3 become +1?",
        4,
        no={
            3: "-0.0 >= 0 is true, although its sign bit is set.",
            2: "Eq. (1) says x >= 0, and that holds for both zeros.",
        },
    ),
    Question("4.2a", "What is a times b, for these 8 pairs?", 2),
    Question(
        "4.3a",
        "Would the result be right with XNOR in the place of XOR, and without a mask?",
        False,
        no={True: "Which pairs would XNOR count among the padding bits?"},
    ),
    Question(
        "4.4a",
        "Which bit shows the digit best, and which looks like noise?",
        (7, 0),
        no={(0, 7): "Bit 7 counts 128, bit 0 counts 1. Which one knows light from dark?"},
    ),
    Question(
        "4.5a",
        "What is the bit for a negative gain?",
        "s < T",
        ("s >= T", "s < T", "s <= T", "always 0"),
        no={"s <= T": "Nearly: the outcome of s >= T is turned round, as it is."},
    ),
    Question(
        "4.6a",
        "For how many of the 10,000 images are all ten scores equal, bit for bit?",
        "all",
        ("about 9,900", "all"),
        no={"about 9,900": "Which step would not be exact?"},
    ),
)
