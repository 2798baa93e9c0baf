"""The full evaluation of one prediction of a human-size genome at 10 kb: every section, three baselines; seconds and peak memory.

Contacts are drawn (domains of random size, noise by distance), the prediction is the same with other noise;
one track has a peak at each border. Writing the store is not timed. Usage::

    python pipelines/benchmarks/evaluation.py [--size 1.0] [--threads 2]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from _memory import peak_gb

from epizarr import __version__, evaluate_run
from epizarr.bands import band_on_chromosome
from epizarr.genome import Assembly
from epizarr.io.store import (
    BAND_ROWS,
    TRACK_CHUNK,
    TRACK_SHARD,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_path,
    write_region,
)
from epizarr.transforms import Transform, diagonal_sums, fit_target_transform, mean_of_sums

BINSIZE, TRACK_BINSIZE, N_DIAGONALS = 10_000, 1_000, 100
TARGET_S, TARGET_GB = 600, 6


def write_genome(path: Path, size: float) -> Assembly:
    """Write a store with contacts and one track of cell type X, and the prediction of run R."""
    n_chroms = max(2, round(23 * size))
    length = int(3_080_000_000 * size / n_chroms)
    assembly = Assembly.from_table("benchmark", [(f"chr{i}", length) for i in range(1, n_chroms + 1)])
    grid, fine = assembly.bins(BINSIZE), assembly.bins(TRACK_BINSIZE)
    rng = np.random.default_rng(0)
    n = grid.n_bins
    border = rng.random(n) < 1 / 40
    domain, k = np.cumsum(border), np.arange(N_DIAGONALS)
    second = np.minimum(np.arange(n)[:, None] + k, n - 1)
    mean = 300 / (1 + k) * np.where(domain[second] == domain[:, None], 2.5, 1.0)
    inside = band_on_chromosome(grid, 0, n, N_DIAGONALS)
    bands = [np.where(inside, rng.poisson(mean), np.nan).astype(np.float32) for _ in range(2)]
    bad = rng.random(n) < 0.06
    create_store(path, assembly)
    common = {"epizarr_version": __version__, "manifest": "schema = 1", "inputs": "[]"}
    signal = rng.gamma(2.0, 0.2, (1, fine.n_bins)).astype(np.float32)
    signal[0, np.minimum(np.flatnonzero(border) * (BINSIZE // TRACK_BINSIZE), fine.n_bins - 1)] += 30
    group = group_path("tracks", "X", TRACK_BINSIZE)
    create_group(
        path,
        group,
        "tracks",
        coords={
            **grid_coords(fine, bin_table=False),
            "track": np.array(["CTCF"], dtype=object),
            "accession": np.array([""], dtype=object),
            "strand": np.array(["."], dtype=object),
        },
        arrays={
            "signal": ArraySpec(("track", "bin"), signal.shape, "f4", (1, TRACK_CHUNK), (1, TRACK_SHARD)),
            "blacklisted": ArraySpec(("bin",), (fine.n_bins,), "b1"),
        },
        attrs={**common, "binsize": TRACK_BINSIZE},
    )
    write_region(path, group, "signal", {}, signal)
    write_region(path, group, "blacklisted", {}, np.zeros(fine.n_bins, dtype=bool))
    finish_group(path, group)
    shape = ArraySpec(("bin", "diagonal"), (n, N_DIAGONALS), "f4", (BAND_ROWS, N_DIAGONALS))
    group = group_path("contacts", "X", BINSIZE)
    create_group(
        path,
        group,
        "contacts",
        coords=grid_coords(grid, N_DIAGONALS),
        arrays={"count": shape, "bad_bin": ArraySpec(("bin",), (n,), "b1")},
        attrs={
            **common,
            "binsize": BINSIZE,
            "span_bp": BINSIZE * N_DIAGONALS,
            "ignore_diags": "{}",
            "min_diagonal": 1,
            "bad_bin_rule": "benchmark",
        },
    )
    write_region(path, group, "count", {}, bands[0])
    write_region(path, group, "bad_bin", {}, bad)
    finish_group(path, group)
    transform = fit_target_transform("obs_over_exp_log1p", mean_of_sums(*diagonal_sums(bands[0])))
    splits = {"train": ["chr1"], "validation": ["chr2"], "test": list(assembly.chrom_names)}
    group = group_path("predictions", "X", BINSIZE, "R")
    create_group(
        path,
        group,
        "predictions",
        coords=grid_coords(grid, N_DIAGONALS),
        arrays={"contact": shape},
        attrs={
            "binsize": BINSIZE,
            "span_bp": BINSIZE * N_DIAGONALS,
            "target": "count",
            "transform": transform.to_json(),
            "checkpoint_sha256": "0",
            "input_id": "0",
            "tracks": json.dumps(["CTCF"]),
            "track_binsize": TRACK_BINSIZE,
            "track_transforms": json.dumps([json.loads(Transform("linear", ()).to_json())]),
            "min_diagonal": 1,
            "trained_on": json.dumps({"cell_types": ["X"], "splits": splits}),
            "regions": json.dumps(splits["test"]),
            "settings": "{}",
            "epizarr_version": __version__,
        },
    )
    write_region(path, group, "contact", {}, bands[1])
    finish_group(path, group)
    return assembly


def main() -> None:
    """Print seconds and memory, and what they would be of the whole genome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1.0, help="share of the genome")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sections", nargs="*", help="only these")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "x.zarr"
        grid = write_genome(store, args.size).bins(BINSIZE)
        made = peak_gb()
        began, cpu = time.perf_counter(), time.process_time()
        evaluate_run(store, "R", cell_type="X", n_threads=args.threads, sections=args.sections)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"{grid.n_bins:,} bins, {len(grid.assembly)} chromosomes: {seconds:.0f} s, {cpu:.0f} s of processor time, peak "
        f"{peak_gb():.2f} GB ({made:.2f} GB after making the store). Whole genome: {cpu / args.size / args.threads:.0f} s on "
        f"{args.threads} free cores (wanted < {TARGET_S} s, < {TARGET_GB} GB)"
    )


if __name__ == "__main__":
    main()
