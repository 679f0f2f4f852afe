# %% [markdown]
# # 7. Two bits and more
#
# **Goal.** Go from one bit to $k$: which levels, at what cost, with which gradient, and down to a
# packed network of 2 bits that gives the same scores.
#
# Afterwards you can
# - read the paper's LinearQuant and LogQuant in a way that makes sense, and name what each reading
#   gives up;
# - split a code into planes and multiply $k$ bits by $l$ bits with $k \cdot l$ binary products;
# - replace batch norm and a quantizer of $k$ bits by $2^k - 1$ comparisons of integers.
#
# **Minutes.** 35 to read, 45 for the exercises.
#
# **Prerequisites.** [Notebook 4](04_floats_to_bits.ipynb) for words, planes and thresholds;
# AP2 from [notebook 5](05_arithmetic_by_shifts.ipynb), section 5.1.
#
# **Equations.** LinearQuant and LogQuant (section 3); (4) and (7) for more than one bit; the
# relaxed boundary of section 4.3. Numbers from (6) on differ between versions of the paper: if
# yours has another one, look for the formula.

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython.display import display
from ipywidgets import IntSlider
from matplotlib.figure import Figure

import qnn_ref
from qnn_ref import bits, course, datasets, plots, shown
from qnn_ref.bits.popcount import popcount
from qnn_ref.checking import check_gradients
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.grid import Grid
from qnn_ref.layers import Quantize
from qnn_ref.packed.packing import identical_scores
from qnn_ref.packed.thresholds import Levels
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign, hard_tanh

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 7.1 One formula, three readings
#
# $$\mathrm{LinearQuant}(x, \text{bitwidth}) = \mathrm{Clip}\Big(\mathrm{round}\Big(
# \frac{x}{\text{bitwidth}}\Big) \cdot \text{bitwidth},\ minV,\ maxV\Big)$$
#
# That is how it is printed. We take it at its word, with $minV = -1$ and $maxV = 1$.
#
# **Question.** How many levels do 1, 2 and 3 bits have then? Which one is the finest?

# %% tags=["question"]
course.answer("7.1a", (3, 3, 3))  # levels of 1, 2 and 3 bits

# %%
x = np.arange(-512, 513) / 256
literal = {
    f"bitwidth {width}": np.clip(np.floor(x / width + 0.5) * width, -1, 1) for width in (1, 2, 3)
}
plots.readings_figure(x, literal, {title: np.unique(y) for title, y in literal.items()})

# %% [markdown]
# **Answer.** Three levels each time, and more bits make them *coarser*: from 2 bits on, everything
# between -1 and 1 becomes 0. The bit width stands where a *step* belongs.

# %% [markdown]
# With a step, three readings make sense. For $k$ bits and a range of $[-1, 1]$:
#
# - **fixed-point**: steps of $2^{-(k-1)}$ from -1 on;
# - **symmetric**: $2^k$ levels from -1 to 1, both ends included, $2 / (2^k - 1)$ apart;
# - **unsigned**: $2^k$ levels from 0 to 1, $1 / (2^k - 1)$ apart.
#
# The first line of the picture has one bit, the second two, the third three. Each level is a
# dotted line, the dashed line is $x$ itself, and the dot is the value at $x = 0$.
#
# **Question.** Which readings have a level 0? Which ones reach +1? What would one fixed-point bit
# be?

# %% tags=["question"]
course.answer("7.1b", "symmetric")  # has no level 0

# %%
READINGS = ("fixed-point", "symmetric", "unsigned")


def values_of(quantizer: Quantizer) -> np.ndarray:
    """All values of a quantizer: its integer codes times the scale."""
    return quantizer.levels * quantizer.encoding.scale


def draw_readings(*widths: int) -> Figure:
    """The three readings side by side, a row for each number of bits."""
    x = np.arange(-384, 385) / 256
    values, levels = {}, {}
    for k in widths:
        for reading in READINGS:
            title = f"{reading}, {k} bit{'s' * (k > 1)}"
            if (reading, k) == ("fixed-point", 1):
                values[title] = levels[title] = np.array([])
                continue
            quantizer = LinearQuant(k, reading=reading)
            title += f": {len(quantizer.levels)} levels"
            values[title], levels[title] = quantizer.quantize(x), values_of(quantizer)
    return plots.readings_figure(x, values, levels)


