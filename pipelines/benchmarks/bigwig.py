"""bigWig to means per 100 bp: epizarr against one ``bw.stats`` call per bin, as the released Epiphany did.

A chromosome of dense 10-bp runs is written from seeded numbers; both ways read it in the same run, and the ratio of their
rates is printed. Usage::

    python pipelines/benchmarks/bigwig.py [--mb 60] [--stats-mb 1] [--seed 0]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyBigWig

from epizarr.io.bigwig import read_bin_means

CHROM = "chr1"
RUN_BP = 10
BINSIZE = 100
TARGET_RATIO = 60


def write_dense_bigwig(path: Path, n_bp: int, seed: int) -> None:
    """Write a chromosome of ``n_bp`` bp on which every 10 bp have a value of their own."""
    values = np.random.default_rng(seed).gamma(1.0, 2.0, n_bp // RUN_BP)
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader([(CHROM, n_bp)])
        step = 1_000_000 // RUN_BP
        for first in range(0, len(values), step):
            handle.addEntries(CHROM, first * RUN_BP, values=values[first : first + step], span=RUN_BP, step=RUN_BP)


def read_by_stats(path: Path, n_bp: int) -> np.ndarray:
    """Means of the first ``n_bp`` bp, one ``stats`` call a bin."""
    with pyBigWig.open(str(path)) as handle:
        return np.array([handle.stats(CHROM, i, i + BINSIZE)[0] for i in range(0, n_bp, BINSIZE)], dtype=np.float32)


def compute(n_bp: int, n_bp_stats: int, seed: int) -> dict[str, float]:
    """Time both ways; rates in Mb/s, and the largest relative difference where both have read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dense.bw"
        write_dense_bigwig(path, n_bp, seed)
        began = time.perf_counter()
        ours = read_bin_means(path, chrom=CHROM, start=0, end=n_bp, binsize=BINSIZE, uncovered="nan")
        ours_s = time.perf_counter() - began
        began = time.perf_counter()
        theirs = read_by_stats(path, n_bp_stats)
        theirs_s = time.perf_counter() - began
    ours_rate, theirs_rate = n_bp / 1e6 / ours_s, n_bp_stats / 1e6 / theirs_s
    difference = float(np.max(np.abs(ours[: len(theirs)] / theirs - 1)))
    return {
        "epizarr_mb_per_s": ours_rate,
        "stats_mb_per_s": theirs_rate,
        "ratio": ours_rate / theirs_rate,
        "difference": difference,
    }


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=60, help="Mb of dense coverage")
    parser.add_argument("--stats-mb", type=float, default=1, help="Mb of it that bw.stats reads (it is slow)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = compute(int(args.mb * 1e6), int(args.stats_mb * 1e6), args.seed)
    print(f"bigWig to {BINSIZE} bp, {args.mb:g} Mb of dense {RUN_BP}-bp runs")
    print(f"  read_bin_means     {found['epizarr_mb_per_s']:8.1f} Mb/s")
    print(f"  bw.stats per bin   {found['stats_mb_per_s']:8.2f} Mb/s  (on {args.stats_mb:g} Mb)")
    print(f"  ratio              {found['ratio']:8.0f} x     (target {TARGET_RATIO} x)")
    print(f"  largest relative difference {found['difference']:.1e}")


if __name__ == "__main__":
    main()
