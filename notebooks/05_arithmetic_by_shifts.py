# %% [markdown]
# # 5. Arithmetic by shifts
#
# **Goal.** Replace the multiplications of batch norm and of the optimizer by shifts, and see what
# becomes of the forward pass, of the gradient, and of the accuracy.
#
# Afterwards you can
# - round to a power of two in your head, and say how wrong that can be;
# - read every line of Algorithms 2 and 4, also where the printed line is not enough;
# - name three backward passes for shift-based batch norm, and tell which ones are gradients.
#
# **Minutes.** 35 to read, 70 for the exercises.
#
# **Prerequisites.** [Notebook 2](02_by_hand.ipynb) for batch norm and its gradient,
# [notebook 1](01_one_bit.ipynb) for surrogates.
#
# **Equations.** AP2 and Algorithm 2 (section 2.4); Algorithm 4 (section 2.5).

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

from pathlib import Path

import numpy as np
from IPython.display import display
from ipywidgets import FloatLogSlider
from matplotlib.figure import Figure

import qnn_ref
from qnn_ref import course, plots
from qnn_ref.checking import check_gradients
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.layers import Parameter, ShiftBatchNorm
from qnn_ref.layers.shift_normalization import shift_batch_norm_chain
from qnn_ref.optimizers import ShiftAdaMax
from qnn_ref.quantizers import Sign
from qnn_ref.shifts import ap2, ap2_sign_exponent, from_fixed, shift_multiply_fixed, to_fixed
from qnn_ref.shown import source

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 5.1 AP2: the approximate power of two
#
# $$\mathrm{AP2}(x) = \mathrm{sign}(x)\, 2^{\mathrm{round}(\log_2 |x|)}$$
#
# **Question.** What is AP2(3)? AP2(2.9), which is nearer to 2 than to 4? AP2(0.7)? AP2(-5)?
# AP2(0), where the logarithm does not exist?

# %% tags=["question"]
# AP2 of 3, 2.9, 0.7, -5 and 0
course.answer("5.1a", (4, 4, 0.5, -4, 0))

# %%
for x in (3.0, 2.9, 0.7, -5.0, 0.0):
    print(f"AP2({x:>4}) = {ap2(x):>4}")

# %% [markdown]
# **Answer.** 4, 4, 0.5, -4 and 0. It is the *logarithm* that is rounded. So the threshold between
# 2 and 4 is not 3, their arithmetic mean, but $\sqrt{2 \cdot 4} = 2.83$, their geometric mean. In
# general it is $\sqrt2 \cdot 2^k$. 0.7 lies just below $\sqrt{1/2} = 0.7071$. Zero has sign 0, and
# so AP2(0) = 0; the formula alone would give $0 \cdot 2^{-\infty}$.

# %% [markdown]
# In the picture the x axis is logarithmic: there the steps are equally wide, and the thresholds
# stand in their middle. Notice the right side before you read on: how wrong can AP2 be?


# %%
def plot_ap2(x: float = 3.0) -> Figure:
    """AP2 from 1/8 to 8, and this number in it."""
    line = np.geomspace(1 / 8, 8, 2000)
    return plots.ap2_figure(line, ap2(line), (x, float(ap2(x))))


plot_ap2(3.0)

# %% [markdown]
# By a factor of $\sqrt2$ in either direction, and never more: the ratio lies between
# $\sqrt{1/2}$ and $\sqrt2$, and repeats with each power of two. Below, 0.7, which goes
# down. In a running notebook, move the slider to see other inputs.

# %%
picture = display(plot_ap2(0.7), display_id=True)
slider = FloatLogSlider(value=0.7, base=2, min=-3, max=3, step=0.02, description="x")
slider.observe(lambda change: picture.update(plot_ap2(change.new)), "value")
slider

# %% [markdown]
# **Exercise 5.1.** Write AP2 for arrays. The formula is short; 0 is not in it.


# %% tags=["exercise", "id:5.1"]
def power_of_two(x):
    """AP2 of each element, 0 for 0, in the type of x."""
    # BEGIN SOLUTION
    exponent = np.round(np.log2(np.abs(np.where(x == 0, 1, x))))
    return (np.sign(x) * 2.0**exponent).astype(x.dtype)
    # END SOLUTION


course.check("5.1", power_of_two)

# %% [markdown]
# No logarithm is needed. A float *is* a mantissa times a power of two, $m \cdot 2^e$ with $m$ from
# 1/2 to 1, and the mantissa tells where to round. We compare the two ways. **Expect** no
# difference at all.

