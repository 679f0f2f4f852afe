"""What every test run shares: quiet threads, a backend without windows, hypothesis profiles.

Profiles are chosen by the environment variable HYPOTHESIS_PROFILE: `dev` draws new examples each
time and remembers failures; `ci` (the default where CI is set) draws the same ones each time.
"""

import os

# Before anything loads Numba or matplotlib: both read their environment once, at import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

JIT_IS_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

# Without the compiler a kernel is up to 10,000 times slower: fewer examples, the same kinds.
# A test that needs another number says so in its own settings.
EXAMPLES = 20 if JIT_IS_OFF else 100

# No deadline: the first example of a kernel includes its compilation.
settings.register_profile("dev", deadline=None, max_examples=EXAMPLES)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `slow_without_jit` where Numba is switched off."""
    if not JIT_IS_OFF:
        return
    skip = pytest.mark.skip(reason="NUMBA_DISABLE_JIT=1: too slow, or about compiled code only")
    for item in items:
        if item.get_closest_marker("slow_without_jit"):
            item.add_marker(skip)
