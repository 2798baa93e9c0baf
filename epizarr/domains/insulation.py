"""Diamond insulation score and its boundaries, as cooltools defines them.

The score of bin x for a window of W bins is the mean of the pixels (a, c) with x - W < a <= x <= c < x + W: contacts across x,
x included. It is divided by the region's median and given as log2, so that 0 is usual and a minimum a boundary.

Source: ALGORITHMS, section 5.1 (cooltools 0.7.1); Crane et al. 2015, Nature 523:240.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.regions import (
    Regions,
    bin_coords,
    check_reach,
    chosen_windows,
    read_regions,
    region_extents,
    row_sums,
    touched_bins,
)
from epizarr.genome import grid_of


def insulation(
    band: xr.DataArray,
    windows_bp: int | Sequence[int],
    *,
    regions: Regions = None,
    min_diagonal: int = 2,
    min_bad_distance: int = 0,
    min_valid_share: float = 0.66,
    threshold: float | Literal["li"] = "li",
) -> xr.Dataset:
    """Insulation score of every bin, for several windows, and the boundaries at its minima.

    Parameters
    ----------
    band
        Linear contacts of a whole genome, dims ``("bin", "diagonal")``, from :func:`epizarr.open_contacts` or
        :func:`epizarr.open_prediction`. NaN is a missing pixel and counts nowhere; 0 is a pixel without contact.
    windows_bp
        Window or windows, multiples of the bin size. A window of W bins reads 2 W - 1 diagonals.
    regions
        Regions, each on its own: no window, median or prominence crosses the end of one. Default: every chromosome.
    min_diagonal
        First diagonal that counts, in bins.
    min_bad_distance
        Bins nearer than this to one without any contact, or to the region's end, get no score. 0: all get one.
    min_valid_share
        A bin can be a boundary if its diamond has at least this share of the valid pixels of the fullest diamond.
    threshold
        Strength from which a minimum counts as a boundary: a number, or ``"li"`` for Li's minimum cross-entropy threshold of the
        strengths of all regions, one threshold a window.

    Returns
    -------
    Dataset with dims ``("window", "bin")`` and coordinates ``window`` (bp), ``bin`` (id), ``region`` (index), ``chrom`` (name),
    ``start``, ``end`` (bp); the bins of the regions in their order.

    ``score``
        log2 of the mean over the region's median; NaN where no pixel is valid or the mean is 0.
    ``n_valid``
        Pixels that counted, int64.
    ``strength``
        Topographic prominence of the minimum, in log2 units; NaN where there is none.
    ``is_boundary``
        Whether the strength reaches the threshold, which is in the coordinate ``threshold`` (NaN where no minimum was found).

    Raises
    ------
    BandReachError
        If a window is larger than the band allows.
    SchemaError, ValueError, RegionError
        If band, windows or regions cannot be used.

    Notes
    -----
    Computed when called, region by region: memory is five times a region's band of 2 W - 1 diagonals in float64 (50 MB for a
    human chromosome of 25,000 bins and W = 25).

    Examples
    --------
    >>> contacts = ez.open_contacts("atlas.zarr", "GM12878", 10_000)  # doctest: +SKIP
    >>> ez.insulation(contacts.ice, [100_000, 250_000])  # doctest: +SKIP
    """
    grid = grid_of(band)
    windows = [w // grid.binsize for w in chosen_windows(windows_bp, "insulation", grid.binsize)]
    largest = (band.sizes["diagonal"] + 1) // 2
    check_reach(
        f"insulation with a window of {max(windows) * grid.binsize:,} bp",
        2 * max(windows) - 1,
        band,
        f"The largest window that it allows is {largest * grid.binsize:,} bp",
    )
    extents = region_extents(band, regions)
    scores, counts = [], []
    for region in read_regions(band, extents, 2 * max(windows) - 1):
        score, n_valid = insulation_scores(region.values, windows, min_diagonal=min_diagonal)
        near = bad_distance(~touched_bins(~np.isnan(region.values))) < min_bad_distance
        scores.append(np.where(near, np.nan, score))
        counts.append(n_valid)
    n_valid = np.concatenate(counts, axis=1)
    fewest = min_valid_share * n_valid.max(axis=1)
    strengths = []
    for score, count in zip(scores, counts, strict=True):
        strengths.append(np.stack([_strength(*row) for row in zip(score, count, fewest, strict=True)]))
    strength = np.concatenate(strengths, axis=1)
    limit = np.array([li_threshold(row) if threshold == "li" else float(threshold) for row in strength])
    return xr.Dataset(
        {
            "score": (("window", "bin"), np.concatenate(scores, axis=1), {"long_name": "log2 insulation score"}),
            "n_valid": (("window", "bin"), n_valid, {"long_name": "valid pixels in the diamond"}),
            "strength": (("window", "bin"), strength, {"long_name": "prominence of the minimum (log2)"}),
            "is_boundary": (("window", "bin"), strength >= limit[:, None]),
        },
        coords={
            "window": ("window", [w * grid.binsize for w in windows], {"units": "bp"}),
            "threshold": ("window", limit),
            **bin_coords(grid, extents),
        },
        attrs={
            "min_diagonal": min_diagonal,
            "min_bad_distance": min_bad_distance,
            "min_valid_share": min_valid_share,
            "binsize": grid.binsize,
        },
    )


def insulation_boundaries(insulated: xr.Dataset) -> pd.DataFrame:
    """List the boundaries of :func:`insulation`, a row each.

    Returns
    -------
    Table with columns ``chrom``, ``start``, ``end`` (bp, of the bin at the minimum), ``window`` (bp), ``score``, ``strength``; by
    window, then in the order of the bins.
    """
    window, at = np.nonzero(insulated["is_boundary"].values)
    return pd.DataFrame(
        {
            **{name: insulated[name].values[at] for name in ("chrom", "start", "end")},
            "window": insulated["window"].values[window],
            **{name: insulated[name].values[window, at] for name in ("score", "strength")},
        }
    )


def insulation_scores(
    values: np.ndarray, windows: Sequence[int], *, min_diagonal: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Score of every bin of one region, for each window.

    Parameters
    ----------
    values
        Contacts of the region, (bins, diagonals); NaN where missing or off the region.
    windows
        In bins; ``2 * window - 1`` diagonals must be there unless the region itself is shorter.
    min_diagonal
        First diagonal that counts.

    Returns
    -------
    log2 scores, float64, and numbers of valid pixels, int64, both (windows, bins).
    """
    means, n_valid = diamond_means(values, windows, min_diagonal=min_diagonal)
    score = np.full(n_valid.shape, np.nan)
    for row, all_means, count in zip(score, means, n_valid, strict=True):
        known = count > 0
        if known.any():
            mean = all_means[known]
            ratio = mean / np.median(mean) if np.median(mean) > 0 else np.zeros_like(mean)
            row[known] = np.log2(ratio, out=np.full_like(ratio, np.nan), where=ratio > 0)
    return score, n_valid