# %%
x = np.exp(np.random.default_rng(0).normal(scale=20, size=100_000))
mantissa, exponent = np.frexp(x)
by_mantissa = np.ldexp(1.0, exponent - (mantissa < np.sqrt(0.5)))
by_logarithm = 2.0 ** np.round(np.log2(x))
print("by mantissa:  ", np.count_nonzero(by_mantissa != ap2(x)), "differences of 100,000")
print("by logarithm: ", np.count_nonzero(by_logarithm != ap2(x)), "differences of 100,000")

# %% [markdown]
# ## 5.2 What does the double shift sign mean?
#
# Algorithm 2 is full of $a \ll\gg \mathrm{AP2}(z)$. It means: shift $a$ by the exponent of AP2(z),
# to the left if that is positive, to the right if it is negative, **and give it the sign of
# AP2(z)**. So it is the product $a \cdot \mathrm{AP2}(z)$, made without a multiplier.
#
# To see real shifts we need integers. In *fixed point* with four bits after the binary point,
# 2.8125 is the integer 45, because it counts sixteenths.
#
# **Question.** We shift 2.8125 by AP2(3), AP2(-0.7) and AP2(0.1). What are the three results,
# rounded to sixteenths by floor(x + 1/2)?

# %% tags=["question"]
course.answer("5.2a", (11.25, -1.375, 0.375))

# %%
FRACTION_BITS = 4
a, z = np.full(3, 2.8125), np.array([3, -0.7, 0.1])
codes = to_fixed(a, FRACTION_BITS)
signs, places = ap2_sign_exponent(z)
results = shift_multiply_fixed(codes, signs, places)  # real << and >>
titles = [
    f"AP2({number:g}) = {power:g}: {'left' if by > 0 else 'right'} by {abs(by)}"
    + (", other sign" if power < 0 else "")
    for number, power, by in zip(z, ap2(z), places, strict=True)
]
plots.shift_figure(codes, places, results, FRACTION_BITS, titles)

# %% [markdown]
# **Answer.** 11.25, then -1.375 and 0.375. The last two are rounded: 45/16 times -1/2 is
# -1.40625, and times 1/8 it is 0.3515625. The bits that leave (hatched) are gone, and the rule is
# floor(x + 1/2), counted in the last place and with the sign: $-22.5$ becomes $-22$, though the bit
# that leaves is a 1, because a tie goes up on both sides of 0; $5.625$ becomes $6$, and the half
# that was added carries from the last place into the one before it. With enough bits after the
# point the shift *is* the float product.
#
# **Expect** a difference of at most half a unit of the last place, and of exactly 0 where no bit
# leaves.

# %%
rng = np.random.default_rng(1)
a, z = rng.integers(-999, 1000, 10_000) / 16, rng.normal(size=10_000)
signs, places = ap2_sign_exponent(z)
for bits in (4, 30):
    shifted = from_fixed(shift_multiply_fixed(to_fixed(a, bits), signs, places), bits)
    error = np.abs(shifted - a * ap2(z)).max()
    expect = "expect at most 1/32 = 0.03125" if bits == 4 else "expect exactly 0"
    print(f"{bits:>2} fraction bits: largest difference {error:.5f}   ({expect})")

# %% [markdown]
# **Exercise 5.2.** Write this product for one integer, with `<<`, `>>` and additions: no `*`, no
# `/`, no rounding function. `sign` and `places` are those of a power of two, `places` negative to
# the right.


# %% tags=["exercise", "id:5.2"]
def shift_multiply(code, sign, places):
    """floor(code * sign * 2^places + 1/2)"""
    # BEGIN SOLUTION
    signed = code if sign > 0 else -code if sign < 0 else 0
    if places >= 0:
        return signed << places
    return (signed + (1 << (-places - 1))) >> -places
    # END SOLUTION


course.check("5.2", shift_multiply)

# %% [markdown]
# In floating point a product with a power of two changes nothing but the exponent. So the package
# simply writes `a * ap2(z)`, and so shall we.

# %% [markdown]
# ## 5.3 One batch through Algorithm 2
#
# Batch norm divides by a deviation and multiplies by a gain; for the variance it squares. Algorithm
# 2 makes shifts of all three. Four examples, three units; blue is positive, orange negative.
#
# **Line 1.** $\mu \leftarrow \frac1m \sum x_i$, an ordinary mean. With $m = 4$ its division is a
# shift too.
#
# **Line 2.** $c_i \leftarrow x_i - \mu$.

# %%
x = np.array([[-2, 1, 0.5], [5, 3, -2.5], [6, -0.5, 0.25], [7, 0.5, -2.25]])
g, b, epsilon = np.array([1.5, 0.7, -3]), np.array([0, 0.5, 1]), 1e-5
mu = x.mean(axis=0)  # line 1
c = x - mu  # line 2
plots.arrays_figure({"$x$": x, r"$\mu$": mu, "$c$": c})

