"""A valid call of each face of compiled code, ways to spoil it, and what may come of it.

`EXAMPLES` maps dotted names to a function that draws arguments, by name, and to the right answer
for them; `tests/test_faces.py` spoils one argument at a time, `tests/fuzz_faces.py` several, at
random. `outcome` calls a face on arrays that stand between canaries: values that nobody may change.
"""

import dataclasses
import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qnn_ref.bench.ceiling import width
from qnn_ref.bits import (
    KernelPanels,
    Panels,
    SignKernel,
    pack,
    pack_kernel,
    pack_sign_kernel,
    to_panels,
    to_planes,
    to_powers,
    unpack,
)
from qnn_ref.bits.conv import (
    pixels_conv_reference,
    planes_conv_reference,
    xnor_conv_reference,
)
from qnn_ref.bits.conv_gradients import (
    conv_input_gradient_reference,
    conv_weight_gradient_reference,
)
from qnn_ref.bits.gemm import xnor_matmul_reference
from qnn_ref.bits.grids import codes_matmul_reference, grid_matrix, join_pairs_reference
from qnn_ref.bits.lanes import LANES
from qnn_ref.bits.levels import fixed_matmul_reference, levels_matmul_reference, to_fixed_planes
from qnn_ref.bits.lookup import pixels_matmul_reference, signs_matmul_reference
from qnn_ref.bits.panels import PANEL, pack_panels_reference
from qnn_ref.bits.planes import (
    pack_levels_reference,
    planes_matmul_reference,
    to_planes_reference,
)
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.powers import powers_matmul_reference
from qnn_ref.bits.repeated_filters import RepeatedKernel, repeated_conv_reference
from qnn_ref.bits.words import pack_bits_reference, pack_reference, pack_thresholds_reference
from qnn_ref.grid import Grid
from qnn_ref.layers.normalization import (
    channel_mean_reference,
    normalize_batch_backward_reference,
    normalize_batch_reference,
)
from qnn_ref.layers.pooling import (
    find_winners_reference,
    give_winners_reference,
    take_winners_reference,
)
from qnn_ref.optimizers.adam import adam_update_reference
from qnn_ref.optimizers.adamax import adamax_update_reference
from qnn_ref.optimizers.sgd import sgd_update_reference
from qnn_ref.optimizers.shift_adamax import shift_adamax_update_reference
from qnn_ref.quantizers.linear import round_half_up_reference
from qnn_ref.quantizers.sign import hard_tanh_backward_reference, sign_codes_reference
from qnn_ref.shifts import (
    ap2_reference,
    shift_multiply_fixed_reference,
    shift_multiply_reference,
)

Array = np.ndarray
Arguments = dict[str, Any]
Rng = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Example:
    """How to call a face.

    `draw(rng)` gives valid arguments; `right(**arguments)` is the right answer for them, by a twin
    that also refuses what the face refuses. `written` names the arguments that are changed in
    place, `compiled_only` faces that exist in compiled code alone, `finite` those whose numbers
    have to be (sums of infinities depend on their order, or were refused before the call), and the
    number of factors in a term of their sums, which tells how much is lost by rounding.
    """

    draw: Callable[[Rng], Arguments]
    right: Callable[..., Any]
    written: tuple[str, ...] = ()
    compiled_only: bool = False
    finite: int = 0


M, N, K, LINES = 5, 18, 70, 3


def signs(rng: Rng, *shape: int) -> Array:
    return rng.choice(np.array([-1.0, 1.0], np.float32), shape)


