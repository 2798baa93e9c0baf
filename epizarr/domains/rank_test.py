"""Wilcoxon rank-sum tests: of two samples, and of two sets of pixels around every bin of a band.

For the latter, the pixels of a band are ranked once. At each bin, small integers are sorted, many bins at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import rankdata

#: Pixels that are sorted at a time, and so the memory: 40 bytes each.
_BATCH_PIXELS = 1 << 19


def rank_sums(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Two-sided rank-sum test of two samples: statistic (normal under equality) and p-value, without correction for ties.

    As ``scipy.stats.ranksums``, which takes a millisecond a call.
    """
    n, m = len(x), len(y)
    excess = rankdata(np.concatenate([x, y]))[:n].sum() - n * (n + m + 1) / 2
    statistic = excess / np.sqrt(n * m * (n + m + 1) / 12)
    return float(statistic), float(2 * ndtr(-abs(statistic)))


@dataclass(frozen=True)
class PixelRanks:
    """Ranks of the pixels of a band among all of them.

    Parameters
    ----------
    rank
        int32 (bins, diagonals): equal values have equal ranks. ``missing`` where a pixel is missing.
    missing
        Larger than every rank.
    """

    rank: np.ndarray
    missing: int

    @classmethod
    def of(cls, values: np.ndarray) -> "PixelRanks":
        """Rank a band; NaN is missing."""
        known = ~np.isnan(values)
        found, rank = np.unique(values[known], return_inverse=True)
        ranks = np.full(values.shape, len(found), dtype=np.int32)
        ranks[known] = rank
        return cls(ranks, len(found))


def rank_test(ranks: PixelRanks, tested: np.ndarray, others: np.ndarray, runs: Sequence[tuple[int, int]]) -> np.ndarray:
    """p-values that the tested pixels are smaller than the others, at every bin.

    Parameters
    ----------
    ranks
        Pixels of a region.
    tested, others
        Places of the two sets, int (pixels, 2): the row's distance from the bin, and the diagonal.
    runs
        Runs of bins to test at, half-open, in order. A pixel of which a bin is not in the run counts as missing there.

    Returns
    -------
    One-sided p-values (bins), by the normal approximation with corrections for ties and continuity; 1 where a set is empty, and
    outside the runs.
    """
    n, width = ranks.rank.shape
    places = np.concatenate([tested, others])
    margin = int(np.abs(places[:, 0]).max(initial=0))
    first, end = np.zeros((2, n), dtype=np.int64)
    for lo, hi in runs:
        first[lo:hi], end[lo:hi] = lo, hi
    # The lowest bit says which set a pixel is from; missing pixels sort last, as if of the others.
    missing = 2 * ranks.missing
    padded = np.full((n + 2 * margin, width), missing, dtype=np.int32)
    in_run = np.arange(width) < (end - np.arange(n))[:, None]
    np.multiply(ranks.rank, 2, out=padded[margin : margin + n], where=in_run)
    padded = padded.ravel()
    row, flat = places[:, 0].astype(np.int32), (places[:, 0] + margin) * width + places[:, 1]
    pvalue = np.ones(n)
    at = np.flatnonzero(end)
    batch = max(1, _BATCH_PIXELS // max(1, len(flat)))
    for start in range(0, len(at), batch):
        bins = at[start : start + batch]
        keys = padded[bins[:, None] * width + flat]
        before, after = ((edge[bins] - bins).astype(np.int32)[:, None] for edge in (first, end))
        keys[(row < before) | (row >= after)] = missing
        known = keys < missing
        n_tested = np.count_nonzero(known[:, : len(tested)], axis=1)
        n_others = np.count_nonzero(known, axis=1) - n_tested
        keys[:, : len(tested)] += known[:, : len(tested)]
        keys.sort(axis=1)
        pvalue[bins] = _smaller_pvalue(keys, n_tested.astype(np.float64), n_others.astype(np.float64))
    return pvalue


def _smaller_pvalue(keys: np.ndarray, n_tested: np.ndarray, n_others: np.ndarray) -> np.ndarray:
    """p-values from sorted keys, a row a test: twice the rank, plus 1 for a tested pixel."""
    n_rows, size = keys.shape
    row_start = np.arange(n_rows) * size
    # Places of the tested pixels; their numbers in each row are known.
    is_tested = (keys & 1).astype(bool)
    upto = np.concatenate([[0], np.cumsum(n_tested).astype(np.int64)])
    place_sums = np.concatenate([[0], np.cumsum(np.flatnonzero(is_tested))])
    rank_sum = place_sums[upto[1:]] - place_sums[upto[:-1]] - (row_start - 1) * n_tested
    # Equal values share their mean rank. The tested ones of a group stand behind its others.
    ties = np.zeros(n_rows)
    same = np.zeros(keys.shape, dtype=bool)
    np.equal(keys[:, 1:] >> 1, keys[:, :-1] >> 1, out=same[:, :-1])
    tied = np.flatnonzero(same)
    if len(tied):
        breaks = np.flatnonzero(np.diff(tied) > 1)
        first, last = tied[np.concatenate([[0], breaks + 1])], tied[np.append(breaks, -1)] + 1
        before = np.cumsum(is_tested.ravel(), dtype=np.int32)
        of_tested = (before[last] - before[first] + is_tested.ravel()[first]).astype(np.float64)
        members = (last - first + 1).astype(np.float64)
        row = first // size
        rank_sum = rank_sum - np.bincount(row, weights=of_tested * (members - of_tested) / 2, minlength=n_rows)
        ties += np.bincount(row, weights=members**3 - members, minlength=n_rows)
    n_known = n_tested + n_others
    n_missing = size - n_known
    ties -= n_missing**3 - n_missing  # they are the last group
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = n_tested * n_others / 12 * (n_known + 1 - ties / (n_known * (n_known - 1)))
        excess = rank_sum - n_tested * (n_tested + 1) / 2 - n_tested * n_others / 2
        pvalue = ndtr((excess + 0.5) / np.sqrt(variance))
    return np.where(np.isnan(pvalue), 1.0, pvalue)