draw_readings(1, 2, 3)

# %% [markdown]
# **Answer.** Fixed-point and unsigned have a 0, symmetric has none: an even number of levels that
# lie symmetrically leaves the middle free. Symmetric and unsigned reach 1, fixed-point stops one
# step below it. One fixed-point bit would be -1 and 0, which is neither Sign nor useful.

# %% [markdown]
# The package refuses one fixed-point bit, and it refuses a step of 1/2 for two:

# %%
for options in ({"bits": 1}, {"bits": 2, "step": 0.5}):
    try:
        LinearQuant(**options, reading="fixed-point")
    except ValueError as error:
        print("ValueError:", error)

# %% [markdown]
# The second message is the reason for the missing +1. In steps of 1/2 there are *five* levels from
# -1 to 1; from -1 to 1, ends included, a step of $2^{-(k-1)}$ always gives $2^k + 1$. One too many.
#
# **Question.** Symmetric rounds 0, which lies in the middle between two levels, up. Why does it
# matter? Think of one bit.

# %% tags=["question"]
course.answer("7.1c", -1)  # 0 with halves to the even neighbour

# %%
near = np.array([-2, -1e-45, -0.0, 0.0, 1e-45, 2], np.float32)
print("symmetric, one bit: ", LinearQuant(1).quantize(near))
print("Sign:               ", Sign().quantize(near))
many = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
differ = np.count_nonzero(LinearQuant(1).quantize(many) != Sign().quantize(many))
print(f"differences in 100,000 random numbers: {differ}   (expect 0)")
for k in (2, 3, 8):
    print(f"symmetric, {k} bits, at 0: {LinearQuant(k).quantize(near[3:4])[0]:.4f} = 1/{2**k - 1}")

# %% [markdown]
# **Answer.** One symmetric bit *is* eq. (1), with Sign(0) = +1. NumPy's `round` takes halves to the
# even neighbour, and would send 0 to -1.

# %% [markdown]
# **Exercise 7.1.** Write the symmetric reading. `np.floor` is there, `LinearQuant` is not. The
# check tries many numbers and shows the smallest case that is not right yet; `course.hint("7.1")`
# helps in three steps.


# %% tags=["exercise", "id:7.1"]
def linear_quant(x, k):
    """The nearest of 2^k levels from -1 to 1, ends included; ties go up."""
    # BEGIN SOLUTION
    n = 2**k - 1
    below = np.floor(n * np.clip(x, -1, 1) / 2)  # a step is 2 / n, and 0 lies between two levels
    return np.clip(2 * below + 1, -n, n) / n
    # END SOLUTION


course.check("7.1", linear_quant)

# %% [markdown]
# Which reading the tables of the paper used is not known. The package's default is the symmetric
# one, because its planes are signs (section 7.3). Fixed-point is there where an exact 0 is wanted,
# unsigned for what comes out of a ReLU. In a running notebook, move the slider to see other numbers
# of bits.

# %%
picture = display(draw_readings(4), display_id=True)
slider = IntSlider(value=4, min=1, max=6, description="bits")
slider.observe(lambda change: picture.update(draw_readings(change.new)), "value")
slider

# %% [markdown]
# Inside the range, the symmetric error is at most half a step. **Expect** each bit to halve it.

# %%
inside = np.linspace(-1, 1, 100_001)
for k in (1, 2, 3, 4, 8):
    error = np.abs(LinearQuant(k).quantize(inside) - inside).max()
    expected = f"1/{2**k - 1} = {1 / (2**k - 1):.4f}"
    print(f"symmetric, {k} bits: largest error {error:.4f}   (expect {expected})")

# %% [markdown]
# ## 7.2 LogQuant: bits for the exponent
#
# $$\mathrm{LogQuant}(x, \text{bitwidth}) = \mathrm{Clip}(\mathrm{AP2}(x),\ minV,\ maxV)$$
#
# AP2 gives a power of two, so a product with it is a shift. But as printed there is no bit width
# in it: Clip bounds the size from above only, and below 1 there are infinitely many powers. So
# $k$ bits have to be read as one for the sign and $k - 1$ for the exponent, with one of these codes
# kept for 0: $2^k - 1$ levels, 0 and $\pm 2^{-R}, \dots, \pm 1$ with $R = 2^{k-1} - 2$.
#
# **Question.** 2 bits are $-1, 0, +1$. What are the positive levels of 3 bits?

