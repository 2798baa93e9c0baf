"""Loops as peaks of a map: calling them, measuring them at given places, and piling them up. All on the band.

A loop is a small square of pixels that exceeds its neighbourhood. HiCCUPS (Rao et al. 2014, doi:10.1016/j.cell.2014.11.021)
compares a pixel with four backgrounds, a donut, the square towards the diagonal, a row and a column, and tests counts against
Poisson rates. Predictions are no counts, and callers that assume counts (HiCCUPS, cooltools ``dots``) are not valid on them;
chromosight (by templates) would be, but has had no release since 2022. Here, for any map of linear contacts, after O/E:

- the *peak* is the mean of the 3 × 3 pixels without the largest, so that no single pixel makes a loop; its *enrichment* is the
  ratio to the mean of the LARGEST of the four backgrounds;
- its *z* is the excess over the donut's mean, in standard errors by the spread of the donut's own pixels: a noisy map needs a
  higher peak than a smooth one.

Loops are called by thresholds on both (:func:`call_loops`), or, without any, given ones are ranked by z against pixels at the
same distances that are no loops (:func:`distance_matched_controls`).

Pixels are (row, diagonal) of ONE region's band; their footprint must lie in the band: diagonals from ``2 w + 1`` to
``K - 1 - 2 w``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from epizarr.genome import BinGrid
from epizarr.metrics.correlation import mean_defined
from epizarr.metrics.neighbourhoods import Side, gather_squares, rectangle_sums

#: Least share of a background's pixels that must be valid.
_MIN_VALID = 0.5
#: Least spread of a donut's pixels, relative to their mean.
_LEAST_SPREAD = 0.05


class Footprint(NamedTuple):
    """Half widths in bins: of the peak that backgrounds leave out, and of the donut."""

    peak: int
    donut: int

    @classmethod
    def of_binsize(cls, binsize: int) -> "Footprint":
        """HiCCUPS' own: 1 and 3 for bins of 25 kb, 2 and 5 of 10 kb, 4 and 7 of 5 kb; by the nearest of these."""
        known = {25_000: cls(1, 3), 10_000: cls(2, 5), 5_000: cls(4, 7)}
        return known[min(known, key=lambda size: abs(np.log(size / binsize)))]

    def backgrounds(self) -> list[list[tuple[int, Side, Side]]]:
        """Four backgrounds, each a list of (sign, rows, columns): rectangles that are added or taken off."""
        p, w = self
        whole, peak, middle, aside = (-w, w), (-p, p), (0, 0), (-1, 1)
        low, high = (-w, -p - 1), (p + 1, w)
        donut = [(1, whole, whole), (-1, peak, peak)]
        donut += [(-1, middle, low), (-1, middle, high), (-1, low, middle), (-1, high, middle)]
        towards_diagonal = [(1, (1, w), (-w, -1)), (-1, (1, p), (-p, -1))]
        row = [(1, aside, low), (1, aside, high)]
        column = [(1, low, aside), (1, high, aside)]
        return [donut, towards_diagonal, row, column]


class LoopScores(NamedTuple):
    """How each pixel stands out, float64 (row, diagonal), NaN where that is not known."""

    enrichment: np.ndarray
    z: np.ndarray


def score_loops(band: np.ndarray, expected: np.ndarray, footprint: Footprint) -> LoopScores:
    """Compare the 3 × 3 pixels around each pixel with their backgrounds.

    Parameters
    ----------
    band
        Linear contacts of one region, (row, diagonal), NaN where a pixel does not count.
    expected
        Mean contact at each diagonal, (diagonal); pixels where it is not positive do not count.
    footprint
        Size of peak and donut.

    Returns
    -------
    Enrichments and z. NaN where the pixel is missing, its footprint leaves the band, or a background has fewer than half of its
    pixels or no contact. The spread of a donut is taken for at least a twentieth of its mean: in a map without noise any ripple
    would be significant.
    """
    ratio = observed_over_expected(band, expected)
    largest, z = np.full(band.shape, -np.inf), np.full(band.shape, np.nan)
    peak, n_peak = _trimmed_peak(ratio)
    for index, background in enumerate(footprint.backgrounds()):
        mean, number = _background_mean(ratio, background)
        largest = np.maximum(largest, np.where(mean > 0, mean, np.nan))
        if index == 0:
            variance = _background_mean(np.square(ratio), background)[0] - mean**2
            sd = np.sqrt(np.maximum(variance * number / np.maximum(number - 1, 1), (_LEAST_SPREAD * mean) ** 2))
            z = np.divide(peak - mean, sd, out=z, where=sd > 0) * np.sqrt(n_peak)
    reach = 2 * footprint.donut
    unknown = np.isnan(ratio) | np.isnan(largest)
    unknown[:, : reach + 1] = True
    unknown[:, max(band.shape[1] - reach, 0) :] = True
    return LoopScores(np.where(unknown, np.nan, peak / largest), np.where(unknown, np.nan, z))


