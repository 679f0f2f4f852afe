"""Code of the kinds that strangers hand in: at the edge of a function, with ties, on few axes."""

import numpy as np
import pytest

from qnn_ref.checking import GradientError, check_gradients
from qnn_ref.layers import Layer
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import hard_tanh

MODES = ["probe", "full", "order"]


def check(subject, x, backward=None, **options):
    return check_gradients(subject, x, backward=backward, rng=np.random.default_rng(0), **options)


def first_line(*arguments, **options):
    report = check(*arguments, **options)
    assert not report.passed
    return str(report).splitlines()[0]


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


X, W, B, SQUARE = draw(1, 6, 4), draw(2, 4, 3), draw(3, 3), draw(4, 4, 4)

# At the edge of what a function takes ------------------------------------------------------------

EDGES = {
    "log": (np.log, lambda dy, x: dy / x),
    "sqrt": (np.sqrt, lambda dy, x: dy / (2 * np.sqrt(x))),
    "1 / x": (lambda x: 1 / x, lambda dy, x: -dy / x**2),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("near", [1e-3, 1e-5, 1e-7, 1e-9, 1e-12])
@pytest.mark.parametrize(("forward", "backward"), EDGES.values(), ids=EDGES)
def test_near_the_edge_of_a_function(forward, backward, near, mode):
    x = np.array([near, 0.5, 1.0])
    assert check(forward, x, backward, mode=mode).passed
    line = first_line(forward, x, lambda dy, x: 2 * backward(dy, x), mode=mode)
    assert "jumps" not in line
    assert "kink" not in line


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tiny", [5e-324, 1e-300, 1e-100])
def test_numbers_too_small_for_steps(tiny, mode):
    x = np.array([tiny, -tiny, 1.0])
    assert check(lambda x: x**2, x, lambda dy, x: 2 * dy * x, mode=mode).passed
    assert not check(lambda x: x**2, x, lambda dy, x: 4 * dy * x, mode=mode).passed
    assert not check(np.sin, x, lambda dy, x: dy * np.cos(x) * (np.abs(x) > 0.5), mode=mode).passed


def test_beside_the_edge_nothing_is_called_wrong():
    line = first_line(np.arcsin, np.array([0.999999, 0.5]), lambda dy, x: dy / np.sqrt(1 - x**2))
    assert line == (
        "arcsin.x: the gradient cannot be judged: forward is not finite within a step "
        "at x[0] = 0.999999"
    )


def test_a_logarithm_has_no_jump_and_small_gradients_are_not_called_0():
    line = first_line(np.log, np.abs(X) + 0.5, lambda dy, x: dy)
    assert "has the factor x once too often" in line
    report = check(lambda x: 1e-12 * x**2, X, lambda dy, x: 2e-12 * dy * x)
    assert "below the floor: nothing but that was checked" in str(report)


def test_a_jump_is_found_beside_the_edge_of_a_function():
    for place in (0.5, 0.9, 1.4):

        def forward(x, place=place):
            return np.log(x) + np.where(x >= place, 1.0, 0.0)

        line = first_line(forward, np.array([0.3, 0.7, 1.6]), lambda dy, x: dy * np.abs(x))
        assert f"jumps at x = {place}," in line


def test_other_values_are_blamed_only_for_what_is_wrong():
    x = np.concatenate([np.abs(draw(3, 16)) + 0.1, [-0.5, -0.7, -0.9, -1.1]])
    factor = np.where(
        np.arange(20) >= 18, [1.3] * 18 + [1.5, 1.9], 1.0
    )  # the rest is right for |x| too
    line = first_line(lambda x: (x**3).sum(), x, lambda dy, x: 3 * dy * x**2 * factor)
    assert "uses" not in line


def test_a_factor_beside_1_is_shown_as_it_is():
    for factor, words in ((1.01, "1.01 times too large"), (1.0002, "1.0002 times too large")):
        assert first_line(lambda x: x**2, X, lambda dy, x: factor * 2 * dy * x).endswith(words)  # noqa: B023


# Ties --------------------------------------------------------------------------------------------


def largest(x):
    return x.max(axis=1)


def winners(x):
    return x == x.max(axis=1, keepdims=True)


def first_winner(dy, x):
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), x.argmax(axis=1)] = dy
    return dx


@pytest.mark.parametrize("mode", MODES)
def test_ties_of_a_maximum(mode):
    x = np.sign(X)
    assert check(largest, x, first_winner, mode=mode).passed
    shares = lambda dy, x: dy[:, None] * winners(x) / winners(x).sum(axis=1, keepdims=True)  # noqa: E731
    assert check(largest, x, shares, mode=mode).passed
    line = first_line(largest, x, lambda dy, x: dy[:, None] * winners(x), mode=mode)
    assert "the gradient is wrong at ties" in line
    assert check(lambda x: np.maximum(x, 0), 0 * x, lambda dy, x: dy * (x > 0), mode=mode).passed


