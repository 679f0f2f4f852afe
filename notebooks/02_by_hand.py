# %% [markdown]
# # 2. A binarized layer by hand
#
# **Goal.** Walk through one training step of a binarized network, line by line, with matrices
# small enough to see every number.
#
# Afterwards you can
# - write Algorithm 1 of the paper in NumPy from memory;
# - say for each of its products which operand is binary and which is real;
# - check any backward pass, and find a planted mistake.
#
# **Minutes.** 30 to read, 60 for the exercises.
#
# **Prerequisites.** [Notebook 1](01_one_bit.ipynb); matrix products; the chain rule.
#
# **Equations.** Algorithm 1, lines 1 to 12; eqs. (1) and (4); batch normalization (section 2.4);
# the square hinge loss (section 4.2).

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the imports: idle threads sleep

import numpy as np

import qnn_ref
from qnn_ref import course, plots
from qnn_ref.checking import check_gradients
from qnn_ref.layers import BatchNorm, Dense, Quantize, glorot_scale
from qnn_ref.layers.normalization import normalize_batch_backward_reference as line_7
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import SGD
from qnn_ref.quantizers import Sign
from qnn_ref.shown import source
from qnn_ref.training import Run, train, train_step


def largest_difference(a: np.ndarray, b: np.ndarray) -> str:
    """What a check prints: the error that was found, and the one to expect."""
    return f"{np.abs(a - b).max():.1e}   (expect below 1e-14)"


# %matplotlib inline
print("qnn_ref", qnn_ref.__version__)

# %% [markdown]
# ## 2.1 The network
#
# Four examples with four real inputs each, three hidden units, two classes: $4 \to 3 \to 2$. The
# input $a_0$ is real, as the paper has it; everything behind the first Sign is binary. Latent
# weights $W_1$, $W_2$ lie in $[-1, 1]$. We chose numbers that are easy to follow.
#
# Blue is positive, orange negative; +1 is black and -1 is white. Below each matrix stands its
# size.

# %%
a_0 = np.array(
    [[0.4, -0.2, -0.8, -0.1], [-0.5, 0.5, -0.1, 0.3], [-0.1, -0.7, 0.1, 0.4], [0.9, 0.9, -0.8, 0.3]]
)
labels = np.array([0, 1, 0, 1])
W_1 = np.array([[-0.1, 0.6, -0.3], [0.3, 0.1, 0.7], [-0.8, -0.1, 0.8], [-0.5, 0.3, 0.7]])
W_2 = np.array([[-0.8, -0.4], [0.8, -0.2], [-0.6, 0.8]])
g_1, b_1, g_2, b_2 = np.ones(3), np.zeros(3), np.ones(2), np.zeros(2)
epsilon, eta = 1e-4, 0.3
plots.arrays_figure({"$a_0$, input": a_0, "$W_1$, latent": W_1, "$W_2$, latent": W_2}, digits=1)

# %% [markdown]
# ## 2.2 Forward
#
# **Line 1.** $W_k^b \leftarrow \mathrm{Binarize}(W_k)$. Notice that a weight of 0.1 and one of
# 0.8 become the same +1.

# %%
W_1b = np.where(W_1 >= 0, 1.0, -1.0)  # line 1
W_2b = np.where(W_2 >= 0, 1.0, -1.0)
plots.arrays_figure({"$W_1^b$": W_1b, "$W_2^b$": W_2b})

# %% [markdown]
# **Line 2.** $s_1 \leftarrow a_0 W_1^b$. The weights only say "add" or "subtract": no
# multiplication is left.
#
# **Line 3.** $a_1 \leftarrow \mathrm{BatchNorm}(s_1)$: subtract each column's mean over the
# batch, divide by its deviation, then scale by $g_1$ and shift by $b_1$ (at the start 1 and 0).
#
# **Line 4.** $a_1^b \leftarrow \mathrm{Binarize}(a_1)$.
#
# **Question.** Before you look: the sign of $a_1$ is not the sign of $s_1$. Why not?

# %% tags=["question"]
course.answer("2.2a", "mean")  # "mean", "deviation" or "gain": which part of batch norm does it?

# %%
s_1 = a_0 @ W_1b  # line 2
r_1 = 1 / np.sqrt(s_1.var(axis=0) + epsilon)  # inverse deviation
x_1 = (s_1 - s_1.mean(axis=0)) * r_1  # normalized
a_1 = g_1 * x_1 + b_1  # line 3
a_1b = np.where(a_1 >= 0, 1.0, -1.0)  # line 4
plots.arrays_figure({"$s_1$": s_1, "$a_1$": a_1, "$a_1^b$": a_1b})