# %% tags=["question"]
course.answer("7.2a", (0.25, 0.5, 1))  # positive levels

# %%
x = np.arange(-384, 385) / 256
logs = {f"LogQuant, {k} bits: {2**k - 1} levels": LogQuant(k) for k in (2, 3, 4)}
plots.readings_figure(
    x,
    {title: quantizer.quantize(x) for title, quantizer in logs.items()},
    {title: values_of(quantizer) for title, quantizer in logs.items()},
)

# %% [markdown]
# **Answer.** 1/4, 1/2 and 1. Near 0 the levels crowd. A logarithmic axis shows them better; it has
# no room for 0, so the ring stands apart.
#
# **Question.** With 4 bits each, what becomes of 0.02 in LogQuant, fixed-point and symmetric? Which
# quantizer would you choose for gradients, whose sizes spread over many powers of ten?

# %% tags=["question"]
course.answer("7.2b", (0.016, 0, 0.067))  # 0.02 in the three of them

# %%
kinds = {f"LogQuant, {k} bits": LogQuant(k) for k in (2, 3, 4)}
kinds |= {f"{reading}, 4 bits": LinearQuant(4, reading=reading) for reading in READINGS[:2]}
plots.log_levels_figure({name: values_of(quantizer) for name, quantizer in kinds.items()})

# %%
for name, quantizer in list(kinds.items())[2:]:
    print(f"{name:<21}0.02 becomes {quantizer.quantize(np.array([0.02]))[0]:.4f}")
x = np.geomspace(2**-6, 1, 10_001)
ratio = LogQuant(4).quantize(x) / x
print(f"LogQuant / x, from 1/64 to 1: {ratio.min():.3f} to {ratio.max():.3f}", end="")
print("   (expect 0.707 to 1.414)")

# %% [markdown]
# **Answer.** 1/64, 0 and 1/15. LogQuant is wrong by a factor of $\sqrt2$ at most, over its whole
# range; and where one more bit halves the step of the others, here the ratio of the largest level
# to the smallest goes from 4 (3 bits) to 64 and 16,384. So the paper takes it for gradients. What
# lies below the smallest power by more than $\sqrt2$ becomes 0.

# %% [markdown]
# **Exercise 7.2.** Write LogQuant for values in $[-1, 1]$. Mind 0, and what lies below the smallest
# power.


# %% tags=["exercise", "id:7.2"]
def log_quant(x, k):
    """AP2(x) in k bits: 0 and +-2^-R to +-1, with R = 2^(k-1) - 2."""
    # BEGIN SOLUTION
    size = np.where(x == 0, 1, np.abs(x))
    exponent = np.minimum(np.floor(np.log2(size) + 0.5), 0)
    gone = (x == 0) | (exponent < 2 - 2 ** (k - 1))
    return np.where(gone, 0.0, np.sign(x) * 2.0**exponent)
    # END SOLUTION


course.check("7.2", log_quant)

# %% [markdown]
# Rounding is still biased: 0.6 becomes 0.5 each time. The stochastic form draws one of the two
# neighbouring powers, the upper one with probability $(|x| - 2^e) / 2^e$. In the picture the levels
# between -1 and +1 are grey.
#
# **Question.** What is the mean of its draws at $x = 0.6$? And at $x = 1.2$?

# %% tags=["question"]
course.answer("7.2c", (0.6, 1))  # means at 0.6 and 1.2

# %%
quantizer = LogQuant(3, stochastic=True)
x = np.linspace(-1.5, 1.5, 61)
many = np.tile(x, (2000, 1))
drawn = quantizer.quantize(many, quantizer.draw(many.shape, np.random.default_rng(1)))
plots.stochastic_figure(x, drawn, hard_tanh(x))

# %%
error = np.abs(drawn.mean(axis=0) - hard_tanh(x)).max()
print(f"largest error of a mean: {error:.3f}   (expect below 1 / sqrt(2000) = {2000**-0.5:.3f})")
print("levels that occur:", *np.unique(drawn))

# %% [markdown]
# **Answer.** 0.6, because $0.8 \cdot 0.5 + 0.2 \cdot 1 = 0.6$; at 1.2 it is 1, since there is no
# upper neighbour. Again the hard tanh is what the quantizer does on average (notebook 1, section
# 1.5).

