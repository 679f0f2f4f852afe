"""Chapter 5, arithmetic by shifts: AP2, shifts of integers, Algorithm 2 both ways, Algorithm 4.

The bounds of 5.6 and the mask of 5.7 are here because a sentence of the notebook was once wrong
about them.
"""

from __future__ import annotations

from qnn_ref.course.chapters._algorithm_2 import BACKWARD, FORWARD
from qnn_ref.course.chapters._scales import BOUNDS, SCALE
from qnn_ref.course.chapters._shift_adamax import ADAMAX
from qnn_ref.course.chapters._shifts import AP2, SHIFT
from qnn_ref.course.exercise import Question

EXERCISES = (AP2, SHIFT, FORWARD, BACKWARD, ADAMAX, BOUNDS, SCALE)
QUESTIONS = (
    Question(
        "5.1a",
        "AP2 of 3, 2.9, 0.7, -5 and 0?",
        (4, 4, 0.5, -4, 0),
        no={
            (4, 2, 0.5, -4, 0): "2.9 is nearer to 2, but its logarithm, 1.54, is nearer to 2 than "
            "to 1.",
            (2, 2, 0.5, -4, 0): "log2 of 3 is 1.58, and that is rounded to 2.",
            (4, 4, 1, -4, 0): "log2 of 0.7 is -0.51. Where does it round to?",
        },
    ),
    Question(
        "5.2a",
        "2.8125 shifted by AP2(3), AP2(-0.7), AP2(0.1), rounded to sixteenths?",
        (11.25, -1.375, 0.375),
        no={
            (11.25, -1.40625, 0.3515625): "Sixteenths: the last place is 0.0625, and what is "
            "beyond it is rounded.",
            (11.25, -1.4375, 0.375): "Nearly: -22.5 sixteenths is a tie. Which way does floor(x + "
            "1/2) send it?",
            (11.25, -1.4375, 0.3125): "A shift to the right rounds down. Here a half is added "
            "before.",
        },
    ),
    Question(
        "5.3a",
        "How many of the twelve terms are larger than c^2?",
        5,
        no={4: "-6 and 3, and 1.5 stands there three times, with one sign or the other."},
    ),
    Question("5.3b", "Which gains does line 5 use for 1.5, 0.7 and -3?", (2, 0.5, -4)),
    Question(
        "5.4a",
        "Without the sign: percent of negative variances in 10,000 random batches?",
        50,
        about=6,
        no={0: "Terms of both signs cancel, and their sum falls on either side of 0."},
    ),
    Question(
        "5.5a",
        "By which factor does the output change if the input is doubled?",
        1,
        no={2: "AP2 of the inverse deviation halves exactly."},
    ),
    Question(
        "5.5b",
        "Largest deviation of the output that any batch can have?",
        1.68,
        about=0.03,
        no={
            1.41: "That is line 4 alone. Line 3 adds to it.",
            1.42: "That is what bell curves reach.",
            2: "Line 3 rounds a variance, and the deviation is its root.",
        },
    ),
    Question(
        "5.5c",
        "What does a Sign behind the layer see of a factor, if there is a shift b?",
        "signs and masks",
        ("nothing", "signs", "masks", "signs and masks"),
    ),
    Question(
        "5.6a",
        "The difference quotient with respect to a gain of 1.5?",
        0,
        no={1: "That is the slope we would like to have. AP2 is a staircase."},
    ),
    Question("5.6b", "What does each column of a right gradient of x sum to?", 0),
    Question(
        "5.7a",
        "What will the checker say about torch?",
        "it refuses",
        ("passed", "failed", "it refuses"),
        no={"failed": "To fail it would need a function to compare with."},
    ),
    Question(
        "5.8a",
        "With a product for << >>, the first step is 2 to the power of?",
        -13,
        no={-7: "That is with a division.", -10: "That is alpha itself."},
    ),
    Question(
        "5.9a",
        "What is AP2(0.999 * 4)?",
        4,
        no={2: "The threshold between 2 and 4 is 2.83.", 3.996: "AP2 is a power of two."},
    ),
    Question(
        "5.10a",
        "Which choice matters most?",
        "the optimizer",
        ("the norm", "the optimizer", "the activations"),
    ),
)