# %% [markdown]
# **Answer.** Batch norm subtracts the column's mean first. So a unit asks "is this sum above the
# batch's average?", and about half of the answers are +1.

# %% [markdown]
# **Exercise 2.1.** Write batch norm, and keep what the backward pass will need.


# %% tags=["exercise", "id:2.1"]
def batch_norm(s, g, b, eps):
    """Line 3: a, the normalized x_hat and the inverse deviation r of each column of s."""
    # BEGIN SOLUTION
    r = 1 / np.sqrt(s.var(axis=0) + eps)
    x_hat = (s - s.mean(axis=0)) * r
    return g * x_hat + b, x_hat, r
    # END SOLUTION


course.check("2.1", batch_norm)

# %% [markdown]
# The second layer does the same, with binary input. Its sums are integers, and odd ones: three
# terms of $\pm1$. The last layer is *not* binarized: its batch norm gives the scores.

# %%
s_2 = a_1b @ W_2b  # line 2
r_2 = 1 / np.sqrt(s_2.var(axis=0) + epsilon)
x_2 = (s_2 - s_2.mean(axis=0)) * r_2
a_2 = g_2 * x_2 + b_2  # line 3; no line 4 for the last layer
plots.arrays_figure({"$s_2$, integers": s_2, "$a_2$, scores": a_2})

# %% [markdown]
# The package's layers do the same. We build the same network, give it our weights, and compare.


# %%
def build(second: type[Dense]) -> qnn_ref.Sequential:
    """The network of section 2.1; `second` is the class of the second dense layer."""
    layers = [Dense(3), BatchNorm(epsilon), Quantize(Sign()), second(2), BatchNorm(epsilon)]
    network = qnn_ref.Sequential(layers, (4,), np.random.default_rng(0), dtype=np.float64)
    network.layers[0].weight.assign(W_1)
    network.layers[3].weight.assign(W_2)
    return network


network = build(Dense)
weight_1, weight_2 = network.layers[0].weight, network.layers[3].weight
scores = network.forward(a_0, training=True)
print("scores, largest difference:", largest_difference(scores, a_2))

# %% [markdown]
# ## 2.3 The loss
#
# **Line 5.** The cost is the square hinge, with targets $y = \pm1$, averaged over batch and
# classes: $C = \frac1{4 \cdot 2} \sum \max(0, 1 - y a_2)^2$. Its gradient $\delta_{a_2}$ is 0
# where the score is on the right side by at least 1.

# %%
y = np.where(labels[:, None] == np.arange(2), 1.0, -1.0)
slack = np.maximum(0, 1 - y * a_2)
cost = np.mean(slack**2)
delta_a2 = -2 * y * slack / a_2.size  # line 5
print(f"cost {cost:.4f}")
plots.arrays_figure({"targets $y$": y, "slack": slack, r"$\delta_{a_2}$": delta_a2})

# %%
loss, gradient = squared_hinge(scores, labels)
print("cost, difference:          ", largest_difference(loss, cost))
print("gradient, largest difference:", largest_difference(gradient, delta_a2))

# %% [markdown]
# **Exercise 2.4.** Write loss and gradient as one function of scores and labels. (Exercises 2.2 and
# 2.3 come below, with the backward pass.)


# %% tags=["exercise", "id:2.4"]
def squared_hinge_by_hand(scores, labels):
    """Line 5: the cost, a mean over batch and classes, and the gradient of the scores."""
    # BEGIN SOLUTION
    y = np.where(labels[:, None] == np.arange(scores.shape[1]), 1.0, -1.0)
    slack = np.maximum(0, 1 - y * scores)
    return np.mean(slack**2), -2 * y * slack / slack.size
    # END SOLUTION


course.check("2.4", squared_hinge_by_hand)

# %% [markdown]
# ## 2.4 Backward
#
# All gradients are real numbers, although they are computed *with* binary weights and
# activations.
#
# **Line 7**, layer 2. Back through batch norm, from $\delta_{a}$ to $\delta_{s}$. A bar is the
# mean over the batch:
#
# $$\delta_s = g r \big(\delta_a - \overline{\delta_a} - \hat x\,\overline{\delta_a \hat x}\big),$$
#
# $$\delta_g = \sum \delta_a \hat x, \qquad \delta_b = \sum \delta_a.$$
#
# **Line 8.** $\delta_{a_1^b} \leftarrow \delta_{s_2} (\ldots)^\top$.
#
# **Line 9.** $\delta_{W_2^b} \leftarrow (a_1^b)^\top \delta_{s_2}$.
#
# **Exercise 2.2.** Write line 7.


