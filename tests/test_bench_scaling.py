"""Cost against width and batch: each size is measured once, and the figure shows what was."""

import pytest

from qnn_ref import plots
from qnn_ref.bench import ASKED_FOR, NAMES, Settings, bench, scaling
from qnn_ref.plots.bench import _curves, _limit

CEILING = {"tops": 2.0, "read_gb_per_s": 10.0}


def row(name, width, batch, ours, peer, peer_name="PyTorch float32", unit="s"):
    size = f"784-3x{width}-10, batch {batch}"
    values = {"name": f"scaling: {name}", "size": size, "ours": ours, "peer": peer}
    return values | {"peer_name": peer_name, "unit": unit}


ROWS = [
    row("training step", 128, 100, 0.002, 0.004),
    row("training step", 1024, 100, 0.02, None),
    row("training step", 1024, 1, 0.01, 0.03, "PyTorch compiled"),
    row("packed inference", 128, 1000, 0.002, 0.004),
    row("packed inference", 1024, 1, 0.0001, 0.004),
    row("memory of a step", 128, 100, 4e6, 2e6, "latent + two moments + gradient", "bytes"),
]


@pytest.mark.slow_without_jit
def test_each_size_is_measured_once(monkeypatch):
    monkeypatch.setattr(scaling, "QUICK_WIDTHS", (8, 16))
    monkeypatch.setattr(scaling, "QUICK_BATCHES", (2, 100))
    monkeypatch.setattr(scaling, "WIDTH", 16)
    monkeypatch.setattr(scaling, "IMAGES", 100)
    found = scaling.rows(Settings(repeats=1, budget=0.0, quick=True))
    keys = [(r.name, r.size, r.peer_name) for r in found]
    assert len(set(keys)) == len(keys)
    sizes = {(name, size) for name, size, _ in keys}
    for name in (scaling.STEP, scaling.INFERENCE):
        assert {s for n, s in sizes if n == name} == {
            f"784-3x{width}-10, batch {batch}" for width, batch in ((8, 100), (16, 100), (16, 2))
        }
    assert [r.ratio > 1 for r in found if r.name == scaling.MEMORY] == [True, True]


def test_it_is_measured_only_where_it_is_asked_for(monkeypatch):
    asked = []
    for name in set(NAMES) - {"ladder"}:
        give = lambda settings, name=name: asked.append(name) or []  # noqa: E731
        monkeypatch.setitem(bench.__globals__["SUBJECTS"], name, give)
    monkeypatch.setattr("qnn_ref.bench.ladder.ladder", lambda settings: [])
    monkeypatch.setattr("qnn_ref.bench.ladder.ceiling", lambda settings: CEILING)
    bench([], Settings())
    assert set(asked) == set(NAMES) - {"ladder", *ASKED_FOR}
    asked.clear()
    bench(["scaling"], Settings())
    assert asked == ["scaling"]


def test_curves_hold_the_rows_of_their_panel():
    curves, limit = _curves(ROWS, "training step", "width", CEILING)
    assert curves == {"ours": [(128, 2.0), (1024, 20.0)], "PyTorch float32": [(128, 4.0)]}
    assert [x for x, _ in limit] == [128, 1024]
    curves, _ = _curves(ROWS, "training step", "batch", CEILING)
    assert curves == {"ours": [(100, 20.0), (1, 10.0)], "PyTorch compiled": [(1, 30.0)]}
    curves, limit = _curves(ROWS, "memory of a step", "width", CEILING)
    assert curves == {"ours": [(128, 4.0)], "latent + two moments + gradient": [(128, 2.0)]}
    assert limit == []


def test_the_limit_counts_products_and_what_adam_moves():
    bits = 2 * 10 * (2 * 64 * 64 + (8 * 784 + 10) * 64) / 2e12
    moved = 28 * (2 * 64 * 64 + 794 * 64) / 10e9
    assert _limit(64, 10, False, CEILING) == pytest.approx(bits)
    assert _limit(64, 10, True, CEILING) == pytest.approx(bits + moved)


def test_the_figure_draws_five_panels():
    figure = plots.scaling_figure(ROWS, CEILING)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len([title for title in titles if title]) == 5
    labels = {line.get_label() for line in figure.axes[0].lines}
    assert labels == {"ours", "PyTorch float32", "limit"}