# %% [markdown]
# ## 7.3 Planes: a code is a sum of signs
#
# Symmetric codes are odd integers from $-(2^k - 1)$ to $2^k - 1$; 2 bits are -3, -1, 1, 3. Write
# $\beta_a = \pm1$ for bit $a$ of the level's number. Then
#
# $$\text{code} = \sum_{a=0}^{k-1} 2^a \beta_a$$
#
# without any offset.
#
# **Question.** Which signs make the code -1?

# %% tags=["question"]
course.answer("7.3a", (-1, 1))  # beta_1 and beta_0

# %%
codes = LinearQuant(2).levels
signs = bits.unpack(bits.to_planes(codes, Grid(-3, 3, 2)), 4)
plots.arrays_figure(
    {"code": codes[:, None], r"$\beta_1$": signs[1][:, None], r"$\beta_0$": signs[0][:, None]}
)

# %% [markdown]
# **Answer.** $-1 = 2 \cdot (-1) + 1$.

# %% [markdown]
# **Exercise 7.3.** Write the planes of any codes of $k$ bits, signs and not yet packed, $\beta_0$
# first.


# %% tags=["exercise", "id:7.3"]
def sign_planes(codes, k):
    """Signs (k, n) of codes (n,): the sum of 2^a beta_a is the code."""
    # BEGIN SOLUTION
    levels = (codes + 2**k - 1) // 2
    return 2 * (levels >> np.arange(k)[:, None] & 1) - 1
    # END SOLUTION


course.check("7.3", sign_planes)

# %% [markdown]
# A pixel is a number of 8 bits, and its eight planes are those of notebook 4: $2p - 255$ is an
# odd integer from -255 to 255, the symmetric code with $k = 8$. Bit 1 (black) is $\beta = +1$.
#
# **Question.** If we quantize the image to 2 bits, in $[-1, 1]$, do we get the two top planes?

# %% tags=["question"]
course.answer("7.3b", 1)  # planes that are exactly the same

# %%
mnist = datasets.load("mnist")
image = mnist.test_images[0, ..., 0]
eight = bits.unpack(bits.pixel_planes(image.ravel()), image.size).reshape(8, 28, 28)
plots.planes_figure(image, eight > 0)

# %%
codes, scale = LinearQuant(2).encode((image / np.float32(127.5) - 1).astype(np.float32))
two = bits.unpack(bits.to_planes(codes.ravel(), Grid(-3, 3, 2)), image.size).reshape(2, 28, 28)
plots.plane_sum_figure(codes, two)

# %%
for name, planes, whole in (("8 bits", eight, 2 * image.astype(int) - 255), ("2 bits", two, codes)):
    again = sum(2**a * planes[a].astype(int) for a in range(len(planes)))
    print(f"{name}: sum of 2^a beta_a differs from the code at", end=" ")
    print(f"{np.count_nonzero(again != whole)} pixels   (expect 0)")
for a, b in ((1, 7), (0, 6)):
    print(
        f"plane {a} of 2 and plane {b} of 8 differ at {np.count_nonzero(two[a] != eight[b])} pixels"
    )

# %% [markdown]
# **Answer.** The first one, yes: it is the sign. The second one, nearly. Cutting off the six low
# bits puts the thresholds at 64, 128 and 192; the quantizer rounds to the *nearest* level, and -1
# and 1 are levels, so its thresholds are at 42.5, 127.5 and 212.5. Between 64 and 42.5, and between
# 192 and 212.5, the two disagree.

# %% [markdown]
# ## 7.4 Products: $k \cdot l$ runs of the binary kernel
#
# Put the sums of planes into a product and multiply out:
#
# $$x \cdot w = \sum_{a<k} \sum_{b<l} 2^{a+b}\ \mathrm{Xnor}(\beta^x_a, \beta^w_b)$$
#
# Every cell of the table below is one binary product: XOR and popcount, nothing else. Here $x$ has
# 2 bits, $w$ has 3, and $K = 20$.
#
# **Question.** How many binary products are that? Which cell counts most?

# %% tags=["question"]
course.answer("7.4a", 6)  # binary products

