# %% [markdown]
# # 1. One bit and its gradient
#
# **Goal.** Understand the one idea that makes binarized networks trainable: the forward pass uses
# one bit, the backward pass uses the slope of another function.
#
# Afterwards you can
# - say what Sign does at 0, at -0.0 and at NaN, and why it matters;
# - write down the straight-through gradient and its value at exactly 1;
# - explain why a binary weight needs a real number behind it.
#
# **Minutes.** 20 to read, 30 for the exercises.
#
# **Prerequisites.** What a derivative is; NumPy arrays. No other notebook.
#
# **Equations.** (1) to (5), sections 2.1 to 2.3; line 11 of Algorithm 1; the relaxed boundary of
# section 4.3.

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep

from functools import partial

import numpy as np
from IPython.display import display
from ipywidgets import FloatSlider
from matplotlib.figure import Figure

import qnn_ref
from qnn_ref import course, plots
from qnn_ref.checking import check_gradients, remainders
from qnn_ref.layers import BatchNorm, Dense, Parameter, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import SGD
from qnn_ref.quantizers import Sign, StochasticSign, hard_tanh

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 1.1 The value: eq. (1)
#
# $$x^b = \mathrm{Sign}(x) = \begin{cases} +1 & x \ge 0 \\ -1 & \text{otherwise} \end{cases}$$
#
# Two values, so one bit holds it. Below, five numbers and their signs. Blue cells are positive,
# orange ones negative, +1 is black and -1 is white.

# %%
x = np.array([-1.7, -0.3, 0.2, 0.9, 2.4])
plots.arrays_figure({"real $x$": x, "one bit: Sign$(x)$": Sign().quantize(x)})

# %% [markdown]
# **Question.** What is Sign(0)? What is Sign(-0.0), a number that prints with a minus but equals
# 0? And the smallest number above 0 that a float32 can hold? Write your answer in the next cell
# before you run the one below it.

# %% tags=["question"]
course.answer("1.1a", (1, 1, 1))  # three numbers

# %%
x = np.array([-2, -0.0, 0.0, 1e-45, 3], np.float32)
for number, ours, numpys in zip(x, Sign().quantize(x), np.sign(x), strict=True):
    print(f"x = {number!s:>6}    Sign(x) = {ours:+.0f}    numpy.sign(x) = {numpys:+.0f}")

# %% [markdown]
# **Answer.** All three are +1. Only `x >= 0` counts, and -0.0 >= 0 is true. NumPy's own `sign`
# has a third value, 0. Three values do not fit into one bit, and zeros are common: sums of +1 and
# -1 hit 0 all the time.
#
# **Question.** And NaN, which is neither `>= 0` nor `< 0`?

# %% tags=["question"]
course.answer("1.1b", "an error")  # "+1", "-1", "NaN" or "an error"

# %%
try:
    Sign().quantize(np.array([np.nan, 1.0]))
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# **Answer.** It has no sign, so both answers would be wrong. The package refuses it.

# %% [markdown]
# **Exercise 1.1.** Write Sign yourself. The check tries many arrays; where your answer is not
# right yet, it shows the smallest one. `course.hint("1.1")` helps in three steps.


# %% tags=["exercise", "id:1.1"]
def sign(x):
    """+1 where x >= 0 and -1 elsewhere, in the type of x: eq. (1)."""
    # BEGIN SOLUTION
    return np.where(x >= 0, 1, -1).astype(x.dtype)
    # END SOLUTION


course.check("1.1", sign)

# %% [markdown]
# ## 1.2 The derivative of Sign says nothing
#
# To train, we need to know how the loss changes when $x$ changes a little. A central difference
# measures that.
#
# **Question.** What does $\frac{\mathrm{Sign}(x+h) - \mathrm{Sign}(x-h)}{2h}$ give at $x = 0.3$?
# And at $x = 0$?

# %% tags=["question"]
course.answer("1.2a", (0, 100))  # two numbers, for h = 0.01

# %%
value = Sign().quantize
for x in (0.3, 0.0):
    for h in (1e-2, 1e-4, 1e-6):
        above, below = value(np.array([x + h, x - h]))
        print(f"x = {x}    h = {h:.0e}    slope = {(above - below) / (2 * h):,.0f}")

# %% [markdown]
# **Answer.** 0 everywhere, except at the jump, where it is $1/h$: as large as you like. No weight
# below a Sign would ever learn from such a derivative.

