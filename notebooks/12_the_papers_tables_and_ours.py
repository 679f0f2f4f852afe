# %% [markdown]
# # 12. The paper's tables and ours
#
# **Goal.** Put the paper's results beside what was run here, and learn to say whether a
# difference is one. Then use it on five questions that the field argues about, each small enough
# for an evening.
#
# Afterwards you can
# - read a table of results, and say what must stand beside a number: data, epochs, seeds, spread;
# - compare two methods in pairs of seeds, with an interval that three seeds allow;
# - say how far the straight-through gradient is from the exact one, where one can know;
# - say what latent weights carry besides their sign, and what clip, mask and batch norm do.
#
# **Minutes.** 30 to read, 25 for the exercise.
#
# **Prerequisites.** [Notebook 3](03_training_on_mnist.ipynb); latent weights and the
# straight-through gradient from [notebook 1](01_one_bit.ipynb).
#
# **Equations.** Eqs. (2)-(5), sections 4 and 7. The questions are ours.

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: one thread is faster

import numpy as np

import qnn_ref
from qnn_ref import course, datasets, plots
from qnn_ref.experiments import SWEEPS
from qnn_ref.experiments.downhill import (
    angle,
    exact_gradient,
    examples,
    straight_through_gradient,
)
from qnn_ref.experiments.finished import read_finished, results_folder
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.report import build_report

# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 12.1 What was run, and what was not
#
# `qnn-ref report` writes one page with every table and figure of the paper. A row has the paper's
# value and ours, or the reason why there is none, and the command for those who can run it. No
# number on it was typed: they come from files that commands wrote, in
# `qnn_ref/experiments/results`.

# %%
report = build_report(results_folder())
for name in ("table-1", "small"):
    table = report.table(name)
    print(f"{table.title}, {table.unit}")
    for row in table.rows:
        if row.ours or row.command:
            print(
                f"  {row.what:<48} paper {row.paper or '-':>6}   here {row.ours or '-':>12}", end=""
            )
            print(f"   epochs {row.epochs or '-'}, seeds {row.seeds or '-'}")

# %% [markdown]
# **Question.** Of the paper's six recipes for MNIST, SVHN and CIFAR-10, which needs the least
# time? (A hint: 784-3x2048-10 with 100 epochs, or 784-3x4096-10 with 1,000, or convolutions.)

# %% tags=["question"]
course.answer("12.1a", "mnist-torch")

# %%
for row in report.table("table-1").rows:
    if row.command and "float" not in row.what:
        print(f"{row.what:<24} {row.ours or row.sentence}")

# %% [markdown]
# **Answer.** `mnist-torch`: an hour a seed, so it stands there with three. `mnist-theano` would
# take most of a day, and stands there with as many epochs as it got; the others take days, and
# stand there with that reason. A table that shows only what went well is an
# advertisement; one that says what was not run can be finished by the next reader.

# %% [markdown]
# ## 12.2 A curve instead of a number
#
# A single number hides where it was chosen. The paper, and we, take the *test* error of the epoch
# with the lowest *validation* error. Here are three whole runs of ours, the Torch recipe for MNIST.

# %%
from qnn_ref.experiments.finished import longest, read_curve

curves = {}
for run in longest(read_finished(results_folder()), "mnist-torch"):
    curves[f"seed {run.seed}"] = curve = read_curve(results_folder(), run)
    chosen = curve[run.best_epoch]  # the lowest validation error, of equal ones the latest
    print(f"seed {run.seed}: epoch {chosen['epoch'] + 1:.0f} is chosen,", end=" ")
    print(f"validation {chosen['validation_error']:.2f} % wrong, test {run.test:.2f} %")
plots.training_figure(curves)

# %% [markdown]
# The paper has one number, 1.40. The seed with the best validation error has not the best test
# error: each error of 10,000 images is uncertain by about 0.12 points, as much as the seeds differ.
# The curves fall in stairs, since the learning rate is halved every ten epochs.