# %% [markdown]
# **Line 3.** $\sigma^2 \leftarrow \frac1m \sum c_i \ll\gg \mathrm{AP2}(c_i)$. One of the two
# factors of the square is rounded.
#
# **Question.** How many of these twelve terms are larger than $c_i^2$? Where is AP2 exact?

# %% tags=["question"]
# terms larger than the square
course.answer("5.3a", 5)

# %%
A = ap2(c)
variance = (c * A).mean(axis=0)  # line 3
plots.arrays_figure({r"$A = \mathrm{AP2}(c)$": A, "$c A$": c * A, "$c^2$": c * c})

# %%
plots.arrays_figure(
    {r"$\sigma^2$, by shifts": variance, "variance": c.var(axis=0)},
)

# %% [markdown]
# **Answer.** Five, those whose $c$ was rounded up (in size): -6, 3, -1.5 and $\pm1.5$. AP2 is exact
# for 1, 2 and 0.5, and for 0. For a bell curve the two ways balance: there the sum by shifts is too
# large by 1.8 %.
#
# **Line 4.** $\hat x_i \leftarrow c_i \ll\gg \mathrm{AP2}\big((\sqrt{\sigma^2 + \epsilon})^{-1}
# \big)$. We call the inverse deviation $r$ and its AP2 $s$.
#
# **Line 5.** $y_i \leftarrow \mathrm{AP2}(g) \ll\gg \hat x_i$, as printed. The comment beside it
# says "scale and shift", but the shift is missing. The authors' code adds it, and so do we:
# $y_i = \mathrm{AP2}(g)\,\hat x_i + b$.
#
# **Question.** The gains are 1.5, 0.7 and -3. Which gains does line 5 use?

# %% tags=["question"]
course.answer("5.3b", (2, 0.5, -4))

# %%
r = 1 / np.sqrt(variance + epsilon)
s = ap2(r)
x_hat = c * s  # line 4
G = ap2(g)
y = G * x_hat + b  # line 5
plots.arrays_figure({"$r$": r, "$s$ = AP2$(r)$": s, "$G$ = AP2$(g)$": G, "$b$": b})

# %%
plots.arrays_figure({r"$\hat x = c\,s$": x_hat, r"$y = G \hat x + b$": y})

# %% [markdown]
# **Answer.** 2, 0.5 and -4. The layer `ShiftBatchNorm` has the same five lines.


# %%
def build(gradient: str) -> ShiftBatchNorm:
    """The layer with our gain and shift."""
    layer = ShiftBatchNorm(gradient, epsilon).build((3,), dtype=np.float64)
    layer.gain.assign(g)
    layer.shift.assign(b)
    return layer


error = np.abs(build("slope").forward(x, training=True) - y).max()
print(f"largest difference: {error:.1e}   (expect below 1e-14)")
print("deviation of x_hat:", *x_hat.std(axis=0).round(2))

# %% [markdown]
# **Exercise 5.3.** Put the five lines together, for a batch (examples, units). `ap2` is there.


# %% tags=["exercise", "id:5.3"]
def shift_batch_norm(x, g, b, eps):
    """Algorithm 2, lines 1 to 5, with the shift b."""
    # BEGIN SOLUTION
    c = x - x.mean(axis=0)
    variance = np.mean(c * ap2(c), axis=0)
    x_hat = c * ap2(1 / np.sqrt(variance + eps))
    return ap2(g) * x_hat + b
    # END SOLUTION


course.check("5.3", shift_batch_norm)

# %% [markdown]
# ## 5.4 The sign in line 3
#
# A variance cannot be negative: $c_i \cdot \mathrm{AP2}(c_i) = |c_i| \cdot |\mathrm{AP2}(c_i)|$.
# But a shifter knows exponents, not signs. Who shifts the signed $c_i$ by the exponent alone gets
# $c_i \cdot |\mathrm{AP2}(c_i)|$, and this is easy to overlook in the printed line.
#
# **Question.** What would the three "variances" of our batch be? In what share of 10,000 random
# batches would they be negative?

# %% tags=["question"]
# percent that are negative
course.answer("5.4a", 50)

# %%
print("with the sign:   ", variance)
print("without the sign:", (c * np.abs(A)).mean(axis=0))

# %%
batches = np.random.default_rng(2).normal(size=(100, 10_000))
batches -= batches.mean(axis=0)
signed = (batches * ap2(batches)).mean(axis=0)
unsigned = (batches * np.abs(ap2(batches))).mean(axis=0)
print(f"negative with the sign:    {100 * (signed < 0).mean():4.1f} %   (expect 0)")
print(f"negative without the sign: {100 * (unsigned < 0).mean():4.1f} %   (expect 48 to 52)")
print(f"mean with the sign: {signed.mean() / batches.var(axis=0).mean():.3f} variances", end="")
print("   (expect 1.01 to 1.03)")
plots.variances_figure(signed, unsigned)

