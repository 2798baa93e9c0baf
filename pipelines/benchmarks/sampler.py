"""Training examples a second, cold and resident: windows of 34,000 track bins of five tracks with their stripes and masks.

Run ``python pipelines/benchmarks/sampler.py`` in a clone; it writes a store of about 200 MB into a temporary folder. *Cold* is
the first epoch over a freshly opened store (in the page cache of the system, as it has just been written), in which each track
bin is read once; *resident* is the epochs behind it. Both are whole examples: signal, target and mask. Promised: 400 and 5,000
a second, where the released loader makes 36; at most 8 windows a block, and consecutive windows from one block with
probability 1/4 at most.
"""

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
from epizarr.train import load_config
from epizarr.train.reader import fast_decoding
from epizarr.train.sampler import EpochPlan, Sampler, open_samplers
from epizarr.train.sources import fit_transforms, open_training_data

RELEASED_PER_S = 36
TRACKS = ("DNase", "H3K27ac", "H3K4me3", "H3K27me3", "CTCF")
TRACK_BINSIZE, BINSIZE, N_DIAGONALS = 100, 10_000, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=1_000_000_000, help="bp of the one chromosome")
    parser.add_argument("--rounds", type=int, default=5, help="how often a cold epoch is timed")
    parser.add_argument("--threads", type=int, default=2, help="threads that decode")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "bench.zarr", arguments.length)
        cold, resident = [], []
        for _ in range(arguments.rounds):
            with fast_decoding(store):
                sampler = open_sampler(store, arguments.length, arguments.threads)
            cold.append(windows_per_second(sampler, range(1)))
            n_read = sampler.reader.n_track_bins_read
            resident.append(windows_per_second(sampler, range(1, 4)))
            sampler.reader.close()
        geometry, n_track_bins = sampler.reader.geometry, sampler.reader.sources[0].track_grid.n_bins
    per_block, same = shuffling(sampler.plan(0))
    print(
        f"{geometry.n_track_bins:,} track bins x {len(TRACKS)} tracks, {geometry.n_bins} x {geometry.n_offsets} stripes, "
        f"{arguments.length / 1e6:g} Mb, {arguments.threads} threads that read, best of {arguments.rounds}"
    )
    report("cold", cold, 400)
    print(f"    track bins read in that epoch, per bin of the store: {n_read / n_track_bins:.3f}")
    report("resident", resident, 5_000)
    print(f"windows of a block: at most {per_block} (promised: 8)")
    print(f"consecutive windows from one block: {same:.3f} of all pairs (promised: 0.25 at most)")


class Rates(NamedTuple):
    """Examples a second of wall time, and a second of processor time (which a busy machine does not lower)."""

    wall: float
    cpu: float


def report(what: str, rates: list[Rates], promised: int) -> None:
    """Print the best rate, all of them, and the ratio to the released loader."""
    best = max(rate.wall for rate in rates)
    each = ", ".join(f"{rate.wall:,.0f}" for rate in rates)
    print(
        f"{what}: {best:,.0f} windows/s ({each}), {max(rate.cpu for rate in rates):,.0f} per processor second; "
        f"{best / RELEASED_PER_S:.1f} x the released loader's {RELEASED_PER_S} (promised: {promised:,}/s)"
    )


def windows_per_second(sampler: Sampler, epochs: range) -> Rates:
    """Make all examples of some epochs."""
    began, cpu = time.perf_counter(), time.process_time()
    n_windows = sum(len(batch.examples) for batch in sampler.batches(epochs))
    return Rates(n_windows / (time.perf_counter() - began), n_windows / (time.process_time() - cpu))


def shuffling(plan: EpochPlan) -> tuple[int, float]:
    """Most windows of a block, and the share of consecutive windows that come from one block."""
    return int(np.bincount(plan.block).max()), float(np.mean(plan.block[1:] == plan.block[:-1]))


