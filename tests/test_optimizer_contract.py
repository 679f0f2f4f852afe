"""What every optimizer refuses: foreign networks, wrong gradients, numbers that are none."""

import copy
import importlib
import inspect
import pickle

import numpy as np
import pytest

from qnn_ref import optimizers
from qnn_ref.layers import Parameter
from qnn_ref.optimizers import (
    SGD,
    Adam,
    AdaMax,
    ExponentialDecay,
    Halving,
    Optimizer,
    ShiftAdaMax,
    adam,
    base,
    sgd,
)
from qnn_ref.quantizers import Sign

RULES = [
    rule
    for rule in vars(optimizers).values()
    if isinstance(rule, type) and issubclass(rule, Optimizer) and rule is not Optimizer
]
KINDS = {rule.__name__: rule for rule in RULES} | {
    "SGD with momentum": lambda: SGD(momentum=0.9),
    "ShiftAdaMax, torch": lambda: ShiftAdaMax(variant="torch"),
    "Adam before": lambda: Adam(epsilon_at="before correction"),
}
WITH_MOMENTS = [name for name in KINDS if name != "SGD"]


SCHEDULES = [ExponentialDecay, Halving]


def test_every_rule_of_the_package_is_walked_over():
    assert set(RULES) == {SGD, Adam, AdaMax, ShiftAdaMax}


