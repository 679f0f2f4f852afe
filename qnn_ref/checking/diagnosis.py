"""From wrong gradients to one sentence: where the mistake is, and what it looks like.

In a network a mistake makes everything below it wrong. So the layers from the last wrong tensor
upwards are looked at one by one, each with the input and the frozen values that it had.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Sequence

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.aside import MOVES, moved_model
from qnn_ref.checking.differences import Slope, estimate
from qnn_ref.checking.doubts import coarse, of_kink, of_scatter, rough
from qnn_ref.checking.elements import Settings, element_slope, gradient_of, one_slope, unit_step
from qnn_ref.checking.evidence import Evidence, sampled
from qnn_ref.checking.jumps import Jump, draws, find_jump
from qnn_ref.checking.patterns import constant_factor, recognised, transposed
from qnn_ref.checking.patterns.chain import not_linear
from qnn_ref.checking.points import Model, Point, Tensor
from qnn_ref.checking.report import Diagnosis, Entry, GradientError
from qnn_ref.checking.subjects import Adapted, Pair
from qnn_ref.checking.ties import TIED, TRIES, at_ties, bent_outputs
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential


def diagnosed(
    model: Model,
    point: Point,
    failed: Sequence[Entry],
    settings: Settings,
    rng: np.random.Generator,
) -> Diagnosis:
    """Say what is wrong.

    Parameters
    ----------
    model : Model
        What was checked, not frozen.
    point : Point
        The same, frozen.
    failed : list of Entry
        At least one.
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    Diagnosis
    """
    if point.damages:
        place, name, *_ = point.damages[0]
        return Diagnosis(_of_damage(place, name.removesuffix(" (changed in place)")))
    if draws(point):
        return Diagnosis(
            f"{model.name}: your forward draws at random or keeps state, and the checker was "
            "not told: declare a choice",
            _cure(model, Jump(model.name, "input", None), "choice"),
        )
    for place, part, there in _suspects(model, point, failed, rng):
        found = _of_part(part, there, failed, settings, rng)
        if found is not None:
            return _placed(found, part.name, place)
    for entry in reversed(failed):
        if entry.doubt:
            return _of_doubt(model, point, entry, settings, rng)
    last = failed[-1]
    if TIED in last.note:
        return Diagnosis(
            f"{last.name}: the gradient is wrong at ties: equal values of {last.tensor} together "
            "take another share of dy than is theirs, as if each of several maxima took all"
        )
    return Diagnosis(f"{last.name}: the gradient is wrong")


def _of_doubt(
    model: Model, point: Point, entry: Entry, settings: Settings, rng: np.random.Generator
) -> Diagnosis:
    """What is neither right nor wrong: no element is wrong beyond doubt."""
    tensor = _tensor(entry)
    jump = find_jump(point, tensor, rng)
    if jump is not None:
        return _of_jump(model, jump)
    if entry.doubt == "kink":
        return of_kink(entry.name, point, tensor, settings, rng)
    return of_scatter(entry.name, point, tensor, entry.note, rng)


def _of_jump(model: Model, jump: Jump) -> Diagnosis:
    sentence = (
        f"{jump.layer}: your forward jumps at {jump.where}, and the checker was not told: "
        "declare a surrogate"
    )
    return Diagnosis(sentence, _cure(model, jump, "surrogate"))


def _of_damage(place: str, what: str) -> str:
    if what.startswith("backward: "):
        return f"{place}: backward changes its array {what[10:]} in place"
    if what == "upstream gradient":
        return f"{place}: backward changes its upstream gradient dy in place"
    return f"{place}: forward changes its {what} in place"


def _tensor(entry: Entry) -> Tensor:
    return Tensor(entry.layer, entry.tensor)


def _suspects(
    model: Model, point: Point, failed: Sequence[Entry], rng: np.random.Generator
) -> Iterator[tuple[str, Model, Point]]:
    """Parts that may hold the mistake, each alone: (place, part, its point); then the whole."""
    network = model.subject
    if isinstance(network, Sequential):
        bad = {entry.layer for entry in failed}
        places = [f"{i}.{type(layer).__name__}" for i, layer in enumerate(network.layers)]
        first = max((i for i, place in enumerate(places) if _holds(bad, place)), default=0)
        last = next(
            (i for i in range(first + 1, len(places)) if network.layers[i].parameters()),
            len(places) - 1,
        )
        for i in range(first, last + 1):
            part = Model(copy.deepcopy(network.layers[i]), point.inputs[places[i]], None, None)
            yield from _alone(places[i], part, rng)
        if model.loss is not None and last == len(places) - 1:
            scores = point.model.subject.forward(point.model.x)  # type: ignore[union-attr]
            yield from _alone("loss", Model(model.loss, scores, None, model.labels), rng)
    yield "", model, point


def _holds(bad: set[str], place: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for name in bad)


def _alone(place: str, part: Model, rng: np.random.Generator) -> Iterator[tuple[str, Model, Point]]:
    try:
        there = Point(part, rng)
    except (GradientError, ValueError, TypeError, RuntimeError):
        return  # what cannot run alone is judged in the whole
    yield place, part, there


def _placed(found: Diagnosis, name: str, place: str) -> Diagnosis:
    """The diagnosis of a part with the part's place in the network."""
    if not place or place == "loss":
        return found
    return Diagnosis(
        re.sub(rf"^{re.escape(name)}\b", place, found.sentence),
        found.details,
        found.yours,
        found.expected,
    )


