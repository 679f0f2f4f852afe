"""Plain functions, quantizers and others' layers: checked as layers are, or told what they lack."""

import builtins

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qnn_ref.checking import GradientError, check_gradients, torch_function
from qnn_ref.checking import strategies as qst
from qnn_ref.checking.continuation import described, slope_of
from qnn_ref.layers import Dense, Quantize
from qnn_ref.layers.base import Layer
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign, StochasticSign, hard_tanh
from tests.broken_layers import TwoBits

both_modes = pytest.mark.parametrize("mode", ["probe", "full"])


def check(subject, x, seed=0, **options):
    return check_gradients(subject, x, rng=np.random.default_rng(seed), **options)


def sign(w):
    return np.where(w >= 0, 1.0, -1.0)


def clip(x):
    return np.clip(x, -1, 1)


def ternary(x):
    return np.where(x > 0.5, 1.0, np.where(x < -0.5, -1.0, 0.0))


def scaled(x, w, sign=sign):
    return x @ (np.abs(w).mean() * sign(w))


def scaled_backward(dy, x, w):
    alpha, g = np.abs(w).mean(), x.T @ dy
    return dy @ (alpha * sign(w)).T, alpha * g + sign(w) * (g * sign(w)).sum() / w.size


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(4, 3)), rng.normal(size=(3, 2))


# Plain functions ---------------------------------------------------------------------------------


@both_modes
@pytest.mark.parametrize("kind", ["identity", lambda w: w])
def test_a_part_that_jumps_is_an_argument(kind, mode):
    x, w = arrays()
    options = {"surrogate": {"sign": kind}, "mode": mode}
    report = check(scaled, (x, w), backward=scaled_backward, **options)
    report.raise_if_failed()
    assert [entry.name for entry in report.entries] == ["scaled.x", "scaled.w"]
    check(scaled, {"x": x, "w": w}, backward=scaled_backward, **options).raise_if_failed()

    def without_alpha(dy, x, w):
        dx, dw = scaled_backward(dy, x, w)
        return dx / np.abs(w).mean(), dw

    report = check(scaled, (x, w), backward=without_alpha, **options)
    assert [entry.passed for entry in report.entries] == [False, True]


@settings(max_examples=20)
@given(qst.arrays(qst.shapes((0, 3), 4), np.float64), st.sampled_from(["probe", "full"]))
@example(np.array([1.0, -1.0, np.nextafter(1, 2), np.nextafter(1, 0)]), "full")
@example(np.array(1.0), "full")
def test_a_whole_function_with_a_surrogate(x, mode):
    options = {"surrogate": clip, "mode": mode}
    right = check(ternary, x, backward=lambda dy, x: dy * (np.abs(x) <= 1), **options)
    right.raise_if_failed()
    assert len(right.kinks) == np.count_nonzero(np.abs(x) == 1)
    strict = check(ternary, x, backward=lambda dy, x: dy * (np.abs(x) < 1), **options)
    assert strict.passed is not bool(np.any(np.abs(x) == 1))
    missing = check(ternary, x, backward=lambda dy, x: dy, **options)
    assert missing.passed is not bool(np.any(np.abs(x) > 1))


def test_a_cache_a_number_integers_and_names():
    x, w = arrays()

    def affine(x, w):
        return x @ w, (x, w)

    report = check(affine, (x, w), backward=lambda dy, c: (dy @ c[1].T, c[0].T @ dy))
    assert report.passed
    assert check(lambda x: float((x**2).sum()), x, backward=lambda dy, x: 2 * dy * x)
    assert check(lambda *a: a[0] @ a[1], (x, w), backward=lambda dy, x, w: (dy @ w.T, x.T @ dy))

    def embed(table, index):
        return table[index]

    def embed_backward(dy, table, index):
        grad = np.zeros_like(table)
        np.add.at(grad, index, dy)
        return grad

    (entry,) = check(embed, (w, np.array([0, 2, 2])), backward=embed_backward).entries
    assert entry.passed
    assert entry.name == "embed.table"
    assert check(embed, (w, np.array([1])), backward=lambda d, t, i: {"table": d * 0}) != 0


