# %% [markdown]
# # 8. Gradients of six bits
#
# **Goal.** Round the gradients too: see how wide they spread, what a grid of equal steps and a grid
# of powers of two keep of them, and train with both.
#
# Afterwards you can
# - say why a gradient needs exponents more than digits, and what six bits of them reach;
# - show where Algorithm 1 rounds a gradient, and which numbers stay real;
# - form the backward products by popcounts and shifts alone;
# - test the claim "only the logarithm works", and name a side effect that all roundings share.
#
# **Minutes.** 35 to read, 40 for the exercises.
#
# **Prerequisites.** AP2 and the column sums of a gradient from
# [notebook 5](05_arithmetic_by_shifts.ipynb) (5.1 and 5.6), training from
# [notebook 3](03_training_on_mnist.ipynb), XOR and popcount from
# [notebook 4](04_floats_to_bits.ipynb).
#
# **Equations.** Section 3: LogQuant for gradients, its unbiased form, DoReFa's form; Algorithm 1,
# lines 7 to 9. (None of these forms has a number in our reading.)

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from IPython.display import display
from ipywidgets import IntSlider
from matplotlib.figure import Figure

import qnn_ref
from qnn_ref import course, datasets, plots, shown
from qnn_ref.bits import pack, powers_matmul, to_powers, unpack
from qnn_ref.bits.popcount import popcount
from qnn_ref.checking import check_gradients
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.runs import start_run, train_recipe
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.layers import Dense
from qnn_ref.losses import squared_hinge
from qnn_ref.products import PLAIN, ShiftProducts
from qnn_ref.quantizers import DoReFaGradient, LinearGradient, LogQuant, Quantizer, Sign
from qnn_ref.training import Run, train

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 8.1 How large is a gradient?
#
# We train a binary network on 6,000 digits for one epoch, send one more batch through it, and stop
# the backward pass at each dense layer. There stands $\delta_s$, the gradient of the layer's sums:
# line 7 of Algorithm 1 has made it, and lines 8 and 9 multiply it.
#
# **Question.** Between the largest and the smallest of these numbers, how large is the factor? 10?
# 1,000? More?

# %% tags=["question"]
course.answer("8.1a", "more")  # largest over smallest

# %%
mnist = datasets.load("mnist")
small = replace(
    mnist, train_images=mnist.train_images[:8_000], train_labels=mnist.train_labels[:8_000]
)
recipe = replace(
    find_recipe("mnist-small"), hidden=(128, 128), epochs=5, validation=2_000, final_rate=1e-4
)
network = train_recipe(replace(recipe, epochs=1), small).network
images, labels = small.train_images[:100], small.train_labels[:100]

_, gradient = squared_hinge(network.forward(images, training=True), labels)
sums = {}
for place in reversed(range(2, len(network.layers))):  # 0 and 1 make a row of the pixels
    if isinstance(network.layers[place], Dense):
        sums[f"layer {place}"] = gradient
    gradient = network.layers[place].backward(gradient)

for name, ds in sums.items():
    size = np.abs(ds)
    print(f"{name}: {ds.shape}, from {size.min():.0e} to {size.max():.0e}", end="")
    print(f", {np.log2(size.max() / size.min()):.0f} octaves")
print("expect 8 to 12 octaves in the last layer, and more than 15 in the hidden ones")
plots.gradient_sizes_figure(sums)

# %% [markdown]
# **Answer.** 17 octaves are a factor of 130,000, and that is one layer, one batch. Most gradients
# are far below the largest one. The tail on the left belongs mostly to hidden values whose mask is
# closed: nothing but the mean terms of batch norm reaches them. Activations are different, because
# batch norm makes them about equally large.

# %% [markdown]
# From here on we look at the second hidden layer, number 5.

# %% [markdown]
# ## 8.2 Two grids of six bits
#
# One bit is the sign. With the other five we can count steps, or name an exponent:
#
# - **linear**: multiples of $M/31$ up to the largest gradient $M$, and 0;
# - **logarithmic**: $\pm 2^E, \pm 2^{E-1}, \dots, \pm 2^{E-30}$, and 0, where
#   $2^E = \mathrm{AP2}(M)$.
#
# The range comes from the data, because no gradient knows it in advance. A shifter can read the
# largest exponent of a tensor off its bits.
#
# **Question.** The linear grid rounds everything below $M/62$ to 0. Which share of the gradients is
# that? And which share does the logarithmic grid lose, which goes down to about $M/2^{30}$?
#
# In the picture grey is the gradient before, in bins of one octave. Each blue line is a level, as
# high as its share. Orange are those that became 0; a logarithmic axis has no place for them.