def _of_part(
    model: Model,
    point: Point,
    failed: Sequence[Entry],
    settings: Settings,
    rng: np.random.Generator,
) -> Diagnosis | None:
    """The first tensor of a part, from above, whose mistake has a name, or is wrong at all.

    Where a part's own chain is broken, as in a recurrence, one tensor often tells what another
    does not.
    """
    if point.damages:
        place, name, *_ = point.damages[0]
        return Diagnosis(_of_damage(place, name.removesuffix(" (changed in place)")))
    wrong = {(entry.layer, entry.tensor) for entry in failed}
    unnamed: list[Diagnosis] = []
    for tensor in reversed(list(point.base)):
        if (tensor.layer, tensor.name) not in wrong and point.model.name in {e[0] for e in wrong}:
            continue
        evidence = _evidence(model, point, tensor, settings, rng)
        enough = TRIES if isinstance(model.subject, Adapted) else TRIES // 4  # ours have no ties
        if evidence.fits and bent_outputs(point, tensor, settings, rng, enough).any():
            evidence = _beside_ties(evidence, settings)
        if evidence.fits and not evidence.wrong.any() and not _type_differs(evidence):
            continue
        found = _of_evidence(evidence)
        if not UNNAMED.search(found.sentence):
            return found
        unnamed.append(found)
        if len(unnamed) == UNNAMED_LOOKED:
            break
    return unnamed[0] if unnamed else None


UNNAMED_LOOKED = 3
UNNAMED = re.compile(r"the gradient is wrong in (?!1 )\d+ of \d+ elements$")
"""A sentence that says how much is wrong, and not what."""


def _type_differs(e: Evidence) -> bool:
    return e.point.gradients[e.tensor].dtype != np.float64  # type: ignore[union-attr]


def _slope(point: Point, tensor: Tensor, index: tuple[int, ...]) -> float:
    slope, _ = element_slope(point, tensor, _SETTINGS, index)
    return slope.value


_SETTINGS = Settings(1e-6, 1e-10, 2.0**-16, 1)


