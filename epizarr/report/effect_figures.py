"""Figures of what a track does to a map: a perturbation's before, after and difference, and attributions under a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from epizarr.genome import Region
from epizarr.report.figures import (
    COLOURS,
    MISSING_COLOUR,
    MapWindow,
    TrackPanel,
    coarsened,
    colour_limits,
    draw_map,
    draw_track,
    fall_colours,
    join_panels,
    name_map,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
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
        name_map(axis, name)
    _colour_bar(figure, bars[0], norm, fall_colours(), value_label)
    _colour_bar(figure, bars[2], signed, _signed_colours(), "difference")
    bars[1].set_visible(False)
    for axis, track, colour in zip(axes[3:], tracks, cycle(COLOURS), strict=False):
        top = _upper(track.signal)
        draw_track(axis, TrackPanel(track.name, track.signal, top), window, colour)
        if track.other is not None and not np.array_equal(track.other, track.signal, equal_nan=True):
            values, edges = coarsened(track.other, window)
            differs = values != coarsened(track.signal, window)[0]
            # Two missing bins differ as numbers do; both are grey already.
            axis.stairs(
                np.where(differs, np.minimum(values, top), np.nan),
                edges,
                color=_AFTER_COLOUR,
                linewidth=1.2,
                baseline=None,
            )
            axis.stairs(np.where(np.isnan(values), top, 0.0), edges, fill=True, color=MISSING_COLOUR, linewidth=0)
    for axis in axes:
        _mark(axis, marks)
    join_panels(axes, window)
    axes[0].set_title(title, fontsize=10, loc="left")
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
    name_map(axes[0], "Predicted")
    _colour_bar(figure, bars[0], norm, fall_colours(), value_label)
    # Attributions add up; what is missing has none.
    summed = [coarsened(np.nan_to_num(t.other), window, np.add) for t in tracks if t.other is not None]
    most = max((float(np.abs(values).max(initial=0)) for values, _ in summed), default=1.0) or 1.0
    for index, (track, colour) in enumerate(zip(tracks, cycle(COLOURS), strict=False)):
        draw_track(axes[1 + 2 * index], TrackPanel(track.name, track.signal, _upper(track.signal)), window, colour)
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
    _mark(axes[0], marks)
    join_panels(axes, window)
    axes[0].set_title(title, fontsize=10, loc="left")
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


def _mark(axis: Axes, marks: Sequence[tuple[int, int]]) -> None:
    """Outline intervals; a site is narrower than a pixel of the figure."""
    for start, end in marks:
        axis.axvspan(start / 1e6, end / 1e6, facecolor="none", edgecolor="#333333", linewidth=0.5, linestyle="--")


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