# %% [markdown]
# **Answer.** -7.75, 0.19 and 0. Terms of both signs cancel, so the "variance" is near 0, and in
# about half of the batches below it. Its square root is then NaN. With the sign, line 3 measures
# the variance well.

# %% [markdown]
# ## 5.5 A deviation of about 1
#
# Batch norm gives its output the deviation 1. Here the inverse deviation is rounded, and so the
# output's deviation is off by up to $\sqrt2$, and by a little more, because line 3 was rounded too.
#
# **Question.** We double the input. How does the output change? And if we make the input 1.2
# times as large?

# %% tags=["question"]
# factor of the output, for a doubled input
course.answer("5.5a", 1)


# %%
def output_deviations(x: np.ndarray) -> np.ndarray:
    """Deviations of what the layer makes of the columns of x, the constant ones left out."""
    layer = ShiftBatchNorm(epsilon=1e-12).build((x.shape[1],), dtype=np.float64)
    return layer.forward(x, training=True).std(axis=0)[x.std(axis=0) > 0]


scales = np.geomspace(1 / 4, 4, 800)
wide = np.random.default_rng(3).normal(size=(1000, 800)) * scales
deviations = output_deviations(wide)
print(f"deviation of the output: {deviations.min():.2f} to {deviations.max():.2f}", end="")
print("   (expect 0.69 to 1.42)")
plots.deviations_figure(wide.std(axis=0), deviations, (0.69, 1.42))

# %% [markdown]
# **Answer.** A doubled input gives the same output, because AP2(r) halves exactly. A factor of 1.2
# goes through to the output, unless r crosses a threshold, where the output jumps down.

# %% [markdown]
# These were bell curves of 1,000 numbers, for which line 3 is nearly right. But a binary layer sees
# sums of a few $\pm1$, and batches are small.
#
# **Question.** Which term of line 3 is wrong by the largest factor? Can *all* terms be wrong in the
# same direction? How far can the deviation be off then?

# %% tags=["question"]
# the largest deviation that any batch can have
course.answer("5.5b", 1.68)


# %%
def two_sizes(size: float, share: float) -> np.ndarray:
    """A column of 1,000 numbers: this share of them +-size, all others twice that."""
    small = round(500 * share)
    half = np.repeat([size, 2 * size], [small, 500 - small])
    return np.concatenate([half, -half])[:, None]


rng = np.random.default_rng(6)
columns = {
    "bell curves": wide,
    "±1.41 (86 %) and ±2.82": two_sizes(1.41, 0.862),
    "±1.42 (39 %) and ±2.84": two_sizes(1.42, 0.39),
} | {
    f"{K} terms of ±1, batch of 8": rng.choice([-1, 1], (8, 20_000, K)).sum(axis=2).astype(float)
    for K in (3, 5, 9)
}
for name, x_columns in columns.items():
    found = output_deviations(x_columns)
    print(f"{name:<26} deviation {found.min():.2f} to {found.max():.2f}")
print(f"{'sure for every batch':<26}           {2**-0.75:.2f} to {2**0.75:.2f}")

# %% [markdown]
# **Answer.** One whose $c$ stands at a threshold, $\sqrt2 \cdot 2^k$: it is wrong by a factor of
# $\sqrt2$. All of them can be: just below a threshold (1.41 and 2.82) each term is too small, just
# above it (1.42 and 2.84) too large. Then $r$, under the root, is off by $2^{1/4}$; AP2 adds
# $2^{1/2}$ at most. So the output's deviation lies between $2^{-3/4}$ and $2^{3/4}$ **for every
# batch** (as long as epsilon is small beside the variance), and the sums of the last lines come
# near to both. A test of such a layer must ask for that range, or draw bell curves: who asks for
# 0.69 to 1.42 of every batch calls right code wrong.

# %% [markdown]
# **Exercise 5.6.** Write the test that such a layer deserves. `x_hat` is the result of line 4, and
# epsilon does not matter. It must call no right layer wrong, whatever the batch, and find what is
# impossible.


# %% tags=["exercise", "id:5.6"]
def could_be_right(x_hat):
    """Whether Algorithm 2 can give these columns; 0.1 % of room for rounding."""
    # BEGIN SOLUTION
    deviations = x_hat.std(axis=0)
    return bool(np.all((deviations > 0.999 * 2**-0.75) & (deviations < 1.001 * 2**0.75)))
    # END SOLUTION


course.check("5.6", could_be_right)

# %% [markdown]
# Now a Sign behind the layer. Its answer does not depend on a scale, so one might think that it
# does not mind.
#
# **Question.** We make the input 1.3 times as large, and the factor goes through. How does the
# share of +1 change, without a shift $b$ and with $b = 0.7$? And the share of closed masks,
# $|y| > 1$?