def _evidence(
    model: Model, point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Evidence:
    base, gradient = point.base[tensor], point.gradients.get(tensor)
    settings = rough(settings) if coarse(point, tensor, rng) else settings
    fits = gradient is not None and gradient.shape == base.shape
    point.gradients[tensor] = gradient if fits else None  # it chooses among steps
    looked = list(sampled(base.shape, rng))
    slopes = {index: one_slope(point, tensor, settings, index)[0] for index in looked}
    numeric, scatter = _resolved(gradient_of(point, tensor), slopes, settings)
    if fits and len(looked) < base.size and not _differs(numeric, gradient, settings):
        index = _by_halving(point, tensor, settings, rng)
        slope, _ = element_slope(point, tensor, settings, index)
        if not slope.kink:
            numeric[index] = slope.value
    point.gradients[tensor] = gradient
    largest = float(np.abs(numeric[~np.isnan(numeric)]).max(initial=0))
    if gradient is not None:
        gradient = np.array(gradient, dtype=np.float64)
        largest = max(largest, float(np.abs(gradient).max(initial=0)))
    allowed = max(settings.tolerance * largest, settings.floor, 3 * scatter)
    return Evidence(model, point, tensor, gradient, numeric, allowed, _slope, rng)


def _beside_ties(e: Evidence, settings: Settings) -> Evidence:
    """What is wrong a little aside too; at the point itself without what has no slope there."""
    for _ in range(MOVES):  # each move gives other elements the gradient
        try:
            moved = moved_model(e.model, e.tensor, e.rng, e.x)
            aside = _evidence(moved, Point(moved, e.rng), e.tensor, settings, e.rng)
        except (GradientError, ValueError):  # forward is not defined there
            continue
        if aside.fits and aside.wrong.any():
            return aside
    numeric = e.numeric.copy()
    for index in map(tuple, np.argwhere(e.known)[e.wrong]):
        if at_ties(e.point, e.tensor, settings, e.rng, index):
            numeric[index] = np.nan
    return Evidence(e.model, e.point, e.tensor, e.gradient, numeric, e.allowed, _slope, e.rng)


def _resolved(
    gradient: Array, slopes: dict[tuple[int, ...], Slope], settings: Settings
) -> tuple[Array, float]:
    """Difference quotients where they say something, NaN elsewhere; how far most of them scatter.

    They say nothing at a kink, and where they scatter as much as they differ from the gradient.
    """
    numeric = np.full(gradient.shape, np.nan)
    largest = max(float(np.abs(gradient).max()), *(abs(s.value) for s in slopes.values()))
    allowed = max(settings.tolerance * largest, settings.floor)
    for index, slope in slopes.items():
        error = abs(slope.value - gradient[index])
        if not slope.kink and (error <= allowed or slope.scatter <= error / 10):
            numeric[index] = slope.value
    return numeric, float(np.median([slope.scatter for slope in slopes.values()]))


def _differs(numeric: Array, gradient: Array | None, settings: Settings) -> bool:
    """Whether one of the elements that were looked at is wrong."""
    assert gradient is not None
    known = ~np.isnan(numeric)
    largest = max(float(np.abs(numeric[known]).max(initial=0)), float(np.abs(gradient).max()))
    wrong = np.abs((numeric - gradient)[known]) > max(settings.tolerance * largest, settings.floor)
    return bool(wrong.any())


def _by_halving(
    point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> tuple[int, ...]:
    """An element of a large tensor that is wrong, by halving the set of those that may be."""
    base, gradient = point.base[tensor], gradient_of(point, tensor)
    direction = rng.normal(size=base.size)

    def error(some: Array) -> float:
        v = np.zeros(base.size)
        v[some] = direction[some]
        moved = v.reshape(base.shape)
        found = estimate(
            lambda t: point.at(tensor, base + t * moved),
            point.output,
            point.covector,
            unit_step(settings, base),
        )
        return abs(found.smooth - float(np.vdot(gradient, moved)))

    left = np.arange(base.size)
    while len(left) > 1:
        first, second = left[: len(left) // 2], left[len(left) // 2 :]
        left = first if error(first) >= error(second) else second
    point.put_back(tensor)
    return tuple(int(i) for i in np.unravel_index(int(left[0]), base.shape))


def _of_evidence(e: Evidence) -> Diagnosis:
    words = None
    if e.fits and _type_differs(e):
        dtype = e.point.gradients[e.tensor].dtype  # type: ignore[union-attr]
        words = f"is {dtype} where x is float64: backward computes in {dtype}"
    elif e.fits and e.known.any():
        mostly = np.count_nonzero(np.abs(e.n) > e.allowed) > e.n.size / 2
        words = not_linear(e) or ((constant_factor(e) or transposed(e)) if mostly else None)
    if words is None and e.gradient is not None:
        jump = find_jump(e.point, e.tensor, e.rng)
        if jump is not None:
            return _of_jump(e.model, jump)
    words = words or (recognised(e) if e.known.any() else None)
    yours = e.gradient if e.fits else None
    details = tuple(_smallest(e)) if e.fits else ()
    if words is None:
        count = np.count_nonzero(e.wrong)
        words = f"is wrong in {count} of {e.n.size} elements"
        if count == 1:
            words += f", at {_place(e)}"
    return Diagnosis(f"{e.name}: the gradient {words}", (*details, *_equation(e)), yours, e.numeric)


def _first(e: Evidence) -> tuple[int, ...]:
    """Index of the first wrong element."""
    return tuple(int(i) for i in np.argwhere(e.known)[int(np.argmax(e.wrong))])


def _place(e: Evidence) -> str:
    index = _first(e)
    return f"{e.tensor.name}{list(index)}" if index else e.tensor.name


def _smallest(e: Evidence) -> Iterator[str]:
    """The first wrong element: its value, yours, expected; and how many there are."""
    if not e.wrong.any():
        return
    index = _first(e)
    count, looked = np.count_nonzero(e.wrong), e.n.size
    of = f"{count} of {looked} elements wrong" + (" (a sample)" if looked < e.x.size else "")
    assert e.gradient is not None
    yield (
        f"at {_place(e)} = {e.x[index]:.6g}: yours {e.gradient[index] + 0.0:.6g}, "
        f"expected {e.numeric[index] + 0.0:.6g}; {of}"
    )


def _equation(e: Evidence) -> Iterator[str]:
    """The source that a docstring of the layer or function names."""
    owner = e.model.subject if e.is_loss else e.layer
    for cls in (owner,) if inspect.isroutine(owner) else type(owner).__mro__:
        if cls is Layer or cls.__module__.startswith("qnn_ref.checking"):
            return
        found = re.search(
            r"(?:Source|References)\s*-{3,}\s*(.+?)(?:\n\s*\n|\Z)", cls.__doc__ or "", re.S
        )
        if found and not found[1].startswith("Not in the paper"):
            first, *more = re.split(r"; |\. (?=[A-Z])", " ".join(found[1].split()))
            yield "see " + "; ".join([first, *(part for part in more if part.startswith("eq"))])
            return


def _cure(model: Model, jump: Jump, kind: str) -> tuple[str, ...]:
    """Lines of code that declare the jump."""
    word = '"choice"' if kind == "choice" else '"identity"'
    subject = model.subject
    if isinstance(subject, Pair):
        name, arrays = subject.name, ", ".join(subject.arrays)
        if len(subject.arrays) == 1 and kind != "choice":
            return (
                f"check_gradients({name}, {arrays}, backward={name}_backward, rng=rng,",
                "                surrogate=lambda x: np.clip(x, -1, 1))"
                "  # the function whose slope backward uses",
                'or surrogate="identity", where the gradient passes everywhere',
            )
        part = "draw" if kind == "choice" else "sign"
        given = arrays if len(subject.arrays) == 1 else f"({arrays})"
        return (
            f"def {name}({arrays}, {part}={part}):  # what jumps or draws becomes an argument",
            f"check_gradients({name}, {given}, backward={name}_backward, rng=rng,",
            f'                surrogate={{"{part}": {word}}})'
            "  # or a function, such as lambda x: np.clip(x, -1, 1)",
        )
    name = jump.layer.rpartition(".")[2]
    part = "draw" if kind == "choice" else "sign"
    return (
        f"class {name}(Layer):",
        f"    {part} = staticmethod({part})  # and forward calls self.{part}(...)",
        f'    jumps = {{"{part}": {word}}}'
        + ("" if kind == "choice" else "  # or the function whose slope backward uses: hard_tanh"),
    )