# %% [markdown]
# ## 1.3 The straight-through estimator: eqs. (4) and (5)
#
# The paper's way out: in the *backward* pass pretend that the forward pass was another function,
# one with a slope. That function is the hard tanh,
#
# $$\mathrm{Htanh}(x) = \max(-1, \min(1, x)) \tag{5}$$
#
# and its slope is a mask. The gradient of the output goes straight through where the mask is 1,
# and is stopped where $x$ is already far out:
#
# $$\delta_x = \delta_q \cdot 1[\,|x| \le 1\,] \tag{4}$$
#
# In the picture: left the forward pass, right the backward pass. A full dot belongs to the
# function, a ring does not.


# %%
def plot_sign(saturation: float = 1.0) -> Figure:
    """Value, surrogate and slope of Sign with a bound of this size."""
    quantizer = Sign(saturation)
    x = np.arange(-320, 321) / 100  # holds 0 and the bounds exactly
    slope = quantizer.backward(np.ones_like(x), x)
    bounds = (-saturation, saturation)
    return plots.straight_through_figure(
        x, quantizer.quantize(x), quantizer.surrogate(x), slope, bounds
    )


plot_sign(1.0)

# %% [markdown]
# **Question.** What does the mask do at exactly 1? And one float above 1? Read the right picture
# first.

# %% tags=["question"]
course.answer("1.3a", (1, 0))  # two numbers

# %%
r = np.array([-2, -1.5, -1, 0.1, 1, np.nextafter(1, 2), 2])
for incoming in (1.0, 10.0):
    passed = Sign().backward(np.full_like(r, incoming), r)
    print(f"gradient {incoming:>2.0f} comes in, out goes", passed)
print("at r = ", r)

# %% [markdown]
# **Answer.** At exactly 1 the gradient passes; one float further it does not. This is no detail.
# Clipped numbers sit *exactly* on the bound, and libraries disagree about it.
#
# Notice also: the mask looks at $r$, the number of the forward pass. It never looks at the size
# of the gradient, so a gradient of 10 goes through as 10.

# %% [markdown]
# **Exercise 1.2.** Write the backward pass of Sign.


# %% tags=["exercise", "id:1.2"]
def straight_through(dy, x):
    """Gradient of x, given dy, that of Sign(x): eq. (4)."""
    # BEGIN SOLUTION
    return dy * (np.abs(x) <= 1)
    # END SOLUTION


course.check("1.2", straight_through)

# %% [markdown]
# ## 1.4 Can such a gradient be checked?
#
# Usually one checks a backward pass with central differences. Here they say 0, as we saw. But the
# claim of the straight-through estimator is precise: *`backward` is the exact gradient of the
# surrogate.* So the checker replaces Sign, around each point $x_0$, by
#
# $$x \mapsto \mathrm{Sign}(x_0) + \mathrm{Htanh}(x) - \mathrm{Htanh}(x_0).$$
#
# At $x_0$ it has the value that the network computes with, and beside $x_0$ it has the slope that
# the backward pass claims. Each point has its own function:

# %%
x = np.linspace(-2, 2, 401)
points = np.array([-1.6, -0.4, 0.7])
frozen = Sign().quantize(points)[:, None] + hard_tanh(x) - hard_tanh(points)[:, None]
plots.frozen_figure(x, Sign().quantize(x), points, frozen)

# %% [markdown]
# Central differences of *these* functions must equal the backward pass. We check a layer with a
# Sign, on numbers inside, outside and exactly on the bound.
#
# **Expect:** a relative error of about 1e-10 or less, and two numbers reported "at a bound".

# %%
x = np.array([[-1.6, -1.0, -0.2, 0.0, 0.5, 1.0, 1.9]])
report = check_gradients(Quantize(Sign()).build((7,)), x, mode="full", rng=np.random.default_rng(1))
print(report)

# %% [markdown]
# **Question.** A check that cannot fail proves nothing. What happens if we forget the mask? How
# many of the seven elements will be wrong?

# %% tags=["question"]
course.answer("1.4a", 2)  # a number from 0 to 7


# %%
class NoMask(Sign):
    """The bug: the gradient passes everywhere."""

    def backward(self, dy, x):
        return dy


wrong = check_gradients(
    Quantize(NoMask()).build((7,)), x, mode="full", rng=np.random.default_rng(1)
)
print(wrong)