# %%
rng = np.random.default_rng(2)
x_codes = rng.choice(LinearQuant(2).levels, (1, 20))
w_codes = rng.choice(LinearQuant(3).levels, (1, 20))
x_planes = bits.to_planes(x_codes, Grid(-3, 3, 2))
w_planes = bits.to_planes(w_codes, Grid(-7, 7, 2))
products = np.array([[bits.xnor_matmul(a, b, 20)[0, 0] for b in w_planes] for a in x_planes])
factors = 2 ** np.add.outer(np.arange(2), np.arange(3))
plots.partial_products_figure(products, factors, "factor · binary product, symmetric")

# %%
exact = int(x_codes[0] @ w_codes[0])
print(f"sum of the cells {(products * factors).sum()}, ordinary product of the codes {exact}")
value = exact * LinearQuant(2).encoding.scale * LinearQuant(3).encoding.scale
print(f"times both scales, 1/3 and 1/7: x . w = {value:.4f}")

# %% [markdown]
# **Answer.** $2 \cdot 3 = 6$; the last cell, with the factor $2^{1+2} = 8$. The scales are
# multiplied once, at the end. With weights of one bit, activations of 2 bits take two runs of the
# XNOR kernel; in general it is $k \cdot l$.

# %% [markdown]
# What that costs, for some numbers of bits:

# %%
widths = np.array([1, 2, 3, 4, 8])
plots.table_figure(
    np.outer(widths, widths),
    "binary products: k · l",
    ("bits of x, k", widths),
    ("bits of w, l", widths),
)

# %% [markdown]
# **Exercise 7.4.** Multiply a vector of $k$ bits by one of $l$ bits. Both come as packed planes, an
# array of words for each plane; `popcount` counts the ones of every word. Make an `int` of each
# count before you subtract: counts are unsigned.


# %% tags=["exercise", "id:7.4"]
def levels_product(x, w, K):
    """Product of K codes: x (k, words) and w (l, words) are planes, plane 0 first."""
    # BEGIN SOLUTION
    total = 0
    for a, p in enumerate(x):
        for b, q in enumerate(w):
            total += 2 ** (a + b) * (K - 2 * int(popcount(p ^ q).sum()))
    return total
    # END SOLUTION


course.check("7.4", levels_product)

# %% [markdown]
# **Fixed-point** has no signs but *two's complement*: the top bit counts $-2^{k-1}$, the others
# $2^a$, and bits are 0 and 1. Then AND finds the pairs in which both are 1, and popcount counts
# them. Where exactly one of the two is a top bit, the cell is subtracted (orange).
#
# **Question.** Can a cell be negative here before it is multiplied by its factor?

# %% tags=["question"]
course.answer("7.4b", False)  # negative before the factor

# %%
rng = np.random.default_rng(5)
x_fixed, w_fixed = rng.integers(-2, 2, (1, 20)), rng.integers(-4, 4, (1, 20))
x_planes, w_planes = bits.to_fixed_planes(x_fixed, 2), bits.to_fixed_planes(w_fixed, 3)
counts = np.array([[int(popcount(a & b).sum()) for b in w_planes] for a in x_planes])
fixed_factors = np.outer([1, -2], [1, 2, -4])
plots.partial_products_figure(counts, fixed_factors, "factor · popcount of AND, fixed-point")

# %%
print(f"sum of the cells {(counts * fixed_factors).sum()}, ordinary {x_fixed[0] @ w_fixed[0]}")

# %% [markdown]
# **Answer.** No, it is a count. Both readings cost the same $k \cdot l$ cells; symmetric is the one
# that needs nothing but the kernel of notebook 4.

# %% [markdown]
# `levels_matmul` and `fixed_matmul` do this for whole matrices. We try them for all pairs of up to
# 4 bits and for lengths with ragged ends. **Expect** 0 differences: integers.

# %%
wrong = {"symmetric": 0, "fixed-point": 0}
tried = 0
for K in (1, 63, 64, 65, 70, 128, 200):
    for k in (1, 2, 3, 4):
        for l in (1, 2, 3, 4):
            n, m = 2**k - 1, 2**l - 1
            A, B = (rng.choice(LinearQuant(b).levels, (5, K)) for b in (k, l))
            product = bits.levels_matmul(
                bits.to_planes(A, Grid(-n, n, 2)), bits.to_planes(B, Grid(-m, m, 2)), K
            )
            wrong["symmetric"] += np.count_nonzero(product != A @ B.T)
            tried += product.size
            if min(k, l) > 1:
                fixed = [LinearQuant(b, reading="fixed-point").levels for b in (k, l)]
                A, B = (rng.choice(levels, (5, K)) for levels in fixed)
                product = bits.fixed_matmul(
                    bits.to_fixed_planes(A, k), bits.to_fixed_planes(B, l), K
                )
                wrong["fixed-point"] += np.count_nonzero(product != A @ B.T)
                tried += product.size
