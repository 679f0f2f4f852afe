"""Fuzz the faces of compiled code: random faces, arguments spoiled at random, several at once.

    python tests/fuzz_faces.py --calls 10000 --seed 0

Every call must end in one of our exceptions, which names an argument, or in the right answer, and
no byte around an array may change. The calls run in a process of their own: if that one dies, its
last call is printed. Prints counts by face and outcome; exit status 1 if anything else happened.
Outside CI: it takes minutes, most of them for compilations.
"""

import argparse
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.face_examples import EXAMPLES, Replaced, outcome, spoiled

FINITE = (-0.0, 0.0, 1e-45, 1e3, -1e3, 1.0, -1.0)
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 3e38, -3e38, 1.0, -1.0)


def with_other_values(value, rng, finite):
    """The same array with strange values in some places, or with any bits at all."""
    value = value.copy()
    flat = value.reshape(-1)
    if not flat.size:
        return value
    places = rng.integers(0, flat.size, 1 + flat.size // 4)
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):
            flat[places] = rng.choice(FINITE if finite else SPECIAL, places.size).astype(
                value.dtype
            )
    elif value.dtype.kind in "iu":
        limits = np.iinfo(value.dtype)
        native = value.dtype.newbyteorder("=")
        some = rng.integers(limits.min, limits.max, places.size, native, endpoint=True)
        edges = np.array([limits.min, limits.max, 0, 1], value.dtype)
        flat[places] = np.where(rng.random(places.size) < 0.5, some, rng.choice(edges, places.size))
    elif value.dtype == np.bool_:
        flat[places] ^= True
    return value


def draw_call(rng):
    """A face, its arguments, and in words what was done to them."""
    name = str(rng.choice(sorted(EXAMPLES)))
    given, finite = EXAMPLES[name].draw(rng), EXAMPLES[name].finite
    said = []
    for argument in rng.permutation(list(given))[: rng.integers(0, 4)]:
        argument = str(argument)
        for _ in range(rng.integers(1, 3)):
            value = given[argument]
            if isinstance(value, np.ndarray) and rng.random() < 0.4:
                how, given[argument] = "other values", with_other_values(value, rng, finite)
            elif not isinstance(value, Replaced) and (choices := list(spoiled(value))):
                how, given[argument] = choices[rng.integers(len(choices))]
            else:
                continue
            said.append(f"{argument} {how}")
    return name, given, "; ".join(said)


def run_calls(calls, seed, first):
    """Make the calls from `first` on; a line each: number, face, outcome, what was done."""
    warnings.simplefilter("ignore")
    for number in range(first, calls):
        name, given, said = draw_call(np.random.default_rng([seed, number]))
        print(number, name, end=" ", flush=True)
        found = outcome(name, given).splitlines() or [""]
        print(f"{found[0][:200]} | {said}", flush=True)


def judge(calls, seed):
    """Run the calls in processes; counts, and what went wrong."""
    counts, wrong, first = Counter(), [], 0
    while first < calls:
        command = [sys.executable, __file__, "--calls", str(calls), "--seed", str(seed)]
        child = subprocess.run(
            [*command, "--first", str(first)], stdout=subprocess.PIPE, text=True, check=False
        )
        lines = child.stdout.splitlines()
        for line in lines:
            number, name, *rest = line.split(" ", 2)
            found, _, said = (rest[0] if rest else "").partition(" | ")
            if found not in ("refused", "right"):
                wrong.append(f"call {number}, {name}: {found or 'the process died'} ({said})")
                found = "WRONG"
            counts[name, found] += 1
            first = int(number) + 1
        if child.returncode and (not lines or child.returncode == 1):  # the fuzzer itself failed
            wrong.append(f"stopped before call {first}: exit status {child.returncode}")
            break
    return counts, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, help="make the calls here, from this one on")
    args = parser.parse_args()
    if args.first is not None:
        run_calls(args.calls, args.seed, args.first)
        return 0
    counts, wrong = judge(args.calls, args.seed)
    for name in sorted(EXAMPLES):
        row = {found: n for (face, found), n in counts.items() if face == name}
        print(
            f"{name:50}" + "".join(f"{row.get(f, 0):8} {f}" for f in ("right", "refused", "WRONG"))
        )
    print(f"{sum(counts.values())} calls, {len(wrong)} wrong")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