# %% [markdown]
# ## 12.3 Is a difference one?
#
# Train the same network with three seeds, and three errors come out. Compare two methods: is the
# difference of their means more than what another three seeds would have changed?
#
# The seed decides the first weights and the order of the images. If both methods use the *same*
# seeds, what a lucky seed does to one it does to the other, and it falls out of the differences
# $d_s = a_s - b_s$. Their mean $\bar d$ has the standard error $s_d / \sqrt n$, and
#
# $$\bar d \pm t_{n-1}\, \frac{s_d}{\sqrt n}, \qquad s_d^2 = \frac{1}{n-1} \sum_s (d_s - \bar d)^2$$
#
# holds the true difference in 95 of 100 such experiments. With three seeds $t$ is 4.30, not 2:
# two degrees of freedom know little.
#
# **Exercise 12.1.** Write it.

# %%
t = np.array([0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262])


# %% tags=["exercise", "id:12.1"]
def compare(a, b, t):
    """Mean of a - b over shared seeds, half the width of its 95 % interval; t[f] for f degrees."""
    # BEGIN SOLUTION
    d = a - b
    n = len(d)
    return d.mean(), t[n - 1] * d.std(ddof=1) / np.sqrt(n)
    # END SOLUTION


course.check("12.1", compare)

# %% [markdown]
# Four differences of the paper's kind, from the stored sweeps: a second bit for weights and
# activations, or for activations alone (the paper's choice for AlexNet), six bits for gradients,
# and shifts instead of multiplications.


# %%
def errors(sweep: str, **labels: str) -> np.ndarray:
    """Test errors of one case of a stored sweep, a seed each."""
    rows = read_rows(results_folder() / f"{sweep}.csv")
    return np.array([float(r["test_error"]) for r in rows if labels.items() <= r.items()])


shifts = {"optimizer": "adam", "activations": "deterministic"}
pairs = {
    "a second bit of both": (
        errors("bits-sweep", weights="2", activations="2"),
        errors("bits-sweep", weights="1", activations="1"),
    ),
    "a second bit of activations": (
        errors("bits-sweep", weights="1", activations="2"),
        errors("bits-sweep", weights="1", activations="1"),
    ),
    "gradients of 6 bits, logarithmic": (
        errors("gradient-bits", rule="log", bits="6"),
        errors("gradient-bits", rule="none"),
    ),
    "shift-based batch norm": (
        errors("ablation-shift", norm="shift-S", **shifts),
        errors("ablation-shift", norm="batch", **shifts),
    ),
}
for name, (a, b) in pairs.items():
    d = a - b
    width = t[len(d) - 1] * d.std(ddof=1) / np.sqrt(len(d))
    print(f"{name:<34} {d.mean():+.2f} ± {width:.2f} points, each seed {np.round(d, 2)}")

# %% [markdown]
# **Question.** In which of the four does the interval leave no doubt about the sign?

# %% tags=["question"]
course.answer("12.3a", "both")

# %% [markdown]
# **Answer.** Only for the second bit of both. The activations' bit alone helps in each of the
# three seeds, by 0.6 points in the mean, and the interval still touches zero: three seeds allow
# no finer statement. That does *not* say that six bits or shifts cost nothing. It says that three
# seeds cannot tell. Twelve would halve the error, and $t$ would fall to 2.2.

# %% [markdown]
# ## 12.4 Does the straight-through gradient point downhill?
#
# The sign has no slope, and eq. (4) puts that of hard tanh in its place. Is what comes out a
# gradient of *anything*? With **stochastic** signs (eq. 2) there is an honest answer: the
# *expected* loss is a smooth function of the weights. For layers of four signs it is a sum over
# sixteen states each, so its exact gradient is known, and so is the mean of the straight-through
# gradient over the same states.
#
# **Question.** How many degrees lie between the two, in a network with two hidden layers and
# weights up to 1? (0 is exact; from 90 on a step makes things worse.)

# %% tags=["question"]
course.answer("12.4a", 8.5)  # degrees