# %% tags=["exercise", "id:2.2"]
def back_batch_norm(delta, x_hat, r, g):
    """Line 7: gradients of the sums, the gain and the shift, given delta, that of a."""
    # BEGIN SOLUTION
    along = x_hat * (delta * x_hat).mean(axis=0)
    ds = g * r * (delta - delta.mean(axis=0) - along)
    return ds, (delta * x_hat).sum(axis=0), delta.sum(axis=0)
    # END SOLUTION


course.check("2.2", back_batch_norm)

# %% [markdown]
# From here on we take the package's function: it is the same in NumPy, whether yours is written yet
# or not.

# %%
print(source(line_7))

# %% [markdown]
# **Question.** Which matrix stands at the dots in line 8: the latent $W_2$ or the binary $W_2^b$?

# %% tags=["question"]
course.answer("2.4a", "binary")  # "latent" or "binary"

# %%
delta_s2, delta_g2, delta_b2 = line_7(delta_a2, x_2, r_2, g_2)
delta_a1b = delta_s2 @ W_2b.T  # line 8
delta_W2b = a_1b.T @ delta_s2  # line 9
plots.arrays_figure(
    {
        r"$\delta_{s_2}$": delta_s2,
        r"$\delta_{a_1^b}$": delta_a1b,
        r"$\delta_{W_2^b}$": delta_W2b,
    }
)

# %% [markdown]
# **Answer.** The binary one. The forward pass used $W_2^b$, so the chain rule does. Each column
# of $\delta_{s_2}$ sums to 0: batch norm takes the mean away, also on the way back.

# %% [markdown]
# **Exercise 2.3.** Write lines 8 and 9 as one function; `W` is latent.


# %% tags=["exercise", "id:2.3"]
def dense_backward(dy, x, W):
    """Gradients of x and of the binary weights, given dy, that of x @ W_b."""
    # BEGIN SOLUTION
    W_b = np.where(W >= 0, 1.0, -1.0)
    return dy @ W_b.T, x.T @ dy
    # END SOLUTION


course.check("2.3", dense_backward)

# %% [markdown]
# **Line 6.** Now we meet the Sign between the layers. Its gradient is the straight-through mask,
# $\delta_{a_1} \leftarrow \delta_{a_1^b} \circ 1[|a_1| \le 1]$.
#
# **Question.** Look at $a_1$ in section 2.2. How many of its twelve gradients are stopped?

# %% tags=["question"]
course.answer("2.4b", 5)  # a number from 0 to 12

# %%
mask = np.abs(a_1) <= 1
delta_a1 = delta_a1b * mask  # line 6
plots.arrays_figure(
    {"$a_1$": a_1, "mask": mask, r"$\delta_{a_1}$": delta_a1},
)

# %% [markdown]
# **Answer.** Five: those with $|a_1| > 1$. Then lines 7 and 9 again, for layer 1. Line 8 is not
# needed here: nobody asks how the input should change.

# %%
delta_s1, delta_g1, delta_b1 = line_7(delta_a1, x_1, r_1, g_1)
delta_W1b = a_0.T @ delta_s1  # line 9
plots.arrays_figure({r"$\delta_{s_1}$": delta_s1, r"$\delta_{W_1^b}$": delta_W1b})

# %%
network.backward(gradient)
print("largest differences")
print("  weights 1:", largest_difference(weight_1.grad, delta_W1b))
print("  weights 2:", largest_difference(weight_2.grad, delta_W2b))
print("  gain 1:   ", largest_difference(network.layers[1].gain.grad, delta_g1))
print("  shift 1:  ", largest_difference(network.layers[1].shift.grad, delta_b1))

# %% [markdown]
# ## 2.5 Accumulate
#
# The gradient is that of the *binary* weights, but the *latent* ones move:
#
# **Line 10.** $\theta_k \leftarrow \mathrm{Update}(\theta_k, \eta, \delta_{\theta_k})$ for gain
# and shift.
#
# **Line 11.** $W_k \leftarrow \mathrm{Clip}(\mathrm{Update}(W_k, \gamma_k \eta, \delta_{W_k^b}),
# -1, 1)$.
#
# **Line 12.** $\eta \leftarrow \lambda\eta$; we do it once an epoch.
#
# Update is ADAM in the paper's recipes. By hand we take plain gradient descent, $W -
# \gamma\eta\,\delta$, with $\eta = 0.3$. The factor $\gamma_k = \sqrt{(f_{in} + f_{out}) / 1.5}$
# makes the steps of binary weights as large as their range asks for.
#
# **Question.** One of the 18 weights flips its sign, and one hits the clip. Which? Find a small
# latent weight whose gradient has the same sign, and a large one whose gradient has the other
# sign.

