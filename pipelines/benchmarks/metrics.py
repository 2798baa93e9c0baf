"""Every metric on a human-size band of two random maps: seconds of each, and peak memory above the maps'.

309,000 bins of 10 kb in 24 chromosomes, 100 diagonals, 8 % of the bins missing. Usage::

    python pipelines/benchmarks/metrics.py [--bins 309000] [--diagonals 100]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from _memory import peak_gb

from epizarr.metrics.bootstrap import ResampledScores, interval, plan_blocks, resample_weights
from epizarr.metrics.interactions import ThresholdCounts, ranking_scores
from epizarr.metrics.loops import Footprint, call_loops, score_loops
from epizarr.metrics.moments import PairMoments, RankMoments
from epizarr.metrics.similarity import structural_similarity
from epizarr.metrics.stratum_adjusted import stratum_adjusted_correlation, stratum_moments
from epizarr.metrics.submatrices import score_submatrices
from epizarr.transforms import diagonal_sums, mean_of_sums

BINSIZE, N_CHROMS = 10_000, 24
TARGET_S, TARGET_GB = 600, 6


def measure(n_bins: int, n_diagonals: int) -> None:
    """Draw the maps and time each metric."""
    rng = np.random.default_rng(0)
    observed = rng.standard_gamma(2.0, (n_bins, n_diagonals), dtype=np.float32)
    prediction = np.maximum(observed + rng.standard_normal(observed.shape, dtype=np.float32), 0)
    observed[rng.random(n_bins) < 0.08] = np.nan
    edges = np.linspace(0, n_bins, N_CHROMS + 1).astype(int)
    extents = [(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False)]
    plan = plan_blocks(n_bins * BINSIZE, BINSIZE)
    cells = plan.cells(extents)
    n_cells = int(cells[-1]) + 1
    none = np.zeros(n_bins)
    maps_gb = peak_gb()

    def correlations() -> object:
        pairs = PairMoments.of_rows(prediction, observed, cells, n_cells)
        ranks = RankMoments.of_columns(prediction, observed, cells, n_cells)
        weights = resample_weights(pairs.n.any(axis=1), plan.cells_per_block)
        return interval(ResampledScores.of(pairs, ranks, weights).mean_pearson, plan.n_blocks)

    def loops() -> object:
        footprint = Footprint.of_binsize(BINSIZE)
        each = (prediction[a:b] for a, b in extents)
        return [call_loops(score_loops(band, mean_of_sums(*diagonal_sums(band)), footprint)) for band in each]

    metrics: dict[str, Callable[[], object]] = {
        "Pearson, Spearman, MSE and their intervals": correlations,
        "ROC and precision-recall, exact": lambda: ranking_scores(prediction, observed, 4.0),
        "the same at 31 thresholds, by distance": lambda: ThresholdCounts.total(
            [ThresholdCounts.of_rows(prediction[a:b], observed[a:b], 4.0) for a, b in extents]
        ),
        "HiCRep's coefficient, h = 5": lambda: stratum_adjusted_correlation(
            [stratum_moments(prediction[a:b], observed[a:b], 5) for a, b in extents]
        ),
        "SSIM": lambda: [structural_similarity(prediction[a:b], observed[a:b], 5.0) for a, b in extents],
        "loops": loops,
        "2-Mb submatrices": lambda: score_submatrices(
            prediction, observed, (none, none), extents, 2_000_000 // BINSIZE
        ),
    }
    total = 0.0
    for name, metric in metrics.items():
        began = time.perf_counter()
        metric()
        seconds = time.perf_counter() - began
        total += seconds
        print(f"  {name:44s} {seconds:6.1f} s  peak {peak_gb() - maps_gb:.2f} GB above the maps", flush=True)
    print(f"  all: {total:.0f} s (wanted < {TARGET_S}), {peak_gb():.2f} GB with the two maps (wanted < {TARGET_GB})")


def main() -> None:
    """Print a line a metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=int, default=309_000)
    parser.add_argument("--diagonals", type=int, default=100)
    args = parser.parse_args()
    print(f"{args.bins:,} bins × {args.diagonals} diagonals, one predictor")
    measure(args.bins, args.diagonals)


if __name__ == "__main__":
    main()