for reading, count in wrong.items():
    print(f"{reading}: {count} differences   (expect 0)")
print(f"{tried:,} products in all")

# %% [markdown]
# ## 7.5 Straight through a staircase
#
# A staircase has slope 0, however many steps it has. So eq. (4) stays: the slope is that of the
# hard tanh, or in general of $\mathrm{Clip}(x, minV, maxV)$, whatever the number of levels.
#
# **Question.** The top level of fixed-point with 2 bits is 1/2. What is the slope at $x = 0.8$? And
# what is it for unsigned at $x = -0.3$?

# %% tags=["question"]
course.answer("7.5a", (1, 0))  # fixed-point at 0.8, unsigned at -0.3


# %%
def draw_surrogates(saturation: float = 1.0) -> Figure:
    """Value, surrogate and slope of the readings with 2 bits."""
    x = np.arange(-640, 641) / 256
    kinds = {f"{r}, 2 bits": LinearQuant(2, reading=r, saturation=saturation) for r in READINGS}
    return plots.surrogates_figure(
        x,
        {title: quantizer.quantize(x) for title, quantizer in kinds.items()},
        {title: quantizer.surrogate(x) for title, quantizer in kinds.items()},
        {title: quantizer.backward(np.ones_like(x), x) for title, quantizer in kinds.items()},
    )


draw_surrogates()

# %% [markdown]
# **Answer.** 1 and 0. The fixed-point slope ends at $maxV = 1$, as in eq. (4) with the bound
# inside, and not at its top level. Unsigned passes nothing below 0, like a ReLU.

# %% [markdown]
# The more levels, the closer the staircase comes to its surrogate. With 8 bits there is hardly a
# difference, and the straight-through gradient is nearly that of a network with hard tanh.
#
# The checker puts the surrogate's differences in the place of the staircase's. We give it values
# inside, outside, on a tie and exactly on the bounds. **Expect** relative errors below 1e-9.

# %%
x = np.array([[-1.7, -1.0, -0.6, 0.0, 0.25, 0.5, 0.8, 1.0, 1.9]])
checked: dict[str, Quantizer] = {r: LinearQuant(2, reading=r) for r in READINGS}
checked |= {"LogQuant": LogQuant(3), "symmetric, saturation 2": LinearQuant(2, saturation=2.0)}
for name, quantizer in checked.items():
    layer = Quantize(quantizer).build((9,))
    print(name)
    print(check_gradients(layer, x, mode="full", rng=np.random.default_rng(3)))

# %% [markdown]
# The last one is the *relaxed boundary* of section 4.3: the gradient passes up to 2, and the values
# stay as they are.
#
# **Question.** The bounds of symmetric move to $\pm2$. Where do those of unsigned move, whose range
# starts at 0?

# %% tags=["question"]
course.answer("7.5b", (0, 2))  # bounds of unsigned

# %%
draw_surrogates(2.0)

# %% [markdown]
# **Answer.** To 0 and 2: a range is widened by a factor, and 0 stays 0.

# %% [markdown]
# ## 7.6 A network of 2 bits
#
# Weights and activations of 2 bits, symmetric. We train it for a few seconds, on 8,000 images, and
# pack it. Nothing in the training is new: latent weights, straight-through gradients, clip.

# %%
small = replace(
    mnist, train_images=mnist.train_images[:8_000], train_labels=mnist.train_labels[:8_000]
)
recipe = replace(
    find_recipe("mnist-small"),
    hidden=(128, 128),
    epochs=3,
    validation=1_000,
    weight_bits=2,
    activation_bits=2,
)
network = train_recipe(recipe, small).best_network()
packed = qnn_ref.pack(network)
print("trained:", *(type(layer).__name__ for layer in network.layers))
print("packed: ", *(type(stage).__name__ for stage in packed.stages))