# %% tags=["question"]
# what changes with a shift: "nothing", "signs", "masks" or "signs and masks"
course.answer("5.5c", "signs and masks")

# %%
bell = np.random.default_rng(7).normal(size=(100_000, 1))
print("shift   input   share of +1   masks closed")
for shift in (0.0, 0.7):
    layer = ShiftBatchNorm().build((1,), dtype=np.float64)
    layer.shift.assign([shift])
    for factor in (1, 1.3):
        out = layer.forward(factor * bell, training=True)
        plus = 100 * (Sign().quantize(out) > 0).mean()
        closed = 100 * (np.abs(out) > 1).mean()
        print(f"{shift:>5}   * {factor:<5}{plus:>9.0f} %{closed:>13.0f} %")

# %% [markdown]
# **Answer.** Without a shift the signs stay: a factor moves nothing across 0. With one they do not:
# the shift is added afterwards and keeps its size, so it counts for less beside larger values. And
# the mask of eq. (4) asks how large $|y|$ is: more of them close, with a shift or without. So Sign
# hides the scale forward only, and only where $b = 0$; backward it never does.

# %% [markdown]
# **Exercise 5.7.** Count it: a factor goes through to `x_hat`, so that $y$ is `factor * x_hat + b`
# in the place of `x_hat + b`. How many signs of $y$ change, and how many masks of eq. (4)?


# %% tags=["exercise", "id:5.7"]
def what_sign_sees(x_hat, factor, b):
    """Number of signs that change, number of masks that change."""
    # BEGIN SOLUTION
    before, after = x_hat + b, factor * x_hat + b
    signs = np.count_nonzero((before >= 0) != (after >= 0))
    masks = np.count_nonzero((np.abs(before) <= 1) != (np.abs(after) <= 1))
    return signs, masks
    # END SOLUTION


course.check("5.7", what_sign_sees)

# %% [markdown]
# ## 5.6 Backward: a staircase has no slope
#
# **Question.** The gain $g$ enters as AP2(g). What is the difference quotient of the output with
# respect to $g$? What would an automatic differentiation make of it?

# %% tags=["question"]
# the difference quotient at g = 1.5
course.answer("5.6a", 0)


# %%
def output(gain: float) -> float:
    """One number of the output as a function of the first gain."""
    return float(ap2(gain) * x_hat[0, 0] + b[0])


for gain in (1.5, 1.9):
    for h in (1e-2, 1e-4):
        slope = (output(gain + h) - output(gain - h)) / (2 * h)
        print(f"g = {gain}   h = {h:.0e}   slope = {slope:.1f}")

# %% [markdown]
# **Answer.** Zero, and automatic differentiation agrees: no gain would ever be trained. The
# same zeros would cut $\sigma^2$ out of the gradient of $x$.

# %% [markdown]
# This is Sign's problem (notebook 1), and it has the same way out: take the slope of another
# function. The paper does not print which one. Two are at hand, and each is a straight line through
# the value at the point $u_0$:
#
# - **slope** 1: $u \mapsto \mathrm{AP2}(u_0) + u - u_0$;
# - **ratio**: $u \mapsto u \cdot \frac{\mathrm{AP2}(u_0)}{u_0}$, a line through 0.

# %%
u = np.linspace(0.2, 8, 1561)
points = np.array([1.35, 2.9, 5.5])
there = ap2(points)[:, None]
lines = {
    "slope 1": there + u - points[:, None],
    "ratio AP2(u) / u": there * u / points[:, None],
}
plots.slopes_figure(u, ap2(u), points, lines)

# %% [markdown]
# Both then follow from the chain rule. With $p = \frac1m \sum_j \delta_{y_j} c_j$ and a bar for the
# mean over the batch,
#
# $$\text{slope:}\quad \delta_x = d - \bar d, \quad
# d = G\big(s\,\delta_y - \tfrac12 r^3 (A + c)\,p\big), \quad \delta_g = \sum \delta_y \hat x$$
#
# $$\text{ratio:}\quad \delta_x = d - \bar d, \quad d = G s\big(\delta_y - r^2 A\,p\big),
# \quad \delta_g = \tfrac Gg \sum \delta_y \hat x$$
#
# The authors' Torch code has a third one, made from the formula of plain batch norm by putting in
# AP2:
#
# $$\text{torch:}\quad \delta_x = G s\big(\delta_y - \overline{\delta_y} - s^2 A\,
# \overline{\delta_y A}\big), \quad \delta_g = \sum \delta_y\,\mathrm{AP2}(\hat x)$$
#
# and $\delta_b = \sum \delta_y$ in all three. One gradient through all of them:
#
# **Question.** What do the columns of $\delta_x$ sum to? Think of a bias in front of the layer.

