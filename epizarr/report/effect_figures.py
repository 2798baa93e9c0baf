"""Figures of what a track does to a map: a perturbation's before, after and difference, and attributions under a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from epizarr.genome import Region
from epizarr.report.figures import COLOURS, MISSING_COLOUR, MapWindow, colour_limits, draw_map, fall_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
#: Columns that a track is drawn with.
_COLUMNS = 1200
_AFTER_COLOUR = "#111111"


@dataclass(frozen=True)
class EffectTrack:
    """One track under a map.

    Parameters
    ----------
    name
        Track name.
    signal
        Raw values over the window, (track bin), NaN where missing.
    other
        What is drawn with it: the signal after edits, or the attribution of each bin. None: nothing.
    """

    name: str
    signal: np.ndarray
    other: np.ndarray | None = None


def perturbation_figure(
    shown: Region,
    *,
    binsize: int,
    margin_bins: int,
    before: np.ndarray,
    after: np.ndarray,
    tracks: Sequence[EffectTrack],
    marks: Sequence[tuple[int, int]],
    value_label: str,
    title: str,
) -> Figure:
    """Draw the maps before and after edits on one scale, their difference, and the tracks.

    Parameters
    ----------
    shown
        Window, in the coordinates before the edits.
    binsize, margin_bins
        Bin width in bp, and rows that the maps have before the window.
    before, after
        Maps (row, diagonal) on the network's scale; NaN is grey.
    tracks
        Signal before (filled) and after (a black line, where it differs).
    marks
        Edited intervals in bp.
    value_label, title
        What the colours mean, and the headline.
    """
    from matplotlib.colors import Normalize

    figure, axes, bars = _layout([1.75] * 3, [0.42] * len(tracks))
    window = MapWindow(str(shown), shown.start, shown.end, binsize, margin_bins, (), (), value_label)
    norm = Normalize(*colour_limits(before))
    difference = after - before
    known = np.abs(difference[np.isfinite(difference)])
    most = float(np.percentile(known, 99.8)) if len(known) else 1.0
    signed = Normalize(-(most or 1.0), most or 1.0)
    for axis, name, band in zip(axes, ("Before", "After", "After − before"), (before, after, difference), strict=False):
        draw_map(
            axis,
            band,
            window,
            fall_colours() if band is not difference else _signed_colours(),
            norm if band is not difference else signed,
        )
        _name(axis, name)
    _colour_bar(figure, bars[0], norm, fall_colours(), value_label)
    _colour_bar(figure, bars[2], signed, _signed_colours(), "difference")
    bars[1].set_visible(False)
    for axis, track, colour in zip(axes[3:], tracks, COLOURS * 3, strict=False):
        top = _upper(track.signal)
        _draw_signal(axis, track, shown, colour, top)
        if track.other is not None and not np.array_equal(track.other, track.signal, equal_nan=True):
            values, edges = _coarse(track.other, shown)
            differs = values != _coarse(track.signal, shown)[0]
            # Two missing bins differ as numbers do; both are grey already.
            axis.stairs(
                np.where(differs, np.minimum(values, top), np.nan),
                edges,
                color=_AFTER_COLOUR,
                linewidth=1.2,
                baseline=None,
            )
            _grey(axis, np.isnan(values), edges, top)
    for axis in axes:
        for start, end in marks:
            # A site is narrower than a pixel of the figure.
            axis.axvspan(start / 1e6, end / 1e6, facecolor="none", edgecolor="#333333", linewidth=0.5, linestyle="--")
    _finish(axes, shown, title)
    return figure


def attribution_figure(
    shown: Region,
    *,
    binsize: int,
    margin_bins: int,
    band: np.ndarray,
    tracks: Sequence[EffectTrack],
    marks: Sequence[tuple[int, int]],
    value_label: str,
    title: str,
) -> Figure:
    """Draw a predicted map over its tracks, each with the attribution of its bins beneath.

    Parameters
    ----------
    shown, binsize, margin_bins, value_label, title
        As for :func:`perturbation_figure`.
    band
        Map (row, diagonal) on the network's scale.
    tracks
        Signal, and the attribution of each bin; attributions share one scale, blue below 0.
    marks
        Intervals of the target in bp.
    """
    from matplotlib.colors import Normalize

    figure, axes, bars = _layout([1.75], [0.36, 0.36] * len(tracks))
    window = MapWindow(str(shown), shown.start, shown.end, binsize, margin_bins, (), (), value_label)
    norm = Normalize(*colour_limits(band))
    draw_map(axes[0], band, window, fall_colours(), norm)
    _name(axes[0], "Predicted")
    _colour_bar(figure, bars[0], norm, fall_colours(), value_label)
    summed = [_summed(track.other, shown) for track in tracks if track.other is not None]
    most = max((float(np.abs(values).max(initial=0)) for values, _ in summed), default=1.0) or 1.0
    for index, (track, colour) in enumerate(zip(tracks, COLOURS * 3, strict=False)):
        _draw_signal(axes[1 + 2 * index], track, shown, colour, _upper(track.signal))
        axis = axes[2 + 2 * index]
        values, edges = summed[index]
        for part, shade in ((np.maximum(values, 0), "#b2182b"), (np.minimum(values, 0), "#2166ac")):
            axis.stairs(part, edges, fill=True, color=shade, linewidth=0.8)
        axis.axhline(0, color="#777777", linewidth=0.4)
        axis.set_ylim(-most, most)
        axis.set_yticks([])
        axis.text(-0.008, 0.5, "attribution", transform=axis.transAxes, ha="right", va="center", fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    # On the tracks a mark would hide what lies under it.
    for start, end in marks:
        axes[0].axvspan(start / 1e6, end / 1e6, facecolor="none", edgecolor="#333333", linewidth=0.5, linestyle="--")
    _finish(axes, shown, title)
    return figure


def _layout(maps: Sequence[float], tracks: Sequence[float]) -> tuple[Figure, list[Axes], list[Axes]]:
    from matplotlib.figure import Figure

    heights = [*maps, *tracks]
    height = sum(heights) + 0.12 * len(heights) + 1.0
    figure = Figure(figsize=(10.0, height), dpi=_DPI)
    grid = figure.add_gridspec(
        len(heights),
        2,
        height_ratios=heights,
        width_ratios=[1, 0.016],
        left=0.13,
        right=0.915,
        top=1 - 0.45 / height,
        bottom=0.5 / height,
        hspace=0.16,
        wspace=0.025,
    )
    axes = [figure.add_subplot(grid[row, 0]) for row in range(len(heights))]
    return figure, axes, [figure.add_subplot(grid[row, 1]) for row in range(len(maps))]


def _finish(axes: Sequence[Axes], shown: Region, title: str) -> None:
    for axis in axes:
        axis.set_xlim(shown.start / 1e6, shown.end / 1e6)
        axis.tick_params(labelbottom=axis is axes[-1], labelsize=8)
    axes[-1].set_xlabel(f"{shown.chrom} (Mb)", fontsize=9)
    axes[0].set_title(title, fontsize=10, loc="left")


def _name(axis: Axes, text: str) -> None:
    axis.text(
        0.008, 0.93, text, transform=axis.transAxes, va="top", fontsize=10, weight="bold",
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.0},
    )  # fmt: skip


def _colour_bar(figure: Figure, axis: Axes, norm: Any, colours: Any, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axis, extend="both")
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)


def _signed_colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["RdBu_r"].with_extremes(bad=MISSING_COLOUR)


def _upper(signal: np.ndarray) -> float:
    known = signal[~np.isnan(signal)]
    return (float(np.percentile(known, 99.9)) if len(known) else 1.0) or 1.0


def _draw_signal(axis: Axes, track: EffectTrack, shown: Region, colour: str, upper: float) -> None:
    values, edges = _coarse(track.signal, shown)
    axis.stairs(np.minimum(np.nan_to_num(values), upper), edges, fill=True, color=colour, linewidth=0)
    _grey(axis, np.isnan(values), edges, upper)
    axis.set_ylim(0, upper)
    axis.set_yticks([])
    axis.text(-0.008, 0.62, track.name, transform=axis.transAxes, ha="right", va="center", fontsize=9)
    axis.text(
        -0.008, 0.12, f"0–{upper:.3g}", transform=axis.transAxes, ha="right", va="center", fontsize=7, color="#555555"
    )
    axis.spines[["top", "right"]].set_visible(False)


def _grey(axis: Axes, missing: np.ndarray, edges: np.ndarray, upper: float) -> None:
    axis.stairs(np.where(missing, upper, 0.0), edges, fill=True, color=MISSING_COLOUR, linewidth=0)


def _runs(n: int, shown: Region) -> tuple[np.ndarray, np.ndarray]:
    """First bin of each run that one column shows, and the columns' edges in Mb."""
    starts = np.arange(0, n, max(1, -(-n // _COLUMNS)))
    edges = np.linspace(shown.start, shown.end, n + 1) / 1e6
    return starts, np.append(edges[starts], edges[-1])


def _coarse(signal: np.ndarray, shown: Region) -> tuple[np.ndarray, np.ndarray]:
    """Largest value of each run; NaN only where a whole run is missing."""
    starts, edges = _runs(len(signal), shown)
    return np.fmax.reduceat(signal, starts), edges


def _summed(values: np.ndarray, shown: Region) -> tuple[np.ndarray, np.ndarray]:
    """Sum of each run, missing counted as 0: attributions add up."""
    starts, edges = _runs(len(values), shown)
    return np.add.reduceat(np.nan_to_num(values), starts), edges