def test_a_maximum_that_all_get():
    line = first_line(largest, X, lambda dy, x: np.repeat(dy[:, None], 4, axis=1))
    assert "goes to all along axis 1, where one takes it" in line


# Parts, axes and shapes --------------------------------------------------------------------------

CUBE = draw(5, 3, 4, 5)


@pytest.mark.parametrize("axis", range(3))
def test_a_part_that_was_left_out(axis):
    for place in (0, CUBE.shape[axis] - 1):
        here = (slice(None),) * axis + (place,)

        def with_part(dy, x, factor, here=here):
            dx = 2 * dy * x
            dx[here] *= factor
            return dx

        line = first_line(lambda x: x**2, CUBE, lambda dy, x: with_part(dy, x, 0))
        assert f"is 0 at place {place} of axis {axis} and right elsewhere" in line
        line = first_line(lambda x: x**2, CUBE, lambda dy, x: with_part(dy, x, 1 + np.abs(x[here])))  # noqa: B023
        assert f"is wrong at place {place} of axis {axis} only" in line


@pytest.mark.parametrize("axis", range(3))
def test_the_length_of_an_axis(axis):
    count = CUBE.shape[axis]
    words = f"{count} is the length of axis {axis} of "
    mean = lambda x: x.mean(axis=axis)  # noqa: E731
    repeated = lambda dy, x: np.repeat(np.expand_dims(dy, axis), count, axis)  # noqa: E731
    if axis:
        assert words in first_line(mean, CUBE, repeated)
    line = first_line(lambda x: x**2, CUBE, lambda dy, x: 2 * count * dy * x)
    assert "is the length of" not in line  # where nothing is summed it would be chance


def affine(x, w, b):
    return x @ w + b


SHAPES = {
    "not summed": (lambda dy: dy, "b: the gradient is not summed over axis 0: it has shape (6, 3)"),
    "an axis too many": (lambda dy: dy.sum(axis=0)[None], "has the right numbers in shape (1, 3)"),
    "a number": (lambda dy: dy.sum(), "b: the gradient has the wrong shape: (), the tensor (3,)"),
}


@pytest.mark.parametrize(("db", "words"), SHAPES.values(), ids=SHAPES)
def test_shapes_that_broadcast(db, words):
    line = first_line(affine, (X, W, B), lambda dy, x, w, b: (dy @ w.T, x.T @ dy, db(dy)))
    assert words in line


# The chain rule ----------------------------------------------------------------------------------

LAST = {
    "tanh": (np.tanh, lambda y: 1 - y**2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda y: y * (1 - y)),
    "ReLU": (lambda z: np.maximum(z, 0), lambda y: y > 0),
}


@pytest.mark.parametrize("wrong", ["x", "w", "both"])
@pytest.mark.parametrize("name", LAST)
def test_the_slope_of_the_last_function(name, wrong):
    function, slope = LAST[name]

    def forward(x, w):
        return function(x @ w)

    def backward(dy, x, w, times=0):
        d = dy * slope(forward(x, w))
        bad = dy * slope(forward(x, w)) ** times
        dx = bad if wrong != "w" else d
        dw = bad if wrong != "x" else d
        return dx @ w.T, x.T @ dw

    assert f"lacks the slope of the {name}" in first_line(forward, (X, W), backward)
    if name != "ReLU":  # which is 0 or 1
        line = first_line(forward, (X, W), lambda dy, x, w: backward(dy, x, w, times=2))
        assert f"the slope of the {name}" in line
        assert line.endswith("once too often")


FORWARDS_FOR_BACKWARDS = {
    "cumulative sum": (np.cumsum, draw(6, 7), np.cumsum),
    "moved": (lambda x: np.roll(x, 1, axis=1), X, lambda dy: np.roll(dy, 1, axis=1)),
    "constant": (lambda x: x @ SQUARE, X, lambda dy: dy @ SQUARE),
}


@pytest.mark.parametrize(
    ("forward", "x", "same"), FORWARDS_FOR_BACKWARDS.values(), ids=FORWARDS_FOR_BACKWARDS
)
def test_forward_once_more_in_the_place_of_its_transpose(forward, x, same):
    line = first_line(forward, x, lambda dy, x: same(dy))
    assert "what forward's own derivative makes of dy" in line or "wrong places" in line


def test_a_softmax_is_not_taken_for_a_function_of_single_elements():
    def softmax(x):
        e = np.exp(x)
        return e / e.sum(axis=-1, keepdims=True)

    line = first_line(softmax, X, lambda dy, x: dy * softmax(x))
    assert "treats forward element by element" in line