# %% tags=["question"]
course.answer("5.6b", 0)

# %%
dy = np.array([[-1, 0, 0.25], [0.5, 1, 1], [0.5, -1, -0.5], [1, 1, 0.5]])
layers = {name: build(name) for name in ("slope", "ratio", "torch")}
dx = {}
for name, layer in layers.items():
    layer.forward(x, training=True)
    dx[name] = layer.backward(dy)
plots.arrays_figure(
    {r"$\delta_y$": dy} | {rf"$\delta_x$, {name}": array for name, array in dx.items()}
)

# %%
for name, array in dx.items():
    sums = " ".join(f"{value:6.2f}" for value in array.sum(axis=0).round(10) + 0.0)
    print(f"{name}: column sums {sums}     gain {layers[name].gain.grad.round(2)}")

# %% [markdown]
# **Answer.** To 0, if it is a gradient. The layer takes the mean away, so a bias in front of it
# changes nothing, and the gradient of a bias is the sum of the column. Slope and ratio say 0. Torch
# does not: it forgets that the mean of $A$ need not be 0, although that of $c$ is (in the last
# column both are). A bias in front of the layer would be pushed around for no reason. The package
# has it for reproduction; its default is slope.

# %% [markdown]
# **Exercise 5.4.** Write the form *slope* from the formulas above: given $\delta_y$ and the centred
# values $c$ of the forward pass, the gradients of $x$, $g$ and $b$. The check compares numbers, and
# then asks the gradient checker as well.


# %% tags=["exercise", "id:5.4"]
def shift_backward(dy, c, g, eps):
    """Gradients of x, g and b, each AP2 with slope 1."""
    # BEGIN SOLUTION
    A = ap2(c)
    r = 1 / np.sqrt(np.mean(c * A, axis=0) + eps)
    s, G, p = ap2(r), ap2(g), np.mean(dy * c, axis=0)
    d = G * (s * dy - 0.5 * r**3 * (A + c) * p)
    return d - d.mean(axis=0), np.sum(dy * c * s, axis=0), dy.sum(axis=0)
    # END SOLUTION


course.check("5.4", shift_backward)

# %% [markdown]
# ## 5.7 Is it right?
#
# First the long way: Algorithm 2 from the last line to the first, every step by the chain rule,
# with slope 1 for each AP2. This is the package's `shift_batch_norm_chain`; read it like the
# algorithm.

# %%
print(source(shift_batch_norm_chain))

# %% [markdown]
# The short form has to give the same. **Expect** differences below 1e-14.

# %%
chain = shift_batch_norm_chain(dy, c, g, epsilon)
slope = layers["slope"]
short = dx["slope"], slope.gain.grad, slope.shift.grad
for name, long, brief in zip(("x", "gain", "shift"), chain, short, strict=True):
    print(f"{name:<6} largest difference {np.abs(long - brief).max():.1e}   (expect below 1e-14)")

# %% [markdown]
# Both could share a mistake. The checker takes differences of the forward pass alone, with each
# AP2 replaced by the straight line of slope or ratio around its point.
#
# **Question.** What will the checker say about torch?

# %% tags=["question"]
# "passed", "failed" or "it refuses"
course.answer("5.7a", "it refuses")

# %%
for name, layer in layers.items():
    print(f"gradient {name}" + "   (expect relative errors below 1e-9)" * (name != "torch"))
    try:
        print(check_gradients(layer, x, mode="full", rng=np.random.default_rng(4)))
    except TypeError as error:
        print("TypeError:", error)

# %% [markdown]
# **Answer.** It refuses. No function of $x - \mu$ has a gradient with column sums other than 0, so
# there is nothing that torch could be compared with. That does not mean that it cannot train a
# network (section 5.10).

# %% [markdown]
# ## 5.8 Shift-based AdaMax: steps by $t$
#
# Algorithm 4 keeps a running mean $m$ and a decaying maximum $v$ of the gradient:
#
# 1. $m_t \leftarrow \beta_1 m_{t-1} + (1-\beta_1)\,\delta_t$
# 2. $v_t \leftarrow \max(\beta_2 v_{t-1}, |\delta_t|)$
# 3. $\theta_t \leftarrow \theta_{t-1} - \big(\alpha \ll\gg (1-\beta_1^t)\big) \cdot
#    \big(m_t \ll\gg v_t^{-1}\big)$
#
# with $\alpha = 2^{-10}$, $1 - \beta_1 = 2^{-3}$ and $1 - \beta_2 = 2^{-10}$: lines 1 and 2 are
# shifts and additions already, $\beta_1 m = m - 2^{-3} m$.
#
# **Question.** At first $m$ is too small, by the factor $1 - \beta_1^t$. Line 3 is to correct that.
# If $\ll\gg$ is a product there, as everywhere else, how long is the first step?

