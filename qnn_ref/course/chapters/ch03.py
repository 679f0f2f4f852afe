"""Chapter 3, training on MNIST: counting errors and flips, the statistics of inference."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.chapters._running_statistics import RUNNING_STATISTICS
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong
from qnn_ref.shares import flipped_share as share_of_signs
from qnn_ref.training import error_rate


def error_percent(answers: Array, labels: Array, batch: int) -> float:
    """The right answer to 3.1: the package's own, of a network that gives these answers."""
    network = SimpleNamespace(predict=lambda images, batch: images, output_shape=(10,))
    return error_rate(network, answers, labels, batch)


def _error_cases(rng: np.random.Generator) -> Iterator[Case]:
    for yours, right, batch in (
        ([1], [1], 1),
        ([1], [0], 1),
        ([3, 5], [3, 4], 2),
        ([1, 2, 3], [1, 2, 4], 2),
        ([1, 2, 3], [0, 2, 3], 2),
    ):
        yield np.array(yours), np.array(right), batch
    labels = rng.integers(0, 10, 260)
    wrong = np.arange(260) >= 142  # 118 of 260: 45.4 %
    yield np.where(wrong, (labels + 1) % 10, labels), labels, 256
    for size, batch in ((7, 3), (10, 5), (64, 64), (65, 64), (130, 64)):
        labels = rng.integers(0, 10, size)
        yield np.where(rng.random(size) < 0.4, 9 - labels, labels), labels, batch


def _parts(answers: Array, labels: Array, batch: int) -> list[Array]:
    """Which answers are wrong, batch by batch."""
    wrong = answers != labels
    return [wrong[i : i + batch] for i in range(0, len(wrong), batch)]


def _mean_of_means(answers: Array, labels: Array, batch: int) -> float:
    return 100 * float(np.mean([part.mean() for part in _parts(answers, labels, batch)]))


def _dropped(answers: Array, labels: Array, batch: int) -> float:
    full = len(labels) // batch * batch
    return 100 * float((answers[:full] != labels[:full]).mean())


def _dropped_count(answers: Array, labels: Array, batch: int) -> float:
    full = len(labels) // batch * batch
    return 100 * float((answers[:full] != labels[:full]).sum()) / len(labels)


def _whole_batches(answers: Array, labels: Array, batch: int) -> float:
    parts = _parts(answers, labels, batch)
    return 100 * float(sum(part.sum() for part in parts)) / (batch * len(parts))


def _last_batch(answers: Array, labels: Array, batch: int) -> float:
    return 100 * float(_parts(answers, labels, batch)[-1].mean())


ERROR_RATE = Exercise(
    id="3.1",
    title="Error rate",
    name="error_percent",
    task="Return how many answers are wrong, in percent of all images, seen `batch` at a time; the "
    "last batch may be smaller.",
    section="section 4.2",
    spec=error_percent,
    cases=_error_cases,
    same=close(1e-12),
    axes=("n", "n", ""),
    simplify=(),
    wrong=(
        Wrong(
            "mean of means",
            _mean_of_means,
            "You average the rates of the batches. A last batch of 4 images then weighs as much as "
            "one of 256.",
        ),
        Wrong(
            "last batch dropped",
            _dropped,
            "The images of the last, incomplete batch are missing. In training they may be "
            "dropped; a test error is about all images.",
        ),
        Wrong(
            "last batch not counted",
            _dropped_count,
            "The mistakes in the last, incomplete batch are not counted, though its images are.",
        ),
        Wrong(
            "whole batches",
            _whole_batches,
            "You divide by the number of batches times their size. The last one may be smaller: "
            "divide by the number of images.",
        ),
        Wrong(
            "last batch only",
            _last_batch,
            "This is the rate of the last batch. Each batch overwrites what was counted before.",
        ),
        Wrong(
            "share",
            lambda answers, labels, batch: float((answers != labels).mean()),
            "This is a share from 0 to 1; percent are asked.",
        ),
        Wrong(
            "count",
            lambda answers, labels, batch: int(np.count_nonzero(answers != labels)),
            "This is their number. Percent of all images are asked.",
        ),
        Wrong(
            "whole percents",
            lambda answers, labels, batch: float(
                100 * np.count_nonzero(answers != labels) // len(labels)
            ),
            "You cut the percents off after the point: // drops what / keeps.",
        ),
        Wrong(
            "accuracy",
            lambda answers, labels, batch: 100 * float((answers == labels).mean()),
            "These are the right answers. The wrong ones are asked.",
        ),
    ),
    hints=(
        "The result must not depend on the size of the batches. Which quantity of a batch can be "
        "added up without harm?",
        "Count the wrong answers of each batch, add the counts, divide once.",
        "A loop over range(0, number of images, batch) that adds to a counter; one division after "
        "the loop.",
    ),
)


def flipped_share(before: Array, after: Array) -> float:
    """The right answer to 3.2: the package's own."""
    return share_of_signs([before >= 0], [after >= 0])


