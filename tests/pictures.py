"""What every picture has to satisfy, for the test files of `qnn_ref.plots`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure, ticks: bool) -> list[Text]:
    """Everything that is written, with or without the numbers of the axes."""
    found: list[Text] = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.findobj(Axes):
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        found += axes.get_legend().get_texts() if axes.get_legend() else []
        if axes.axison:
            found += [axes.xaxis.label, axes.yaxis.label]
            found += [*axes.get_xticklabels(), *axes.get_yticklabels()] if ticks else []
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def axis_labels(figure: Figure) -> set[str]:
    """Labels of all axes."""
    every = figure.findobj(Axes)
    return {label for axes in every for label in (axes.get_xlabel(), axes.get_ylabel()) if label}


def figures_of(module: ModuleType) -> set[str]:
    """Names of the figure functions that a module defines, without "_figure"."""
    return {
        name.removesuffix("_figure")
        for name, value in vars(module).items()
        if name.endswith("_figure") and value.__module__ == module.__name__
    }


def assert_readable(figure: Figure) -> None:
    """Letters of 12 points or more, none outside the picture; 150 dots an inch."""
    figure.draw_without_rendering()  # warns, and so fails, if the layout does not fit
    assert figure.dpi == 150
    sizes = {text.get_text(): text.get_fontsize() for text in texts(figure, ticks=True)}
    assert sizes
    assert min(sizes.values()) >= 12, {t: s for t, s in sizes.items() if s < 12}
    width, height = figure.bbox.size
    for text in texts(figure, ticks=False):
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= -2, text.get_text()
        assert box.x1 <= width + 2, text.get_text()
        assert box.y1 <= height + 2, text.get_text()


def assert_nothing_global_changes(draws: Iterable[Callable[[], Figure]]) -> None:
    """Drawing leaves matplotlib's settings as they were."""
    before = dict(matplotlib.rcParams)
    for draw in draws:
        draw()
    assert dict(matplotlib.rcParams) == before
