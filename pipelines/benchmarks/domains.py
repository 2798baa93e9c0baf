"""Insulation, TopDom and TAD separation on one simulated chromosome: seconds, and peak memory above the band's.

Counts fall off as 1 / distance, are twice as many within domains, and are drawn for every pixel within 2 Mb at 10 kb; a twentieth
of the domains has none. The original TopDom is a program in R that takes the square matrix, so it is not run here. Usage::

    python pipelines/benchmarks/domains.py [--bins 25000] [--windows 10 20 30 40 50] [--depth 200] [--seed 0]
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from _memory import peak_gb

from epizarr import (
    insulation,
    insulation_boundaries,
    tad_boundaries,
    tad_separation,
    topdom,
    topdom_domains,
)

BINSIZE, N_DIAGONALS = 10_000, 200
TARGET_S = 60


def draw_band(n_bins: int, n_diagonals: int, depth: float, rng: np.random.Generator) -> xr.DataArray:
    """Counts of a chromosome with domains of 10 to 120 bins."""
    edges = np.cumsum(rng.integers(10, 120, n_bins // 10))
    domain = np.searchsorted(edges, np.arange(n_bins + n_diagonals), side="right")
    bias = np.exp(rng.normal(0, 0.35, n_bins + n_diagonals))
    bias[np.isin(domain, rng.choice(domain[-1], domain[-1] // 20, replace=False))] = 0
    k = np.arange(n_diagonals)
    values = np.full((n_bins, n_diagonals), np.nan, dtype=np.float32)
    for i in range(n_bins):
        mean = depth / (1 + k) * bias[i] * bias[i + k] * np.where(domain[i + k] == domain[i], 2.0, 1.0)
        values[i] = rng.poisson(mean)
        values[i, n_bins - i :] = np.nan
    grid = {"assembly": "simulated", "binsize": BINSIZE, "chroms": {"chr1": n_bins * BINSIZE}}
    return xr.DataArray(values, dims=("bin", "diagonal"), name="count", attrs={"bin_grid": json.dumps(grid)})


def _insulation(band: xr.DataArray, windows: list[int]) -> pd.DataFrame:
    return insulation_boundaries(insulation(band, [w * BINSIZE for w in windows]))


def _topdom(band: xr.DataArray, windows: list[int]) -> pd.DataFrame:
    return topdom_domains(topdom(band, windows))


def _separation(band: xr.DataArray, windows: list[int]) -> pd.DataFrame:
    return tad_boundaries(tad_separation(band))


CALLERS = {"insulation": _insulation, "topdom": _topdom, "separation": _separation}


def measure(name: str, n_bins: int, windows: list[int], depth: float, seed: int) -> dict[str, Any]:
    """Time one caller, at all windows where it takes some."""
    band = draw_band(n_bins, N_DIAGONALS, depth, np.random.default_rng(seed))
    before = peak_gb()
    began, cpu = time.perf_counter(), time.process_time()
    calls = CALLERS[name](band, windows)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"name": name, "s": seconds, "cpu": cpu, "rows": len(calls), "gb": peak_gb() - before}


def compute(n_bins: int, windows: list[int], depth: float, seed: int) -> Iterator[dict[str, Any]]:
    """Run each caller in a fresh process, so that its peak memory can be told."""
    for name in CALLERS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            yield pool.apply(measure, (name, n_bins, windows, depth, seed))


def main() -> None:
    """Print a line a caller."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=int, default=25_000)
    parser.add_argument("--windows", type=int, nargs="+", default=[10, 20, 30, 40, 50], help="in bins")
    parser.add_argument("--depth", type=float, default=200, help="mean count on the main diagonal")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"{args.bins:,} bins, windows {args.windows}; target: TopDom at five windows in < {TARGET_S} s")
    for row in compute(args.bins, args.windows, args.depth, args.seed):
        print(
            f"  {row['name']:10s} {row['s']:6.1f} s, {row['cpu']:5.1f} s of processor time  {row['rows']:6,d} rows"
            f"  {row['gb']:.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