def steps(x, w):
    h, found = np.zeros((len(x), len(w))), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] + h @ w)
        found.append(h)
    return np.stack(found, axis=1)


def test_a_recurrence_whose_state_has_no_gradient():
    def backward(dy, x, w):
        h = steps(x, w)
        d = dy * (1 - h**2)  # and nothing from the step after it
        return d, np.einsum("nti,ntj->ij", h[:, :-1], d[:, 1:])

    line = first_line(steps, (draw(7, 2, 4, 3), draw(8, 3, 3)), backward)
    assert "of dy at " in line
    assert line.endswith("a path of the chain rule is missing")


def correlation(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w)


def correlation_backward(dy, x, w):
    """With the kernel as it is, where it belongs turned by 180 degrees."""
    high, wide = w.shape[2] - 1, w.shape[3] - 1
    padded = np.pad(dy, ((0, 0), (0, 0), (high, high), (wide, wide)))
    dx = correlation(padded, w.swapaxes(0, 1))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return dx, np.einsum("nchwij,nohw->ocij", windows, dy)


LAYOUTS = {
    "channels first": ((3, 2, 3, 2), lambda w: w, lambda w: w, "turned by 180 degrees"),
    "channels last": (
        (3, 2, 2, 3),
        lambda w: w.transpose(3, 2, 0, 1),
        lambda w: w.transpose(2, 3, 1, 0),
        "turned by 180 degrees",
    ),
    "of sequences": (
        (3, 2, 3),
        lambda w: w[:, :, None],
        lambda w: w[:, :, 0],
        "backwards, along its last axis",
    ),
}