# %% tags=["question"]
# 2 to the power of
course.answer("5.8a", -13)

# %%
optimizer = ShiftAdaMax()
t = np.arange(1, 21)
exact = optimizer.learning_rate / (1 - optimizer.beta1**t)
rounded = np.array([optimizer.step_size(int(step)) for step in t])
for first in [0, *np.flatnonzero(np.diff(rounded)) + 1]:
    print(f"from t = {t[first]:>2} on: 2^{np.log2(rounded[first]):.0f}")
print(f"read as a product, at t = 1: 2^{np.log2(optimizer.learning_rate / 8):.0f}")
plots.step_sizes_figure(exact, rounded)

# %% [markdown]
# **Answer.** $2^{-13}$, and the steps would grow with $t$: that makes the small $m$ smaller still.
# A correction has to *divide*, as the authors' code does: the first step is $2^{-7}$, 64 times as
# long. **Expect** four sizes, the last one from $t = 10$ on.

# %% [markdown]
# ## 5.9 The $v$ that never decays
#
# Line 3 also rounds $v^{-1}$, but $v$ itself stays as it is. The authors' Torch code saves the
# rounded one instead: $v \leftarrow \mathrm{AP2}(v) + \epsilon$. That looks harmless.
#
# **Question.** Let $v = 2^k$, and let the gradient be tiny from now on. What is
# $\mathrm{AP2}(0.999 \cdot 2^k)$? For $v = 4$, say?

# %% tags=["question"]
# for v = 4
course.answer("5.9a", 4)


# %%
def follow(optimizer: ShiftAdaMax, gradients: np.ndarray) -> np.ndarray:
    """The norm v of one weight, after each gradient."""
    weight, path = Parameter(np.zeros(1)), []
    for gradient in gradients:
        weight.grad = np.array([gradient])
        optimizer.step({"weight": weight})
        path.append(optimizer.state["weight"]["norm"][0])
    return np.array(path)


gradients = np.full(6_000, 0.01)
gradients[0] = 1
torch = ShiftAdaMax(2.0**-6, beta1=0.9, beta2=0.999, variant="torch")
norms = {"paper": follow(ShiftAdaMax(), gradients), "Torch variant": follow(torch, gradients)}
print("AP2(0.999 * 4) =", ap2(0.999 * 4))
half = int(np.argmax(norms["paper"] <= 0.5))
print(f"paper: v is halved after {half} steps   (expect 709 or 710)")
print(
    f"v in the end: paper {norms['paper'][-1]:.4f}, Torch {norms['Torch variant'][-1]:.4f}", end=""
)
print("   (expect 0.0100 and 1.0000)")
plots.norms_figure(norms, 0.01)

# %% [markdown]
# **Answer.** $2^k$ again. One step takes a thousandth away, and rounding puts it back. So $v$ is
# the largest gradient that a weight ever saw. After one gradient of 1, gradients of 0.01 move it a
# hundred times less than gradients of 0.01 alone would, for ever; with the paper's rule that is
# over after 5,000 steps. State must not be rounded where small changes have to add up. That is
# also the reason for latent weights (notebook 1).

# %% [markdown]
# **Exercise 5.5.** Write one step of Algorithm 4 with the paper's constants, for arrays of weights:
# the new $m$, the new $v$, and what is subtracted from the weights. Mind weights that had no
# gradient yet.


# %% tags=["exercise", "id:5.5"]
def shift_adamax(m, v, t, grad):
    """New m, new v, and the step to subtract."""
    # BEGIN SOLUTION
    m = m - m / 8 + grad / 8
    v = np.maximum(v - v / 1024, np.abs(grad))
    size = ap2(np.array(2.0**-10 / (1 - (7 / 8) ** t)))
    direction = np.divide(m, ap2(v), out=np.zeros_like(m), where=v > 0)
    return m, v, size * direction
    # END SOLUTION


course.check("5.5", shift_adamax)

# %% [markdown]
# ## 5.10 Does it cost accuracy?
#
# The paper saw no loss. We trained 120 small networks on MNIST (784-128-128-10, five epochs): plain
# batch norm, and shift-based batch norm with slope, ratio and torch (`shift-S`, `-R`, `-T`); ADAM,
# AdaMax, shift-based AdaMax and its Torch variant; deterministic and stochastic activations; three
# seeds each. Each rule has the learning rate of its recipe, and none was tuned. Shift-based AdaMax
# has two: the paper's $2^{-10}$ and that of the Torch recipe, $2^{-6}$.
# `qnn-ref train ablation-shift` makes the table again.
#
# **Question.** Which choice matters most: the norm, the optimizer, or the activations?

# %% tags=["question"]
# "the norm", "the optimizer" or "the activations"
course.answer("5.10a", "the optimizer")

