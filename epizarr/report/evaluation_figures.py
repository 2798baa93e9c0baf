"""Figures of an evaluation's sections: headline scores, curves, scores by window, and aggregate peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from epizarr.metrics.interactions import FALSE_NEGATIVE, FALSE_POSITIVE, MISSING, TRUE_POSITIVE
from epizarr.report.figures import COLOURS, MapWindow, draw_map, join_panels, name_map
from epizarr.report.scales import MISSING_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 130
#: What the pixels of a binarised map are called, and colours that differ in lightness too (Okabe & Ito).
_OUTCOMES = {
    TRUE_POSITIVE: ("hit", "#000000"),
    FALSE_POSITIVE: ("false", "#e69f00"),
    FALSE_NEGATIVE: ("missed", "#56b4e9"),
}


def line_styles(predictors: Sequence[str], runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, line and width of each predictor, the same in every figure: runs thick, ceilings grey and broken."""
    ceilings = [name for name in predictors if "ceiling" in name]
    broken = dict(zip(ceilings, ("--", ":", "-."), strict=False))
    colours = dict(zip([name for name in predictors if name not in broken], COLOURS * 2, strict=False))
    return {
        name: {
            "color": colours.get(name, "#555555"),
            "linestyle": broken.get(name, "-"),
            "linewidth": 2.4 if name in runs else 1.3,
            "zorder": 3 if name in runs else 2,
        }
        for name in predictors
    }


def headline_figure(
    predictors: Sequence[str],
    runs: Sequence[str],
    labels: Sequence[str],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    chance: Sequence[float],
) -> Figure:
    """Draw a row a score, a point a predictor, with its interval.

    Parameters
    ----------
    predictors, runs
        Names, and which of them are predictions: drawn larger.
    labels
        A score each.
    values, low, high
        (score, predictor); NaN is not drawn.
    chance
        Of each score, drawn as a short grey line; NaN for none.
    """
    from matplotlib.figure import Figure

    height = 1.05 + 0.42 * len(labels)
    figure = Figure(figsize=(10.0, height), dpi=_DPI)
    axis = figure.add_subplot()
    styles = line_styles(predictors, runs)
    handles: dict[str, Any] = {}
    for row in range(len(labels)):
        axis.axhline(row, color="#eef0f2", linewidth=9, zorder=0)
        if not np.isnan(chance[row]):
            handles["chance"] = axis.vlines(chance[row], row - 0.3, row + 0.3, color="#9aa3ad", linewidth=2, zorder=1)
        for index, name in enumerate(predictors):
            value, style = values[row, index], styles[name]
            if np.isnan(value):
                continue
            shown = max(value, -0.25)
            if not np.isnan(low[row, index]):
                ends = np.clip([low[row, index], high[row, index]], -0.25, 1.02)
                axis.hlines(row, *ends, color=style["color"], linewidth=2 if name in runs else 1, zorder=2)
            handles[name] = axis.scatter(
                shown, row, s=95 if name in runs else 42, color=style["color"], zorder=style["zorder"] + 1,
                marker="D" if "ceiling" in name else "o" if shown == value else "<", edgecolor="white", linewidth=0.7,
            )  # fmt: skip
    axis.set_yticks(range(len(labels)), labels, fontsize=10)
    axis.invert_yaxis()
    axis.set_xlim(-0.27, 1.04)
    axis.axvline(0, color="#c3c8ce", linewidth=0.8, zorder=1)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    order = [name for name in (*predictors, "chance") if name in handles]
    figure.legend(
        [handles[name] for name in order],
        order,
        loc="lower center",
        ncols=5,
        frameon=False,
        fontsize=9,
        scatterpoints=1,
    )
    figure.subplots_adjust(left=0.27, right=0.985, top=1 - 0.12 / height, bottom=0.75 / height)
    return figure