# %%
x, labels = examples(datasets.load("digits"))
rng = np.random.default_rng(0)
weights = [rng.uniform(-1, 1, (4, 4)), rng.uniform(-1, 1, (4, 4)), rng.uniform(-0.5, 0.5, 4)]
exact = exact_gradient(weights, x, labels)
through = straight_through_gradient(weights, x, labels)
unmasked = straight_through_gradient(weights, x, labels, saturation=1e9)
print(f"with the mask of eq. (4) {angle(exact, through):5.1f} degrees")
print(f"without a mask           {angle(exact, unmasked):5.1f} degrees")
print("first weights, exact, with mask, without:")
for parts in (exact, through, unmasked):
    print(np.array2string(parts[0][0], precision=4, suppress_small=True))

# %%
sweep = SWEEPS["downhill"]
rows = read_rows(results_folder() / "downhill.csv")
plots.cases_figure(
    mean_and_spread(rows, sweep.labels, "angle", 1),
    sweep.labels,
    {"weights": "largest weight", "mask": "bound of the mask"},
    sweep.measure.words,
)

# %% [markdown]
# **Answer.** Five to ten degrees in most cases. The mean of the straight-through gradient points
# downhill in all of the 2,700 tiny networks, and it is nearly the exact gradient: because the
# mean of a stochastic sign *is* hard tanh, and only what comes after it is not linear. The mask
# is no detail. Where weights are large, signs are certain, and a gradient that passes anyway is
# wrong: up to 50 degrees. Each layer more adds a little.
#
# What this is not: a deterministic sign has no smooth expected loss, and four units are not
# 4,096.

# %% [markdown]
# ## 12.5 What do latent weights carry?
#
# The products see signs only. What is the rest of a latent weight good for? Take it away: give
# every latent weight the same magnitude, once after the second of five epochs, or after each. The
# network computes the same as before; what is lost is how near each weight was to changing its
# sign.
#
# **Question.** All magnitudes become 0.1 after *each* epoch. Does the test error rise?

# %% tags=["question"]
course.answer("12.5a", False)


# %%
def show(name: str, names: dict[str, str]) -> "plots.Figure":
    """Table and picture of a stored sweep."""
    sweep, rows = SWEEPS[name], read_rows(results_folder() / f"{name}.csv")
    table = mean_and_spread(rows, sweep.labels, "test_error")
    for row in table:
        labels = ", ".join(f"{names.get(la, la)} {row[la]}" for la in sweep.labels)
        print(f"{labels:<40} {row['mean']} ± {row['spread']}")
    return plots.cases_figure(table, sweep.labels, names)


show("latent-weights", {"magnitude": "magnitude", "reset": "reset"})

# %% [markdown]
# **Answer.** No. With 0.1 or 0.5 nothing is lost at all, although the memory of every weight is
# wiped out four times. Only extremes hurt: with 0.01 nearly every weight changes its sign at the
# next push, with 1 (the clip) hardly any does in time. So latent weights are no hidden real
# weights which the signs approximate. They are **inertia**: how much evidence it takes to change
# a sign. It can be gathered anew within an epoch, if the scale is right.
#
# (Helwegen et al. 2019 say so, and build an optimizer, Bop, that has only the inertia.)

# %% [markdown]
# ## 12.6 How often do signs flip?
#
# A binary weight learns by changing its sign. The sweep `sign-flips` counts them: the share of
# each layer's signs that differ from those one epoch before, for five learning rates (each decays
# to a 32nd).
#
# **Question.** At the best of the five rates, how many percent of the first layer's signs change
# in the *first* epoch?

# %% tags=["question"]
course.answer("12.6a", 44.7)  # percent

# %%
rows = read_rows(results_folder() / "sign-flips.csv")
print("rate     test error   first epoch, layers 1 2 3   last epoch, layers 1 2 3")
for rate in dict.fromkeys(row["rate"] for row in rows):
    same = [row for row in rows if row["rate"] == rate]
    means = {k: np.mean([float(row[k]) for row in same]) for k in same[0] if k not in ("decay",)}
    first, last = ([means[f"flipped_{when}_{k}"] for k in (1, 2, 3)] for when in ("first", "last"))
    print(f"{rate:<8} {means['test_error']:.2f} %       ", end="")
    print(*(f"{share:6.1f}" for share in first), "       ", *(f"{share:6.1f}" for share in last))