# %% tags=["question"]
course.answer("8.2a", (33, 0))  # lost by both grids, in %

# %%
ds = sums["layer 5"]
QUANTIZERS = {"linear": LinearGradient, "logarithmic": lambda bits: LogQuant(bits, exponent=None)}


def before_and_after(bits: int = 6) -> Figure:
    """Sizes before and after, with so many bits."""
    after = {f"{name}, {bits} bits": q(bits).quantize(ds) for name, q in QUANTIZERS.items()}
    return plots.quantized_sizes_figure(ds, after)


before_and_after(6)

# %% [markdown]
# **Answer.** About a third, and none. All 31 steps of the linear grid stand in the last five
# octaves on the right. The logarithmic grid has one level an octave, and each takes the grey bar
# around it.
#
# **Three bits** are three steps, or three exponents. In a running notebook, move the slider: with
# how many bits does the logarithm begin to lose gradients?
#
# **Question.** Which grid loses more with three bits?

# %% tags=["question"]
course.answer("8.2b", "linear")  # loses more with three bits

# %%
picture = display(before_and_after(3), display_id=True)
slider = IntSlider(value=3, min=2, max=8, description="bits")
slider.observe(lambda change: picture.update(before_and_after(change.new)), "value")
slider

# %%
print("share that becomes 0, in %")
for bits in range(2, 9):
    lost = {name: 100 * np.mean(q(bits).quantize(ds) == 0) for name, q in QUANTIZERS.items()}
    print(f"{bits} bits: linear {lost['linear']:5.1f}   logarithmic {lost['logarithmic']:5.1f}")
print("expect more than 25 (linear, 6 bits) and exactly 0 (logarithmic, 6 bits)")

# %% [markdown]
# **Answer.** With three bits both lose about four fifths, the logarithm a little less. It loses
# something up to five bits. Each further bit halves the linear steps, which is one more octave. It
# more than doubles the octaves of the logarithm: 2 bits have one exponent, 3 have 3, 4 have 7, 5
# have 15, and 6 have 31, more than this layer needs.

# %% [markdown]
# **Exercise 8.1.** Write the logarithmic grid whose range comes from the data. There are layers
# whose gradient is 0 throughout.


# %% tags=["exercise", "id:8.1"]
def log_gradient(ds, k):
    """ds in k bits: 0 and +-2^(E-R) to +-2^E, with 2^E = AP2(max |ds|) and R = 2^(k-1) - 2."""
    # BEGIN SOLUTION
    size = np.abs(ds)
    if size.max() == 0:
        return np.zeros_like(ds)
    exponent = np.floor(np.log2(np.where(size > 0, size, 1)) + 0.5)
    top = np.floor(np.log2(size.max()) + 0.5)
    exponent = np.minimum(exponent, top)
    gone = (size == 0) | (exponent < top - (2 ** (k - 1) - 2))
    return np.where(gone, 0.0, np.sign(ds) * 2.0**exponent)
    # END SOLUTION


course.check("8.1", log_gradient)

# %% [markdown]
# **On the linear grid** one number decides about all others.
#
# **Question.** The largest of our 12,800 gradients becomes four times as large. Which share is lost
# now?

# %% tags=["question"]
course.answer("8.2c", 60)  # lost by the linear grid, in %

# %%
for factor in (1, 4, 16):
    outlier = ds.copy()
    outlier.flat[np.abs(ds).argmax()] *= factor
    lost = [100 * np.mean(q(6).quantize(outlier) == 0) for q in QUANTIZERS.values()]
    print(f"largest x {factor:>2}: linear loses {lost[0]:4.1f} %, logarithmic {lost[1]:3.1f} %")

# %% [markdown]
# **Answer.** More than half of them, and with 16 times nine of ten. The logarithm spends two
# exponents, or four, of its 31.
#
# **What do those get that survive?** The picture shows the quotient of after and before.


# %%
line = np.geomspace(np.abs(ds).max() / 1000, np.abs(ds).max(), 3000)
after = {f"{name}, 6 bits": q(6).quantize(line) for name, q in QUANTIZERS.items()}
plots.gradient_ratios_figure(line, after)

# %% [markdown]
# The logarithm is wrong by a factor of $\sqrt2$ at most, wherever it looks. The linear grid is
# nearly exact for the large ones, wrong by 2 at its first step, and blind below it.
#
# **Question.** Take all gradients together: $\lVert q - \delta_s \rVert / \lVert \delta_s \rVert$.
# Which grid is closer?

# %% tags=["question"]
course.answer("8.2d", "linear")  # closer in the norm