def test_a_forgotten_gradient_of_a_function():
    x, w = arrays()
    report = check(lambda x, w: x @ w, (x, w), backward=lambda dy, x, w: (dy @ w.T, None))
    assert [entry.passed for entry in report.entries] == [True, False]
    assert "backward left no gradient" in str(report)
    assert not check(lambda x, w: x @ w, (x, w), backward=lambda dy, x, w: {"x": dy @ w.T})


@pytest.mark.parametrize(
    ("forward", "backward", "name"),
    [
        (lambda x: np.multiply(x, 2, out=x), lambda dy, x: 2 * dy, "x (changed in place)"),
        (lambda x: 2 * x, lambda dy, x: np.multiply(dy, 2, out=dy), "upstream gradient"),
        (
            lambda x: 2 * x,
            lambda dy, x: 2 * dy + 0 * np.add(x, 1, out=x),
            "backward: x (changed in place)",
        ),
    ],
)
def test_arrays_that_were_lent_come_back_as_they_were(forward, backward, name):
    x = np.ones((2, 3))
    report = check(forward, x, backward=backward)
    assert name in report.entries[0].name
    assert not report.entries[0].passed
    assert (x == 1).all()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"backward": None}, TypeError, r"backward: expected a function of \(dy, \*arrays\)"),
        ({"backward": 3}, TypeError, "backward: expected a function, got int"),
        ({"backward": lambda dy, x: (dy, dy)}, ValueError, "backward: expected 1 gradients"),
        ({"backward": lambda dy, x: {"y": dy}}, ValueError, "expected gradients of x, got one of"),
        ({"backward": lambda dy, x: "no"}, TypeError, "gradient of x: expected an array of real"),
        ({"subject": lambda x: (x, x, x)}, TypeError, "expected an array or a pair"),
        ({"subject": lambda x: [[1], [1, 2]]}, TypeError, "value: expected an array of real"),
        ({"subject": lambda: 1}, ValueError, "x: forward takes nothing, got 1 array"),
        ({"x": ()}, ValueError, "x: expected at least one array"),
        ({"x": (np.ones(2), np.ones(2))}, ValueError, "x: forward takes x, got 2 arrays"),
        ({"x": np.array(["a"])}, TypeError, "x: expected real numbers"),
        ({"x": np.array([1j])}, TypeError, "x: expected real numbers"),
        ({"x": np.array([np.nan])}, ValueError, r"x: expected finite numbers, got nan at \[0\]"),
        ({"x": np.zeros((0, 3))}, ValueError, "x: expected at least one number"),
        ({"surrogate": "tanh"}, TypeError, "surrogate: expected a function, or one of 'quantizer'"),
        ({"surrogate": {"q": "identity"}}, ValueError, "surrogate: expected names of forward's"),
        ({"surrogate": lambda x: x[:1]}, ValueError, r"surrogate: expected values of shape \(4,\)"),
        ({"subject": Sign}, TypeError, "got the class Sign; write Sign"),
        ({"subject": Sign(), "surrogate": clip}, ValueError, "surrogate|backward: a quantizer"),
    ],
)
def test_bad_arguments(given, error, words):
    arguments = {
        "subject": lambda x: x,
        "x": np.ones(4),
        "backward": lambda dy, x: dy,
        "rng": np.random.default_rng(0),
    } | given
    with pytest.raises(error, match=words):
        check_gradients(**arguments)


# Quantizers, and objects of others ---------------------------------------------------------------


class DuckQuantizer:
    def encode(self, x):
        return sign(x), 1.0

    def surrogate(self, x):
        return clip(x)

    def backward(self, dy, x):
        return dy * (np.abs(x) <= 1)


class StrictDuck(DuckQuantizer):
    def backward(self, dy, x):
        return dy * (np.abs(x) < 1)