# %% [markdown]
# **Answer.** The check fails (**expect** a relative error of about 1), and its first line names the
# mistake. Two of the seven elements are wrong, those with $|x| > 1$: the difference quotient says
# 0, and the backward pass lets the gradient through. The line below shows the first of them.
#
# A second view does not trust any single step size. With the right gradient $g$, the remainder
# $|f(x + hv) - f(x) - h \langle g, v\rangle|$ falls as $h^2$. With a wrong one it falls only as
# $h$. We take a small network of two layers with a Sign between them.
#
# **Question.** In a plot with logarithmic axes, which line is steeper?

# %% tags=["question"]
course.answer("1.4b", "right")  # that of the "right" or of the "wrong" gradient

# %%
steps = 10.0 ** np.arange(-6, -1.9, 0.5)


def small_network(quantizer: Sign) -> qnn_ref.Sequential:
    """Two binary layers, in float64."""
    layers = [Dense(8), BatchNorm(), Quantize(quantizer), Dense(3), BatchNorm()]
    return qnn_ref.Sequential(layers, (5,), np.random.default_rng(2), np.float64)


images, labels = np.random.default_rng(3).normal(size=(6, 5)), np.array([0, 1, 2, 0, 1, 2])
found = {
    name: remainders(
        small_network(quantizer),
        images,
        steps,
        labels=labels,
        loss=squared_hinge,
        rng=np.random.default_rng(4),
    )
    for name, quantizer in (("with the mask", Sign()), ("mask forgotten", NoMask()))
}
for name, values in found.items():
    slopes = np.diff(np.log(values)) / np.diff(np.log(steps))
    print(f"{name:<15} slope {np.median(slopes):.2f}")
print("expected:       2.00 if the gradient is right, 1.00 if it is wrong")
plots.order_figure(steps, found)

# %% [markdown]
# **Answer.** The right one is: slope 2. The wrong one runs beside it with slope 1, above it.

# %% [markdown]
# ## 1.5 Stochastic binarization: eqs. (2) and (3)
#
# $$x^b = +1 \text{ with probability } \sigma(x) = \mathrm{clip}\Big(\frac{x+1}{2}, 0, 1\Big)$$
#
# **Question.** What is the mean of $x^b$ at $x = 0.5$? What happens at $x = 1$: is the draw
# *nearly* always +1, or always?

# %% tags=["question"]
course.answer("1.5a", 0.5)  # the mean, a number

# %% tags=["question"]
course.answer("1.5b", True)  # always +1 at x = 1: True or False

# %%
quantizer = StochasticSign()
x = np.linspace(-1.5, 1.5, 61)
many = np.tile(x, (2000, 1))
noise = quantizer.draw(many.shape, np.random.default_rng(5))
codes = quantizer.quantize(many, noise)
plots.stochastic_figure(x, codes, hard_tanh(x))

# %%
error = np.abs(codes.mean(axis=0) - hard_tanh(x)).max()
print(f"largest error of a mean: {error:.3f}   (expect below 4 / sqrt(2000) = {4 / 2000**0.5:.3f})")
outside = np.abs(x) >= 1
certain = np.all(codes[:, outside] == np.sign(x[outside]))
print("every draw at |x| >= 1 is certain:", certain)

# %% [markdown]
# **Answer.** The mean is 0.5, and at $|x| \ge 1$ every draw is certain. The mean is exactly the
# hard tanh. So the surrogate of eq. (5) is no accident: it is what the stochastic Sign does *on
# average*. The price is a random number for each draw. The paper mostly uses the deterministic
# Sign, and so do we; in inference nothing is drawn at all.

# %% [markdown]
# **Exercise 1.3.** Write the stochastic Sign. The random numbers come as an argument, so that two
# calls with the same numbers give the same answer.


# %% tags=["exercise", "id:1.3"]
def stochastic_sign(x, u):
    """+1 with the probability of eq. (3), else -1; u holds uniform numbers from [0, 1)."""
    # BEGIN SOLUTION
    return np.where(u < np.clip((x + 1) / 2, 0, 1), 1.0, -1.0)
    # END SOLUTION


course.check("1.3", stochastic_sign)

# %% [markdown]
# ## 1.6 The relaxed boundary
#
# About a third of the hidden values are larger than 1 in a trained network, from the first epoch on
# (notebook 3, section 3.4 counts them). There the mask stops the gradient.
# Section 4.3 widens the boundary: $1[|x| \le \tau]$ with $\tau > 1$.
#
# **Question.** Which of the two pictures changes when $\tau$ grows from 1 to 2: forward,
# backward, or both?

# %% tags=["question"]
course.answer("1.6a", "backward")  # "forward", "backward" or "both"

# %%
plot_sign(2.0)

# %% [markdown]
# **Answer.** Only the surrogate and its slope. The forward pass, and so the network in use, stays
# as it was. In a running notebook, move the slider to see other bounds.