# %% [markdown]
# `GridDense` is section 7.4; the first one multiplies pixels of 8 bits by weights of 2, with
# $8 \cdot 2 = 16$ binary products. `Levels` stands for batch norm and quantizer: where a Sign has
# one threshold, 2 bits have three. The code is the *number of thresholds that the sum has passed*,
# put on the grid -3, -1, 1, 3.
#
# Three units of the second hidden layer. Gains start at 1, and so short a training does not turn
# them negative. To see what would happen, we make the third one negative in a copy.
#
# **Question.** What does its staircase look like? And how many comparisons does one unit need?

# %% tags=["question"]
course.answer("7.6a", 3)  # comparisons of a unit

# %%
turned = deepcopy(network)
dense, norm, quantize = turned.layers[5:8]
gains = norm.gain.latent.copy()
gains[2] = -abs(gains[2])
norm.gain.assign(gains)
levels = [stage for stage in qnn_ref.pack(turned).stages if isinstance(stage, Levels)][1]
sums = np.arange(-220, 221, 2)  # K = 128 odd products: even sums only
grid = np.repeat(sums[:, None], 128, axis=1)
codes = levels.run(grid)
plots.codes_figure(
    sums, codes[:, :3], levels.at[:, :3], [f"unit {u}: gain {gains[u]:.2f}" for u in range(3)]
)

# %% [markdown]
# **Answer.** It goes down. Its three comparisons are $s < T$ instead of $s \ge T$. Each unit needs
# $2^k - 1 = 3$ of them, or $k$ if it halves the interval each time.

# %% [markdown]
# This is all that runs in the place of batch norm, hard tanh and rounding:

# %%
print(shown.source(Levels.run))

# %% [markdown]
# As in notebook 4 the thresholds were found by asking the trained code at integers, not by solving
# for them. **Expect** no difference, at any integer from $-3 \cdot 3 \cdot 128$ to
# $3 \cdot 3 \cdot 128$, in all 128 units.

# %%
largest = 3 * 3 * 128
every = np.repeat(np.arange(-largest, largest + 1)[:, None], 128, axis=1)
values = norm.pointwise(dense.finish(every.astype(np.float32)))
trained_codes, _ = quantize.quantizer.encode(values)
differ = np.count_nonzero(levels.run(every) != trained_codes)
print(f"{differ} of {every.size:,} codes differ   (expect 0)")

# %% [markdown]
# **Question.** For how many of the 10,000 test images are all ten scores of the packed network
# equal to those of the trained one, bit for bit?

# %% tags=["question"]
course.answer("7.6b", 10_000)  # images with equal scores

# %%
same = identical_scores(network, packed, mnist.test_images)
print(f"equal, bit for bit: {same:,} of {len(mnist.test_images):,}   (expect all)")
for name, some in (("trained", network), ("packed", packed)):
    error = 100 * np.mean(some.predict(mnist.test_images) != mnist.test_labels)
    print(f"test error, {name:<7} {error:.2f} %")

# %% [markdown]
# **Answer.** All, again. More bits change the number of binary products and of thresholds, and
# nothing about exactness: integers in, integers out.

# %% [markdown]
# ## 7.7 What do bits buy?
#
# One short run says little about accuracy: another seed gives another number. So we trained 75
# networks on MNIST (784-128-128-10, five epochs): 1, 2, 3, 4 and 8 bits for the weights, the same
# for the activations, three seeds each. `qnn-ref train bits-sweep` makes the table again.
# In the picture the bits of the activations stand on the left, and the markers are those of the
# weights.
#
# **Question.** Where does a second bit help more, in the activations or in the weights? Is there a
# number of bits from which on nothing is left to gain?

# %% tags=["question"]
course.answer("7.7a", "weights")  # where a second bit helps more

# %%
table = Path(qnn_ref.__file__).parent / "experiments" / "results" / "bits-sweep.csv"
rows = read_rows(table) if table.exists() else []
print(len(rows), "runs" if rows else "runs: the table is in the repository, not in the package")
labels = ["activations", "weights"]
if rows:
    names = {"activations": "bits of the activations", "weights": "bits of the weights"}
    display(plots.cases_figure(mean_and_spread(rows, labels), labels, names))

# %% [markdown]
# A fair comparison is one at equal cost: $k \cdot l$ binary products. Mean test error in percent,
# bits of the activations times bits of the weights:

