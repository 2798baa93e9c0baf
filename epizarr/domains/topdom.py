"""TopDom: bin signal, its local extrema, a rank test of the minima, and the domains between them.

Windows are in bins, as in the original. The signal at bin i belongs to the border after it.

Source: ALGORITHMS, section 3 (TopDom 0.10.1); Shin et al. 2016, Nucleic Acids Research 44:e70. The original takes a matrix
without missing values. Here a missing pixel counts nowhere, and a bin of which no pixel is known is a gap; give 0 for missing
to have what the original computes on such a matrix.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.rank_test import PixelRanks, rank_test
from epizarr.domains.regions import (
    Regions,
    bin_coords,
    check_reach,
    chosen_windows,
    read_regions,
    region_extents,
    with_contacts,
)
from epizarr.genome import grid_of

#: A run of bins without a gap has to be longer than this.
_MIN_RUN_BINS = 3


def topdom(
    band: xr.DataArray, window_bins: int | Sequence[int], *, regions: Regions = None, significance: float = 0.05
) -> xr.Dataset:
    """TopDom's signal, extrema and p-values of every bin, for several windows; :func:`topdom_domains` lists the domains.

    Parameters
    ----------
    band
        Linear contacts of a whole genome, dims ``("bin", "diagonal")``; see :func:`epizarr.insulation`. NaN is a missing pixel.
    window_bins
        Window or windows, in bins. A window of w bins reads 2 w diagonals.
    regions
        Regions, each on its own. Default: every chromosome.
    significance
        Minima need a p-value below this to be boundaries.

    Returns
    -------
    Dataset with dims ``("window", "bin")`` and coordinates ``window`` (bins), ``bin`` (id), ``region`` (index), ``chrom`` (name),
    ``start``, ``end`` (bp).

    ``signal``
        Mean contact between the w bins up to each bin and the w bins after it; NaN at the region's last bin and where no pixel is
        known.
    ``extremum``
        int8: -1 at a minimum that is significant (a boundary), 1 at a maximum, else 0.
    ``pvalue``
        Of the test that contacts across the border are fewer than those on either side; 1 where there is no test.
    ``is_gap``
        Bins without contacts within w bins, or between gaps that are too close for a domain.

    Raises
    ------
    BandReachError
        If a window is larger than the band allows.
    SchemaError, ValueError, RegionError
        If band, windows or regions cannot be used.

    Notes
    -----
    Computed when called, region by region. Memory is 70 bytes a pixel of a region's first 2 w diagonals (180 MB for a human
    chromosome of 25,000 bins and w = 50).

    Examples
    --------
    >>> contacts = ez.open_contacts("atlas.zarr", "GM12878", 10_000)  # doctest: +SKIP
    >>> ez.topdom_domains(ez.topdom(contacts.ice, [10, 20, 50]))  # doctest: +SKIP
    """
    grid = grid_of(band)
    windows = chosen_windows(window_bins, "topdom")
    check_reach(
        f"topdom with a window of {max(windows)} bins",
        2 * max(windows),
        band,
        f"The largest window that it allows is {band.sizes['diagonal'] // 2} bins",
    )
    extents = region_extents(band, regions)
    parts = [
        topdom_bins(region.values, windows, significance=significance)
        for region in read_regions(band, extents, 2 * max(windows))
    ]
    signal, extremum, pvalue, is_gap = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    dims = ("window", "bin")
    return xr.Dataset(
        {
            "signal": (dims, signal, {"long_name": "TopDom's bin signal"}),
            "extremum": (dims, extremum, {"long_name": "local extremum; -1 is a boundary"}),
            "pvalue": (dims, pvalue, {"long_name": "p-value of the border after the bin"}),
            "is_gap": (dims, is_gap, {"long_name": "no contacts nearby"}),
        },
        coords={"window": ("window", windows, {"units": "bins"}), **bin_coords(grid, extents)},
        attrs={"significance": significance, "binsize": grid.binsize},
    )


def topdom_bins(
    values: np.ndarray, windows: Sequence[int], *, significance: float = 0.05
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Signal, extremum, p-value and gap of each bin of one region, for each window; see :func:`topdom`.

    Parameters
    ----------
    values
        Contacts of the region, (bins, diagonals), twice as many as the largest window; NaN where missing or off the region.
    windows
        In bins.
    significance
        Minima with a p-value that is not below this become 0.

    Returns
    -------
    Four arrays (window, bin).
    """
    shape = len(windows), len(values)
    extremum, is_gap = np.zeros(shape, dtype=np.int8), np.ones(shape, dtype=bool)
    signal, pvalue = np.empty(shape), np.empty(shape)
    ranks = PixelRanks.of(zscored_diagonals(values))
    for index, window in enumerate(windows):
        signal[index] = bin_signal(values[:, : 2 * window], window)
        runs = _runs(np.flatnonzero(with_contacts(values[:, : window + 1])))
        runs = [(lo, hi) for lo, hi in runs if hi - lo > _MIN_RUN_BINS]
        for lo, hi in runs:
            is_gap[index, lo:hi] = False
            extremum[index, lo:hi] = local_extrema(np.nan_to_num(signal[index, lo:hi]))
        # All runs at once: a genome whose bad bins lie apart has hundreds of short ones.
        pvalue[index] = border_pvalues(replace(ranks, rank=ranks.rank[:, : 2 * window]), window, runs)
    extremum[(extremum == -1) & (pvalue >= significance)] = 0
    return signal, extremum, pvalue, is_gap