show("sign-flips", {"rate": "learning rate", "decay": "decay"})

# %% [markdown]
# **Answer.** 45 %: of random signs half would change if they were drawn anew, so the first epoch
# throws the start away nearly completely. Networks that do not (small rates) end worse: at 0.0003
# seven of eight signs are still those of the random start after an epoch, and 8.8 % are wrong. In
# the last epoch a good network still turns 7 % of its signs over: it does not come to rest, it
# runs out of learning rate. Too large a rate shows there too: 16 %.
#
# The best of these rates, 0.01, is three times that of the paper's recipe: five epochs are short.

# %% [markdown]
# ## 12.7 The clip, and the mask
#
# Section 2.3 has two guards: latent weights are clipped to $[-1, 1]$ after each step, and eq. (4)
# stops the gradient where $|a| > 1$. Leave out one, or both.
#
# **Question.** Which one costs more if it is missing?

# %% tags=["question"]
course.answer("12.7a", "the mask")

# %%
show("clip-or-not", {"mask": "gradient", "clip": "latent weights"})

# %% [markdown]
# **Answer.** The mask, by far: without it twice as many digits are wrong. Without the clip
# nothing is lost in five epochs with Adam, whose steps are bounded; 12.5 has shown how little
# magnitudes mean. In 1,000 epochs weights that drift far out would never come back, and the
# paper's clip keeps them in reach: that was not tried here.
#
# The paper says of the mask that results become clearly worse without it. They do.

# %% [markdown]
# ## 12.8 What is batch norm's share?
#
# Sums of $n$ signs are about $\sqrt n$ large. So a *constant* could do a part of what batch norm
# does: divide by $\sqrt n$. In hidden layers only (the scores keep their batch norm), or
# everywhere; at three learning rates, since one rate alone would be unfair.
#
# **Question.** At which of the three rates does it make no difference whether a network has batch
# norm or the constant?

# %% tags=["question"]
course.answer("12.8a", 0.0003)

# %%
show("norm-share", {"rate": "learning rate", "norm": "normalization"})

# %% [markdown]
# **Answer.** At the smallest. There all four are equal, and equally bad: hardly anything has been
# learned in five epochs. At 0.003 the constant costs 1.3 points in the hidden layers, and 9 if
# the scores have it too; at 0.03 a network with constants does not learn at all, and one with
# batch norm hardly minds. So batch norm's share is the **rate** that it allows, more than its
# normalization. Shifts do the same work.

# %% [markdown]
# ## Summary
#
# 1. A result is a number *with* its data, epochs, seeds and spread, and a table says what was not
#    run.
# 2. Share the seeds and compare in pairs; for three seeds $t$ is 4.30.
# 3. Where it can be known, the straight-through gradient is within ten degrees of the exact one.
#    It needs its mask.
# 4. Latent weights are inertia, not precision.
# 5. A network that learns turns its signs over: nearly half of them in its first epoch.
# 6. The mask of eq. (4) matters, the clip hardly: twice the error without the mask.
# 7. Batch norm allows a large learning rate; that is most of what it brings here.
#
# ## Exercises
#
# 1. (12.1 above.) How many seeds would it take to be sure of a difference of 0.1 points, if
#    single differences spread by 0.2?
# 2. `SWEEPS["downhill"]` draws all weights at random. Train one of its networks for a while by
#    its straight-through gradient, and look at the angle again: is it smaller or larger near a
#    minimum?
# 3. In 12.5, keep the magnitudes and set all *signs* anew at random. How long does the network
#    need?
#
# ## Reading on
#
# Paper, sections 4 and 7. In the code: `qnn_ref/report` makes the page, `experiments/downhill.py`
# and `questions.py` are the questions. Straight-through gradients: Bengio, Léonard, Courville
# (2013), *Estimating or propagating gradients through stochastic neurons*; Yin et al. (2019),
# *Understanding straight-through estimator in training activation quantized neural nets*. Latent
# weights: Helwegen et al. (2019), *Latent weights do not exist*.
#
# Next: [the list of all notebooks](README.md), or a layer of your own:
# [docs/write_a_layer.md](../docs/write_a_layer.md).