def _trimmed_peak(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the valid pixels of the 3 × 3 around each pixel without the largest, NaN where that is none; and their number."""
    total, number = rectangle_sums(ratio, (-1, 1), (-1, 1))
    largest = np.zeros(ratio.shape)
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            np.maximum(largest, rectangle_sums(ratio, (a, a), (b, b))[0], out=largest)
    number = np.maximum(number - 1, 0)
    return np.divide(total - largest, number, out=np.full(ratio.shape, np.nan), where=number > 0), number


def observed_over_expected(band: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Band (row, diagonal) over the mean of each diagonal (diagonal), float64; NaN where that is not positive."""
    return np.asarray(band / np.where(expected > 0, expected, np.nan), dtype=np.float64)


def _background_mean(ratio: np.ndarray, background: Sequence[tuple[int, Side, Side]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the valid pixels of a background, NaN where too few are, and their number."""
    total, number, n_pixels = np.zeros(ratio.shape), np.zeros(ratio.shape), 0
    for sign, rows, columns in background:
        one, n = rectangle_sums(ratio, rows, columns)
        total += sign * one
        number += sign * n
        n_pixels += sign * (rows[1] - rows[0] + 1) * (columns[1] - columns[0] + 1)
    return np.divide(total, number, out=np.full(ratio.shape, np.nan), where=number >= _MIN_VALID * n_pixels), number


class Pixels(NamedTuple):
    """Pixels of one region's band, int64 arrays (pixel)."""

    row: np.ndarray
    diagonal: np.ndarray

    def ends(self) -> np.ndarray:
        """Rows of both bins, (pixel, 2)."""
        return np.stack([self.row, self.row + self.diagonal], axis=1)


def loop_pixels(table: pd.DataFrame, grid: BinGrid, lo: int, hi: int) -> Pixels:
    """Pixels of the loops of a BEDPE table that lie in bins ``[lo, hi)`` of one chromosome; each pixel once.

    Parameters
    ----------
    table
        Columns ``chrom1, start1, end1, chrom2, start2, end2``; an anchor is the bin that holds its middle. Loops between
        chromosomes, and those of chromosomes that the assembly lacks, are left out.
    grid
        Bins.
    lo, hi
        Bin ids; rows are counted from ``lo``.
    """
    cis = table[(table["chrom1"] == table["chrom2"]) & table["chrom1"].isin(grid.assembly.chrom_names)]
    offset = np.array([grid.chrom_extent(str(chrom))[0] for chrom in cis["chrom1"]], dtype=np.int64)
    middles = [(cis[f"start{side}"].to_numpy() + cis[f"end{side}"].to_numpy()) // 2 // grid.binsize for side in (1, 2)]
    ends = np.sort(np.stack(middles, axis=1).astype(np.int64) + offset[:, None], axis=1)
    inside = np.unique(ends[(ends[:, 0] >= lo) & (ends[:, 1] < hi)], axis=0)
    return Pixels(inside[:, 0] - lo, inside[:, 1] - inside[:, 0])


def call_loops(
    scores: LoopScores,
    *,
    min_z: float = 4.5,
    min_enrichment: float = 1.25,
    radius: int = 2,
    min_support: int = 2,
) -> tuple[Pixels, np.ndarray]:
    """Call the peaks of a map.

    Parameters
    ----------
    scores
        From :func:`score_loops`.
    min_z, min_enrichment
        Least z and enrichment of a candidate pixel.
    radius
        A loop is the candidate of largest z within so many bins of both its ends.
    min_support
        Least number of candidates there, itself included: single pixels are mostly noise.

    Returns
    -------
    The loops, by falling z, and their z.
    """
    row, diagonal = np.nonzero((scores.z >= min_z) & (scores.enrichment >= min_enrichment))
    candidates = Pixels(row.astype(np.int64), diagonal.astype(np.int64))
    value = scores.z[row, diagonal]
    if not len(value):
        return candidates, value
    pairs = cKDTree(candidates.ends()).query_pairs(radius, p=np.inf, output_type="ndarray")
    support = 1 + np.bincount(pairs.ravel(), minlength=len(value))
    lower = np.where(value[pairs[:, 0]] >= value[pairs[:, 1]], pairs[:, 1], pairs[:, 0])
    is_peak = support >= min_support
    is_peak[lower] = False
    chosen = np.flatnonzero(is_peak)
    chosen = chosen[np.argsort(-value[chosen], kind="stable")]
    return Pixels(candidates.row[chosen], candidates.diagonal[chosen]), value[chosen]


@dataclass(frozen=True)
class LoopMatch:
    """Agreement of called with given loops; counts of several regions may be added.

    Parameters
    ----------
    n_called, n_given
        Loops called and given.
    n_called_right, n_given_found
        Called ones with a given one near, and given ones with a called one near.
    """

    n_called: int
    n_given: int
    n_called_right: int
    n_given_found: int

    @property
    def precision(self) -> float:
        """Share of the called loops that are right; NaN without any."""
        return self.n_called_right / self.n_called if self.n_called else float("nan")

    @property
    def recall(self) -> float:
        """Share of the given loops that are found; NaN without any."""
        return self.n_given_found / self.n_given if self.n_given else float("nan")


def match_loops(called: Pixels, given: Pixels, tolerance: int) -> LoopMatch:
    """Compare two sets of loops; two match if both ends lie within ``tolerance`` bins, however many match the same one."""
    near = [0, 0]
    if len(called.row) and len(given.row):
        trees = [cKDTree(pixels.ends()) for pixels in (called, given)]
        for index, (own, other) in enumerate((trees, trees[::-1])):
            distance, _ = other.query(own.data, p=np.inf, distance_upper_bound=tolerance + 0.5)
            near[index] = int(np.isfinite(distance).sum())
    return LoopMatch(len(called.row), len(given.row), near[0], near[1])


def largest_near(values: np.ndarray, pixels: Pixels, within: int = 1) -> np.ndarray:
    """Largest of some values (row, diagonal) within so many bins of both ends of some pixels, (pixel); NaN without any."""
    squares = gather_squares(values, pixels.row, pixels.diagonal, within)
    highest = np.where(np.isnan(squares), -np.inf, squares).max(axis=(1, 2), initial=-np.inf)
    return np.where(np.isfinite(highest), highest, np.nan)


def distance_matched_controls(
    loops: Pixels, usable: np.ndarray, *, per_loop: int = 10, apart: int = 5, seed: int = 0
) -> Pixels:
    """Draw pixels on the same diagonals that are no loops.

    Parameters
    ----------
    loops
        Loops of one region.
    usable
        Pixels that may be drawn, bool (row, diagonal): where z is known.
    per_loop
        How many for each loop; fewer where a diagonal has no more.
    apart
        More than so many bins from every loop, at one end at least.
    seed
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    tree = cKDTree(loops.ends()) if len(loops.row) else None
    rows, diagonals = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for k, n_loops in zip(*np.unique(loops.diagonal, return_counts=True), strict=True):
        free = np.flatnonzero(usable[:, k])
        if tree is not None and len(free):
            near, _ = tree.query(Pixels(free, np.full(len(free), k)).ends(), p=np.inf)
            free = free[near > apart]
        drawn = rng.permutation(free)[: per_loop * int(n_loops)]
        rows.append(drawn)
        diagonals.append(np.full(len(drawn), k, dtype=np.int64))
    return Pixels(np.concatenate(rows), np.concatenate(diagonals))


@dataclass(frozen=True)
class PileUp:
    """Sum of observed / expected around loops, (2h + 1, 2h + 1), rows by the first bin; pile-ups of several regions add up.

    Parameters
    ----------
    total, number
        Sum over the loops, and valid pixels behind it.
    """

    total: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, band: np.ndarray, expected: np.ndarray, loops: Pixels, half_width: int = 10) -> "PileUp":
        """Pile up the squares around the loops of one region; parameters as for :func:`score_loops`."""
        squares = gather_squares(observed_over_expected(band, expected), loops.row, loops.diagonal, half_width)
        known = ~np.isnan(squares)
        return cls(np.where(known, squares, 0.0).sum(axis=0), known.sum(axis=0))

    @classmethod
    def add(cls, parts: Sequence["PileUp"]) -> "PileUp":
        """Pile-up of several regions; at least one."""
        return cls(np.sum([p.total for p in parts], axis=0), np.sum([p.number for p in parts], axis=0))

    @property
    def mean(self) -> np.ndarray:
        """Mean observed / expected, float64; NaN where no loop has a value."""
        return np.divide(
            self.total, self.number, out=np.full(self.total.shape, np.nan), where=np.asarray(self.number > 0)
        )

    def corner_score(self, corner: int = 6) -> float:
        """Middle over the mean of the corner towards the diagonal (Juicer's P2LL): about 1 where there are no loops, NaN of none.

        Parameters
        ----------
        corner
            Side of the corner in bins, at most the half width.
        """
        half_width = self.total.shape[0] // 2
        if not 1 <= corner <= half_width:
            raise ValueError(f"corner: {corner} bins, and a pile-up of half width {half_width} has 1 to {half_width}.")
        around = mean_defined(self.mean[-corner:, :corner])
        return float(self.mean[half_width, half_width]) / around if around > 0 else float("nan")