# %% tags=["question"]
course.answer("2.5a", (1, 1))  # row and column of the weight of W_1 that flips, from 0

# %%
gamma_1, gamma_2 = glorot_scale(4, 3), glorot_scale(3, 2)
g_1, b_1 = g_1 - eta * delta_g1, b_1 - eta * delta_b1  # line 10
g_2, b_2 = g_2 - eta * delta_g2, b_2 - eta * delta_b2
new_W_1 = np.clip(W_1 - gamma_1 * eta * delta_W1b, -1, 1)  # line 11
new_W_2 = np.clip(W_2 - gamma_2 * eta * delta_W2b, -1, 1)
eta_next = 0.9 * eta  # line 12, with a decay factor of 0.9
print(f"gamma_1 = {gamma_1:.2f}, gamma_2 = {gamma_2:.2f}")
plots.arrays_figure(
    {"$W_1$ before": W_1, "$W_1$ after": new_W_1, "$W_2$ before": W_2, "$W_2$ after": new_W_2}
)

# %%
flipped = np.argwhere((W_1 >= 0) != (new_W_1 >= 0))
clipped = np.argwhere(np.abs(new_W_2) == 1)
print("flipped in W_1, row and column:", flipped.tolist())
print("clipped in W_2, row and column:", clipped.tolist())
for place in flipped:
    before, after = W_1[tuple(place)], new_W_1[tuple(place)]
    print(f"latent weight of W_1 that flipped: {before:.2f} before, {after:.4f} after")

SGD(eta).step(network.parameters())
print("latent weights 1, largest difference:", largest_difference(weight_1.latent, new_W_1))
print("latent weights 2, largest difference:", largest_difference(weight_2.latent, new_W_2))
print(f"cost before {cost:.3f}, after {squared_hinge(network.forward(a_0, True), labels)[0]:.3f}")

# %% [markdown]
# **Answer.** The weight in row 1, column 1 of $W_1$ (we count from 0) goes from 0.10 to -0.0546, as
# printed, and flips. The one in row 0, column 0 of $W_2$ goes to -1 and stays there. All other
# weights moved too, and the network does not notice: its signs are the same. The next steps build
# on these small moves. That is why gradients are accumulated in real numbers (section 2.2).

# %% [markdown]
# **Exercise 2.5.** The whole step in one function. Use your answers to 2.1 to 2.4, and
# `glorot_scale(fan_in, fan_out)` for $\gamma$.


# %% tags=["exercise", "id:2.5"]
def algorithm_1(a_0, labels, W_1, g_1, b_1, W_2, g_2, b_2, eta, eps):
    """One step: the new W_1, g_1, b_1, W_2, g_2 and b_2."""
    # BEGIN SOLUTION
    W_1b, W_2b = (np.where(W >= 0, 1.0, -1.0) for W in (W_1, W_2))  # line 1
    a_1, x_1, r_1 = batch_norm(a_0 @ W_1b, g_1, b_1, eps)  # lines 2 and 3
    a_1b = np.where(a_1 >= 0, 1.0, -1.0)  # line 4
    a_2, x_2, r_2 = batch_norm(a_1b @ W_2b, g_2, b_2, eps)
    _, delta_a2 = squared_hinge_by_hand(a_2, labels)  # line 5
    ds_2, dg_2, db_2 = back_batch_norm(delta_a2, x_2, r_2, g_2)  # line 7
    delta_a1b, dW_2 = dense_backward(ds_2, a_1b, W_2)  # lines 8 and 9
    delta_a1 = delta_a1b * (np.abs(a_1) <= 1)  # line 6
    ds_1, dg_1, db_1 = back_batch_norm(delta_a1, x_1, r_1, g_1)
    _, dW_1 = dense_backward(ds_1, a_0, W_1)
    gamma_1, gamma_2 = glorot_scale(*W_1.shape), glorot_scale(*W_2.shape)
    new_W_1 = np.clip(W_1 - gamma_1 * eta * dW_1, -1, 1)  # line 11
    new_W_2 = np.clip(W_2 - gamma_2 * eta * dW_2, -1, 1)
    first = new_W_1, g_1 - eta * dg_1, b_1 - eta * db_1  # line 10
    return *first, new_W_2, g_2 - eta * dg_2, b_2 - eta * db_2
    # END SOLUTION