# %%
means = {tuple(int(row[name]) for name in labels): row for row in mean_and_spread(rows, labels)}
for cost in sorted({k * l for k, l in means}):
    pairs = [pair for pair in means if pair[0] * pair[1] == cost]
    if len(pairs) > 1:
        found = (f"{k}x{l} {means[k, l]['mean']} ± {means[k, l]['spread']}" for k, l in pairs)
        print(f"{cost:>2} products:  ", "   ".join(found))

# %% [markdown]
# Runs with one seed start from the same weights and see the images in the same order. So take the
# differences of *partners*, and ask whether their mean is larger than its own error. With three
# seeds that takes a quotient of 4.30 (Student's t, 95 %), not of 2.

# %%
errors = {(r["activations"], r["weights"], r["seed"]): float(r["test_error"]) for r in rows}
seeds = sorted({row["seed"] for row in rows})
for (k, l), (m, n) in (("21", "12"), ("14", "22"), ("41", "22"), ("33", "88")) if rows else ():
    difference = [errors[k, l, seed] - errors[m, n, seed] for seed in seeds]
    error = np.std(difference, ddof=1) / len(seeds) ** 0.5
    each = ", ".join(f"{d:.2f}" for d in difference)
    print(f"{k}x{l} above {m}x{n} by {each}: mean {np.mean(difference):.2f} ± {error:.2f}", end="")
    print(f", quotient {np.mean(difference) / error:4.1f}   (needs 4.30)")

# %% [markdown]
# **Answer.** In the weights, as it seems: with a second bit for them the error falls to 3.67 %,
# with one for the activations to 3.98 %, at the same cost of two products. All three seeds agree,
# and yet three are too few to be sure of it. What is sure: of the four products of 1x4, 2x2 and
# 4x1, 2x2 is the best use (3.19 %). From 3 bits each on (2.70 %) little is left: 8 bits each reach
# 2.50 %, for 64 products instead of 9, and that difference may be chance. (The paper gave AlexNet
# the second bit in the activations; nobody says that a small network on MNIST must agree.)

# %% [markdown]
# ## Summary
#
# 1. The printed LinearQuant needs a step in the place of the bit width. Fixed-point has a 0 and no
#    +1, symmetric both ends and no 0, unsigned no negative levels. One symmetric bit is Sign.
# 2. LogQuant with $k$ bits has $2^k - 1$ levels, powers of two and a 0. It is off by $\sqrt2$ at
#    most, over a range that each bit more than squares.
# 3. A symmetric code is a sum of signs times $2^a$. A product of $k$ by $l$ bits is $k \cdot l$
#    binary products, and exact.
# 4. The gradient is eq. (4) for any number of levels. Packed, a quantizer is $2^k - 1$ thresholds a
#    unit, turned round where the gain is negative, and the scores are equal bit for bit.
#
# ## More to try
#
# 1. `LinearQuant(2, reading="fixed-point", step=1.0)` and `LogQuant(2)` both have the levels -1, 0
#    and +1. Where do they differ? Compute both bounds first, then find them by trying numbers. How
#    many bits of information does such a code hold?
# 2. Unsigned activations (codes 0, 1, 2, 3) times symmetric weights (codes -3, -1, 1, 3). Read the
#    planes of both as signs. Which sum has to be added to the table of 7.4, and what does it cost
#    for a layer with 1,000 units?
# 3. Two of the four cells of a 2 x 2 product have the same factor. Can you save a popcount? And a
#    shift?
# 4. Train 7.6 with 2 bits for the activations only, then for the weights only, three seeds each
#    (`replace(recipe, seed=...)`). Is your answer to 7.7 right?
#
# ## Reading on
#
# Paper, section 3. In the code: `qnn_ref/quantizers/linear.py` and `logarithmic.py`,
# `qnn_ref/bits/levels.py`, `qnn_ref/packed/product_stages.py`. Fixed-point comes from Miyashita,
# Lee, Murmann (2016), *Convolutional neural networks using logarithmic data representation*;
# unsigned and products by planes from Zhou et al. (2016), *DoReFa-Net: training low bitwidth
# convolutional neural networks with low bitwidth gradients*.
#
# Next: [8. Gradients of six bits](08_gradients_of_six_bits.ipynb).