# %%
for name, q in QUANTIZERS.items():
    rounded = q(6).quantize(ds)
    ratio = rounded[rounded != 0] / ds[rounded != 0]
    error = np.linalg.norm(rounded - ds) / np.linalg.norm(ds)
    print(
        f"{name:<12} error {100 * error:4.1f} %   quotient {ratio.min():.3f} to {ratio.max():.3f}"
    )
print("expect quotients of 0.667 to 2 (linear), of 0.707 to 1.414 (logarithmic)")

# %% [markdown]
# **Answer.** The linear one, by far: 6 or 7 % against 20 %. The norm looks at the large gradients
# only. So the case for the logarithm must be that the small ones matter. There are reasons: ADAM
# divides each weight's gradient by its own size, so a weight that sees only small gradients learns
# as fast as the others; and there are many. Whether it is so, training has to show (8.6).

# %% [markdown]
# ## 8.3 Where the rounding stands
#
# Algorithm 1 with one line more, between 7 and 8:
#
# | line | | operands |
# | --- | --- | --- |
# | 7 | $\delta_s \leftarrow$ backward through batch norm; gradients of gain and shift | real |
# | new | $\delta_s^q \leftarrow \mathrm{LogQuant}(\delta_s)$ | |
# | 8 | $\delta_x \leftarrow \delta_s^q\, {W^b}^\top$ | powers of two, $\pm1$ |
# | 9 | $\delta_{W^b} \leftarrow x^\top \delta_s^q$ | $\pm1$, powers of two |
# | 11 | latent weights, moments of ADAM | real |
#
# Both products see the same rounded numbers. Their results are sums, which are not rounded again.
# In the dense layer it is one line, the second:

# %%
print(shown.source(Dense.backward))

# %% [markdown]
# A layer small enough to look at, with three bits: the exponents $E$, $E-1$ and $E-2$.
#
# **Question.** The largest gradient is -0.9. What becomes of 0.1? Of 0.7?

# %% tags=["question"]
course.answer("8.3a", (0, 0.5))  # what becomes of 0.1 and of 0.7

# %%
layer = Dense(3).build((4,), np.random.default_rng(3), Sign().encoding, np.float64)
x = np.random.default_rng(4).choice([-1.0, 1.0], (3, 4))
delta = np.array([[0.7, -0.9, 0.1], [-0.3, 0.4, 0.05], [0.72, 0.2, -0.6]])
layer.gradient_quantizer = LogQuant(3, exponent=None)
layer.forward(x, training=True)
dx = layer.backward(delta)
W, rounded = layer.weight.codes, layer.gradient_quantizer.quantize(delta)
plots.arrays_figure({r"$\delta_s$": delta, r"$\delta_s^q$": rounded, "$x$": x, "$W^b$": W})

# %%
plots.arrays_figure({r"$\delta_x$": dx, r"$\delta_{W^b}$": layer.weight.grad})

# %%
print("largest difference   (expect exactly 0)")
print(f"line 8: {np.abs(dx - rounded @ W.T).max()}")
print(f"line 9: {np.abs(layer.weight.grad - x.T @ rounded).max()}")

# %% [markdown]
# **Answer.** 0.1 becomes 0: AP2(0.1) is 1/8, and the smallest power here is 1/4. 0.7 becomes 1/2
# and 0.72 becomes 1, since the threshold is 0.707. (0.2 lies above the threshold of 1/4, and
# survives.)
#
# **In a network**, `quantize_gradients` puts the new line into every dense and convolutional layer.
#
# **Question.** What will the gradient checker say about our network with rounded gradients?

# %% tags=["question"]
course.answer("8.3b", "passes")  # the checker

# %%
network.quantize_gradients(LogQuant(6, exponent=None))
report = check_gradients(
    network, images[:32], labels=labels[:32], loss=squared_hinge, rng=np.random.default_rng(0)
)
print("expect relative errors below 1e-6")
print(report)

# %% [markdown]
# **Answer.** That all is well. But it speaks of the *plain* gradients: it switches the rounding off
# in its copy of the network. A rounded gradient is no function's gradient, because the forward pass
# knows nothing of the rounding; so there is nothing to take differences of. (T of notebook 5 was
# such a case.)

# %% [markdown]
# How far is it from the plain one?


# %%
def gradients(rule: Quantizer | None) -> dict[str, np.ndarray]:
    """The gradient of every parameter, for our batch and this quantizer."""
    network.quantize_gradients(rule)
    _, dscores = squared_hinge(network.forward(images, training=True), labels)
    network.backward(dscores)
    return {name: p.grad.copy() for name, p in network.parameters().items()}