course.check("2.5", algorithm_1)

# %% [markdown]
# ## 2.6 Is the backward pass right?
#
# So far we know that the package equals our hand calculation. We could have made the same mistake
# twice. The gradient checker asks the forward pass alone, by differences, with each Sign replaced
# by its surrogate around the point (notebook 1). *Full* mode moves every single element.
#
# **Expect:** seven lines with relative errors of 1e-9 or less.

# %%
check = {"labels": labels, "loss": squared_hinge, "mode": "full"}
print(check_gradients(network, a_0, rng=np.random.default_rng(1), **check))

# %% [markdown]
# **Question.** We plant the mistake from section 2.4: line 8 with the latent weights instead of
# the binary ones. Which tensors will be wrong, those below the broken layer or those of the layer
# itself?

# %% tags=["question"]
course.answer("2.6a", "below")  # "below" or "own"


# %%
class LatentDense(Dense):
    """The bug: line 8 with W in the place of W^b."""

    def backward(self, dy):
        super().backward(dy)
        return dy @ self.weight.latent.T


print(check_gradients(build(LatentDense), a_0, rng=np.random.default_rng(1), **check))

# %% [markdown]
# **Answer.** Those below: layer 1's weights, gain and shift, and the input (**expect** errors
# between 0.01 and 1). The broken layer's own weights pass, because line 9 is still right. Which
# layer is to blame? A mistake in one spoils everything below it, so the checker looks at each layer
# alone, and the first line of the report says what it found.

# %% [markdown]
# ## 2.7 The same lines as a loop
#
# `qnn_ref/training.py` holds the lines above, with their numbers as comments:

# %%
print(source(train_step))

# %% [markdown]
# A loop around it takes batch after batch. We let it run for twenty steps on our four examples, and
# follow the four latent weights of one hidden unit.
#
# **Question.** The gradient of a weight changes from step to step. Will a weight that has flipped
# stay where it is?

# %% tags=["question"]
course.answer("2.7a", False)  # True or False

# %%
path = [weight_1.latent[:, 1].copy()]
run = train(
    Run(network, SGD(eta), np.random.default_rng(0)),
    a_0,
    labels,
    (a_0, labels),
    loss=squared_hinge,
    epochs=20,
    batch_size=4,
    schedule=lambda epoch: eta,
    after_epoch=lambda run: path.append(weight_1.latent[:, 1].copy()),
)
costs = [entry["loss"] for entry in run.history]
print("cost in steps 1, 5, 10, 15, 20:", *(f"{costs[i]:.3f}" for i in (0, 4, 9, 14, 19)))
plots.latent_figure({f"row {i} of $W_1$": weights for i, weights in enumerate(np.transpose(path))})

# %% [markdown]
# **Answer.** No. The weight in row 2 hovers around 0 and changes its sign more than once, and
# each flip of a weight can throw the cost up again (step 10). The weight in row 1 runs to the
# clip and stays there. In the end nothing moves any more: all scores are right by a margin of 1,
# so the hinge sends back almost no gradient.

# %% [markdown]
# ## Summary
#
# 1. Forward and backward use binary weights and activations; every gradient is a real number.
# 2. The gradient of the binary weight moves the latent one, scaled by $\gamma_k$ and clipped;
#    signs flip now and then.
# 3. Values, hand calculation, package and checker agree to about 14 digits.
#
# ## More to try
#
# 1. Redo line 6 with the relaxed boundary $\tau = 1.5$ (section 4.3). Which gradients pass now?
#    Check it with `Quantize(Sign(1.5))`.
# 2. In line 9 use the real $a_1$ instead of $a_1^b$. A `Dense` gets the codes only, so write one
#    layer that does both: `class SignDense(Dense)`, whose `forward` keeps the real input and hands
#    its signs to `super().forward`, and which declares the jump (`docs/write_a_layer.md`). Let the
#    checker find the mistake in its `backward`.
# 3. Why does a bias in front of a batch norm never learn? Look at the columns of $\delta_{s_2}$.
#
# ## Reading on
#
# Paper, Algorithm 1 and section 2.3. In the code: `qnn_ref/layers/dense.py`,
# `qnn_ref/layers/normalization.py` and `qnn_ref/training.py`. The authors' own loop is in their
# Theano code, file `binary_net.py`.
#
# Next: [3. Training on MNIST](03_training_on_mnist.ipynb).
