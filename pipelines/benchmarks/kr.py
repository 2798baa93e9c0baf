"""Knight-Ruiz balancing of simulated human chromosomes at 10 kb: seconds and peak memory.

Counts fall off as 1 / distance, times a bias of each bin (log-normal; some bins nearly empty, some quite), and are drawn for
every pair of bins of a chromosome of hg38; its autosomes together have more than 300 million pixels at the default depth.
Drawing is not timed. Everything runs in a process of its own, so that its peak resident memory can be told. Usage::

    python pipelines/benchmarks/kr.py [--chromosomes chr1 chr21] [--depth 500] [--seed 0]
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _memory import peak_gb

from epizarr.io.chromsizes import open_assembly
from epizarr.normalize.cis_map import CisMapBuilder
from epizarr.normalize.kr import balance_kr

BINSIZE = 10_000
AUTOSOMES = [f"chr{i}" for i in range(1, 23)]
ROWS = 128
TARGET_S, TARGET_GB, TARGET_PIXELS = 600, 8, 300e6


def iter_pixels(n_bins: int, depth: float, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """Draw (bin1, bin2, count) in blocks of rows: ``depth`` contacts on the main diagonal, 1 / distance beyond."""
    bias = np.exp(rng.normal(0, 0.35, n_bins))
    kind = rng.random(n_bins)
    bias[kind < 0.05] *= 0.02
    # Unmappable bins come in runs, as around a centromere.
    first = n_bins // 3
    bias[first : first + n_bins // 25] = 0
    for lo in range(0, n_bins, ROWS):
        hi = min(lo + ROWS, n_bins)
        distance = np.arange(lo, n_bins) - np.arange(lo, hi)[:, None]
        mean = depth * bias[lo:hi, None] * bias[lo:] / (1 + np.abs(distance))
        mean[distance < 0] = 0
        count = rng.poisson(mean).astype(np.int32)
        row, column = np.nonzero(count)
        yield row + lo, column + lo, count[row, column]


def balance(chrom: str, depth: float, seed: int) -> dict[str, Any]:
    """Build and balance one chromosome: seconds of each, pixels, and the spread of the balanced row sums."""
    rng = np.random.default_rng([seed, AUTOSOMES.index(chrom)])
    n_bins = -(-open_assembly("hg38").length(chrom) // BINSIZE)
    builder = CisMapBuilder(chrom, n_bins)
    build_s = 0.0
    for piece in iter_pixels(n_bins, depth, rng):
        began = time.perf_counter()
        builder.add(*piece)
        build_s += time.perf_counter() - began
    began = time.perf_counter()
    cis_map = builder.build()
    build_s += time.perf_counter() - began
    began = time.perf_counter()
    found = balance_kr(cis_map)
    balance_s = time.perf_counter() - began
    sums = cis_map.balanced_row_sums(found.weights)[~np.isnan(found.weights)]
    return {
        "chrom": chrom,
        "pixels": cis_map.n_pixels,
        "filled": cis_map.n_pixels / (n_bins * (n_bins + 1) / 2),
        "build_s": build_s,
        "balance_s": balance_s,
        "products": found.n_products,
        "dropped": found.n_dropped,
        "cv": float(sums.std() / sums.mean()),
        "gb": peak_gb(),
    }


def compute(chroms: list[str], depth: float, seed: int) -> Iterator[dict[str, Any]]:
    """Balance one chromosome after another, all in one fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for chrom in chroms:
            yield pool.apply(balance, (chrom, depth, seed))


def main() -> None:
    """Print a line a chromosome, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromosomes", nargs="+", default=AUTOSOMES, choices=AUTOSOMES, metavar="CHROM")
    parser.add_argument("--depth", type=float, default=500, help="mean count on the main diagonal")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(
        f"KR at {BINSIZE:,} bp; target: all autosomes, > {TARGET_PIXELS:,.0f} pixels, in < {TARGET_S} s and < {TARGET_GB} GB"
    )
    rows = []
    for row in compute(args.chromosomes, args.depth, args.seed):
        rows.append(row)
        print(
            f"  {row['chrom']:5s} {row['pixels']:11,d} pixels ({row['filled']:.1%} of all)  build {row['build_s']:5.1f} s"
            f"  KR {row['balance_s']:6.1f} s, {row['products']} products, {row['dropped']} bins dropped"
            f"  row-sum CV {row['cv']:.1e}  peak {row['gb']:.2f} GB",
            flush=True,
        )
    seconds, pixels = sum(row["build_s"] + row["balance_s"] for row in rows), sum(row["pixels"] for row in rows)
    print(f"  {len(rows)} chromosomes: {pixels:,} pixels, {seconds:.0f} s, peak {rows[-1]['gb']:.2f} GB")


if __name__ == "__main__":
    main()