def reals(rng: Rng, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def rows_of(b: Array | Panels) -> Array:
    return b.to_words() if isinstance(b, Panels) else b


def words_of(w: Array | KernelPanels) -> Array:
    return w.words if isinstance(w, KernelPanels) else w


def panel_product(planes, panels, base, step, out):
    """What a rung of the ladder writes, in NumPy."""
    count, W, width = panels.shape
    columns = panels.transpose(0, 2, 1).reshape(count * width, W)[: out.shape[1]]
    differ = popcount(planes[:, :, None] ^ columns).sum(axis=3).astype(np.int64)
    total = np.tensordot(2 ** np.arange(len(planes)), differ, 1)
    out[...] = (base[: out.shape[1]] - step * total).astype(np.int32)


def float_product(x, w, out):
    out[...] = x @ w.T


def word_product(a, b, K, out):
    differ = popcount(a[:, None] ^ b).sum(axis=2).astype(np.int64)
    out[...] = (K - 2 * differ).astype(np.int32)


def ladder_words(rng: Rng) -> Arguments:
    a, b = pack(signs(rng, M, K)), pack(signs(rng, N, K))
    return {"a": a, "b": b, "K": K, "out": np.zeros((M, N), np.int32)}


def ladder_floats(rng: Rng) -> Arguments:
    x, w = signs(rng, M, 9), signs(rng, N, 9)
    return {"x": x, "w": w, "out": np.zeros((M, N), np.float32)}


def ladder_panels(rng: Rng) -> Arguments:
    panels = to_panels(pack(signs(rng, N, K)), K).words
    base = rng.integers(-50, 50, len(panels) * PANEL)
    planes = pack(signs(rng, 2, M, K))
    return {
        "planes": planes,
        "panels": panels,
        "base": base,
        "step": 2,
        "out": np.zeros((M, N), np.int32),
    }


def run_few(planes, rows, base, step, out):
    panels = to_panels(rows, 64 * rows.shape[1])
    whole = np.zeros(len(panels.words) * PANEL, np.int64)
    whole[: len(rows)] = base
    panel_product(planes, panels.words, whole, step, out)
    return out


def empty(out, planes, panels):
    return np.empty((planes.shape[1], panels.N), np.int32) if out is None else out


def few(rng: Rng) -> Arguments:
    planes, rows = pack(signs(rng, 2, M, K)), pack(signs(rng, N, K))
    base, out = rng.integers(-50, 50, N), np.zeros((M, N), np.int32)
    return {"planes": planes, "rows": rows, "base": base, "step": 2, "out": out}


def few_in_panels(rng: Rng) -> Arguments:
    given = few(rng)
    panels = to_panels(given.pop("rows"), K)
    return {"planes": given.pop("planes"), "panels": panels, **given}


def run_signs(panels, x, starts, out):
    rows = x[starts[:, None] + np.arange(out.shape[1])]
    out[...] = signs_matmul_reference(panels.to_words(), rows)


def moved_rows(rng: Rng) -> Arguments:
    panels = to_panels(pack(signs(rng, N, K)), K)
    starts = rng.integers(0, 40, K)
    return {
        "panels": panels,
        "x": reals(rng, 60),
        "starts": starts,
        "out": np.zeros((N, 11), np.float32),
    }


def few_codes(rng: Rng) -> Arguments:
    words = to_planes(2 * rng.integers(0, 4, (N, K)) - 3, Grid(-3, 3, 2))
    codes = rng.integers(0, 16, (2, K)).astype(np.float32)
    return {
        "codes": codes,
        "matrix": grid_matrix(words, K, Grid(-3, 3, 2)),
        "grid": Grid(0, 15, 1),
    }


def pairs(rng: Rng) -> Arguments:
    return {
        "products": 2 * rng.integers(-9, 9, (2, M, 3, N)).astype(np.int32),
        "left": 2 ** np.arange(2),
        "right": 2 ** np.arange(3),
        "rows": 2 * rng.integers(-9, 9, M),
        "columns": 2 * rng.integers(-9, 9, N),
        "shift": 1,
    }


def product(rng: Rng, form: Callable[[Array, int], Any] = lambda b, K: b) -> Arguments:
    a, b = pack(signs(rng, M, K)), form(pack(signs(rng, N, K)), K)
    return {"a": a, "b": b, "K": K, "out": np.zeros((M, N), np.int32)}


def two_planes(split: Callable[[Array], Array]) -> Callable[[Rng], Arguments]:
    def draw(rng: Rng) -> Arguments:
        a, b = (split(rng.integers(0, 2, (rows, K))) for rows in (M, N))
        return {"a": a, "b": b, "K": K}

    return draw


def grid_product(rng: Rng) -> Arguments:
    codes = rng.integers(-1, 3, (M, K))
    out = np.zeros((M, N), np.int32)
    b = pack(signs(rng, N, K))
    return {
        "planes": to_planes(codes, Grid(-1, 2, 1)),
        "b": b,
        "K": K,
        "grid": Grid(-1, 2, 1),
        "out": out,
    }


def pixel_product(rng: Rng) -> Arguments:
    images, b = rng.integers(0, 256, (M, K), np.uint8), pack(signs(rng, N, K))
    return {"images": images, "b": b, "K": K, "out": np.zeros((M, N), np.int32)}


def sign_product(rng: Rng) -> Arguments:
    b = pack(signs(rng, N, K))
    return {"b": b, "x": reals(rng, K, 11), "out": np.zeros((N, 11), np.float32)}


def power_product(rng: Rng) -> Arguments:
    codes = signs(rng, M, K) * 2.0 ** rng.integers(0, 4, (M, K))
    planes, powers = to_powers(codes)
    return {"signs": planes, "powers": powers, "b": pack(signs(rng, N, K)), "K": K}


GEOMETRY = {"stride": (1, 2), "padding": (1, 0), "pad_value": 0}


def conv_out(kernel: int = 3, B: int = 2) -> Array:
    return np.zeros((B, 6 + 2 - kernel + 1, (5 - kernel) // 2 + 1, 4), np.int32)


def bit_conv(rng: Rng) -> Arguments:
    x, w = pack(signs(rng, 2, 6, 5, K)), pack_kernel(signs(rng, 3, 3, K, 4))
    return {"x": x, "w": w, "C": K, **GEOMETRY, "out": conv_out()}


def repeated(rng: Rng) -> Arguments:
    arguments = bit_conv(rng)
    return arguments | {"w": RepeatedKernel(arguments["w"], K)}


def grid_conv(rng: Rng) -> Arguments:
    grid = Grid(-1, 2, 1)
    planes = to_planes(rng.integers(-1, 3, (2, 6, 5, K)), grid)
    w = pack_kernel(signs(rng, 3, 3, K, 4))
    return {"planes": planes, "w": w, "C": K, "grid": grid, **GEOMETRY, "out": conv_out()}


def pixel_conv(rng: Rng) -> Arguments:
    images, w = rng.integers(0, 256, (2, 6, 5, 3), np.uint8), pack_kernel(signs(rng, 3, 3, 3, 4))
    return {"images": images, "w": w, **GEOMETRY, "out": conv_out()}


def input_gradient(rng: Rng) -> Arguments:
    kernel = pack_sign_kernel(signs(rng, 3, 2, 5, 4))
    return {
        "kernel": kernel,
        "dy": reals(rng, 2, 6, 5, 4),
        "image": (6, 6),
        "padding": (1, 0),
    }


def kernel_codes(kernel: SignKernel) -> Array:
    codes = unpack(kernel.forward.words, kernel.forward.C, np.float32)
    return np.moveaxis(codes, 0, -1)


def weight_gradient(rng: Rng) -> Arguments:
    x, dy = signs(rng, 2, 6, 6, 5), reals(rng, 2, 6, 5, 4)
    return {"x": x, "dy": dy, "kernel": (3, 2), "padding": (1, 0), "pad_value": 0}


def thresholds(rng: Rng) -> Arguments:
    sums = rng.integers(-9, 10, (M, K), np.int32)
    at, flip = rng.integers(-9, 10, K, np.int32), rng.integers(0, 2, K).astype(bool)
    return {"sums": sums, "at": at, "flip": flip}


def batch(rng: Rng) -> Arguments:
    gain, shift = reals(rng, 7), reals(rng, 7)
    return {"x": reals(rng, M, 2, 7), "gain": gain, "shift": shift, "epsilon": 1e-4}


def batch_backward(rng: Rng) -> Arguments:
    dy, normalized = reals(rng, M, 2, 7), reals(rng, M, 2, 7)
    return {"dy": dy, "normalized": normalized, "r": reals(rng, 7), "gain": reals(rng, 7)}


def pool(rng: Rng) -> Arguments:
    return {"padded": reals(rng, 2, 6, 5, 3), "size": (3, 2), "stride": (1, 2)}


def pool_take(rng: Rng) -> Arguments:
    given = pool(rng)
    winners = find_winners_reference(**given)
    return {"padded": given.pop("padded"), "winners": winners, **given}


def pool_give(rng: Rng) -> Arguments:
    given = pool(rng)
    winners = find_winners_reference(**given)
    shape = given.pop("padded").shape
    return {"dy": reals(rng, *winners.shape), "winners": winners, "shape": shape, **given}


def update(letters: str, *constants: float) -> Callable[[Rng], Arguments]:
    def draw(rng: Rng) -> Arguments:
        arrays = {letter: reals(rng, 64) for letter in letters}
        for norm in set(letters) & set("vu"):
            arrays[norm] = np.abs(arrays[norm])
        numbers = np.array(constants, np.float32)
        given = arrays | {"constants": numbers, "bound": 1.0}
        given |= {"torch": False} if len(constants) == 6 else {}
        return given | {"signs": np.zeros(1, np.uint64)}

    return draw


def rounding(rng: Rng) -> Arguments:
    given = {"count": 7, "width": 2.0, "offset": 0.5, "low": -3.0, "high": 3.0}
    return {"x": reals(rng, M, 7), **given}


def with_out(twin: Callable[..., Array]) -> Callable[..., Array]:
    def right(*args: Any, out: Any = None, **given: Any) -> Array:
        return twin(*args, **given)

    return right


def ap2_right(x, out=None):
    return ap2_reference(x)


def fixed(rng: Rng) -> Arguments:
    codes = rng.integers(-999, 1000, (M, 7))
    return {"codes": codes, "signs": rng.integers(-1, 2, 7), "exponents": rng.integers(-9, 9, 7)}


def loop(words, turns, totals):
    for task in range(totals.size):
        numbers = np.uint64(task) + np.arange(1, turns + 1, dtype=np.uint64)
        totals[task] = popcount(words ^ numbers[:, None]).sum()


def ceiling(rng: Rng) -> Arguments:
    words = rng.integers(0, 2**64, 256, np.uint64)
    return {"words": words, "turns": 2, "totals": np.zeros(2, np.uint64)}


def tables_of(rng: Rng) -> Arguments:
    wide = width()
    given = {"words": rng.integers(0, 2**64, 8, np.uint64), "tables": reals(rng, 8, 16, wide)}
    return given | {"turns": 2, "totals": np.zeros((3, wide), np.float32)}


def looked_up(words, tables, turns, totals):
    for task in range(len(totals)):
        numbers = np.uint64(task) + np.arange(1, turns + 1, dtype=np.uint64)
        named = (words ^ numbers[:, None])[..., None] >> 4 * np.arange(8, dtype=np.uint64)
        totals[task] = tables[range(8), named & np.uint64(15)].sum(axis=(0, 1, 2))


def three_vectors():
    return 3 * 2 * LANES


def moved(w, g, m, v, threads):
    m[:], v[:] = m / 2 + g, v / 2 + g
    w[:] = w / 2 - m + v


def counted_on(done):
    done += 1


def sweep(x, threads):
    words = x.reshape(-1).view(np.uint64).reshape(threads, -1)
    return lambda: words.sum(axis=1)


def xnor_right(a, b, K, out=None):
    return xnor_matmul_reference(a, rows_of(b), K)


CONV_X = with_out(lambda x, w, C, **given: xnor_conv_reference(x, words_of(w), C, **given))
REPEATED = with_out(lambda x, w, C, **given: repeated_conv_reference(x, w.words, C, **given))
CONV_PLANES = with_out(
    lambda planes, w, C, **given: planes_conv_reference(planes, words_of(w), C, **given)
)
CONV_PIXELS = with_out(
    lambda images, w, **given: pixels_conv_reference(images, words_of(w), **given)
)

EXAMPLES: dict[str, Example] = {
    "bench.ceiling.plain_loop": Example(ceiling, loop, ("totals",)),
    "bench.ceiling.vector_loop": Example(ceiling, loop, ("totals",), compiled_only=True),
    "bench.ceiling.carry_save_loop": Example(ceiling, loop, ("totals",), compiled_only=True),
    "bench.ceiling.lookup_loop": Example(
        tables_of, looked_up, ("totals",), compiled_only=True, finite=1
    ),
    "bench.ceiling.width": Example(lambda rng: {}, three_vectors, compiled_only=True),
    "bench.ceiling.update_loop": Example(
        lambda rng: {name: reals(rng, 70) for name in "wgmv"} | {"threads": 2}, moved, (*"wmv",)
    ),
    "bench.overhead.tasks": Example(
        lambda rng: {"done": rng.integers(0, 9, 3)}, counted_on, ("done",)
    ),
    "bench.ceiling.read_call": Example(lambda rng: {"x": reals(rng, 4, 8), "threads": 2}, sweep),
    "bits.conv.pixels_conv": Example(pixel_conv, CONV_PIXELS, ("out",)),
    "bits.conv.planes_conv": Example(grid_conv, CONV_PLANES, ("out",)),
    "bits.conv.xnor_conv": Example(bit_conv, CONV_X, ("out",)),
    "bits.conv_gradients.conv_input_gradient": Example(
        input_gradient,
        lambda kernel, dy, image, padding: conv_input_gradient_reference(
            kernel_codes(kernel), dy, image, padding
        ),
        finite=1,
    ),
    "bits.conv_gradients.conv_weight_gradient": Example(
        weight_gradient, conv_weight_gradient_reference, finite=1
    ),
    "bits.repeated_filters.repeated_conv": Example(repeated, REPEATED, ("out",)),
    "bits.gemm.run_few": Example(few, run_few, ("out",)),
    "bits.gemm.run_panels": Example(
        few_in_panels,
        lambda planes, panels, base, step, out: run_few(
            planes, panels.to_words(), base, step, empty(out, planes, panels)
        ),
        ("out",),
    ),
    "bits.gemm.xnor_matmul": Example(product, xnor_right, ("out",)),
    "bits.ladder.carry_save": Example(ladder_panels, panel_product, ("out",), compiled_only=True),
    "bits.ladder.column_panels": Example(ladder_panels, panel_product, ("out",)),
    "bits.ladder.fast_float_loops": Example(ladder_floats, float_product, ("out",), finite=2),
    "bits.ladder.float_loops": Example(ladder_floats, float_product, ("out",), finite=2),
    "bits.ladder.register_block": Example(ladder_words, word_product, ("out",)),
    "bits.ladder.three_loops": Example(ladder_words, word_product, ("out",)),
    "bits.ladder.vector_tiles": Example(ladder_panels, panel_product, ("out",), compiled_only=True),
    "bits.levels.fixed_matmul": Example(
        two_planes(lambda codes: to_fixed_planes(codes, 2)), fixed_matmul_reference
    ),
    "bits.levels.levels_matmul": Example(
        two_planes(lambda codes: to_planes(2 * codes - 1, Grid(-3, 3, 2))), levels_matmul_reference
    ),
    "bits.lookup.pixels_matmul": Example(
        pixel_product,
        lambda images, b, K, out=None: pixels_matmul_reference(images, rows_of(b), K),
        ("out",),
    ),
    "bits.lookup.run_signs": Example(moved_rows, run_signs, ("out",)),
    "bits.lookup.signs_matmul": Example(
        sign_product, lambda b, x, out=None: signs_matmul_reference(rows_of(b), x), ("out",)
    ),
    "bits.transpose.transposed": Example(lambda rng: {"x": reals(rng, M, 20)}, lambda x: x.T),
    "bits.grids.join_pairs": Example(pairs, join_pairs_reference),
    "bits.grids.codes_matmul": Example(few_codes, codes_matmul_reference),
    "bits.panels.both_ways": Example(
        lambda rng: {"words": pack(signs(rng, M, K)), "C": K},
        lambda words, C: pack_panels_reference(unpack(words, C)),
    ),
    "bits.planes.to_planes": Example(
        lambda rng: {
            "codes": (2.0 * rng.integers(0, 4, (M, K)) - 3).astype(np.float32),
            "grid": Grid(-3, 3, 2),
        },
        to_planes_reference,
    ),
    "bits.panels.pack_panels": Example(
        lambda rng: {"x": reals(rng, K, N)},
        lambda x: pack_panels_reference(x),
    ),
    "bits.planes.pack_levels": Example(
        lambda rng: {"levels": rng.integers(0, 8, (M, K), np.uint8), "P": 3}, pack_levels_reference
    ),
    "bits.planes.planes_matmul": Example(
        grid_product,
        with_out(lambda planes, b, K, grid: planes_matmul_reference(planes, rows_of(b), K, grid)),
        ("out",),
    ),
    "bits.powers.powers_matmul": Example(
        power_product, lambda signs, powers, b, K: powers_matmul_reference(signs, powers, b)
    ),
    "bits.words.pack": Example(lambda rng: {"x": reals(rng, LINES, M, K)}, pack_reference),
    "bits.words.pack_bits": Example(
        lambda rng: {"bits": rng.integers(0, 2, (M, K)).astype(bool)}, pack_bits_reference
    ),
    "bits.words.pack_thresholds": Example(thresholds, pack_thresholds_reference),
    "layers.normalization.channel_mean": Example(
        lambda rng: {"x": reals(rng, M, 2, 7)}, channel_mean_reference
    ),
    "quantizers.sign.sign_codes": Example(
        lambda rng: {"x": reals(rng, 3, 70)}, sign_codes_reference
    ),
    "quantizers.sign.hard_tanh_backward": Example(
        lambda rng: {"dy": reals(rng, 3, 70), "x": reals(rng, 3, 70), "saturation": 1.0},
        hard_tanh_backward_reference,
    ),
    "layers.normalization.normalize_batch": Example(batch, normalize_batch_reference),
    "layers.normalization.normalize_batch_backward": Example(
        batch_backward, normalize_batch_backward_reference
    ),
    "layers.pooling.find_winners": Example(pool, find_winners_reference),
    "layers.pooling.give_winners": Example(pool_give, give_winners_reference),
    "layers.pooling.take_winners": Example(pool_take, take_winners_reference),
    "optimizers.adam.adam_update": Example(
        update("wgmv", 0.9, 0.1, 0.999, 0.001, 0.01, 0.1, 0.001, 1e-8),
        adam_update_reference,
        (*"wmv", "signs"),
    ),
    "optimizers.adamax.adamax_update": Example(
        update("wgmu", 0.9, 0.1, 0.999, 0.01, 2.0), adamax_update_reference, (*"wmu", "signs")
    ),
    "optimizers.sgd.sgd_update": Example(
        update("wgm", 0.9, 0.01, 2.0), sgd_update_reference, (*"wm", "signs")
    ),
    "optimizers.shift_adamax.shift_adamax_update": Example(
        update("wgmv", 0.875, 0.125, 0.999, 0.01, 1e-8, float(np.finfo(np.float32).tiny)),
        shift_adamax_update_reference,
        (*"wmv", "signs"),
        finite=1,
    ),
    "quantizers.linear.round_half_up": Example(rounding, round_half_up_reference),
    "shifts.ap2": Example(
        lambda rng: {"x": reals(rng, M, 7), "out": np.zeros((M, 7), np.float32)},
        ap2_right,
        ("out",),
    ),
    "shifts.shift_multiply": Example(
        lambda rng: {
            "x": reals(rng, M, 7),
            "y": reals(rng, 7),
            "out": np.zeros((M, 7), np.float32),
        },
        with_out(shift_multiply_reference),
        ("out",),
    ),
    "shifts.shift_multiply_fixed": Example(fixed, shift_multiply_fixed_reference),
}


def face_of(name: str) -> Callable[..., Any]:
    module, _, function = f"qnn_ref.{name}".rpartition(".")
    return getattr(importlib.import_module(module), function)


# Spoiled arguments

OTHER_TYPES = ("float64", "float32", "int64", "int32", "uint8", "uint64", "bool", ">f4", ">u8")
OTHER_NUMBERS = (0, -1, 2**40, 2**70, -(2**70), 1.5, True, "1", None, float("nan"), float("inf"))


def spoiled(value: Any) -> Iterator[tuple[str, Any]]:
    """Other values in the place of a valid one, each with a name."""
    if isinstance(value, np.ndarray):
        yield from spoiled_arrays(value)
        return
    yield from ((f"is {type(other).__name__}", other) for other in (None, "text", [1], object()))
    if isinstance(value, tuple):
        yield from ((f"of length {n}", (value * 2)[:n]) for n in range(2 * len(value)))
        for place in range(len(value)):
            for name, other in spoiled(value[place]):
                if not isinstance(other, list):
                    yield f"[{place}] {name}", (*value[:place], other, *value[place + 1 :])
    elif isinstance(value, int | float):
        yield from ((repr(other), other) for other in (value + 1, value - 1, *OTHER_NUMBERS))
    elif dataclasses.is_dataclass(value):
        for part in dataclasses.fields(value):
            if not part.init:
                continue
            for name, other in spoiled(getattr(value, part.name)):
                yield f"{part.name} {name}", Replaced(value, part.name, other)


@dataclasses.dataclass(frozen=True)
class Replaced:
    """Prepared weights with another part: to make them may be refused already."""

    value: Any
    part: str
    other: Any

    def make(self) -> Any:
        other = self.other.make() if isinstance(self.other, Replaced) else self.other
        return dataclasses.replace(self.value, **{self.part: other})


def spoiled_arrays(array: Array) -> Iterator[tuple[str, Any]]:
    if array.ndim == 0 or array.dtype.hasobject:
        yield "no array", None
        return
    for axis, size in enumerate(array.shape):
        for other in sorted({size - 1, size + 1, 2 * size, 1, 0} - {size}) if size else ():
            places = np.arange(other) % size
            yield f"{other} along axis {axis}", np.take(array, places, axis)
    yield "another axis in front", array[None]
    yield "one axis less", array[0] if len(array) else array.reshape(-1)
    yield "no axis", np.array(array.reshape(-1)[0] if array.size else 0, array.dtype)
    for kind in OTHER_TYPES:
        if np.dtype(kind) != array.dtype:
            with np.errstate(all="ignore"):
                yield f"as {kind}", array.astype(kind)
    yield "of objects", array.astype(object)
    yield "of complex numbers", array.astype(complex)
    yield "as a list", array.tolist()
    yield "no array", None
    for axis in range(array.ndim):
        yield (
            f"strided along axis {axis}",
            np.repeat(array, 2, axis)[
                tuple(slice(None, None, 2) if a == axis else slice(None) for a in range(array.ndim))
            ],
        )
    yield "backwards in memory", np.flip(np.flip(array).copy())
    yield "in Fortran order", np.asfortranarray(array)
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen


# What comes of a call

BORDER = 4096
CANARY = 0xA5


class Canaries:
    """Copies of arrays that stand between bytes that nobody may change."""

    def __init__(self) -> None:
        self.rooms: list[tuple[Array, int]] = []

    def copy(self, array: Array) -> Array:
        """The array in such a place: contiguous, unless it was not."""
        if array.dtype.hasobject or not array.flags.c_contiguous:
            return array
        room = np.full(array.nbytes + 2 * BORDER, CANARY, np.uint8)
        place = room[BORDER : BORDER + array.nbytes]
        inside = place.view(array.dtype).reshape(array.shape)
        inside[...] = array
        inside.flags.writeable = array.flags.writeable
        self.rooms.append((room, array.nbytes))
        return inside

    def alive(self) -> bool:
        return all(
            (room[:BORDER] == CANARY).all() and (room[BORDER + size :] == CANARY).all()
            for room, size in self.rooms
        )


OURS = re.compile(r"^\w+: ")


def refusal(error: Exception) -> bool:
    """Whether an error is one of ours: a type that we raise, and the name of an argument."""
    return isinstance(error, TypeError | ValueError) and bool(OURS.match(str(error)))


def parts_of(answer: Any) -> list[Array]:
    """The arrays of an answer."""
    if callable(answer):
        answer = answer()
    if dataclasses.is_dataclass(answer):
        answer = [getattr(answer, f.name) for f in dataclasses.fields(answer)]
    if isinstance(answer, tuple | list):
        return [part for item in answer for part in parts_of(item)]
    return [] if answer is None else [np.asarray(answer)]


def run(function: Callable[..., Any], example: Example, arguments: Arguments) -> Any:
    """Call on copies between canaries: the answer with what was written, or the error."""
    canaries = Canaries()
    copies: Arguments = {}
    try:
        for name, value in arguments.items():
            value = value.make() if isinstance(value, Replaced) else value
            copies[name] = canaries.copy(value) if isinstance(value, np.ndarray) else value
        with np.errstate(all="ignore"):
            answer = parts_of(function(**copies))
    except Exception as error:
        return error if canaries.alive() else AssertionError("a canary was changed")
    if not canaries.alive():
        return AssertionError("a canary was changed")
    if function is not example.right or "out" not in example.written:
        written = [copies[name] for name in example.written if name != "out"]
        answer += [np.asarray(a) for a in written]
    if "out" in example.written and not answer:
        answer = [np.asarray(copies["out"])]
    return answer


def outcome(name: str, arguments: Arguments) -> str:
    """Call a face: "refused", "right", or what went wrong."""
    example = EXAMPLES[name]
    got = run(face_of(name), example, arguments)
    if isinstance(got, Exception):
        return "refused" if refusal(got) else f"{type(got).__name__}: {got}"
    expected = run(example.right, example, arguments)
    if isinstance(expected, Exception):
        return f"accepted, but the twin says {type(expected).__name__}: {expected}"
    floats = [a for a in arguments.values() if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    largest = max((float(np.abs(a).max(initial=1)) for a in floats), default=1.0)
    return compare(got, expected, largest**example.finite)


def compare(got: list[Array], expected: list[Array], scale: float = 1.0) -> str:
    """Say "right", or what is wrong; sums of numbers of that scale are rounded on the way."""
    if len(got) != len(expected):
        return f"{len(got)} arrays instead of {len(expected)}"
    for ours, theirs in zip(got, expected, strict=True):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return f"{ours.dtype} {ours.shape} instead of {theirs.dtype} {theirs.shape}"
        if ours.dtype.kind != "f":
            equal = np.array_equal(ours, theirs)
        else:
            equal = np.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)
        if not equal:
            return "a wrong answer"
    return "right"