def parameters_of(shapes, dtype=np.float32, seed=0):
    """Parameters with gradients: weights are bounded, the rest is not."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        bound = 1.0 if "weight" in name else np.inf
        made[name] = Parameter(rng.uniform(-1, 1, shape).astype(dtype), Sign(), bound, 3.0)
        made[name].grad = rng.normal(size=shape).astype(dtype)
    return made


SHAPES = {"0.Dense.weight": (6, 8), "1.BatchNorm.gain": (8,), "2.Dense.weight": (8, 3)}


def state_of(optimizer, parameters):
    latent = {name: parameter.latent.copy() for name, parameter in parameters.items()}
    return optimizer.steps, copy.deepcopy(optimizer.state), latent


def assert_refused(optimizer, parameters, error, words):
    """The step fails with these words, and has changed neither optimizer nor parameters."""
    steps, state, latent = state_of(optimizer, parameters)
    with pytest.raises(error) as caught:
        optimizer.step(parameters)
    for word in words:
        assert word in str(caught.value)
    assert optimizer.steps == steps
    assert optimizer.state.keys() == state.keys()
    for name, moments in state.items():
        assert optimizer.state[name].keys() == moments.keys()
        for moment, array in moments.items():
            np.testing.assert_array_equal(optimizer.state[name][moment], array)
    for name, array in latent.items():
        np.testing.assert_array_equal(parameters[name].latent, array)


# One optimizer, two networks


@pytest.mark.parametrize("kind", WITH_MOMENTS)
@pytest.mark.parametrize("width", [1, 7, 9, 4096])
def test_a_network_of_another_width_is_refused_by_parameter_and_both_shapes(kind, width):
    optimizer = KINDS[kind]()
    optimizer.step(parameters_of(SHAPES))
    other = parameters_of(SHAPES | {"2.Dense.weight": (width, 3)})  # the last to be looked at
    words = ["2.Dense.weight: ", "(8, 3)", f"({width}, 3)", "new optimizer"]
    assert_refused(optimizer, other, ValueError, words)


@pytest.mark.parametrize("kind", WITH_MOMENTS)
def test_another_network_of_the_same_shapes_is_refused(kind):
    """A notebook cell that makes the network anew: the moments would be foreign ones."""
    first, optimizer = parameters_of(SHAPES), KINDS[kind]()
    optimizer.step(first)
    words = ["0.Dense.weight: ", "not the one that was moved by the 1 steps", "new optimizer"]
    assert_refused(optimizer, parameters_of(SHAPES), ValueError, words)
    other = KINDS[kind]()
    other.set_state(optimizer.steps, optimizer.state, parameters_of(SHAPES))
    assert_refused(other, parameters_of(SHAPES), ValueError, words)


@pytest.mark.parametrize("kind", WITH_MOMENTS)
def test_copies_go_on_in_any_pairing(kind):
    first, optimizer = parameters_of(SHAPES), KINDS[kind]()
    optimizer.step(first)
    ends = []
    for parameters in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        copy.deepcopy(optimizer).step(parameters)
        ends.append(parameters["0.Dense.weight"].latent)
    optimizer.step(first)
    for end in ends:
        np.testing.assert_array_equal(end, first["0.Dense.weight"].latent)


@pytest.mark.parametrize("kind", WITH_MOMENTS)
def test_a_network_of_another_dtype_is_refused(kind):
    optimizer = KINDS[kind]()
    optimizer.step(parameters_of(SHAPES))
    words = ["0.Dense.weight: ", "float32", "float64"]
    assert_refused(optimizer, parameters_of(SHAPES, np.float64), ValueError, words)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shapes", "word"),
    [
        (SHAPES | {"3.BatchNorm.gain": (3,)}, "3.BatchNorm.gain"),
        ({name: shape for name, shape in SHAPES.items() if "gain" not in name}, "BatchNorm.gain"),
        ({"0.Conv2D.weight": (6, 8)}, "0."),
    ],
)
def test_a_network_of_other_names_is_refused(kind, shapes, word):
    optimizer = KINDS[kind]()
    optimizer.step(parameters_of(SHAPES))
    assert_refused(optimizer, parameters_of(shapes), ValueError, [word, "new optimizer"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_network_goes_on(kind):
    optimizer, parameters = KINDS[kind](), parameters_of(SHAPES)
    for _ in range(3):
        optimizer.step(parameters)
    assert optimizer.steps == 3


# Gradients


BAD_GRADIENTS = [
    (None, RuntimeError, "no gradient"),
    ([0.0] * 24, TypeError, "list"),
    (np.zeros((8, 3)), TypeError, "float64"),
    (np.zeros((8, 3), int), TypeError, "int64"),
    (np.zeros((3, 8), np.float32), ValueError, "(3, 8)"),
    (np.zeros(24, np.float32), ValueError, "(24,)"),
    (np.zeros((1, 3), np.float32), ValueError, "(1, 3)"),
    (np.zeros((9, 3), np.float32), ValueError, "(9, 3)"),
    (np.full((8, 3), np.nan, np.float32), ValueError, "nan at [0, 0]"),
    (
        np.where(np.arange(24).reshape(8, 3) == 23, np.inf, 0).astype(np.float32),
        ValueError,
        "[7, 2]",
    ),
    (np.where(np.arange(24).reshape(8, 3) == 4, -np.inf, 0).astype(np.float32), ValueError, "-inf"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize(("gradient", "error", "word"), BAD_GRADIENTS)
def test_a_gradient_that_is_none_moves_nothing(kind, stepped, gradient, error, word):
    optimizer, parameters = KINDS[kind](), parameters_of(SHAPES)
    if stepped:
        optimizer.step(parameters)
    parameters["2.Dense.weight"].grad = gradient  # the last one: those before it must wait
    assert_refused(optimizer, parameters, error, ["2.Dense.weight: ", word])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_are_no_dictionary_are_refused(kind):
    with pytest.raises(TypeError, match=r"parameters: expected names .* got list"):
        KINDS[kind]().step(list(parameters_of(SHAPES).values()))


# Arguments


def number_arguments(rules):
    """(rule, argument) for every argument that is a number."""
    for rule in rules:
        for name, parameter in inspect.signature(rule).parameters.items():
            default = parameter.default
            if default is parameter.empty or type(default) in (int, float):
                yield pytest.param(rule, name, id=f"{rule.__name__}-{name}")


def made_with(rule, name, value):
    required = {"initial": 0.1, "final": 0.01, "epochs": 4, "every": 2}
    names = inspect.signature(rule).parameters
    return rule(**{k: v for k, v in required.items() if k in names} | {name: value})


@pytest.mark.parametrize(("rule", "name"), list(number_arguments([*RULES, *SCHEDULES])))
@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, -0.5, -1, True, "0.1", None, 0.1j, [0.1], np.ones(1)]
)
def test_no_number_of_a_rule_or_schedule_is_none(rule, name, value):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected a"):
        made_with(rule, name, value)


@pytest.mark.parametrize(
    ("rule", "name", "inside", "outside"),
    [
        *((rule, "learning_rate", 5e-324, 0.0) for rule in RULES),
        *((rule, b, 0.0, 1.0) for rule in (Adam, AdaMax, ShiftAdaMax) for b in ("beta1", "beta2")),
        (SGD, "momentum", 0.0, 1.0),
        (Adam, "epsilon", 5e-324, 0.0),
        (ShiftAdaMax, "epsilon", 0.0, -5e-324),
        (ExponentialDecay, "initial", 5e-324, 0.0),
        (ExponentialDecay, "final", 5e-324, 0.0),
        (ExponentialDecay, "epochs", 1, 0),
        (ExponentialDecay, "epochs", 1, 1.0),
        (Halving, "initial", 5e-324, 0.0),
        (Halving, "every", 1, 0),
        (Halving, "every", 1, 2.0),
    ],
)
def test_the_ends_of_each_range(rule, name, inside, outside):
    assert getattr(made_with(rule, name, inside), name) == inside
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected a"):
        made_with(rule, name, outside)


@pytest.mark.parametrize(("rule", "name"), list(number_arguments(RULES)))
def test_a_number_that_is_set_anew_is_checked_too(rule, name):
    optimizer = rule()
    before = getattr(optimizer, name)
    with pytest.raises(ValueError, match=f"^{name}: expected a finite number"):
        setattr(optimizer, name, np.nan)
    assert getattr(optimizer, name) == before


@pytest.mark.parametrize("value", ["paper ", None, 1])
def test_choices_are_named(value):
    wrong = (TypeError, ValueError)
    with pytest.raises(wrong, match=r"^variant: expected 'paper' or 'torch'"):
        ShiftAdaMax(variant=value)
    with pytest.raises(wrong, match=r"^epsilon_at: expected 'after correction' or"):
        Adam(epsilon_at=value)
    with pytest.raises(TypeError, match=r"^round_scale: expected True or False"):
        ShiftAdaMax(round_scale=value)


def test_numbers_that_are_none_in_the_networks_dtype_are_refused():
    """1e39 is infinite and 1e-50 is 0 in float32: 0 / 0 where no gradient has come yet."""
    for optimizer, words in (
        (SGD(1e39), ["constants of SGD that are finite in float32"]),
        (Adam(1e39), ["constants of Adam that are finite in float32"]),
        (AdaMax(1e38), ["constants of AdaMax that are finite in float32"]),
        (ShiftAdaMax(1e38), ["constants of ShiftAdaMax that are finite in float32"]),
        (Adam(epsilon=1e-50), ["epsilon: 1e-50 is 0 in float32"]),
    ):
        assert_refused(optimizer, parameters_of(SHAPES), ValueError, words)
    Adam(epsilon=1e-50).step(parameters_of(SHAPES, np.float64))


# State put back


@pytest.mark.parametrize("kind", KINDS)
def test_state_put_back_is_the_same_optimizer(kind):
    first, parameters = KINDS[kind](), parameters_of(SHAPES)
    for _ in range(2):
        first.step(parameters)
    twin, twins = KINDS[kind](), copy.deepcopy(parameters)
    in_columns = {
        name: {m: np.asfortranarray(a) for m, a in moments.items()}
        for name, moments in first.state.items()
    }
    twin.set_state(first.steps, in_columns, twins)
    for optimizer, each in ((first, parameters), (twin, twins)):
        for _ in range(2):
            optimizer.step(each)
    for name in SHAPES:
        np.testing.assert_array_equal(parameters[name].latent, twins[name].latent)


def spoiled(state, name, moment, array):
    return state | {name: state[name] | {moment: array}}


def test_state_that_does_not_fit_is_refused():
    parameters, optimizer = parameters_of(SHAPES), Adam()
    optimizer.step(parameters)
    state, name = optimizer.state, "0.Dense.weight"
    shape = SHAPES[name]
    for steps, other, words in (
        (-1, state, "steps: "),
        (1.0, state, "steps: "),
        (True, state, "steps: "),
        (2**60, state, "steps: "),
        (0, state, "state: "),
        (1, {}, "state: "),
        (1, {name: state[name]}, "state: "),
        (1, state | {"3": {}}, "state: "),
        (1, state | {name: {}}, "expected the moments"),
        (1, spoiled(state, name, "third", np.zeros(shape, np.float32)), "expected the moments"),
        (1, spoiled(state, name, "first", np.zeros((8, 6), np.float32)), r"\(8, 6\)"),
        (1, spoiled(state, name, "first", np.zeros(shape)), "float64"),
        (1, spoiled(state, name, "first", np.full(shape, np.nan, np.float32)), "first: .*nan"),
        (1, spoiled(state, name, "second", np.full(shape, -1, np.float32)), "no negative"),
    ):
        before = state_of(optimizer, parameters)
        with pytest.raises((TypeError, ValueError), match=words):
            optimizer.set_state(steps, other, parameters)
        assert optimizer.steps == before[0]
        assert optimizer.state is state


def test_settings_are_all_that_the_rule_was_made_with_but_the_rate():
    assert SGD(0.3, 0.5).settings() == {"momentum": 0.5}
    assert AdaMax(beta2=0.5).settings() == {"beta1": 0.9, "beta2": 0.5}
    assert Adam().settings() == {
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "epsilon_at": "after correction",
    }
    assert ShiftAdaMax(variant="torch").settings()["variant"] == "torch"


def test_exponential_decay_takes_the_same_factor_each_epoch():
    schedule = ExponentialDecay(0.08, 0.005, 4)
    assert [schedule(epoch) for epoch in range(5)] == pytest.approx([0.08, 0.04, 0.02, 0.01, 0.005])


def updates():
    """Every update rule and twin, each with right arguments by name."""
    counts = {"sgd": 3, "adam": 8, "adamax": 5, "shift_adamax": 6}
    for room, count in counts.items():
        module = importlib.import_module(f"qnn_ref.optimizers.{room}")
        for name in (f"{room}_update", f"{room}_update_reference"):
            function = getattr(module, name)
            right = {n: np.full(4, 0.5, np.float32) for n in inspect.signature(function).parameters}
            right |= {"constants": np.full(count, 0.5, np.float32), "bound": 1.0, "signs": None}
            yield pytest.param(
                function, right | ({"torch": False} if "torch" in right else {}), id=name
            )


@pytest.mark.parametrize(("function", "right"), list(updates()))
def test_update_rules_look_at_what_they_write_into(function, right):
    """A moment, the gradient or the constants of another size or type, each by its name."""

    def copied(**changed):
        return {
            n: np.copy(v) if isinstance(v, np.ndarray) else v for n, v in right.items()
        } | changed

    function(**copied())
    arrays = [name for name, value in right.items() if isinstance(value, np.ndarray)]
    for name in arrays:
        wrong = [np.full(9, 0.5, np.float32), [0.5] * 4, np.full(len(right[name]), 1)]
        wrong += [np.full((4, 1), 0.5, np.float32)] if name != "w" else []
        for value in wrong if name != "w" else wrong[1:]:
            with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
                function(**copied(**{name: value}))
    for bound in (0.0, -1.0, np.nan, "1"):
        with pytest.raises((TypeError, ValueError), match=r"^bound: expected"):
            function(**copied(bound=bound))


def test_without_momentum_there_is_no_velocity():
    for function in (sgd.sgd_update, sgd.sgd_update_reference):
        w, g = np.zeros(3, np.float32), np.ones(3, np.float32)
        function(w, g, np.empty(0, np.float32), np.float32([0, 0.25, 2]), np.inf)
        np.testing.assert_array_equal(w, np.full(3, -0.5))
        for m in (None, np.empty(0), np.empty((0, 1), np.float32)):
            with pytest.raises((TypeError, ValueError), match=r"^m: expected"):
                function(w, g, m, np.float32([0, 0.25, 2]), np.inf)


@pytest.mark.parametrize(
    ("rule", "usual"),
    [
        (SGD(), {"learning_rate": 0.01, "momentum": 0.0}),
        (Adam(), {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
        (AdaMax(), {"learning_rate": 0.002, "beta1": 0.9, "beta2": 0.999}),
        (
            ShiftAdaMax(),
            {"learning_rate": 2**-10, "beta1": 0.875, "beta2": 1 - 2**-10, "epsilon": 2**-27},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_usual_is_the_papers(rule, usual):
    """Algorithms 3 and 4, and plain descent."""
    assert {name: getattr(rule, name) for name in usual} == usual


@pytest.mark.parametrize("every", [1, 3])
def test_halving_is_a_shift(every):
    rates = [Halving(0.75, every)(epoch) for epoch in range(4 * every)]
    assert rates == [0.75 / 2**n for n in range(4) for _ in range(every)]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("place", [5, 6, 7])
def test_adam_divides_by_nothing_that_is_not_above_0(place, value):
    for function in (adam.adam_update, adam.adam_update_reference):
        arrays = [np.full(4, 0.5, np.float32) for _ in range(4)]
        constants = np.full(8, 0.5, np.float32)
        function(*arrays, constants, 1.0)
        constants[place] = value
        with pytest.raises(ValueError, match=r"^constants: expected"):
            function(*arrays, constants, 1.0)


def operands():
    w, g, m = np.arange(18, dtype=np.float32).reshape(3, 6)
    return {"w": w.copy(), "g": g.copy(), "m": m.copy()}, np.array([0.5, 0.1, 1.0], np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update(g=np.zeros(12, np.float32)[::2]), "g: expected a C-contiguous array"),
        (lambda a: a.update(w=np.zeros(12, np.float32)[::2]), "w: expected a C-contiguous array"),
        (lambda a: a.update(m=np.zeros(12, np.float32)[::2]), "m: expected a C-contiguous array"),
        (lambda a: a.update(g=a["w"]), "w: "),
        (lambda a: a.update(m=a["w"]), "w: "),
        (lambda a: a.update(m=a["g"]), "m: "),
        (lambda a: a.update(m=a["w"][:]), "w: "),
        (lambda a: a["w"].setflags(write=False), "w: expected a C-contiguous array that can be wr"),
        (lambda a: a["m"].setflags(write=False), "m: expected a C-contiguous array that can be wr"),
    ],
)
def test_an_update_refuses_arrays_that_it_would_read_or_write_wrongly(change, words):
    """By name, also where all else looks usual at a glance."""
    arrays, constants = operands()
    base.check_update("wgm", tuple(arrays.values()), constants, 3, 1.0)
    change(arrays)
    with pytest.raises(ValueError, match=f"^{words}"):
        base.check_update("wgm", tuple(arrays.values()), constants, 3, 1.0)


def test_constants_of_an_update_may_not_have_gaps():
    arrays, _ = operands()
    with pytest.raises(ValueError, match=r"^constants: expected a C-contiguous array"):
        base.check_update("wgm", tuple(arrays.values()), np.zeros(6, np.float32)[::2], 3, 1.0)


def test_the_largest_constant_is_one_and_constants_stay_as_they_are():
    seen = []

    class Rule(SGD):
        def update(self, latent, grad, constants, bound, **moments):
            seen.append((float(constants[1]), constants.flags.writeable))

    largest = float(np.finfo(np.float32).max)
    parameter = Parameter(np.zeros(3, np.float32))
    parameter.grad = np.zeros(3, np.float32)
    Rule(largest).step({"w": parameter})
    assert seen == [(largest, False)]
    with pytest.raises(ValueError, match=r"^w: expected constants of Rule that are finite"):
        Rule(2 * largest).step({"w": parameter})


def test_steps_are_counted_as_far_as_float64_counts():
    parameters = {"w": Parameter(np.zeros(3, np.float32))}
    optimizer = SGD()
    optimizer.set_state(2**53, {"w": {}}, parameters)
    assert optimizer.steps == 2**53
    with pytest.raises(ValueError, match=r"^steps: expected a whole number"):
        optimizer.set_state(2**53 + 1, {"w": {}}, parameters)
