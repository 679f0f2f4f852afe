"""Chapter 6, convolutions of bits: windows and back, the border, pooling of bits."""

from __future__ import annotations

from qnn_ref.course.chapters._borders import OUTSIDE, POOL
from qnn_ref.course.chapters._windows import BACK, ROWS
from qnn_ref.course.exercise import Question

EXERCISES = (ROWS, BACK, OUTSIDE, POOL)
QUESTIONS = (
    Question(
        "6.1a",
        "How many places has the window, and which row (from 0) begins with pixel 13?",
        (9, 8),
        no={(9, 9): "Nine places, but the first row is number 0."},
    ),
    Question(
        "6.1b",
        "How many places along an axis of 5 pixels with kernel 3, padding 1: stride 2, stride 1?",
        (3, 5),
    ),
    Question(
        "6.1c",
        "In how many windows is the pixel that is in most, and how many pixels are in none?",
        (4, 11),
        no={(4, 0): "The next window would leave the image. What becomes of the last row?"},
    ),
    Question(
        "6.2a",
        "The sum in a corner, with a border of 0, of +1 and of -1?",
        (4, 9, -1),
    ),
    Question(
        "6.3a",
        "How many different numbers can the table have, besides the 0 of the centre, for any size?",
        8,
        no={
            4: "Four corners, but there are edges as well.",
            2: "Corners and edges of a kernel differ from each other.",
        },
    ),
    Question(
        "6.4a",
        "In how many pieces does the window lie, and of how many words are they?",
        (3, 6),
        no={(9, 2): "Neighbours in a line lie beside each other in memory."},
    ),
    Question(
        "6.4b",
        "Which value of 2p - 255 would you put outside?",
        255,
        no={
            0: "Zero is not among the values: they are odd.",
            1: "1 is 2 * 128 - 255: its bits are not all the same. Which value has only bits 1?",
        },
    ),
    Question(
        "6.5a",
        "What is the maximum of four random signs, most of the time?",
        1,
        no={0: "A maximum of signs is a sign."},
    ),
    Question(
        "6.5b",
        "Percent of windows with several winners, for sums and for signs (10 off is near)?",
        (9, 79),
        about=10,
    ),
    Question(
        "6.5c",
        "For a negative gain: when does the largest of four sums give +1?",
        "if all are +1",
        ("if any is +1", "if all are +1"),
        no={
            "if any is +1": "A negative gain turns the comparison round: +1 means that a sum stays "
            "below the threshold.",
        },
    ),
    Question(
        "6.6a",
        "Width behind the first convolution, the pool, the second convolution; products a bit?",
        (14, 7, 7, 288),
        no={(14, 7, 7, 9): "A window has nine pixels, and each of them 32 channels."},
    ),
    Question(
        "6.6b",
        "A filter is black above and white below. Where is its map black?",
        "lower side of a stroke",
        ("upper side of a stroke", "lower side of a stroke", "inside a stroke"),
        no={
            "upper side of a stroke": "There the ink is below. Black taps look for ink.",
        },
    ),
    Question(
        "6.7a",
        "How often does the most frequent form occur among random filters: 5, 11 or 40 times?",
        11,
        about=1,
        no={
            5: "4 is the mean. The largest of 512 random counts is well above it.",
            40: "Ten times the mean would be no chance any more.",
        },
    ),
    Question(
        "6.7b",
        "For which way to count is 42 % impossible in a layer of 128 x 128 filters?",
        "per layer",
        ("per layer", "per map", "per map, up to sign"),
    ),
)
