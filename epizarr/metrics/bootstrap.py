"""Confidence intervals of scores by a moving-block bootstrap along the genome.

Neighbouring pixels share domains, loops and noise, so that pixels are no independent sample. Stretches of the genome several
megabases apart nearly are: the scored span is resampled in blocks of 5 Mb (Künsch 1989, doi:10.1214/aos/1176347265), and all
scores are worked out anew for each resample from the sums of its blocks (:mod:`epizarr.metrics.moments`).

- Blocks begin anywhere on a lattice of a fifth of a block, the *cells*, which are what sums are kept for. Cells of all regions
  are strung together and closed to a ring, so that each is drawn equally often (Politis & Romano 1992). Cells without a pixel are
  left out.
- Fewer than ten blocks of 5 Mb: blocks of 1 Mb, which are not quite independent, and the label :data:`FEW_BLOCKS`. Fewer than
  five of those: no interval.
- Percentiles of few blocks are too narrow; they are widened as Student's t is wider than the normal distribution (Hesterberg
  2015, doi:10.1080/00031305.2015.1089789, "expanded percentile").
- Predictors are compared on the same resamples: what makes a stretch hard for all of them cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from epizarr.metrics.moments import PairMoments, RankMoments

#: Width of a block, that of a block where the span holds few of them, and how many make it not few.
BLOCK_BP, SMALL_BLOCK_BP, MIN_BLOCKS = 5_000_000, 1_000_000, 10
#: Fewer blocks of the small width give no interval.
LEAST_BLOCKS = 5
#: Cells that make a block.
CELLS_PER_BLOCK = 5
N_RESAMPLES = 2_000
FEW_BLOCKS = "few blocks: optimistic"


@dataclass(frozen=True)
class BlockPlan:
    """How a scored span is cut.

    Parameters
    ----------
    block_bp
        Width of a block; 0 where there is no interval.
    n_blocks
        How many the span holds.
    cell_bins
        Bins of a cell.
    cells_per_block
        Cells of a block.
    """

    block_bp: int
    n_blocks: int
    cell_bins: int
    cells_per_block: int

    @property
    def label(self) -> str:
        """What a reader must know; empty where all is well."""
        if not self.block_bp:
            return f"n/a: fewer than {LEAST_BLOCKS} blocks of {SMALL_BLOCK_BP / 1e6:g} Mb"
        return "" if self.block_bp == BLOCK_BP else FEW_BLOCKS

    def cells(self, extents: Sequence[tuple[int, int]]) -> np.ndarray:
        """Cell of each row of some regions, strung together, int64; no cell reaches from one region into the next.

        Parameters
        ----------
        extents
            First and one-past-last bin id of each region.
        """
        parts, n_cells = [np.zeros(0, dtype=np.int64)], 0
        for lo, hi in extents:
            parts.append(n_cells + np.arange(hi - lo) // self.cell_bins)
            n_cells += -(-(hi - lo) // self.cell_bins)
        return np.concatenate(parts)


def plan_blocks(span_bp: int, binsize: int) -> BlockPlan:
    """Choose the width of the blocks.

    Parameters
    ----------
    span_bp
        What is scored, in bp of bins that are not bad.
    binsize
        Bin width in bp.

    Examples
    --------
    >>> plan_blocks(470_000_000, 10_000)
    BlockPlan(block_bp=5000000, n_blocks=94, cell_bins=100, cells_per_block=5)
    >>> plan_blocks(8_700_000, 10_000).label
    'few blocks: optimistic'
    """
    block_bp = BLOCK_BP if span_bp // BLOCK_BP >= MIN_BLOCKS else SMALL_BLOCK_BP
    n_blocks = span_bp // block_bp
    cell_bins = max(1, block_bp // CELLS_PER_BLOCK // binsize)
    cells_per_block = max(1, round(block_bp / (cell_bins * binsize)))
    return BlockPlan(block_bp if n_blocks >= LEAST_BLOCKS else 0, n_blocks, cell_bins, cells_per_block)


def resample_weights(
    has_pixels: np.ndarray, cells_per_block: int, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Draw how often each cell counts in each resample.

    Parameters
    ----------
    has_pixels
        Which cells have a pixel, bool (cell); the others are never drawn.
    cells_per_block
        Neighbouring cells that are drawn together.
    n_resamples, seed
        How many, and the seed of the random numbers.

    Returns
    -------
    Weights, float64 (resample, cell); each row adds up to the number of cells with a pixel.
    """
    used = np.flatnonzero(has_pixels)
    weights = np.zeros((n_resamples, len(has_pixels)))
    if not len(used):
        return weights
    n_drawn = -(-len(used) // cells_per_block)
    starts = np.random.default_rng(seed).integers(0, len(used), (n_resamples, n_drawn, 1))
    drawn = ((starts + np.arange(cells_per_block)) % len(used)).reshape(n_resamples, -1)[:, : len(used)]
    flat = (np.arange(n_resamples)[:, None] * len(used) + drawn).ravel()
    weights[:, used] = np.bincount(flat, minlength=n_resamples * len(used)).reshape(n_resamples, -1)
    return weights


@dataclass(frozen=True)
class ResampledScores:
    """Scores of one map in each resample, float64 (resample)."""

    mean_pearson: np.ndarray
    mean_spearman: np.ndarray
    mse: np.ndarray

    @classmethod
    def of(
        cls, pairs: PairMoments, ranks: RankMoments, weights: np.ndarray, *, min_pixels: int = 2
    ) -> "ResampledScores":
        """Score resamples; the correlations' means run over the diagonals where the whole sample defines them.

        Parameters
        ----------
        pairs, ranks
            Moments (cell, diagonal) of the map and the observed one.
        weights
            From :func:`resample_weights`.
        min_pixels
            Diagonals with fewer pixels have no correlation.
        """
        every = np.ones((1, pairs.n.shape[0]))
        pooled = pairs.weighted(weights)
        pearson = _mean_over(pooled.pearson(), pairs.weighted(every).pearson(min_pixels))
        spearman = _mean_over(ranks.spearman(weights), ranks.spearman(every, min_pixels))
        n = pooled.n.sum(axis=1)
        mse = np.divide(pooled.squared_error.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
        return cls(pearson, spearman, mse)

    def skill(self, reference: "ResampledScores") -> np.ndarray:
        """Skill over another map in the same resamples."""
        out = np.full(len(self.mse), np.nan)
        return 1 - np.divide(self.mse, reference.mse, out=out, where=reference.mse > 0)


def interval(values: np.ndarray, n_blocks: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval from the values of a score, or of a difference of two, over resamples.

    Parameters
    ----------
    values
        One a resample. Those that are NaN are left out; the interval is NaN where more than a twentieth are.
    n_blocks
        Blocks in the span.
    level
        Share of repeats of the experiment whose interval would cover the truth.
    """
    known = values[~np.isnan(values)]
    if n_blocks < 2 or len(known) < 0.95 * len(values):
        return float("nan"), float("nan")
    tail = norm.cdf(np.sqrt(n_blocks / (n_blocks - 1)) * t.ppf((1 - level) / 2, n_blocks - 1))
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _mean_over(resampled: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean over the diagonals that the whole sample defines; one that a resample does not define is left out of its mean."""
    chosen = resampled[:, ~np.isnan(whole[0])]
    number = (~np.isnan(chosen)).sum(axis=1)
    return np.divide(np.nansum(chosen, axis=1), number, out=np.full(len(chosen), np.nan), where=number > 0)