def diamond_means(
    values: np.ndarray, windows: Sequence[int], *, min_diagonal: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the valid pixels across every bin, for each window: the score before median and logarithm.

    Parameters
    ----------
    values, windows, min_diagonal
        As for :func:`insulation_scores`.

    Returns
    -------
    Means, float64, NaN where no pixel is valid, and numbers of valid pixels, int64, both (windows, bins).
    """
    valid = ~np.isnan(values)
    valid[:, :min_diagonal] = False
    # Sums along a row span the band only, so that small diamonds keep their precision and empty ones are exactly 0.
    contacts = row_sums(np.where(valid, values, 0.0))
    pixels = row_sums(valid.astype(np.int64))
    n_valid = np.stack([_diamonds(pixels, window) for window in windows])
    means = np.full(n_valid.shape, np.nan)
    for row, window, count in zip(means, windows, n_valid, strict=True):
        known = count > 0
        row[known] = _diamonds(contacts, window)[known] / count[known]
    return means, n_valid


def _diamonds(sums: np.ndarray, window: int) -> np.ndarray:
    """Sum of the pixels in each bin's diamond: rows x - r for r < window, columns x to x + window - 1."""
    n, last = sums.shape[0], sums.shape[1] - 1
    total = np.zeros(n, dtype=sums.dtype)
    for r in range(min(window, n, last + 1)):
        total[r:] += sums[: n - r, min(window + r, last)] - sums[: n - r, r]
    return total


def bad_distance(bad: np.ndarray) -> np.ndarray:
    """Distance in bins to the nearest bad bin; the places just before the first and after the last bin count as bad."""
    places = np.concatenate([[-1], np.flatnonzero(bad), [len(bad)]])
    bins = np.arange(len(bad))
    after = np.searchsorted(places, bins)
    return np.minimum(places[after] - bins, bins - places[after - 1])


def _strength(score: np.ndarray, n_valid: np.ndarray, fewest: float) -> np.ndarray:
    """Prominence of the minima among the bins that have enough valid pixels, NaN elsewhere."""
    strength = np.full(len(score), np.nan)
    usable = np.flatnonzero((n_valid >= fewest) & ~np.isnan(score))
    strength[usable] = minima_prominence(score[usable])
    return strength


def minima_prominence(track: np.ndarray) -> np.ndarray:
    """Topographic prominence of the minima of a track without missing values.

    A minimum is strictly below both neighbours. On each side, its height is taken up to the highest point before the track falls
    below it; the smaller of both sides counts, and a side on which the track never does is left aside. The lowest minimum of all,
    which has no such side, is measured against the highest local maximum (the highest point, if there is none).

    Returns
    -------
    Prominence, NaN where there is no minimum; same shape.
    """
    prominence = np.full(len(track), np.nan)
    below = track[1:-1] < np.minimum(track[:-2], track[2:])
    minima = np.flatnonzero(below) + 1
    if not len(minima):
        return prominence
    left, right = _rise_before_lower(track)[minima], _rise_before_lower(track[::-1])[::-1][minima]
    prominence[minima] = np.fmin(left, right)
    lowest = minima[np.isnan(left) & np.isnan(right)]
    if len(lowest):
        maxima = np.flatnonzero(track[1:-1] > np.maximum(track[:-2], track[2:])) + 1
        # Of equal ones the first is measured, the others have no prominence.
        prominence[lowest[0]] = track[maxima].max() - track[lowest[0]] if len(maxima) else np.ptp(track)
    return prominence


def _rise_before_lower(track: np.ndarray) -> np.ndarray:
    """How far the track rises, going left from each point, before it is lower than there; NaN if it never is."""
    rise = np.full(len(track), np.nan)
    stack: list[tuple[int, float]] = []  # points of rising height, and the highest point since the one before
    for i, height in enumerate(track.tolist()):
        highest = height
        while stack and track[stack[-1][0]] >= height:
            highest = max(highest, stack.pop()[1])
        if stack:
            rise[i] = highest - height
        stack.append((i, highest))
    return rise


def li_threshold(values: np.ndarray) -> float:
    """Li's minimum cross-entropy threshold of the values that are not NaN; NaN if there are none.

    Iterated from the mean until a step is smaller than half the least difference of two values.

    References
    ----------
    Li and Lee 1993, Pattern Recognition 26:617; Li and Tam 1998, Pattern Recognition Letters 19:771.
    """
    known = np.unique(values[~np.isnan(values)])
    if len(known) < 2:
        return float(known[0]) if len(known) else float("nan")
    lowest, step = known[0], np.diff(known).min() / 2
    above_lowest = values[~np.isnan(values)] - lowest
    limit, before = float(above_lowest.mean()), -np.inf
    while abs(limit - before) > step:
        before = limit
        low, high = above_lowest[above_lowest <= limit].mean(), above_lowest[above_lowest > limit].mean()
        if low == 0:
            break
        limit = float((low - high) / (np.log(low) - np.log(high)))
    return limit + float(lowest)