def open_sampler(store: Path, length: int, threads: int) -> Sampler:
    """Open the store as a training run does: five tracks, 200 bins of 10 kb, the published window."""
    border = length - 12_000_000
    config = load_config(
        "epiphany-10kb",
        [
            f"splits.train=['chr1:0-{border}']",
            f"splits.validation=['chr1:{border + 2_000_000}-{length}']",
            "splits.test=[]",
            "training.batch_size=4",
            f"execution.read_threads={threads}",
        ],
    )
    data = open_training_data(store, config)
    train, _ = open_samplers(data, *fit_transforms(data))
    return train


def write_store(path: Path, length: int) -> Path:
    """Write one chromosome: dense coverage in tracks, contacts that fall with the distance."""
    rng = np.random.default_rng(0)
    assembly = Assembly.from_table("bench", [("chr1", length)])
    create_store(path, assembly)
    inputs = [{"name": name, "kind": "track", "sha256": name, "size": 0} for name in TRACKS]
    attrs = {"epizarr_version": version("epizarr"), "manifest": "", "inputs": json.dumps(inputs)}
    fine, grid = assembly.bins(TRACK_BINSIZE), assembly.bins(BINSIZE)
    n_tracks = len(TRACKS)
    group = group_path("tracks", "A", TRACK_BINSIZE)
    names = {"track": TRACKS, "accession": [""] * n_tracks, "strand": ["."] * n_tracks}
    create_group(
        path,
        group,
        "tracks",
        coords=grid_coords(fine, bin_table=False) | {k: np.array(v, dtype=object) for k, v in names.items()},
        arrays={
            "signal": ArraySpec(("track", "bin"), (n_tracks, fine.n_bins), "f4", (1, TRACK_CHUNK), (1, TRACK_SHARD)),
            "blacklisted": ArraySpec(("bin",), (fine.n_bins,), "b1"),
        },
        attrs=attrs | {"binsize": TRACK_BINSIZE},
    )
    for track in range(n_tracks):
        # Means over 100 bp of reads that overlap several bins: steps of 1/100, alike from bin to bin.
        depth = np.convolve(rng.poisson(0.3, fine.n_bins), np.ones(5), mode="same")
        values = np.round(depth * rng.gamma(2.0, 0.5, fine.n_bins), 2).astype(np.float32)
        write_region(path, group, "signal", {"track": slice(track, track + 1)}, values[None])
    write_region(path, group, "blacklisted", {}, np.zeros(fine.n_bins, dtype=bool))
    finish_group(path, group)
    group = group_path("contacts", "A", BINSIZE)
    shape = (grid.n_bins, N_DIAGONALS)
    band = ArraySpec(("bin", "diagonal"), shape, "f4", (BAND_ROWS, N_DIAGONALS))
    create_group(
        path,
        group,
        "contacts",
        coords=grid_coords(grid, N_DIAGONALS),
        arrays={"count": band, "ice": band, "bad_bin": ArraySpec(("bin",), shape[:1], "b1")},
        attrs=attrs
        | {
            "binsize": BINSIZE,
            "span_bp": BINSIZE * N_DIAGONALS,
            "ignore_diags": json.dumps({"ice": 1}),
            "min_diagonal": 1,
            "bad_bin_rule": "random",
        },
    )
    bad = rng.random(grid.n_bins) < 0.03
    expected = 0.1 / (1.0 + np.arange(N_DIAGONALS))
    count = rng.poisson(1000 * expected, shape).astype(np.float32)
    off_chromosome = ~band_on_chromosome(grid, 0, grid.n_bins, N_DIAGONALS)
    count[off_chromosome] = np.nan
    write_region(path, group, "count", {}, count)
    write_region(path, group, "ice", {}, count / np.float32(1000))
    write_region(path, group, "bad_bin", {}, bad)
    finish_group(path, group)
    return path


if __name__ == "__main__":
    main()
