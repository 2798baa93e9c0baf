"""Pictures of the significant interactions that a prediction hits, makes up and misses (Fig. S2 of Yang et al. 2023)."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from epizarr.bands import mask_band
from epizarr.evaluate.maps import Maps, Rows, blocks_of
from epizarr.evaluate.sections.interactions import ZSCORE
from epizarr.evaluate.windows import Window
from epizarr.io.places import Place
from epizarr.metrics.interactions import FALSE_NEGATIVE, FALSE_POSITIVE, MISSING, TRUE_POSITIVE, outcomes
from epizarr.metrics.loops import observed_over_expected
from epizarr.report.evaluation_figures import outcome_figure
from epizarr.report.figures import MapWindow, figure_png
from epizarr.report.html import Picture
from epizarr.transforms import diagonal_sums, mean_of_sums


def outcome_pictures(
    maps: Maps, windows: Sequence[Window], home: Place, groups: Mapping[str, str], scores: xr.Dataset
) -> list[Picture]:
    """Draw which true interactions each run's map has, window by window; none where the evaluation has no interactions.

    A pixel is an interaction where observed / expected reaches the section's least value, in each map over its own mean at each
    distance in the whole region, on the pixels that both maps have; of Z-scores, where the value reaches the least Z. Memory:
    about 40 bytes a pixel of a region.

    Parameters
    ----------
    maps
        Measured contacts.
    windows
        Which windows.
    home, groups
        Store and group of each run's prediction, by title.
    scores
        The evaluation, whose section ``interactions`` says from which value a pixel is an interaction.
    """
    parameters = json.loads(scores.attrs.get("sections", "{}")).get("interactions")
    if parameters is None or "interactions_auroc" not in scores:
        return []
    is_z = maps.variable == ZSCORE
    least = float(parameters["least_z"][0] if is_z else parameters["least_oe"])
    name = f"{'Z' if is_z else 'O/E'} ≥ {least:g}"
    regions = {(window.first, window.end) for window in windows}
    codes = {place: _outcomes(maps, Rows(*place, place[1]), home, groups, least, is_z) for place in regions}
    pictures = []
    for window in windows:
        first, last = window.lo - window.first, window.hi - window.first
        region = maps.grid.extent_region(window.lo, window.hi)
        found = codes[window.first, window.end]
        drawn = {f"{title}: {_shares(band[first:last])}": band for title, band in found.items()}
        figure = outcome_figure(
            MapWindow(
                region=str(region),
                start=region.start,
                end=region.start + (window.hi - window.lo) * maps.binsize,
                binsize=maps.binsize,
                margin_bins=first,
                maps=tuple(drawn.items()),
                tracks=(),
                value_label=name,
            )
        )
        caption = (
            f"{region}: interactions ({name}) of the measured map that the prediction has (hit) and lacks (missed), and those "
            "that only it has (false)."
        )
        pictures.append(Picture(figure_png(figure), caption))
    return pictures


def _outcomes(
    maps: Maps, rows: Rows, home: Place, groups: Mapping[str, str], least: float, is_z: bool
) -> dict[str, np.ndarray]:
    """Codes of :func:`epizarr.metrics.interactions.outcomes` of a whole region, by title."""
    observed = np.concatenate([maps.observed(block) for block in blocks_of(rows)])
    in_region = np.arange(rows.lo, rows.hi + maps.n_diagonals - 1) < rows.end
    found = {}
    for title, group in groups.items():
        predicted = np.concatenate([maps.predicted(home, group, block) for block in blocks_of(rows)])
        pair = [observed, mask_band(predicted, in_region)]
        if not is_z:
            both = ~(np.isnan(pair[0]) | np.isnan(pair[1]))
            pair = [np.where(both, np.maximum(band, 0), np.nan) for band in pair]
            pair = [observed_over_expected(band, mean_of_sums(*diagonal_sums(band))) for band in pair]
        found[title] = outcomes(pair[1], pair[0], least, least)
    return found


def _shares(codes: np.ndarray) -> str:
    """Precision and recall in a window, in words."""
    hit, false, missed = (int((codes == code).sum()) for code in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE))
    if not (codes != MISSING).any():
        return "no pixel"
    return f"{hit:,} hit, {false:,} false, {missed:,} missed"
