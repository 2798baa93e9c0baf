"""HiC-DC+ on a human-size map at 10 kb, fit, observed over expected, Z-scores, p- and q-values: seconds and peak memory.

Chromosome after chromosome is drawn from the model itself (a power law of distance, GC content and effective length, of which
a stretch is 0 as in a centromere) and normalised: the fit on a tenth of its pairs, then the values block by block, then the
q-values. Simulating is not timed. One process, one thread where OMP_NUM_THREADS=1 says so. Usage::

    python pipelines/benchmarks/hicdcplus.py [--chromosomes chr1 chr22] [--depth 30] [--theta 2] [--seed 0]
"""

import argparse
import resource
import time

import numpy as np

from epizarr.io.chromsizes import open_assembly
from epizarr.normalize.hicdcplus import HicdcplusFit, evaluate, fit_hicdcplus, p_values, q_values
from epizarr.normalize.hicdcplus_pairs import PairGeometry, PairRows, log_feature, pair_covariate

BINSIZE = 10_000
MAX_DISTANCE = 2_000_000
AUTOSOMES = [f"chr{i}" for i in range(1, 23)]
BLOCK_BINS = 2048
TARGET_MINUTES = 8.0
TARGET_GIB = 3.0
BETA = {"gc": 0.2, "len": 0.6}


def simulate(chrom: str, length: int, depth: float, theta: float, seed: int) -> PairRows:
    """Draw one chromosome: ``depth`` is the mean count of neighbouring bins, float32 as bands are."""
    rng = np.random.default_rng([seed, length])
    geometry = PairGeometry(length, BINSIZE, MAX_DISTANCE)
    n, n_diagonals = geometry.n_bins, geometry.n_diagonals
    smooth = np.convolve(rng.normal(size=n), np.ones(50) / np.sqrt(50), mode="same")
    features = {
        "gc": np.clip(0.41 + 0.04 * smooth + 0.02 * rng.normal(size=n), 0.3, 0.65),
        "len": np.clip(rng.normal(8000, 2500, n), 500, 10_000).round(),
    }
    features["len"][n // 3 : n // 3 + n // 20] = 0
    empty = np.full((n, n_diagonals), np.nan, dtype=np.float32)
    for k in range(n_diagonals):
        empty[: n - k, k] = 0
    rows = PairRows(chrom, geometry, empty, features)
    counts = empty.copy()
    for k in range(n_diagonals):
        log_mu = np.full(n - k, np.log(depth) - 0.9 * np.log(max(k, 0.5)))
        for name, beta in BETA.items():
            log = log_feature(features[name])
            log_mu += beta * pair_covariate(log[: n - k], log[k:], *rows.scaling[name])
        mu = np.exp(log_mu)
        # Unmapped bins have no contacts.
        alive = (features["len"][: n - k] > 0) & (features["len"][k:] > 0)
        counts[: n - k, k] = np.where(alive, rng.poisson(mu * rng.gamma(theta, 1 / theta, n - k)), 0)
    return PairRows(chrom, geometry, counts, features)


def normalise(rows: PairRows, seed: int) -> tuple[HicdcplusFit, dict[str, float]]:
    """Fit and evaluate one chromosome; returns the model and seconds of each part."""
    began = time.perf_counter()
    model, _ = fit_hicdcplus(rows, seed=seed)
    fitted = time.perf_counter()
    shape = rows.counts.shape
    oe, zscore, p = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape)
    p_seconds = 0.0
    for first in range(0, shape[0], BLOCK_BINS):
        block = slice(first, first + BLOCK_BINS)
        found = evaluate(model, rows.counts[block], rows.features, first=first)
        oe[block], zscore[block] = found.oe, found.zscore
        p_began = time.perf_counter()
        p[block] = p_values(model, rows.counts[block], found.mu)
        p_seconds += time.perf_counter() - p_began
    evaluated = time.perf_counter()
    q_values(p)
    ended = time.perf_counter()
    return model, {
        "fit": fitted - began,
        "oe, z": evaluated - fitted - p_seconds,
        "p, q": p_seconds + ended - evaluated,
        "total": ended - began,
    }


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print a row for each chromosome, then the sum and the cost against length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromosomes", nargs="+", default=AUTOSOMES, choices=AUTOSOMES, metavar="CHROM")
    parser.add_argument("--depth", type=float, default=30.0, help="mean count of neighbouring bins")
    parser.add_argument("--theta", type=float, default=2.0, help="1 / overdispersion that is simulated")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    assembly = open_assembly("hg38")
    total, lengths, seconds = 0.0, [], []
    print("chrom      bins       pairs  zeros  theta    fit  oe, z  p, q  total [s]  s / Mb  peak [GiB]")
    for chrom in args.chromosomes:
        rows = simulate(chrom, assembly.length(chrom), args.depth, args.theta, args.seed)
        zeros = np.count_nonzero(rows.counts == 0) / np.count_nonzero(~np.isnan(rows.counts))
        model, spent = normalise(rows, args.seed)
        total += spent["total"]
        lengths.append(assembly.length(chrom) / 1e6)
        seconds.append(spent["total"])
        print(
            f"{chrom:6s} {rows.geometry.n_bins:8,d} {model.n_rows:11,d} {zeros:6.1%} {model.theta:6.3f} {spent['fit']:6.2f} "
            f"{spent['oe, z']:6.2f} {spent['p, q']:5.2f} {spent['total']:10.2f} {seconds[-1] / lengths[-1]:7.4f} "
            f"{peak_gib():11.2f}",
            flush=True,
        )
    print(f"{sum(lengths):,.0f} Mb: {total / 60:.2f} min, peak {peak_gib():.2f} GiB with the simulation")
    if len(lengths) > 1:
        slope = np.polyfit(np.log(lengths), np.log(seconds), 1)[0]
        print(f"seconds grow as length ** {slope:.2f}")
    print(f"target for a whole genome: < {TARGET_MINUTES:g} min, < {TARGET_GIB:g} GiB")


if __name__ == "__main__":
    main()