plain, six_bits = gradients(None), gradients(LogQuant(6, exponent=None))
for name, g in plain.items():
    distance = np.linalg.norm(six_bits[name] - g) / np.linalg.norm(g)
    print(f"{name:<18} {100 * distance:5.1f} % away")
print("expect 0 for the last batch norm, 10 to 60 % for all others")

# %% [markdown]
# **Answer.** The last batch norm stands above the last product, so nothing has been rounded yet.
# Its gradients are equal, bit for bit. Below, every layer adds a rounding to what it gets from
# above.

# %% [markdown]
# ## 8.4 Bias, and the mean that was 0
#
# Rounding to the nearest exponent takes 0.7 down to 0.5 and 0.72 up to 1. Do the two ways balance?
# The *unbiased* form draws: between $2^e$ and $2^{e+1}$ it takes the upper power with the
# probability $(|x| - 2^e) / 2^e$. Then the mean of many draws is $x$. DoReFa has equal steps, a
# range for each example, and adds noise of one step before it rounds:
#
# $$2M\,\big[Q\big(\tfrac{x}{2M} + \tfrac12 + N\big) - \tfrac12\big], \qquad
# N \text{ uniform in } \pm\tfrac{1}{2 (2^k - 1)}$$
#
# **Question.** With three bits DoReFa has eight levels. Is 0 one of them?

# %% tags=["question"]
course.answer("8.4a", False)  # 0 is a level

# %%
rules = {
    "log": LogQuant(3, exponent=None),
    "log, stochastic": LogQuant(3, exponent=None, stochastic=True),
    "DoReFa": DoReFaGradient(3),
}
rng = np.random.default_rng(5)
row = np.linspace(-1, 1, 161)[None]
draws = {
    f"{name}, 3 bits": np.concatenate([q.quantize(row, q.draw(row.shape, rng)) for _ in range(400)])
    for name, q in rules.items()
}
draws["log, 3 bits"] = draws["log, 3 bits"][:1]  # no chance in it
plots.draws_figure(row[0], draws)

# %%
numbers = np.array([1.0, 0.7, 0.3, 0.05, -0.01])
many = np.tile(numbers, (20_000, 1))
print("gradient          ", *(f"{number:>7.3f}" for number in numbers))
for name, q in rules.items():
    drawn = q.quantize(many, q.draw(many.shape, rng))
    print(f"{name:<16} mean", *(f"{mean:>6.3f}," for mean in drawn.mean(axis=0)), end="")
    print("   largest deviation", f"{drawn.std(axis=0).max():.2f}")
print("expect the first line again from the two that draw, within 0.01")

# %% [markdown]
# **Answer.** No: the levels are odd sevenths, and a gradient near 0 is 1/7 or -1/7 at random. It is
# right on average, and never right. The stochastic logarithm rounds small gradients to 0 or to the
# smallest power. Noise is the price of no bias in both.

# %% [markdown]
# **Exercise 8.2.** Write DoReFa's form. `u` holds uniform numbers from [0, 1): make the noise $N$
# of them. $M$ is the largest size of an *example*, a row.


# %% tags=["exercise", "id:8.2"]
def dorefa(x, u, k):
    """x (batch, units) in k bits by DoReFa; u has the shape of x."""
    # BEGIN SOLUTION
    n = 2**k - 1
    M = np.abs(x).max(axis=1, keepdims=True)
    safe = np.where(M > 0, M, 1)
    levels = np.clip(np.floor(n * (x / (2 * safe) + 0.5) + u), 0, n)
    return np.where(M > 0, 2 * safe * (levels / n - 0.5), 0.0)
    # END SOLUTION


course.check("8.2", dorefa)

# %% [markdown]
# **And the bias** of the plain logarithm?
#
# **Question.** The sum of all sizes, after over before: is it above 1 or below?

# %% tags=["question"]
course.answer("8.4b", "above")  # the sum of all sizes

# %%
for name, ds in sums.items():
    q = [LogQuant(6, exponent=None), LogQuant(6, exponent=None, stochastic=True)]
    after = [np.abs(r.quantize(ds, r.draw(ds.shape, rng))).sum() / np.abs(ds).sum() for r in q]
    print(f"{name}: log {after[0]:.3f}, stochastic {after[1]:.3f}")
print("expect 0.97 to 1.06 (log; above 1 in hidden layers), 0.96 to 1.04 (stochastic; noise)")

# %% [markdown]
# **Answer.** About 2 % too much in the hidden layers: AP2 takes more up than down (5.3 had the same
# in the variance). A common factor does no harm to ADAM, which does not see the size of a gradient.
#
# **Something else does harm.** Batch norm takes the mean away, so the columns of $\delta_s$ sum to
# 0 (notebook 5, section 5.6).
#
# **Question.** And those of the rounded $\delta_s$?

