"""Figures of a store's quality: inputs along the genome, values of tracks, depth and decay of contacts.

matplotlib is imported when a figure is drawn, as in :mod:`epizarr.report.figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from epizarr.report.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI, _WIDTH = 150, 10.0
_MISSING, _STRIPE, _GRID, _FAINT = "#c9ccd1", "#f3f4f6", "#e6e8eb", "#777777"
#: Chromosomes with a colour and a place in a legend of their own; more are drawn along a colour map.
_N_LEGEND = 30


@dataclass(frozen=True)
class GenomeAxis:
    """Windows along a genome whose chromosomes are strung together.

    Parameters
    ----------
    chroms
        Name and length (bp) of each chromosome, in order.
    start, end
        Of each window, in bp from the beginning of the genome.
    """

    chroms: tuple[tuple[str, int], ...]
    start: np.ndarray
    end: np.ndarray


def signal_figure(axis: GenomeAxis, profiles: Mapping[str, np.ndarray]) -> Figure:
    """Draw tracks along the genome, one row each; windows without a measured bin are grey.

    Parameters
    ----------
    axis
        Windows.
    profiles
        Mean of each window, by track; NaN where nothing was measured. Rows end at their 99.5th percentile.
    """
    figure, axes = _genome_rows(axis, len(profiles), 0.62)
    for row, (name, values) in enumerate(profiles.items()):
        known = values[np.isfinite(values)]
        upper = float(np.percentile(known, 99.5)) if len(known) else 0.0
        upper = upper if upper > 0 else 1.0
        for start, end in _pieces(axis):
            edges = np.append(axis.start[start:end], axis.end[end - 1]) / 1e6
            part, missing = values[start:end], np.isnan(values[start:end])
            shown = np.clip(np.where(missing, 0.0, part), 0, upper)
            axes[row].stairs(shown, edges, fill=True, color=COLOURS[row % len(COLOURS)], linewidth=0)
            axes[row].stairs(np.where(missing, upper, 0.0), edges, fill=True, color=_MISSING, linewidth=0)
        axes[row].set_ylim(0, upper)
        axes[row].set_yticks([0, upper], ["0", f"{upper:.0f}" if upper >= 100 else f"{upper:.2g}"])
        _name_row(axes[row], name)
    return figure


def marginal_figure(axis: GenomeAxis, profiles: Mapping[str, np.ndarray]) -> Figure:
    """Draw the marginals of contact maps along the genome, relative to the decay curve, one row a variable.

    Parameters
    ----------
    axis
        Windows.
    profiles
        Median of each window, by variable; NaN where no bin counts. All rows share one
        logarithmic axis.
    """
    figure, axes = _genome_rows(axis, len(profiles), 1.0)
    known = np.concatenate([values[np.isfinite(values) & (values > 0)] for values in profiles.values()])
    # A few windows at the edges of gaps would flatten all others: they are cut at the end of the axis.
    usual = float(np.percentile(np.abs(np.log2(known)), 90)) if len(known) else 0.0
    reach = 1.2 * float(np.clip(usual, 1.0, 5.0))
    for row, (name, values) in enumerate(profiles.items()):
        middle = (axis.start + axis.end) / 2e6
        for start, end in _pieces(axis):
            with np.errstate(divide="ignore"):
                level = np.log2(values[start:end])
            axes[row].plot(
                middle[start:end],
                np.clip(level, -reach, reach),
                color=COLOURS[row % len(COLOURS)],
                linewidth=0.9,
                marker=".",
                markersize=1.6,
            )
            edges = np.append(axis.start[start:end], axis.end[end - 1]) / 1e6
            axes[row].stairs(
                np.where(np.isnan(level), reach, -reach), edges, baseline=-reach, fill=True, color=_MISSING, linewidth=0
            )
        axes[row].axhline(0, color=_FAINT, linewidth=0.7, zorder=1)
        ticks = [t for t in (-4, -2, -1, 0, 1, 2, 4) if abs(t) < reach and (reach < 2.4 or t % 2 == 0)]
        axes[row].set_ylim(-reach, reach)
        axes[row].set_yticks(ticks, [f"{2.0**t:g}×" for t in ticks])
        _name_row(axes[row], name)
    return figure


def _genome_rows(axis: GenomeAxis, n_rows: int, inches: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    height = n_rows * (inches + 0.1) + 0.75
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
    grid = figure.add_gridspec(
        n_rows, 1, left=0.14, right=0.985, top=1 - 0.1 / height, bottom=0.55 / height, hspace=0.1 / inches
    )
    axes = [figure.add_subplot(grid[row, 0]) for row in range(n_rows)]
    total = sum(length for _, length in axis.chroms)
    ends = np.cumsum([length for _, length in axis.chroms]) / 1e6
    starts = np.append(0, ends[:-1])
    for index, panel in enumerate(axes):
        panel.set_xlim(0, total / 1e6)
        panel.tick_params(labelsize=8, labelbottom=index == n_rows - 1)
        panel.spines[["top", "right"]].set_visible(False)
        if len(axis.chroms) > 1:
            for start, end in list(zip(starts, ends, strict=True))[1::2]:
                panel.axvspan(start, end, color=_STRIPE, linewidth=0, zorder=0)
            panel.set_xticks([])
    if len(axis.chroms) == 1:
        axes[-1].set_xlabel(f"{axis.chroms[0][0]} (Mb)", fontsize=9)
    else:
        # The names of chromosomes narrower than their name's text would lie upon each other.
        is_wide = (ends - starts) > 0.012 * total / 1e6
        axes[-1].set_xticks(((starts + ends) / 2)[is_wide])
        names = [name for (name, _), wide in zip(axis.chroms, is_wide, strict=True) if wide]
        axes[-1].set_xticklabels(names, rotation=60 if len(names) > 12 else 0, fontsize=8)
        axes[-1].tick_params(axis="x", length=0)
    return figure, axes


def _pieces(axis: GenomeAxis) -> list[tuple[int, int]]:
    """Windows of each chromosome."""
    ends = np.cumsum([length for _, length in axis.chroms])
    last = np.searchsorted(axis.start, ends)
    return list(zip(np.append(0, last[:-1]).tolist(), last.tolist(), strict=True))


def _name_row(panel: Axes, name: str) -> None:
    shown = name if len(name) <= 12 else name[:11] + "…"
    panel.text(-0.055, 0.5, shown, transform=panel.transAxes, ha="right", va="center", fontsize=9)


def value_figure(edges: np.ndarray, histograms: Mapping[str, np.ndarray], n_bins: Mapping[str, int]) -> Figure:
    """Draw how many bins of a track lie above each value, one panel a track.

    Parameters
    ----------
    edges
        Edges of the classes.
    histograms
        Bins in each class, by track.
    n_bins
        Measured bins of each track, zeros and negative ones included.
    """
    from matplotlib.figure import Figure

    n_columns = min(4, max(len(histograms), 1))
    n_rows = -(-len(histograms) // n_columns)
    height = 2.2 * n_rows + 0.35
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
    grid = figure.add_gridspec(
        n_rows, n_columns, left=0.07, right=0.985, top=1 - 0.28 / height, bottom=0.45 / height, hspace=0.42, wspace=0.22
    )
    for index, (name, histogram) in enumerate(histograms.items()):
        panel = figure.add_subplot(grid[index // n_columns, index % n_columns])
        above = np.cumsum(histogram[::-1])[::-1] / max(n_bins[name], 1)
        there = np.flatnonzero(above > 0)
        panel.set_title(name if len(name) <= 24 else name[:23] + "…", fontsize=9, loc="left")
        _plain_axis(panel)
        if index % n_columns == 0:
            panel.set_ylabel("share of bins above", fontsize=8)
        if index + n_columns >= len(histograms):
            panel.set_xlabel("signal", fontsize=8)
        if not len(there):
            panel.text(0.5, 0.5, "no positive value", transform=panel.transAxes, ha="center", fontsize=9, color=_FAINT)
            panel.set_xticks([])
            panel.set_yticks([])
            continue
        colour = COLOURS[index % len(COLOURS)]
        panel.loglog(edges[there], above[there], color=colour, linewidth=1.6, solid_capstyle="round")
        panel.fill_between(edges[there], above[there], 1e-12, color=colour, alpha=0.15, linewidth=0)
        panel.axhline(1e-3, color=_FAINT, linewidth=0.8, linestyle=":")
        panel.text(
            0.03, 0.88e-3, "99.9th percentile", transform=panel.get_yaxis_transform(), va="top", fontsize=6.5, color="#444444"
        )  # fmt: skip
        panel.set_ylim(min(float(above[there[-1]]) / 2, 5e-4), 1.3)
        panel.set_xlim(max(edges[there[0]], edges[there[-1]] / 1e4), edges[there[-1] + 1] * 1.3)
    return figure


def decay_figure(distance: np.ndarray, curves: Mapping[str, np.ndarray], chroms: Sequence[str]) -> Figure:
    """Draw the mean contacts at each distance, one panel a variable, one line a chromosome, on logarithmic axes.

    Parameters
    ----------
    distance
        Separation in bp, (diagonal).
    curves
        Means (chroms, diagonal) by variable; what is not positive is left out.
    chroms
        Names.
    """
    import matplotlib
    from matplotlib.figure import Figure

    n = len(curves)
    few = len(chroms) <= len(COLOURS)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.95, len(chroms)))
    colours = COLOURS[: len(chroms)] if few else list(shades)
    n_columns = min(n, 3)
    n_rows = -(-n // n_columns)
    height = 3.1 * n_rows + 0.3
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
    legend_share = 0.13 if len(chroms) <= 15 else 0.2
    grid = figure.add_gridspec(
        n_rows, n_columns, left=0.075, right=1 - legend_share, top=1 - 0.3 / height, bottom=0.5 / height,
        wspace=0.25, hspace=0.35,
    )  # fmt: skip
    handles: dict[str, Any] = {}
    for index, (name, values) in enumerate(curves.items()):
        panel = figure.add_subplot(grid[index // n_columns, index % n_columns])
        for chrom, colour, curve in zip(chroms, colours, values, strict=True):
            shown = (distance > 0) & (curve > 0)
            if shown.any():
                (handles[chrom],) = panel.loglog(
                    distance[shown] / 1e6, curve[shown], color=colour, linewidth=1.6 if few else 0.9
                )
        _guide(panel, distance, values)
        panel.set_title(name, fontsize=9, loc="left")
        _plain_axis(panel)
        panel.set_xlabel("distance (Mb)", fontsize=9)
        if index % n_columns == 0:
            panel.set_ylabel("mean contacts of a pixel", fontsize=9)
    listed = list(handles)[:_N_LEGEND]
    figure.legend(
        [handles[c] for c in listed], listed, loc="center left", bbox_to_anchor=(1 - legend_share + 0.005, 0.5),
        frameon=False, fontsize=8, ncols=1 if len(listed) <= 15 else 2, handlelength=1.2, columnspacing=0.8,
    )  # fmt: skip
    return figure


def _guide(panel: Axes, distance: np.ndarray, values: np.ndarray) -> None:
    """A dashed line of slope -1 above the curves, to compare with."""
    positive = distance[distance > 0]
    with np.errstate(invalid="ignore"):
        known = np.where(values > 0, values, np.nan)[:, distance > 0]
    if not np.isfinite(known).any():
        return
    # Lifted so that it lies above every curve over the whole range.
    level = 1.6 * float(np.nanmax(known * positive))
    panel.loglog(positive / 1e6, level / positive, color=_FAINT, linewidth=0.9, linestyle="--")
    middle = positive[len(positive) // 12]
    panel.text(middle / 1e6, 1.12 * level / middle, " ∝ 1 / distance", fontsize=7.5, color=_FAINT, va="bottom")


def depth_figure(
    binsizes: np.ndarray, shares: np.ndarray, supported: int | None, needed_share: float, needed_contacts: int
) -> Figure:
    """Draw the share of bins that are deep enough against the bin size.

    Parameters
    ----------
    binsizes
        Bin widths in bp.
    shares
        Share of the bins of that width with ``needed_contacts`` contacts; NaN is left out.
    supported
        Smallest width with the share ``needed_share``, marked; None marks nothing.
    needed_share, needed_contacts
        What is asked.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.0), dpi=_DPI)
    panel = figure.add_axes((0.13, 0.17, 0.84, 0.79))
    panel.semilogx(binsizes / 1e3, shares, color=COLOURS[0], linewidth=1.8, marker="o", markersize=4)
    panel.axhline(needed_share, color=_FAINT, linewidth=0.9, linestyle="--")
    panel.text(
        0.99, needed_share - 0.02, f"{needed_share:.0%} needed", transform=panel.get_yaxis_transform(), ha="right", va="top",
        fontsize=8, color=_FAINT,
    )  # fmt: skip
    if supported is not None:
        share = float(shares[np.flatnonzero(binsizes == supported)[0]])
        panel.plot([supported / 1e3], [share], marker="o", markersize=9, color=COLOURS[1], zorder=3)
        panel.annotate(
            f"{supported / 1e3:g} kb", (supported / 1e3, share), xytext=(8, -14), textcoords="offset points", fontsize=9,
            color=COLOURS[1], weight="bold",
        )  # fmt: skip
    _plain_axis(panel)
    panel.set_ylim(0, 1.04)
    panel.set_xticks(binsizes / 1e3, [f"{b / 1e3:g}" for b in binsizes])
    panel.minorticks_off()
    panel.set_xlabel("bin size (kb)", fontsize=9)
    panel.set_ylabel(f"share of bins with ≥ {needed_contacts} contacts", fontsize=9)
    return figure


def _plain_axis(panel: Axes) -> None:
    panel.tick_params(labelsize=8)
    panel.grid(color=_GRID, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