@pytest.mark.parametrize(("shape", "first", "back", "words"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_kernel_that_is_turned_wherever_its_axes_are(shape, first, back, words):
    def backward(dy, x, w):
        dx, dw = correlation_backward(dy, x, first(w))
        return dx, back(dw)

    arrays = draw(10, 2, 2, 1 if len(shape) == 3 else 5, 6), draw(9, *shape)
    assert words in first_line(lambda x, w: correlation(x, first(w)), arrays, backward)


# Scales of columns -------------------------------------------------------------------------------


def ternary(w):
    return np.where(w > 0.4, 1.0, np.where(w < -0.4, -1.0, 0.0))


def scaled(x, w, a, ternary=ternary):
    return x @ (a * ternary(w))


def scaled_backward(dy, x, w, a):
    g = x.T @ dy
    return dy @ (a * ternary(w)).T, a * g, (g * ternary(w)).sum(axis=0)


ALPHA = np.array([0.5, 1.7, 0.9])
COLUMNS = {
    "dx without": (0, lambda dy, x, w, a: dy @ ternary(w).T, "x: the gradient lacks the factor a"),
    "dx twice": (0, lambda dy, x, w, a: dy @ (a * a * ternary(w)).T, "has once too often a"),
    "dx latent": (0, lambda dy, x, w, a: dy @ (a * w).T, "uses the latent value"),
    "dw without": (1, lambda dy, x, w, a: x.T @ dy, "lacks the factor a"),
    "da latent": (2, lambda dy, x, w, a: (x.T @ dy * w).sum(axis=0), "uses the latent value"),
    "da mean": (2, lambda dy, x, w, a: (x.T @ dy * ternary(w)).mean(axis=0), "4 is the length of"),
}


@pytest.mark.parametrize(("which", "wrong", "words"), COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("as_layer", [False, True])
def test_a_trained_scale_of_each_column(which, wrong, words, as_layer):
    def backward(dy, *arrays):
        found = list(scaled_backward(dy, *arrays))
        found[which] = wrong(dy, *arrays)
        return found

    if as_layer:
        layer = Scaled(backward).build((4,), np.random.default_rng(0))
        line = first_line(layer, X)
    else:
        line = first_line(scaled, (X, W, ALPHA), backward, surrogate={"ternary": "identity"})
    assert words.replace("x: ", "") in line


class Scaled(Layer):
    """The same as a layer, with any backward pass."""

    jumps = {"ternary": "identity"}  # noqa: RUF012
    ternary = staticmethod(ternary)

    def __init__(self, arrays_backward):
        self.arrays_backward = arrays_backward

    def make(self):
        self.weight, self.a = Parameter(W.astype(self.dtype)), Parameter(ALPHA.astype(self.dtype))

    def parameters(self):
        return {"weight": self.weight, "a": self.a}

    def output_shape(self, input_shape):
        return (3,)

    def forward(self, x, training=False):
        if training:
            self._saved = x
        return scaled(x, self.weight.latent, self.a.latent, self.ternary)

    def backward(self, dy):
        arrays = self.saved(dy), self.weight.latent, self.a.latent
        dx, self.weight.grad, self.a.grad = self.arrays_backward(dy, *arrays)
        return dx


# What a pass must leave alone, and what it may return --------------------------------------------


def moved_by_assign(self):
    self.weight.assign(1.5 * self.weight.latent)


def moved_in_place(self):
    self.weight.latent[0] = 1.5


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("move", [moved_by_assign, moved_in_place])
def test_a_parameter_that_a_pass_changes(method, move):
    class Moving(Scaled):
        pass

    def moving(self, *arguments, **options):
        move(self)
        return getattr(Scaled, method)(self, *arguments, **options)

    setattr(Moving, method, moving)
    layer = Moving(scaled_backward).build((4,), np.random.default_rng(0))
    words = f"Moving: {method} changes "
    if move is moved_in_place:
        with pytest.raises(GradientError, match=f"^{words}a parameter in place"):
            check(layer, X)
    else:
        line = first_line(layer, X)
        assert line.startswith(words)
        assert "weight in place" in line


def returning(dx=None, dw=None):
    def backward(dy, *arrays):
        found = scaled_backward(dy, *arrays)
        return (
            dx(found[0]) if dx else found[0],
            dw(found[1]) if dw else found[1],
            found[2],
        )

    return Scaled(backward).build((4,), np.random.default_rng(0))


NOT_GRADIENTS = {
    "a tuple": (lambda g: (g, g), "got tuple of 2"),
    "text": (lambda g: "g", "got <U1"),
    "complex": (lambda g: 1j * g, "got complex128"),
}


@pytest.mark.parametrize(("wrong", "words"), NOT_GRADIENTS.values(), ids=NOT_GRADIENTS)
def test_what_is_no_gradient(wrong, words):
    with pytest.raises(TypeError, match=rf"Scaled.backward: expected an array.*{words}"):
        check(returning(dx=wrong), X)
    with pytest.raises(TypeError, match=rf"Scaled.weight: expected an array.*{words}"):
        check(returning(dw=wrong), X)
    loss = lambda scores, labels: (float(scores.sum()), wrong(np.ones_like(scores)))  # noqa: E731
    with pytest.raises(TypeError, match=rf"gradient: expected an array.*{words}"):
        check(loss, X, labels=np.zeros(6, int))


def test_no_gradient_at_all():
    loss = lambda scores, labels: (float(scores.sum()), None)  # noqa: E731
    assert "was forgotten" in first_line(loss, X, labels=np.zeros(6, int))
    with pytest.raises(TypeError, match="got None"):
        check(returning(), X, loss=loss, labels=np.zeros(6, int))
    for which in ("dx", "dw"):
        assert "was forgotten" in first_line(returning(**{which: lambda g: None}), X)


@pytest.mark.parametrize("name", ["tolerance", "step", "floor", "directions"])
@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "a", None, True])
def test_numbers_that_are_none(name, value):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected a"):
        check(lambda x: x, X, lambda dy, x: dy, **{name: value})


SURROGATES = {
    "fewer arrays": (lambda x: x, "surrogate: expected a function of the same 2 arrays"),
    "not finite": (lambda x, w: x * np.nan, "surrogate: expected finite values"),
    "another shape": (lambda x, w: x[0], "surrogate: expected values of shape"),
}


@pytest.mark.parametrize(("surrogate", "words"), SURROGATES.values(), ids=SURROGATES)
def test_what_is_no_surrogate(surrogate, words):
    with pytest.raises((TypeError, ValueError), match=words):
        check(lambda x, w: np.sign(x * w), (X, X), lambda dy, x, w: (dy, dy), surrogate=surrogate)


class Duck:
    """A quantizer that has all methods, each of which can be wrong."""

    def encode(self, x):
        return np.where(x >= 0, 1.0, -1.0), 1.0

    def surrogate(self, x):
        return hard_tanh(x)

    def backward(self, dy, x):
        return dy * (np.abs(x) <= 1)


DUCKS = {
    "encode": (lambda self, x: x, r"encode: expected \(codes, scale\)"),
    "surrogate": (lambda self, x: None, "surrogate: expected an array of shape"),
}


@pytest.mark.parametrize("method", DUCKS)
def test_a_duck_that_answers_something_else(method):
    assert check(Duck(), X).passed
    wrong, words = DUCKS[method]
    with pytest.raises(TypeError, match=words):
        check(type("Other", (Duck,), {method: wrong})(), X)
    layer = returning()
    layer.jumps = ["ternary"]
    with pytest.raises(TypeError, match="jumps: expected a dict"):
        check(layer, X)