# %% tags=["question"]
course.answer("8.4c", False)  # columns sum to 0

# %%
ds = sums["layer 2"]
six = {
    "real": None,
    "log, 6 bits": LogQuant(6, exponent=None),
    "log, stochastic": LogQuant(6, exponent=None, stochastic=True),
    "linear, 6 bits": LinearGradient(6),
    "log, 3 bits": LogQuant(3, exponent=None),
    "linear, 3 bits": LinearGradient(3),
}
columns = {}
for name, q in six.items():
    rounded = ds if q is None else q.quantize(ds, q.draw(ds.shape, rng))
    columns[name] = 100 * rounded.sum(axis=0) / np.maximum(np.abs(rounded).sum(axis=0), 1e-30)
    print(f"{name:<16} column sums: {np.abs(columns[name]).mean():8.5f} % of the sizes")
print("expect less than 0.01 for real, more than 0.1 for the others")
plots.column_sums_figure(columns)

# %% [markdown]
# **Answer.** They don't, whatever the rule. Rounding knows nothing of the other examples. An
# unbiased rule is right on average over many steps, and not in any one of them.
#
# **Who notices?** A weight whose input is the same in all images. Its gradient is that input times
# the column sum: 0 for a real gradient, so the border weights of the first layer kept their signs
# (3.6).

# %%
border = (small.train_images[:6_000].max(axis=0) == 0).ravel()
print("mean |gradient| of border weights, in % of that of the other weights")
for name, g in (("real", plain), ("log, 6 bits", six_bits)):
    size = np.abs(g["2.Dense.weight"])
    print(f"{name:<12} {100 * size[border].mean() / size[~border].mean():8.4f}")
print("expect less than 0.1, and more than 5")

# %% [markdown]
# They get a gradient now, out of nothing but rounding. We shall see in 8.6 what comes of it.

# %% [markdown]
# ## 8.5 Products by shifts
#
# Lines 8 and 9 now multiply powers of two by $\pm1$. In units of the smallest power $2^{e_{min}}$ a
# gradient is 0 or $\pm2^j$. Write a row of them as bits: a plane $S$ of signs, and for each power a
# plane $M_j$ that has a 1 where the size is $2^j$. With the bits $W$ of the other factor
#
# $$\sum_k g_k w_k = \sum_j \big(\mathrm{popcount}(M_j) -
# 2\,\mathrm{popcount}(M_j \wedge (S \oplus W))\big) \ll j$$
#
# Below, sixteen gradients of our network with four bits (seven powers).
#
# **Question.** How many of the seven planes can have a 1 in one column?

# %% tags=["question"]
course.answer("8.5a", 1)  # planes in a column

# %%
codes, unit = LogQuant(4, exponent=None).encode(sums["layer 5"][:1, 32:48])
weights = network.layers[5].weight.codes[:16, :1].T
signs, planes = to_powers(codes)
plots.power_planes_figure(unpack(signs, 16)[0] > 0, unpack(planes, 16)[:, 0] > 0, weights[0] > 0)

# %%
print("gradients:", *codes[0].astype(int), f"  in units of 2^{np.log2(unit):.0f}")
print("weights:  ", *weights[0].astype(int))
print("by planes and shifts:", powers_matmul(signs, planes, pack(weights), 16).item())
print("by multiplication:   ", int((codes * weights).sum()), "  (expect the same)")

# %% [markdown]
# **Answer.** One at most, and none where the gradient is 0. So no column is counted twice.

# %% [markdown]
# **Exercise 8.3.** Multiply gradients by weights without a multiplication. `S`, every `M[j]` and
# `W` are arrays of words; `popcount` counts the ones of each word. Twice something is a shift, too.


# %% tags=["exercise", "id:8.3"]
def power_product(S, M, W):
    """Sum of gradients (signs S, planes M[j] of 2^j) times weights W: popcounts and shifts."""
    # BEGIN SOLUTION
    total = 0
    for j, plane in enumerate(M):
        ones, turned = int(popcount(plane).sum()), int(popcount(plane & (S ^ W)).sum())
        total += (ones - (turned << 1)) << j
    return total
    # END SOLUTION


course.check("8.3", power_product)

# %% [markdown]
# **For a layer**, `ShiftProducts` forms lines 8 and 9 this way. The sums are integers, exact, and
# rounded once, to float32. A float64 product is exact here too: 22 octaves and 128 terms need fewer
# than 53 bits. **Expect** exactly 0 against the rounded float64 product, and against the float32
# product no more than its own rounding.