def bin_signal(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the known pixels between the ``window`` bins up to each bin and as many after it; NaN if there are none.

    Summed in extended precision where the machine has it, so that signals that are equal stay so: extrema depend on it.
    """
    n, width = values.shape
    known = ~np.isnan(values)
    sums = np.cumsum(np.where(known, values, 0.0), axis=1, dtype=np.longdouble)
    counts = np.cumsum(known, axis=1, dtype=np.int64)
    total, count = np.zeros(n, dtype=np.longdouble), np.zeros(n, dtype=np.int64)
    for r in range(min(window, n, width)):
        last = min(window + r, width - 1)
        total[r:] += sums[: n - r, last] - sums[: n - r, r]
        count[r:] += counts[: n - r, last] - counts[: n - r, r]
    return np.divide(total, count, out=np.full(n, np.nan, dtype=np.longdouble), where=count > 0).astype(np.float64)


def _runs(ids: np.ndarray) -> list[tuple[int, int]]:
    """Runs of consecutive numbers of a rising sequence, half-open."""
    if not len(ids):
        return []
    breaks = np.flatnonzero(np.diff(ids) > 1)
    return list(
        zip(ids[np.concatenate([[0], breaks + 1])].tolist(), (ids[np.append(breaks, -1)] + 1).tolist(), strict=True)
    )


def local_extrema(signal: np.ndarray) -> np.ndarray:
    """Extrema of a signal at the corners of a line that follows it: -1, 0 or 1 a bin, int8.

    Parameters
    ----------
    signal
        Of at least four consecutive bins, without missing values.
    """
    n = len(signal)
    extremum = np.zeros(n, dtype=np.int8)
    step = np.diff(signal)
    scale = np.abs(step).mean()
    if scale == 0:
        return extremum
    # The original begins with the signal's own first value, which changes nothing but the rounding.
    y = np.cumsum(np.concatenate([[0.0], step / scale]))
    corners = _corners(y)
    if len(corners) <= 2 or len(corners) == n:
        return extremum
    for a, b in zip(corners[:-2], corners[1:-1], strict=True):
        if y[b] >= y[b - 1] and y[b] >= y[b + 1]:
            extremum[b] = 1
        elif y[b] < y[b - 1] and y[b] < y[b + 1]:
            extremum[b] = -1
        between = y[a : b + 1]
        low, high = int(np.argmin(between)), int(np.argmax(between))
        if between[low] < min(y[a], y[b]):
            extremum[a + low] = -1
        if between[high] > max(y[a], y[b]):
            extremum[a + high] = 1
    return extremum


def _corners(y: np.ndarray) -> list[int]:
    """Points where a line that follows ``y`` turns: each segment grows while its length less its misfit does."""
    n = len(y)
    corners, i = [0], 0
    index = np.arange(n, dtype=np.float64)
    while i < n - 1:
        j = i + 1
        gain = np.hypot(1.0, y[j] - y[i])
        while j < n - 1:
            rise, run = y[j + 1] - y[i], j + 1 - i
            length = np.hypot(run, rise)
            off_line = np.abs(rise * (index[i + 1 : j + 1] - i) - run * (y[i + 1 : j + 1] - y[i])).sum() / length
            if length - off_line < gain:
                corners.append(j)
                break
            gain = length - off_line
            j += 1
        i = j
    return [*corners, n - 1]


def zscored_diagonals(values: np.ndarray) -> np.ndarray:
    """Each diagonal of a band, from the first on, less its mean and over its standard deviation (n - 1).

    NaN on the main diagonal, where missing, and on diagonals without variance.
    """
    z = np.full(values.shape, np.nan)
    for k in range(1, values.shape[1]):
        diagonal = values[:, k]
        known = ~np.isnan(diagonal)
        if np.count_nonzero(known) < 2 or np.ptp(diagonal[known]) == 0:
            continue
        z[known, k] = (diagonal[known] - diagonal[known].mean()) / diagonal[known].std(ddof=1)
    return z


def border_pvalues(ranks: PixelRanks, window: int, runs: Sequence[tuple[int, int]]) -> np.ndarray:
    """p-value of the border after each bin of some runs: pixels across it against the two triangles beside it, one-sided.

    The triangle before the border has one bin more than that after it, as in the original.
    """
    across = [(-r, k) for r in range(window) for k in range(r + 1, r + window + 1)]
    before = [(-r, k) for r in range(1, window + 1) for k in range(1, r + 1)]
    after = [(r, k) for r in range(1, window) for k in range(1, window - r + 1)]
    return rank_test(ranks, np.array(across), np.array([*before, *after]), runs)


def topdom_boundaries(called: xr.Dataset) -> pd.DataFrame:
    """List the boundaries of :func:`topdom`: its significant minima, each the bin before a border.

    Returns
    -------
    Table with columns ``chrom``, ``start``, ``end`` (bp, of the bin), ``window`` (bins), ``signal``, ``pvalue``; by window, then
    in the order of the bins.
    """
    window, at = np.nonzero(called["extremum"].values == -1)
    return pd.DataFrame(
        {
            **{name: called[name].values[at] for name in ("chrom", "start", "end")},
            "window": called["window"].values[window],
            **{name: called[name].values[window, at] for name in ("signal", "pvalue")},
        }
    )


def topdom_domains(called: xr.Dataset) -> pd.DataFrame:
    """Domains, gaps and boundaries of :func:`topdom`: intervals that tile each region, window by window.

    Returns
    -------
    Table with columns ``chrom``, ``start``, ``end`` (bp), ``window`` (bins) and ``tag``: ``"domain"``; ``"gap"``; ``"boundary"``
    for a domain of which every bin has a significant p-value. A domain ends with the minimum that bounds it.

    Notes
    -----
    As the original, which loses a single last bin of its kind: a gap of one bin is not listed if it is the region's last gap, nor
    a last domain of one bin; the interval before it then reaches farther. The original also lists the gap or domain before that
    one twice, once with length 0; those rows are left out.
    """
    region, start, end = called["region"].values, called["start"].values, called["end"].values
    edges = [0, *(np.flatnonzero(np.diff(region)) + 1).tolist(), len(region)]
    rows = []
    for w, window in enumerate(called["window"].values.tolist()):
        extremum, gap = called["extremum"].values[w], called["is_gap"].values[w]
        small = called["pvalue"].values[w] < called.attrs["significance"]
        for lo, hi in zip(edges, edges[1:], strict=False):
            for first, last, tag in _pieces(gap[lo:hi], extremum[lo:hi] == -1, small[lo:hi]):
                chrom = called["chrom"].values[lo]
                rows.append((chrom, start[lo + first], end[lo + last - 1], window, tag))
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "window", "tag"])


def _pieces(gap: np.ndarray, boundary: np.ndarray, small: np.ndarray) -> list[tuple[int, int, str]]:
    """Intervals (first bin, one past the last, tag) that tile a region."""
    starts = {}
    for tag, members in (("gap", gap), ("domain", ~gap & ~boundary)):
        runs = _runs(np.flatnonzero(members))
        if len(runs) > 1 and runs[-1][1] - runs[-1][0] == 1:
            runs.pop()
        starts.update({first: tag for first, _ in runs})
    firsts = sorted(starts)
    pieces = []
    for first, last in zip(firsts, [*firsts[1:], len(gap)], strict=True):
        tag = "boundary" if starts[first] == "domain" and small[first:last].all() else starts[first]
        pieces.append((first, last, tag))
    return pieces