def _flip_cases(rng: np.random.Generator) -> Iterator[Case]:
    for first, second in (
        (0.5, 0.5),
        (0.5, -0.5),
        (-0.5, 0.5),
        (0.5, 0.25),
        (0.0, -0.5),
        (0.0, 0.5),
        (-0.5, 0.0),
        (-0.0, 0.5),
        (-0.0, 0.0),
        (-0.0, -0.5),
        (0.0, 0.0),
    ):
        yield np.array([first]), np.array([second])
    yield np.array([0.5, 0.5, 0.5, 0.5]), np.array([-0.5, 0.5, 0.5, 0.5])
    yield np.array([0.1, -0.1]), np.array([-0.1, 0.1])
    for shape in ((5,), (3, 4), (65,)):
        before = rng.choice([0.0, -0.0, *rng.uniform(-1, 1, 6)], shape)
        yield before, rng.choice([0.0, -0.0, *rng.uniform(-1, 1, 6)], shape)


FLIPPED_SHARE = Exercise(
    id="3.2",
    title="Share of flipped signs",
    name="flipped_share",
    task="Return the share, from 0 to 1, of weights whose binary value differs before and after.",
    section="section 2.3; eq. (1)",
    spec=flipped_share,
    cases=_flip_cases,
    same=close(1e-12),
    simple=(0, 1, -1, 0.5),
    wrong=(
        Wrong(
            "product below 0",
            lambda before, after: float((before * after < 0).mean()),
            "You look for a negative product. From 0.0 to -0.5 the binary weight goes from +1 to "
            "-1, and the product is 0.",
        ),
        Wrong(
            "numpy.sign",
            lambda before, after: float((np.sign(before) != np.sign(after)).mean()),
            "numpy.sign has a third value. From 0.0 to 0.5 the binary weight stays +1.",
        ),
        Wrong(
            "greater",
            lambda before, after: float(((before > 0) != (after > 0)).mean()),
            "You take 0 as -1. Eq. (1) makes it +1.",
        ),
        Wrong(
            "sign bit",
            lambda before, after: float((np.signbit(before) != np.signbit(after)).mean()),
            "You compare sign bits. -0.0 has one, and its binary weight is +1 all the same.",
        ),
        Wrong(
            "moved",
            lambda before, after: float((before != after).mean()),
            "You count the latent weights that moved. A weight is flipped if its sign changed.",
        ),
        Wrong(
            "count",
            lambda before, after: float(((before >= 0) != (after >= 0)).sum()),
            "This is their number. A share from 0 to 1 is asked.",
        ),
        Wrong(
            "divided by rows",
            lambda before, after: float(((before >= 0) != (after >= 0)).sum() / len(before)),
            "You divide by the number of rows. A matrix has more weights than rows.",
        ),
        Wrong(
            "percent",
            lambda before, after: 100 * float(((before >= 0) != (after >= 0)).mean()),
            "These are percent. A share from 0 to 1 is asked.",
        ),
        Wrong(
            "difference of shares",
            lambda before, after: abs(float((before >= 0).mean() - (after >= 0).mean())),
            "You compare how many are +1 before and after. Where one flips up and another down, "
            "that number stays.",
        ),
    ),
    hints=(
        "Two values each weight can have: compare what the products see before and after.",
        "A weight is +1 where its latent value is at least 0, zeros of both signs included.",
        "Two comparisons with 0, whether they differ, and the mean of that.",
    ),
)


EXERCISES = (ERROR_RATE, FLIPPED_SHARE, RUNNING_STATISTICS)
QUESTIONS = (
    Question(
        "3.2a",
        "Bytes of the 118,016 binary weights, and as float32?",
        (14_752, 472_064),
        no={(118_016, 472_064): "118,016 is the number of bits. Eight of them are a byte."},
    ),
    Question(
        "3.3a",
        "Which has the lower loss after the first epoch, and in the end?",
        "float, float",
        ("binary, binary", "binary, float", "float, binary", "float, float"),
    ),
    Question(
        "3.4a",
        "Percent of flipped weights in the first epoch, and in the last (5 points off is near)?",
        (23.8, 0.9),
        about=5,
    ),
    Question(
        "3.5a",
        "Where are most latent weights after training?",
        "anywhere else",
        ("at 0", "at the clip", "anywhere else"),
        no={"at the clip": "The largest heaps are there, but most weights are not in them."},
    ),
    Question(
        "3.6a",
        "What happens to the signs of weights whose pixel is 0 in every image?",
        "they stay",
        ("they stay", "all become +1", "all become -1", "they flip at random"),
        no={
            "they flip at random": "That would need a gradient. What does batch norm do with a "
            "number that is the same for every image?"
        },
    ),
    Question(
        "3.6b",
        "Do their latent weights stay exactly where they were?",
        False,
        no={True: "The gradient is 0 up to rounding. What does ADAM divide it by?"},
    ),
)
