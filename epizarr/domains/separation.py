"""HiCExplorer's TAD-separation score, and the boundaries and domains of hicFindTADs.

Contacts become z-scores of their distance. The score of bin c is the mean z-score between the bins before c and those from c
on, within a window, and belongs to the border before c. Bins without contacts are left out, and the gaps that they leave are
closed by widening both neighbours.

Source: ALGORITHMS, section 4 (HiCExplorer 3.7.6); Ramírez et al. 2018, Nature Communications 9:189.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.rank_test import rank_sums
from epizarr.domains.regions import (
    RegionBand,
    Regions,
    bin_coords,
    check_reach,
    read_regions,
    region_extents,
    row_sums,
    with_contacts,
)
from epizarr.genome import BinGrid, grid_of

#: (smallest bin size in bp, then maximal depth, minimal depth and step in bins): the original's defaults.
_DEFAULT_DEPTHS = ((20_000, (10, 5, 2)), (1_000, (40, 10, 2)), (0, (60, 30, 4)))
#: Distances whose z-scores are computed, in units of the maximal depth.
_DEPTHS_OF_ZSCORES = 2.5 * 1.5
#: Bins on either side of a minimum that it is compared with.
_DELTA_BINS = 10


@dataclass(frozen=True)
class _Joined:
    """Bins of a region that have contacts, without gaps, and their z-scores.

    ``kept`` are indices among the region's bins; ``start`` and ``end`` bp; ``z`` (kept bins, offsets among them): NaN where
    missing, infinite on diagonals without variance.
    """

    kept: np.ndarray
    start: np.ndarray
    end: np.ndarray
    z: np.ndarray

    def reach(self, window_bp: int) -> tuple[np.ndarray, np.ndarray]:
        """Bins that hold the places ``window_bp`` before each bin's start and after its end (its last base)."""
        before = np.maximum(self.start[0], self.start - window_bp)
        after = np.minimum(self.end[-1], self.end + window_bp) - 1
        return np.searchsorted(self.start, before, side="right") - 1, np.searchsorted(
            self.start, after, side="right"
        ) - 1

    def diamond(self, centre: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Known z-scores between the bins ``first[centre]`` … centre - 1 and centre … ``last[centre]`` - 1."""
        rows = np.arange(first[centre], centre)[:, None]
        found = self.z[rows, np.arange(centre, last[centre]) - rows].ravel()
        return found[~np.isnan(found)]


def tad_separation(
    band: xr.DataArray,
    *,
    min_depth_bp: int | None = None,
    max_depth_bp: int | None = None,
    step_bp: int | None = None,
    min_boundary_bp: int | None = None,
    delta: float = 0.01,
    significance: float = 0.01,
    correction: Literal["fdr", "bonferroni", "none"] = "fdr",
    bad_bin: xr.DataArray | None = None,
    regions: Regions = None,
) -> xr.Dataset:
    """TAD-separation score of every bin and the boundaries at its minima; :func:`tad_domains` lists the domains.

    Parameters
    ----------
    band
        Linear contacts of a whole genome, dims ``("bin", "diagonal")``; see :func:`epizarr.insulation`. NaN is a missing pixel.
    min_depth_bp, max_depth_bp, step_bp
        Smallest and largest window and the step between them. Defaults follow from the bin size (at 10 kb: 100, 400, 20 kb). The
        largest reads twice its bins in diagonals.
    min_boundary_bp
        A minimum is followed by no lower value within this distance. Default: four bins.
    delta
        A boundary's score is lower by at least this than the mean of its surroundings.
    significance, correction
        Threshold of the p-values: of the false discovery rate, of p-values times the number of minima, or as they are.
    bad_bin
        Bins to leave out, bool with dim ``bin``, such as a store's ``bad_bin``. Default: those without contacts in the band.
    regions
        Regions, each on its own. Default: every chromosome. The correction is for the minima of all regions.

    Returns
    -------
    Dataset with dims ``("window", "bin")`` or ``("bin",)`` and coordinates ``window`` (bp), ``bin`` (id), ``region`` (index),
    ``chrom`` (name), ``start``, ``end`` (bp).

    ``scores``
        Mean z-score for each window; NaN where the bin has no contacts.
    ``score``
        Mean over windows.
    ``joined_start``, ``joined_end``
        Ends of the bins (bp) after gaps are closed.
    ``is_minimum``
        Whether the mean score has a local minimum there.
    ``delta``, ``pvalue``
        At minima: how much lower the score is than around it, and the test of contacts across the border against those across
        the borders ``min_depth_bp`` before and after it. NaN elsewhere and where the region ends too near.
    ``is_boundary``
        Whether the border before the bin is one.

    Raises
    ------
    BandReachError
        If ``max_depth_bp`` is larger than the band allows.
    SchemaError, ValueError, RegionError
        If band, depths or regions cannot be used.

    Notes
    -----
    A band that holds 3.75 times the largest depth gives the scores of the original. In a narrower one, pixels across gaps may be
    missing. Two traits of the original are not kept: its search for minima looks ahead past a chromosome's end, and it leaves
    out the first extremum of the first chromosome only. Here both are done for each region alone, so that the order of
    chromosomes changes nothing.

    Computed when called, region by region; memory is six times a region's band in float64.
    """
    grid = grid_of(band)
    low, high, step = _depths(grid.binsize, min_depth_bp, max_depth_bp, step_bp)
    check_reach(
        f"tad_separation with max_depth_bp {high:,}",
        2 * (high // grid.binsize),
        band,
        f"The largest depth that it allows is {band.sizes['diagonal'] // 2 * grid.binsize:,} bp",
    )
    lookahead = 4 if min_boundary_bp is None else min_boundary_bp // grid.binsize
    if lookahead < 1:
        raise ValueError(
            f"min_boundary_bp is {min_boundary_bp}, and a bin is {grid.binsize:,} bp; at least one is needed."
        )
    if correction not in ("fdr", "bonferroni", "none"):
        raise ValueError(f"correction {correction!r} is unknown; give 'fdr', 'bonferroni' or 'none'.")
    windows = _windows(low, high, step)
    extents = region_extents(band, regions)
    bad = None if bad_bin is None else np.asarray(bad_bin.values, dtype=bool)
    if bad is not None and bad.shape != (grid.n_bins,):
        raise ValueError(
            f"bad_bin has shape {bad.shape}; a value for each of the genome's {grid.n_bins:,} bins is needed."
        )
    found = []
    for region in read_regions(band, extents, band.sizes["diagonal"]):
        n = len(region.values)
        kept = ~bad[region.first_bin : region.first_bin + n] if bad is not None else with_contacts(region.values)
        found.append(_separate(region, kept, grid, windows, low, high, lookahead))
    merged = {name: np.concatenate([part[name] for part in found], axis=-1) for name in found[0]}
    merged["is_boundary"] = merged["delta"] >= delta
    merged["is_boundary"] &= merged["pvalue"] <= _limit(
        merged["pvalue"][merged["is_minimum"]], significance, correction
    )
    return xr.Dataset(
        {name: (("window", "bin") if values.ndim == 2 else ("bin",), values) for name, values in merged.items()},
        coords={"window": ("window", windows, {"units": "bp"}), **bin_coords(grid, extents)},
        attrs={"delta": delta, "significance": significance, "correction": correction, "binsize": grid.binsize},
    )


def default_depths(binsize: int) -> tuple[int, int, int]:
    """HiCExplorer's largest and smallest window and its step for a bin size, in bins."""
    return next(bins for smallest, bins in _DEFAULT_DEPTHS if binsize >= smallest)


def _depths(binsize: int, low: int | None, high: int | None, step: int | None) -> tuple[int, int, int]:
    """Minimal and maximal depth and step in bp, defaults filled in and checked."""
    default = default_depths(binsize)
    high, low, step = (
        n * binsize if given is None else int(given) for given, n in zip((high, low, step), default, strict=True)
    )
    if low < 3 * binsize or high < 5 * binsize or step < binsize or low > high:
        raise ValueError(
            f"tad_separation: min_depth_bp {low:,}, max_depth_bp {high:,}, step_bp {step:,} at bins of {binsize:,} bp; needed "
            f"are at least {3 * binsize:,}, {5 * binsize:,} and {binsize:,} bp, and a minimum that is not above the maximum."
        )
    return low, high, step


def _windows(low: int, high: int, step: int) -> list[int]:
    """Windows whose steps grow as k ** 1.5."""
    windows: list[int] = []
    k = 0
    while (window := low + int(step * k**1.5)) <= high:
        windows.append(window)
        k += 1
    return windows


def _separate(
    region: RegionBand, keep: np.ndarray, grid: BinGrid, windows: Sequence[int], low: int, high: int, lookahead: int
) -> dict[str, np.ndarray]:
    """Scores, minima and their p-values of one region, at each of its bins."""
    n = len(region.values)
    _, start, end = grid.locate(np.arange(region.first_bin, region.first_bin + n))
    joined = _join(
        region.values, keep, start, end, int(high * _DEPTHS_OF_ZSCORES / grid.binsize), 2 * (high // grid.binsize)
    )
    found = {
        "scores": np.full((len(windows), n), np.nan),
        "score": np.full(n, np.nan),
        "joined_start": start,
        "joined_end": end,
        "delta": np.full(n, np.nan),
        "pvalue": np.full(n, np.nan),
        "is_minimum": np.zeros(n, dtype=bool),
    }
    if not len(joined.kept):
        return found
    sums = _sums_of(joined.z)
    scores = np.stack([_diamond_means(joined, sums, window) for window in windows])
    score = scores.mean(axis=0)
    # Where a window has no score, the minima are sought among the others, as if the bin were not there.
    usable = np.flatnonzero(~np.isnan(score))
    minima = usable[score_minima(score[usable], lookahead)]
    first, last = joined.reach(low)
    found["scores"][:, joined.kept], found["score"][joined.kept] = scores, score
    found["joined_start"][joined.kept], found["joined_end"][joined.kept] = joined.start, joined.end
    found["delta"][joined.kept[usable]] = _deltas(score[usable])
    found["delta"][np.setdiff1d(np.arange(n), joined.kept[minima])] = np.nan
    for centre in minima.tolist():
        here = joined.diamond(centre, first, last)
        beside = [joined.diamond(int(side[centre]), first, last) for side in (first, last)]
        # A constant diagonal has no z-scores to rank.
        if all(len(diamond) and np.isfinite(diamond).all() for diamond in (here, *beside)):
            found["pvalue"][joined.kept[centre]] = min(rank_sums(here, b)[1] for b in beside)
    found["is_minimum"][joined.kept[minima]] = True
    return found


def _join(
    values: np.ndarray, keep: np.ndarray, start: np.ndarray, end: np.ndarray, n_distances: int, n_offsets: int
) -> _Joined:
    """Leave out bins that are not kept, close the gaps and gather z-scores at offsets among the bins that are left.

    z-scores are those of distances up to ``n_distances``, inclusive, and 0 beyond; they are gathered at fewer than ``n_offsets``.
    """
    kept = np.flatnonzero(keep)
    origin = start[0]
    start, end = start[kept].copy(), end[kept].copy()
    if not len(kept):
        return _Joined(kept, start, end, np.zeros((0, 0)))
    z = _zscores(values[:, : n_distances + 1], keep, n_distances)
    place = start[1:] - (start[1:] - end[:-1]) // 2
    start[1:], end[:-1] = place, place
    start[0] = origin
    offsets = np.full((len(kept), n_offsets), np.nan)
    for q in range(min(n_offsets, len(kept))):
        distance = kept[q:] - kept[: len(kept) - q]
        stored = distance < z.shape[1]
        offsets[: len(distance), q] = np.where(distance > n_distances, 0.0, np.nan)
        offsets[: len(distance)][stored, q] = z[kept[: len(distance)][stored], distance[stored]]
    return _Joined(kept, start, end, offsets)


def _zscores(values: np.ndarray, keep: np.ndarray, n_distances: int) -> np.ndarray:
    """z-score of each pixel among those of its distance, from 1 to ``n_distances``.

    Where gaps leave fewer pixels of a distance than the kept bins would have without them, zeros stand for the others. Of the
    last distance only pixels across a gap are considered, as in the original.
    """
    n, n_kept = len(values), int(keep.sum())
    rank = np.cumsum(keep)
    z = np.full(values.shape, np.nan)
    for d in range(1, min(values.shape[1], n)):
        both = keep[: n - d] & keep[d:]
        if d == n_distances:
            both &= rank[d:] - rank[: n - d] < d
        known = both & ~np.isnan(values[: n - d, d])
        x = values[: n - d, d][known]
        n_missing = np.count_nonzero(both) - len(x)
        count = max(n_kept - d - n_missing if n_kept > d else 0, len(x))
        if not count:
            continue
        mean = x.sum() / count
        sd = np.sqrt((np.square(x - mean).sum() + (count - len(x)) * mean**2) / count)
        z[: n - d, d][known] = (x - mean) / sd if sd > 0 else np.inf
    return z


def _sums_of(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cumulative sums along each row, from 0, of known z-scores, their number, and the number on constant diagonals."""
    known = np.isfinite(z)
    return (
        row_sums(np.where(known, z, 0.0)),
        row_sums(known.astype(np.float64)),
        row_sums(np.isinf(z).astype(np.float64)),
    )


def _diamond_means(joined: _Joined, sums: tuple[np.ndarray, np.ndarray, np.ndarray], window_bp: int) -> np.ndarray:
    """Mean z-score of each bin's diamond; 0 where it is empty, NaN where nothing is known or it meets a constant diagonal."""
    first, last = joined.reach(window_bp)
    n, width = joined.z.shape
    bins = np.arange(n)
    total, known, constant = np.zeros(n), np.zeros(n), np.zeros(n)
    for r in range(1, int((bins - first).max()) + 1):
        at = bins[bins - first >= r]
        to = np.minimum(last[at] - at + r, width)
        for found, each in zip((total, known, constant), sums, strict=True):
            found[at] += each[at - r, to] - each[at - r, r]
    mean = np.divide(total, known, out=np.full(n, np.nan), where=known > 0)
    mean[(bins == first) | (last == bins)] = 0.0
    mean[constant > 0] = np.nan
    return mean


def score_minima(score: np.ndarray, lookahead: int) -> np.ndarray:
    """Minima of a score: indices of lows that are followed by ``lookahead`` higher values, between highs alike.

    The first extremum, which depends on where the score begins, is left out.
    """
    if len(score) <= lookahead:
        return np.zeros(0, dtype=np.int64)
    ahead = np.lib.stride_tricks.sliding_window_view(score, lookahead)
    highest_ahead, lowest_ahead = ahead.max(axis=1).tolist(), ahead.min(axis=1).tolist()
    hits: list[tuple[bool, int]] = []
    low, high, low_at, high_at, seeking = np.inf, -np.inf, 0, 0, ""
    for i, y in enumerate(score[:-lookahead].tolist()):
        if y > high:
            high, high_at = y, i
        if y < low:
            low, low_at = y, i
        if y < high and seeking != "low" and highest_ahead[i] < high:
            hits.append((False, high_at))
            low, high, low_at, seeking = y, y, i, "low"
        elif y > low and seeking != "high" and lowest_ahead[i] > low:
            hits.append((True, low_at))
            low, high, high_at, seeking = y, y, i, "high"
    return np.array([at for is_low, at in hits[1:] if is_low], dtype=np.int64)


def _deltas(score: np.ndarray) -> np.ndarray:
    """How much lower each bin's score is than the mean around it; NaN for the first ten and the last eleven bins.

    The surroundings are those of the original: ten bins before, the bin itself, and the next nine without the third.
    """
    delta = np.full(len(score), np.nan)
    around = np.lib.stride_tricks.sliding_window_view(score, min(2 * _DELTA_BINS, len(score)))[:-2]
    if around.shape[1] == 2 * _DELTA_BINS:
        at = slice(_DELTA_BINS, _DELTA_BINS + len(around))
        delta[at] = np.delete(around, _DELTA_BINS + 3, axis=1).mean(axis=1) - score[at]
    return delta


def _limit(pvalue: np.ndarray, significance: float, correction: str) -> float:
    """Largest p-value that passes, given those of all minima; one that could not be had counts as 1."""
    tested = np.sort(np.nan_to_num(pvalue, nan=1.0))
    if correction == "none":
        return significance
    if correction == "bonferroni":
        return significance / max(1, len(tested))
    passing = tested[tested <= significance * np.arange(1, len(tested) + 1) / max(1, len(tested))]
    return float(passing.max(initial=0.0))


def tad_boundaries(separated: xr.Dataset) -> pd.DataFrame:
    """List the boundaries of :func:`tad_separation`, each from the centre of the bin before it to that of the bin after.

    Returns
    -------
    Table with columns ``chrom``, ``start``, ``end`` (bp, of bins after gaps are closed), ``position`` (bp, the border itself),
    ``score``, ``delta``, ``pvalue``, in the order of the bins.
    """
    at = np.flatnonzero(separated["is_boundary"].values)
    scored = np.flatnonzero(~np.isnan(separated["score"].values))
    before = scored[np.searchsorted(scored, at) - 1]
    start, end = separated["joined_start"].values, separated["joined_end"].values
    centre = start + (end - start) // 2
    return pd.DataFrame(
        {
            "chrom": separated["chrom"].values[at],
            "start": centre[before],
            "end": centre[at],
            "position": start[at],
            **{name: separated[name].values[at] for name in ("score", "delta", "pvalue")},
        }
    )


def tad_domains(separated: xr.Dataset) -> pd.DataFrame:
    """List the domains of :func:`tad_separation`: from each boundary to the next of its region.

    Returns
    -------
    Table with columns ``chrom``, ``start``, ``end`` (bp) and ``score``, that of the boundary at its start.
    """
    at = np.flatnonzero(separated["is_boundary"].values)
    region = separated["region"].values[at]
    same = np.flatnonzero(region[1:] == region[:-1])
    start = separated["joined_start"].values[at]
    return pd.DataFrame(
        {
            "chrom": separated["chrom"].values[at][same],
            "start": start[same],
            "end": start[same + 1],
            "score": separated["score"].values[at][same],
        }
    )