@both_modes
def test_a_quantizer_alone(mode):
    x = np.array([[-2, -1, -0.3, 0.0, 1.0, 1.5]])
    for quantizer in (Sign(), StochasticSign(), LinearQuant(2), LogQuant(3), TwoBits()):
        check(quantizer, x, mode=mode).raise_if_failed()
    check(DuckQuantizer(), x, mode=mode).raise_if_failed()
    assert not check(StrictDuck(), x, mode=mode)


class Duck:
    """Somebody's layer that knows nothing of this package."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, dy):
        return self.factor * dy * self.x


class DuckWithWeight:
    """And one that knows a little: parameters, training, a jump."""

    jumps = {"quantizer": "quantizer"}  # noqa: RUF012

    def __init__(self):
        self.weight = Parameter(np.ones((3, 2), np.float32) / 2)
        self.quantizer = DuckQuantizer()

    def parameters(self):
        return {"weight": self.weight}

    def forward(self, x, training=False):
        assert training
        self.x = x
        return self.quantizer.encode(x)[0] @ self.weight.latent

    def backward(self, dy):
        self.weight.grad = self.quantizer.encode(self.x)[0].T @ dy
        return self.quantizer.backward(dy @ self.weight.latent.T, self.x)


@both_modes
def test_a_layer_of_another_make(mode):
    x = arrays()[0]
    check(Duck(), x, mode=mode).raise_if_failed()
    assert not check(Duck(3.0), x, mode=mode)
    duck = DuckWithWeight()
    report = check(duck, x, mode=mode)
    report.raise_if_failed()
    assert [e.name for e in report.entries] == ["DuckWithWeight.input", "DuckWithWeight.weight"]
    assert duck.weight.dtype == np.float32
    assert not hasattr(duck, "x")  # it was a copy


class Half:
    def forward(self, x):
        return x


class NoSurrogate:
    def encode(self, x):
        return x, 1.0


def with_parameters(found):
    class Odd(Duck):
        def parameters(self):
            return found

    return Odd()


def layer_with(quantizer, name="quantizer"):
    layer = Quantize().build((3,))
    layer.jumps = {name: "quantizer"}
    layer.quantizer = quantizer
    return layer


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (Half(), "got Half, which lacks backward"),
        (3, "got int, which lacks forward and backward"),
        (with_parameters({"w": np.ones(2)}), "Odd.parameters: expected .*Parameter objects"),
        (layer_with(NoSurrogate()), r"Quantize\.quantizer: NoSurrogate lacks surrogate\(x\) -> "),
        (layer_with(Half()), r"lacks encode\(x, noise=None\) .* and surrogate.* and backward"),
        (layer_with(Sign(), "quantiser"), "expected names of attributes, got 'quantiser'"),
    ],
)
def test_what_lacks_something_is_told_what(subject, words):
    with pytest.raises(TypeError, match=words):
        check(subject, np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(2, 4), (3,), (), (2, 3, 1)])
def test_a_wrong_shape_is_blamed_on_x(shape):
    class Own(Layer):
        """Looks at nothing itself."""

        def forward(self, x, training=False):
            self._saved = x
            return x

        def backward(self, dy):
            self.saved(dy)
            return dy

    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, 3\), got "):
        check(Own().build((3,)), np.ones(shape))
    layer = Dense(2).build((3,), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, 3\), got "):
        check(layer, np.ones(shape))


# Surrogates --------------------------------------------------------------------------------------


@given(qst.arrays((9,), np.float64), st.sampled_from([0.3, 1.0, 2.0]), st.sampled_from([1, 0.3]))
def test_the_slope_of_a_clip_from_its_values(x, bound, size):
    slope = slope_of(lambda x: size * np.clip(x, -bound, bound), x)
    inside, outside = np.abs(x) < bound, np.abs(x) > bound
    np.testing.assert_allclose(slope[inside], size, rtol=1e-8)
    np.testing.assert_allclose(slope[outside], 0, atol=1e-8)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (hard_tanh, "slope 1 for -1 <= x <= 1, else 0"),
        (lambda x: hard_tanh(x, 2.5), "slope 1 for -2.5 <= x <= 2.5, else 0"),
        (lambda x: 0.5 * np.clip(x, 0, 1 / 3), "slope 0.5 for 0 <= x <= 0.3333, else 0"),
        (lambda x: x, "the identity"),
        (lambda x: 3 * x, "slope 3"),
        (np.tanh, "its name"),
        (lambda x: np.maximum(x, 0), "its name"),
    ],
)
def test_a_surrogate_in_words(value, words):
    assert described(value, "its name") == words


# PyTorch -----------------------------------------------------------------------------------------


def test_without_pytorch_it_is_said_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *more, **options):
        if name == "torch":
            raise ImportError(name)
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="torch_function needs PyTorch: pip install torch"):
        torch_function(len)
    with pytest.raises(TypeError, match="function: expected a class derived from"):
        torch_function(int | None)


@both_modes
def test_a_function_of_pytorch(mode):
    torch = pytest.importorskip("torch", reason="PyTorch is optional: pip install torch")

    class StraightThrough(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, bound=1.0):
            ctx.save_for_backward(x)
            return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * (x.abs() <= 1)

    class Strict(StraightThrough):
        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * (x.abs() < 1)

    x = np.array([-2, -1, -0.7, 0.2, 1, 3.0])
    check(torch_function(StraightThrough), x, surrogate=clip, mode=mode).raise_if_failed()
    assert not check(torch_function(Strict), x, surrogate=clip, mode=mode)
    a, w = arrays()
    check(torch_function(lambda a, w: torch.tanh(a @ w)), (a, w), mode=mode).raise_if_failed()
    cut = torch_function(lambda a, w: torch.tanh(a @ w.detach()))
    assert [e.passed for e in check(cut, (a, w), mode=mode).entries] == [True, False]
    with pytest.raises(TypeError, match="expected one tensor, got tuple"):
        check(torch_function(lambda a: (a, a)), a)


@both_modes
def test_what_pytorch_hides_of_a_backward_pass(mode):
    """It casts a gradient, refuses a shape before anybody sees it, and lends its own arrays."""
    torch = pytest.importorskip("torch", reason="PyTorch is optional: pip install torch")

    def product(change):
        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                ctx.save_for_backward(x, w)
                return x @ w

            @staticmethod
            def backward(ctx, dy):
                return change(dy, *ctx.saved_tensors)

        return torch_function(Product)

    faults = {
        "w: the gradient is transposed: it has shape": lambda dy, x, w: (dy @ w.T, dy.T @ x),
        "w: the gradient has the wrong shape": lambda dy, x, w: (dy @ w.T, x @ x.T),
        "w: the gradient is float32 where": lambda dy, x, w: (dy @ w.T, (x.T @ dy).float()),
        "w: the gradient was forgotten": lambda dy, x, w: (dy @ w.T, None),
        "its upstream gradient dy in place": lambda dy, x, w: (dy.mul_(2) @ w.T / 2, x.T @ dy / 2),
        "its array w in place": lambda dy, x, w: (dy @ w.mul_(1.5).T / 1.5, x.T @ dy),
    }
    for words, change in faults.items():
        line = str(check(product(change), arrays(), mode=mode)).splitlines()[0]
        assert words in line
    right = product(lambda dy, x, w: (dy @ w.T, x.T @ dy))
    check(right, arrays(), mode=mode).raise_if_failed()
    # What PyTorch allows is no mistake: it sums over what was broadcast.
    wide = torch_function(lambda x, b: x + b)
    check(wide, (arrays()[0], np.ones(arrays()[0].shape[1])), mode=mode).raise_if_failed()
    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        check(product(lambda dy, x, w: dy), arrays(), mode=mode)
    line = str(check(torch_function(lambda x: x.mul_(2)), arrays()[0], mode=mode)).splitlines()[0]
    assert line.endswith("forward changes its x in place")


def test_what_is_not_finite_is_an_error():
    with pytest.raises(GradientError, match="forward: the output is not finite"):
        check(lambda x: x * np.inf, np.ones(3), backward=lambda dy, x: dy)
