"""AP2 and shifts of integers: exercises 5.1 and 5.2."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.shifts import ap2, shift_multiply_fixed


def power_of_two(x: Array) -> Array:
    """The right answer to 5.1: the package's own."""
    return ap2(x)


def _ap2_cases(rng: np.random.Generator) -> Iterator[Case]:
    for value in (1.0, 2.0, 3.0, 2.9, 2.8, 0.7, -1.0, -5.0, 0.25, 0.0, -0.0, 1e-3, 1e6):
        yield (np.array([value]),)
    yield (np.array([3.0, 0.0, -0.7], np.float32),)
    for shape in ((3,), (2, 5), (65,)):
        x = rng.normal(size=shape) * 2.0 ** rng.integers(-20, 20, shape)
        yield (np.where(rng.random(shape) < 0.2, 0, x),)


def _powers(x: Array, exponent: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.where(x == 0, 0, np.sign(x) * 2.0**exponent).astype(x.dtype)


def _logarithm(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.log2(np.abs(x))


def _nearest(x: Array) -> Array:
    """To the nearer of two neighbours: the threshold is their arithmetic mean."""
    low = _powers(np.abs(x), np.floor(_logarithm(x)))
    return (np.sign(x) * np.where(np.abs(x) < 1.5 * low, low, 2 * low)).astype(x.dtype)


AP2 = Exercise(
    id="5.1",
    title="AP2",
    name="power_of_two",
    task="Return AP2 of each element: the power of two that is nearest on a logarithmic scale, "
    "with the sign of the element; 0 gives 0, without a warning.",
    section="section 2.4",
    spec=power_of_two,
    cases=_ap2_cases,
    simple=(),
    quiet=True,
    without=("ap2", "ap2_reference", "ap2_sign_exponent"),
    wrong=(
        Wrong(
            "floor",
            lambda x: _powers(x, np.floor(_logarithm(x))),
            "You round the logarithm down, as hardware does that takes the leading 1. The nearest "
            "whole number is asked: 3 becomes 4.",
        ),
        Wrong(
            "ceiling",
            lambda x: _powers(x, np.ceil(_logarithm(x))),
            "You round the logarithm up. The nearest whole number is asked: 0.7 becomes 0.5.",
        ),
        Wrong(
            "nearest power",
            _nearest,
            "You take the power that is nearest to x. The logarithm is rounded: the threshold "
            "between 2 and 4 is 2.83, not 3, and 2.9 becomes 4.",
        ),
        Wrong(
            "sign lost",
            lambda x: _powers(np.abs(x), np.round(_logarithm(x))),
            "The sign is lost: -5 becomes -4.",
        ),
        Wrong(
            "no case for 0",
            lambda x: (np.sign(x) * 2.0 ** np.round(np.log2(np.abs(x)))).astype(x.dtype),
            "The logarithm of 0 does not exist; that the result is 0 all the same is luck with "
            "infinities. Keep 0 away from the logarithm.",
        ),
        Wrong(
            "1 for 0",
            lambda x: (
                np.where(x < 0, -1, 1)
                * np.abs(
                    _powers(np.where(x == 0, 1, x), np.round(_logarithm(np.where(x == 0, 1, x))))
                )
            ).astype(x.dtype),
            "0 becomes 1 in yours. Nothing shifts 0 anywhere: AP2(0) is 0.",
        ),
        Wrong(
            "exponent",
            lambda x: np.where(x == 0, 0, np.round(_logarithm(np.where(x == 0, 1, x)))).astype(
                x.dtype
            ),
            "This is the exponent. The power of two itself is asked.",
        ),
    ),
    hints=(
        "Three parts: the sign, the whole number next to the logarithm, and 0, which has no "
        "logarithm.",
        "sign(x) 2^round(log2 |x|), and 0 where x is 0.",
        "Put 1 in the place of zeros with numpy.where before numpy.log2; numpy.sign makes them 0 "
        "again.",
    ),
)


def shift_multiply(code: int, sign: int, places: int) -> int:
    """The right answer to 5.2: the package's own."""
    return int(shift_multiply_fixed(*(np.array([n], np.int64) for n in (code, sign, places)))[0])


def _shift_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from ((1, 1, 0), (1, 1, 1), (3, 1, 2), (45, -1, 0), (4, 1, -1), (5, 1, -1), (6, 1, -2))
    yield from ((45, -1, -1), (-45, 1, -1), (-45, -1, -1), (3, -1, -1), (1, 1, -1), (1, -1, -1))
    yield from ((7, 0, 2), (-7, 0, -2), (0, -1, -3), (45, 1, -3), (1, 1, -10), (-1, 1, -10))
    for _ in range(20):
        code, sign = rng.integers(-1000, 1000), rng.choice([-1, 1])
        yield int(code), int(sign), int(rng.integers(-8, 8))


def _sent(code: int, sign: int) -> int:
    return -code if sign < 0 else code if sign > 0 else 0


def _moved(number: int, places: int, half: int) -> int:
    """By << or >>, with what is added before places are dropped."""
    return number << places if places >= 0 else (number + half) >> -places


def _half(places: int) -> int:
    return 1 << (-places - 1) if places < 0 else 0


def _truncated(code: int, sign: int, places: int) -> int:
    size = _moved(abs(code), places, 0)
    return _sent(size, sign if code >= 0 else -sign)


def _from_zero(code: int, sign: int, places: int) -> int:
    size = _moved(abs(code), places, _half(places))
    return _sent(size, sign if code >= 0 else -sign)


SHIFT = Exercise(
    id="5.2",
    title="A product by a shift",
    name="shift_multiply",
    task="Return floor(code * sign * 2^places + 1/2) with << and >> and additions only; sign is "
    "-1, 0 or +1, places may be negative.",
    section="section 2.4, the operation << >>",
    spec=shift_multiply,
    cases=_shift_cases,
    axes=("", "", ""),
    without=("*", "/", "**", "%", "shift_multiply_fixed", "floor", "round", "ldexp", "float"),
    wrong=(
        Wrong(
            "no rounding",
            lambda code, sign, places: _moved(_sent(code, sign), places, 0),
            "A shift to the right alone rounds down. The rule is floor(x + 1/2): half a unit of "
            "the last place comes first.",
        ),
        Wrong(
            "sign after rounding",
            lambda code, sign, places: _sent(_moved(code, places, _half(places)), sign),
            "You round first and change the sign then: 22.5 becomes 23 and -23. With the sign "
            "first -22.5 becomes -22.",
        ),
        Wrong(
            "half away from 0",
            _from_zero,
            "You round the size of the number, so halves go away from 0. floor(x + 1/2) sends "
            "them upwards on both sides.",
        ),
        Wrong(
            "towards 0",
            _truncated,
            "You drop places of the size of the number, which rounds towards 0.",
        ),
        Wrong(
            "negative shift",
            lambda code, sign, places: _sent(code, sign) << places,
            "Python refuses a shift by a negative number (and processors take it modulo 64). To "
            "the right there is another operator.",
        ),
        Wrong(
            "sign lost",
            lambda code, sign, places: _moved(code, places, _half(places)),
            "The shift knows the exponent only. You do not use sign.",
        ),
        Wrong(
            "0 is +1",
            lambda code, sign, places: _moved(-code if sign < 0 else code, places, _half(places)),
            "sign can be 0, where AP2 is 0: then the product is 0.",
        ),
        Wrong(
            "half of another place",
            lambda code, sign, places: _moved(
                _sent(code, sign), places, 1 << -places if places < 0 else 0
            ),
            "You add a whole unit of the last place. Half of one is asked, the highest bit that is "
            "dropped.",
        ),
    ),
    hints=(
        "First the signed number, then the shift; to the right something is lost, and a half is "
        "to be added before it.",
        "x >> n is floor(x / 2^n), for negative x too. What has to be added to x so that this is "
        "floor(x / 2^n + 1/2)?",
        "To the left: one shift. To the right: a number with a single bit set is added first (1 << "
        "something), then the sum is shifted.",
    ),
)