# %%
x = images
for layer in network.layers[:5]:
    x = layer.forward(x)
W, rounded = network.layers[5].weight.codes, LogQuant(6, exponent=None).quantize(sums["layer 5"])
shifts, wide = ShiftProducts(), rounded.astype(np.float64)
pairs = {
    "line 8": (shifts.input_gradient(rounded, W), wide @ W.T, PLAIN.input_gradient(rounded, W)),
    "line 9": (shifts.weight_gradient(x, rounded), x.T @ wide, PLAIN.weight_gradient(x, rounded)),
}
for name, (by_shifts, exact, single) in pairs.items():
    error = np.abs(by_shifts - exact.astype(np.float32)).max()
    relative = np.abs(by_shifts - single).max() / np.abs(by_shifts).max()
    print(f"{name}: {by_shifts.shape}, difference to float64 {error}   (expect exactly 0)")
    print(f"{'':<8}relative difference to float32 {relative:.0e}   (expect below 1e-5)")

# %% [markdown]
# A network uses it after `network.use_products(ShiftProducts())`. On a CPU this is no gain: its
# multiplier is there anyway. The point is hardware without one. Two products stay outside: the
# pixels of the first layer are no signs, and batch norm's backward pass multiplies real numbers
# (notebook 5 has its shifts).

# %% [markdown]
# ## 8.6 Does it train?
#
# The paper says of gradients that only the logarithm works, and that six bits suffice. Five runs of
# five epochs, equal in everything else: the same start, the same order of images.
#
# **Question.** Four curves of rounded gradients. Which one will lie on the real one's loss? Which
# one will be the worst?

# %% tags=["question"]
course.answer("8.6a", 6)  # bits on the real loss

# %%
choices = {"real": (0, "log")} | {
    f"{rule}, {bits} bits": (bits, rule) for bits in (6, 3) for rule in ("log", "linear")
}
recipes = {
    name: replace(recipe, gradient_bits=bits, gradient_rule=rule)
    for name, (bits, rule) in choices.items()
}
runs = {name: train_recipe(r, small) for name, r in recipes.items()}
plots.curves_figure({name: run.history for name, run in runs.items()})

# %%
print("                  loss     validation error, epoch 1 ... 5")
for name, run in runs.items():
    errors = " ".join(f"{entry['validation_error']:5.1f}" for entry in run.history)
    print(f"{name:<14} {run.history[-1]['loss']:7.3f}     {errors} %")

# %% [markdown]
# **Answer.** Both rules with six bits lie on the real loss. With three bits both train, but worse,
# and the logarithm is not ahead. Now look at the right picture: in the first epochs *every* rule
# has a validation error far above that of the real gradient, also with six bits, where the training
# loss is as good!
#
# **Question.** Training and validation differ in one thing besides the images: where batch norm
# takes its mean from. Suppose the border weights of a unit move together. What happens to its sums
# from one step to the next, and to the running mean?
#
# **The measurement.** We repeat the first epoch, and measure the validation error twice: with
# running statistics, as usual, and with those of the validation images themselves. A sixth run is
# to show the cause: it rounds to three bits as well, and then takes the mean of each column away.

# %% tags=["question"]
course.answer("8.6b", "lags behind")  # the running mean