# %%
table = Path(qnn_ref.__file__).parent / "experiments" / "results" / "ablation-shift.csv"
rows = read_rows(table) if table.exists() else []
print(len(rows), "runs" if rows else "runs: the table is in the repository, not in the package")
labels = ["norm", "optimizer", "rate", "activations"]
if rows:
    display(plots.cases_figure(mean_and_spread(rows, labels), labels))

# %% [markdown]
# Each run with shift-based batch norm has a partner with plain batch norm, with everything else
# equal, the seed too. The mean of their differences says more than the difference of two means.
# In percentage points, with the standard error of the mean of six pairs:

# %%
runs = {tuple(row[label] for label in [*labels, "seed"]): float(row["test_error"]) for row in rows}
pairs: dict[tuple[str, ...], list[float]] = {}
for (norm, *rest), error in runs.items():
    if norm != "batch":
        pairs.setdefault((norm, *rest[:2]), []).append(error - runs["batch", *rest])
for (norm, rule, rate), differences in sorted(pairs.items(), key=lambda pair: pair[0][1:]):
    spread = np.std(differences, ddof=1) / len(differences) ** 0.5
    print(f"{rule:<20}{rate:>6}   {norm} - batch: {np.mean(differences):+.2f} ± {spread:.2f}")

# %% [markdown]
# **Answer.** The optimizer with its rate. Shift-based AdaMax with the paper's $2^{-10}$ ends at 8
# to 10 %, the last of all; with $2^{-6}$ the same rule is at least as good as ADAM. So it was the
# rate, not the shifts. (Five epochs are short; with hundreds of them the small rate may do.) The
# Torch variant, with its $v$ that never decays and its own $\beta_1$ and $\beta_2$, is not better
# than the paper's rule at the same rate, and a little worse with stochastic activations. These
# cost between 0.2 and 1.7 points in so short a training.
#
# The norm costs little. With ADAM and with shift-based AdaMax at $2^{-6}$ we see no difference.
# With AdaMax there is a loss of 0.2 to 0.5 points, well beyond its error, and with shift-based
# AdaMax at $2^{-10}$ probably one of 0.2. So the paper's "no loss" holds here for the best
# settings, and not for all of them. Slope, ratio and torch differ by 0.3 points at most: torch
# trains about as well as the two gradients.

# %% [markdown]
# ## Summary
#
# 1. AP2 rounds the logarithm: its thresholds are $\sqrt2 \cdot 2^k$, and it is wrong by a factor of
#    $\sqrt2$ at most. A product with it is a shift, with the sign.
# 2. Algorithm 2 needs that sign in line 3 and a shift $b$ in line 5. Its output has a deviation of
#    0.69 to 1.42 for bell curves, of $2^{-3/4}$ to $2^{3/4}$ for every batch; a Sign behind it
#    hides that forward where $b = 0$, and its mask never does.
# 3. AP2 has no slope, so the backward pass is a choice: slope and ratio are gradients of
#    a surrogate, and torch is not.
# 4. Round steps, not state: a rounded $v$ never decays.
#
# ## More to try
#
# 1. Hardware finds the leading 1 of an integer easily; that gives $2^{\lfloor \log_2 |x| \rfloor}$.
#    Between which bounds is its ratio to $x$? Put it into line 3 and draw the picture of 5.4 again.
# 2. The gain is rounded as well. Between which bounds is the deviation of $y$, compared with the
#    $|g|$ of plain batch norm? Take $g$ = 1.42 and 1.41 in 5.5 and draw both.
# 3. Let a gain learn: minimize $(\mathrm{AP2}(g) - 3)^2$ from $g = 1$, with the forms slope and
#    ratio. Why can it never arrive, and where does $g$ stay?
# 4. Train plain AdaMax with the rate $2^{-6}$; you need `ABLATION_SHIFT.cases` of
#    `qnn_ref/experiments/ablation_shift.py`, `dataclasses.replace` and `train_recipe`. Is it level
#    with ADAM too? What is then left of the price of rounding its steps?
#
# ## Reading on
#
# Paper, sections 2.4 and 2.5. In the code: `qnn_ref/shifts.py`,
# `qnn_ref/layers/shift_normalization.py` and `qnn_ref/optimizers/shift_adamax.py`. The authors'
# versions are in their Torch code, files `BatchNormalizationShiftPow2.lua` and
# `adaMax_binary_clip_shift.lua`. AdaMax itself: Kingma and Ba (2015), *Adam: a method for
# stochastic optimization*, section 7. Logarithms for all weights and activations: Miyashita, Lee,
# Murmann (2016), *Convolutional neural networks using logarithmic data representation*.
#
# Next: [6. Convolutions of bits](06_convolutions_of_bits.ipynb).