# %%
picture = display(plot_sign(1.5), display_id=True)
slider = FloatSlider(value=1.5, min=1.0, max=3.0, step=0.25, description="bound")
slider.observe(lambda change: picture.update(plot_sign(change.new)), "value")
slider

# %% [markdown]
# ## 1.7 The weight behind the weight
#
# A binary weight cannot move a little. So each one has a real number behind it, the *latent*
# weight. The products see its sign; the gradient *with respect to the binary weight* moves the
# latent one (Algorithm 1, line 11).
#
# A latent weight starts at 0.02. The gradient is +0.3, the learning rate 0.1.
#
# **Question.** After which step does the binary weight flip?

# %% tags=["question"]
course.answer("1.7a", 1)  # the number of the step


# %%
def follow(weight: Parameter, gradients: np.ndarray, learning_rate: float) -> np.ndarray:
    """Latent weight from the start and after each step of gradient descent."""
    optimizer, path = SGD(learning_rate), [weight.latent.copy()]
    for gradient in gradients:
        weight.grad = np.array([gradient])
        optimizer.step({"weight": weight})
        path.append(weight.latent.copy())
    return np.concatenate(path)


weight = partial(Parameter, quantizer=Sign(), bound=1.0)
path = follow(weight(np.array([0.02])), np.full(4, 0.3), 0.1)
for step, latent in enumerate(path):
    print(f"step {step}   latent {latent:+.2f}   binary {Sign().quantize(path)[step]:+.0f}")

# %% [markdown]
# **Answer.** After the first step: the latent weight goes to -0.01, and the sign follows. Now let
# the gradient push down for 20 steps and then up again.
#
# **Question.** Algorithm 1 clips latent weights to $[-1, 1]$. What would be lost without the
# clip? Start at 0.5, push down by 0.15 for 20 steps, then up: how many steps up until the weight
# that is not clipped is +1 again?

# %% tags=["question"]
course.answer("1.7b", 17)  # a number of steps

# %%
pushes = np.concatenate([np.full(20, 1.0), np.full(20, -1.0)])
paths = {
    "clipped to [-1, 1]": follow(weight(np.array([0.5])), pushes, 0.15),
    "not clipped": follow(weight(np.array([0.5]), bound=np.inf), pushes, 0.15),
}
plots.latent_figure(paths)

# %% [markdown]
# **Answer.** Time. Beyond -1 a latent weight would run away without any effect on its sign, and
# would need as long to come back. With the clip the sign answers soon after the gradient has
# turned.
#
# The clip does the mask's job for weights. That is why weights have no mask of their own: a
# weight that sits at exactly -1 must be able to return.

# %% [markdown]
# **Exercise 1.4.** Write line 11 of Algorithm 1 for plain gradient descent. `scale` is the line's
# factor $\gamma$, which makes the steps of a layer larger.


# %% tags=["exercise", "id:1.4"]
def latent_step(w, grad, lr, scale):
    """Latent weights after one step; grad is the gradient of the binary weights."""
    # BEGIN SOLUTION
    return np.clip(w - scale * lr * grad, -1, 1)
    # END SOLUTION


course.check("1.4", latent_step)

# %% [markdown]
# ## Summary
#
# 1. Sign has two values, Sign(0) = Sign(-0.0) = +1, and its derivative is useless.
# 2. The backward pass uses the slope of the hard tanh: 1 where $|x| \le 1$, bound included. That
#    claim can be checked to ten digits.
# 3. Gradients move latent weights; products see their signs; the clip keeps latent weights ready
#    to flip.
#
# ## More to try
#
# 1. `StochasticSign` has a variance. Derive it from eq. (2), then measure it with the draws
#    above.
# 2. Write a class `StrictMask(Sign)` with the mask $1[|x| < 1]$. On which inputs does the checker
#    find the difference? Why does it not find it on random numbers?
# 3. In 1.7, how many steps up does the clipped weight need until it is +1 again? Compute it first,
#    then print its path.
#
# ## Reading on
#
# Paper, sections 2.1 to 2.3. In the code: `qnn_ref/quantizers/`: base.py, then sign.py. Before the
# paper: Bengio, Léonard, Courville (2013), *Estimating or propagating gradients through
# stochastic neurons*, where the straight-through estimator comes from. After it: language models
# with weights -1, 0, +1 are trained in the same way, with latent weights and a straight-through
# gradient.
#
# Next: [2. A binarized layer by hand](02_by_hand.ipynb).