# %%
@dataclass(frozen=True)
class Centred(Quantizer):
    """Rounds a gradient, then makes the sums of its columns 0."""

    inner: Quantizer

    def quantize(self, x: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        rounded = self.inner.quantize(x, noise)
        return rounded - rounded.mean(axis=0)


training, validation = small.split(recipe.validation)


def train_centred(epochs: int) -> Run:
    """The run of log, 3 bits, with the column means taken away."""
    run = start_run(recipe, (28, 28, 1), 10)
    run.network.quantize_gradients(Centred(LogQuant(3, exponent=None)))
    options = {"loss": squared_hinge, "batch_size": recipe.batch_size, "epochs": epochs}
    options |= {"schedule": recipe.schedule(), "validation": (validation.images, validation.labels)}
    return train(run, training.images, training.labels, **options)


first = {name: train_recipe(replace(r, epochs=1), small) for name, r in recipes.items()}
first["log, 3 bits, centred"] = train_centred(1)
start = start_run(recipe, (28, 28, 1), 10).network.layers[2].weight.latent
print("after one epoch        flipped at the border   error: running mean   mean of these images")
for name, run in first.items():
    flipped = (start >= 0) != (run.network.layers[2].weight.latent >= 0)
    scores = run.network.copy().forward(validation.images, training=True)
    wrong = 100 * np.mean(scores.argmax(axis=1) != validation.labels)
    usual = run.history[0]["validation_error"]
    print(f"{name:<22}{100 * flipped[border].mean():15.1f} %{usual:22.1f} %{wrong:20.1f} %")
print("expect 0 % flipped for real and centred, 10 to 40 % for the others;")
print("expect 11 to 17 % in the last column, whatever the rule")

# %% [markdown]
# **Answer.** The 120 border pixels are -1 in every image. Their weights get one common gradient a
# unit, the column sum, which is 0 for real gradients and noise for rounded ones. ADAM divides by
# the size of a gradient, so noise makes steps like any other. The border weights of a unit walk
# together and flip in groups, and its sums jump, by the same amount in all images. In training
# batch norm takes the jump away at once; the running mean needs tens of steps to follow. As the
# learning rate falls, the jumps become rare, and the gap closes.
#
# So after one epoch each network had learned about as much as the real one; its statistics were
# late. And with column sums of 0 the gap is gone.
#
# **Flips** are counted here, and not steps.
#
# **Question.** Did the border weights of the real run stay exactly where they were?

# %% tags=["question"]
course.answer("8.6c", False)  # the border stayed

# %%
real_steps = np.abs(first["real"].network.layers[2].weight.latent - start)
for place, of in (("border", border), ("others", ~border)):
    steps = real_steps[of]
    print(f"{place}: moved by more than 1e-4: {100 * np.mean(steps > 1e-4):5.1f} %", end="")
    print(f", than 1e-2: {100 * np.mean(steps > 1e-2):5.1f} %; largest step {steps.max():.4f}")

# %% [markdown]
# **Answer.** No, but nearly. The sum of a column is a rounding error rather than 0, and ADAM
# divides a gradient by its size: it makes steps of whatever it gets, even of rounding errors. They
# lead nowhere, since the next batch has other ones.
#
# **Question.** What will five epochs of the centred gradient with three bits give: something like
# log, 3 bits, or like real?

# %% tags=["question"]
course.answer("8.6d", "real")  # the centred gradient

# %%
runs["log, 3 bits, centred"] = train_centred(recipe.epochs)
for name in ("real", "log, 3 bits", "log, 3 bits, centred"):
    errors = " ".join(f"{entry['validation_error']:5.1f}" for entry in runs[name].history)
    print(f"{name:<22} loss {runs[name].history[-1]['loss']:.3f}   validation error {errors} %")

# %% [markdown]
# **Answer.** About the error of the real gradient, with three bits. (One seed; the end of this
# notebook asks for more.) The paper does not speak of this.

# %% [markdown]
# Below, the first-layer weights of eight units: at the start, after five epochs with real
# gradients, and with six bits. Look at the border.

# %%
shown = [runs[name].network.layers[2].weight.latent for name in ("real", "log, 6 bits")]
pixels = [np.where(w >= 0, 1, -1).T.reshape(-1, 28, 28)[:8] for w in (start, *shown)]
titles = ["start"] * 8 + ["real"] * 8 + ["6 bits"] * 8
plots.images_figure(np.concatenate(pixels), titles)

# %% [markdown]
# ## 8.7 More than one run
#
# Five curves with one seed prove little. `qnn-ref train gradient-bits` trains 87: the same kind of
# network on all of MNIST, five epochs, 2 to 8 bits, the logarithm, its stochastic form, equal steps
# and DoReFa's form, three seeds each. "none" with 32 bits is the real gradient.
#
# **Question.** From how many bits on is a rule no worse than the real gradient? For how many bits
# is the logarithm better than equal steps?

# %% tags=["question"]
course.answer("8.7a", False)  # only the logarithm works

# %%
table = Path(qnn_ref.__file__).parent / "experiments" / "results" / "gradient-bits.csv"
rows = read_rows(table) if table.exists() else []
print(len(rows), "runs" if rows else "runs: the table is in the repository, not in the package")
labels = ["bits", "rule"]
if rows:
    names = {"bits": "bits of a gradient", "rule": "rounded by"}
    display(plots.cases_figure(mean_and_spread(rows, labels), labels, names))

# %% [markdown]
# Every run has a partner of the same seed with real gradients. Mean of the three differences in
# percentage points, with its standard error:

# %%
tests = {(row["rule"], row["bits"], row["seed"]): float(row["test_error"]) for row in rows}
kinds = list(dict.fromkeys(rule for rule, _, _ in tests if rule != "none"))
if kinds:
    print("bits ", *(f"{kind:>16}" for kind in kinds))
for bits in sorted({bits for rule, bits, _ in tests if rule != "none"}):
    line = []
    for kind in kinds:
        difference = [
            error - tests["none", "32", seed]
            for (rule, b, seed), error in tests.items()
            if (rule, b) == (kind, bits)
        ]
        spread = np.std(difference, ddof=1) / len(difference) ** 0.5
        line.append(f"{np.mean(difference):+9.2f} ± {spread:.2f}")
    print(f"{bits:<5}", *(f"{text:>16}" for text in line))

# %% [markdown]
# And the logarithm against equal steps, partner by partner. Three differences have two degrees of
# freedom: their mean has to be 4.30 times its error, before chance is a bad explanation (95 %).

# %%
seeds = sorted({seed for rule, _, seed in tests if rule == "log"})
for bits in sorted({bits for rule, bits, _ in tests if rule == "log"}):
    difference = [tests["log", bits, s] - tests["linear", bits, s] for s in seeds]
    quotient = np.mean(difference) / (np.std(difference, ddof=1) / len(seeds) ** 0.5)
    each = " ".join(f"{d:+6.2f}" for d in difference)
    verdict = "chance would do" if abs(quotient) < 4.30 else "log" if quotient < 0 else "linear"
    print(f"{bits} bits, log - linear:  {each}   quotient {quotient:+6.1f}   better: {verdict}")

# %% [markdown]
# **Answer.** Six bits nearly suffice: the logarithm loses 0.26 points, more than its error of 0.06,
# and 7 or 8 bits lose the same, so it is the rounding and not the range that costs. That only the
# logarithm works is not so here: equal steps train from 3 bits on, and with 7 or 8 about as well.
# Which is better? Three seeds decide it twice: with 2 bits equal steps, with 5 bits the logarithm.
# With 4 bits all three seeds speak for the logarithm and the quotient is just too small; with 6
# bits one of them speaks against it. DoReFa's form, whose steps are equal too, has the lowest means
# with 2 and 3 bits. Keep in mind what this is: a small network with three products on an easy task.
# A gradient that has gone through fifty layers may need more exponents.

# %% [markdown]
# ## Summary
#
# 1. The gradients of one layer spread over about 20 octaves. A linear grid of six bits sees the top
#    five of them and its step hangs on the largest number; a logarithmic one sees 31, and is wrong
#    by $\sqrt2$ at most.
# 2. The rounding stands between lines 7 and 8: both products see it, batch norm's gradients and
#    latent weights do not. It is no function's gradient, so the checker leaves it out.
# 3. Rounded gradients no longer sum to 0 over a batch. Weights with a constant input then walk at
#    random, and the running statistics of batch norm lag behind. Taking the column means away
#    closed the gap in our run.
# 4. With powers of two the backward products are popcounts and shifts, exact.
# 5. A claim such as "only the logarithm works" is a comparison: with partners of the same seed, and
#    with an error beside it.
#
# ## More to try
#
# 1. The ratio of the largest and smallest power of $k$ bits is $2^{2^{k-1}-2}$. How many bits does
#    each of our three layers need to lose nothing? Check with the code of 8.2.
# 2. Spread $x$ evenly on a logarithmic scale from 1 to 2. Show that the mean of AP2(x) is
#    $\tfrac32 \ln 2 = 1.040$ times the mean of $x$. What if $x$ is spread evenly on a linear scale?
# 3. Let the linear grid end at the 99th percentile instead of the maximum, and saturate above.
#    Write it as a small quantizer class like `Centred`. Which share becomes 0, and how large is the
#    error in the norm?
# 4. Train the centred gradient with log and linear, 2 and 3 bits, three seeds each. Does it always
#    help? Centred gradients are no powers of two: show that $(\delta^q - \mathbf 1 m^\top)
#    {W^b}^\top$ still needs shifts for the large product, and one small real product beside it.
# 5. Or leave the border out: cut the images to the inner 20 x 20 pixels, and train again with real
#    gradients and with log, 3 bits. What remains of the gap in the first epoch?
#
# ## Reading on
#
# Paper, section 3. In the code: `qnn_ref/quantizers/logarithmic.py` and `gradients.py`,
# `qnn_ref/bits/powers.py`, `qnn_ref/products/by_shifts.py`. Logarithms for gradients:
# Miyashita, Lee, Murmann (2016), *Convolutional neural networks using logarithmic data
# representation*. Equal steps with noise: Zhou et al. (2016), *DoReFa-Net: training low bitwidth
# convolutional neural networks with low bitwidth gradients*. One bit for the gradients that
# computers send each other, with the error kept for the next step: Seide et al. (2014), *1-bit
# stochastic gradient descent*.
#
# Next: [9. Memory of four bits](09_memory_of_four_bits.ipynb).