def lines_figure(
    panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray], str]],
    styles: Mapping[str, Mapping[str, Any]],
    *,
    same: Mapping[str, float] | None = None,
    level: str = "chance",
    points: Sequence[str] = (),
) -> Figure:
    """Draw panels of lines side by side, three a row.

    Parameters
    ----------
    panels
        By title: x (point), or x by name where lines have their own in a 2-row array; lines by predictor; label of x.
    styles
        From :func:`line_styles`.
    same
        Height of a grey line across a panel, by title.
    level
        What that line is.
    points
        Titles of panels of points that are not joined and lie beside a grey line of equal values.
    """
    from matplotlib.figure import Figure

    n_rows = -(-len(panels) // 3)
    figure = Figure(figsize=(10.0, 3.0 * n_rows + 0.5), dpi=_DPI)
    handles: dict[str, Any] = {}
    for index, (title, (x, lines, label)) in enumerate(panels.items()):
        axis = figure.add_subplot(n_rows, 3, index + 1)
        for name, values in lines.items():
            at, y = (values[0], values[1]) if values.ndim == 2 else (x, values)
            if not np.isnan(y).all():
                style = {**styles[name], "linestyle": "", "markersize": 3} if title in points else styles[name]
                style = {"marker": "o" if len(y) <= 8 or title in points else "", "markersize": 4, **style}
                (line,) = axis.plot(at, y, **style)
                handles.setdefault(name, line)
        if title in points:
            axis.axline((0, 0), slope=1, color="#9aa3ad", linewidth=1, zorder=1)
        if same and title in same:
            handles[level] = axis.axhline(same[title], color="#9aa3ad", linewidth=2, zorder=1)
        _dress(axis, title, label)
    order = [name for name in (*styles, level) if name in handles]
    figure.legend([handles[n] for n in order], order, loc="lower center", ncols=5, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.5 / (3.0 * n_rows + 0.5), 1, 1))
    return figure


def _dress(axis: Axes, title: str, label: str) -> None:
    axis.set_title(title, fontsize=9.5, loc="left")
    axis.set_xlabel(label, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(color="#e6e8eb", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def peaks_figure(peaks: Mapping[str, np.ndarray], scores: Mapping[str, float], binsize: int) -> Figure:
    """Draw aggregate peaks side by side on one colour scale.

    Parameters
    ----------
    peaks
        Mean observed / expected around loops by map, (2h + 1, 2h + 1), rows by the first bin.
    scores
        Of each map, written above it.
    binsize
        Bin width in bp.
    """
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    columns = min(len(peaks), 5)
    n_rows = -(-len(peaks) // columns)
    figure = Figure(figsize=(10.0, 2.7 * n_rows), dpi=_DPI, layout="constrained")
    first = next(iter(peaks.values()))
    highest = max(float(np.nanmax(first)), 1.2)
    norm = TwoSlopeNorm(1.0, 1.0 / highest, highest)
    reach = (first.shape[0] // 2 + 0.5) * binsize / 1e3
    axes = figure.subplots(n_rows, columns, squeeze=False).ravel()
    for axis in axes[len(peaks) :]:
        axis.set_axis_off()
    for axis, (name, peak) in zip(axes, peaks.items(), strict=False):
        image = axis.imshow(
            peak, cmap="RdBu_r", norm=norm, extent=(-reach, reach, reach, -reach), interpolation="nearest"
        )
        axis.set_title(f"{name}\nscore {scores[name]:.2f}", fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.set_xlabel("kb", fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("observed / expected", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def outcome_figure(window: MapWindow) -> Figure:
    """Draw binarised maps of a window above each other: what each hits, makes up and misses.

    Parameters
    ----------
    window
        What to draw; its maps hold codes of :func:`epizarr.metrics.interactions.outcomes`, ``value_label`` says what is called an
        interaction. Pixels without a value are grey, all others white.
    """
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    inches = 1.75
    height = (inches + 0.12) * len(window.maps) + 1.15
    figure = Figure(figsize=(10.0, height), dpi=_DPI)
    axes = list(figure.subplots(len(window.maps), 1, squeeze=False)[:, 0])
    colours = ["#ffffff", *(colour for _, colour in _OUTCOMES.values())]
    cmap = ListedColormap(colours).with_extremes(bad=MISSING_COLOUR)
    norm = BoundaryNorm(np.arange(-0.5, len(_OUTCOMES) + 1), cmap.N)
    for axis, (title, codes) in zip(axes, window.maps, strict=True):
        draw_map(axis, np.where(codes == MISSING, np.nan, codes.astype(np.float32)), window, cmap, norm)
        name_map(axis, title)
    join_panels(axes, window)
    axes[0].set_title(f"{window.region}, {window.value_label}", fontsize=11, loc="left")
    handles = [Patch(facecolor=colour, label=name) for name, colour in _OUTCOMES.values()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.subplots_adjust(left=0.07, right=0.985, top=1 - 0.4 / height, bottom=0.75 / height, hspace=0.12)
    return figure
