"""A 150 Mb chromosome's 2 Mb band and its marginals at 10 kb, from .cool and .hic: seconds and peak memory.

A deep synthetic chromosome is written in both formats to a temporary folder; each reading runs in a process of its own, so
that its peak resident memory, libraries included, can be told. Usage::

    python pipelines/benchmarks/band_reading.py [--mb 150] [--million-pixels 20] [--seed 0]
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cooler
import hictkpy
import numpy as np
import pandas as pd

from epizarr.io.contacts import open_contacts_file

CHROM = "chr1"
BINSIZE = 10_000
N_DIAGONALS = 200
TARGET_GIB = 1.0


def iter_pixels(n_bins: int, n_pixels: float, seed: int) -> Iterator[pd.DataFrame]:
    """Make sorted pixels in blocks of rows: the band is full, beyond it they thin out with distance as 1/k."""
    rng = np.random.default_rng(seed)
    k = np.arange(n_bins)
    n_pairs = n_bins - k
    in_band = n_pairs[:N_DIAGONALS].sum()
    scale = max(0.0, n_pixels - in_band) / (n_pairs[N_DIAGONALS:] / k[N_DIAGONALS:]).sum()
    chance = np.where(k < N_DIAGONALS, 1.0, np.minimum(1.0, scale / np.maximum(k, 1)))
    mean = 1 + 200 / (k + 1)
    for first in range(0, n_bins, 256):
        rows = np.arange(first, min(first + 256, n_bins))
        distance = k[None, :] - rows[:, None]
        seen = (distance >= 0) & (rng.random(distance.shape, dtype=np.float32) < chance[np.maximum(distance, 0)])
        row, column = np.nonzero(seen)
        count = 1 + rng.poisson(mean[distance[row, column]])
        yield pd.DataFrame({"bin1_id": rows[row], "bin2_id": column, "count": count.astype(np.int32)})


def write_files(folder: Path, length: int, n_pixels: float, seed: int) -> tuple[list[Path], int]:
    """Write the same chromosome as .cool and as .hic; returns the paths and the number of pixels."""
    n_bins = -(-length // BINSIZE)
    cool, hic = folder / "deep.cool", folder / "deep.hic"
    bins = cooler.binnify(pd.Series({CHROM: length}), BINSIZE)
    cooler.create_cooler(str(cool), bins, iter_pixels(n_bins, n_pixels, seed), ordered=True)
    writer = hictkpy.hic.FileWriter(hic, {CHROM: length}, BINSIZE, tmpdir=folder, compression_lvl=6)
    for block in iter_pixels(n_bins, n_pixels, seed):
        # A frame would need pyarrow; the dict wants lists.
        writer.add_pixels_from_dict({name: column.tolist() for name, column in block.items()}, validate=False)
    writer.finalize()
    return [cool, hic], int(cooler.Cooler(str(cool)).info["nnz"])


def read(path: Path, what: str) -> dict[str, float]:
    """Read the band or the marginals: seconds, peak memory of this process in GiB, and the sum of what was read."""
    began, began_cpu = time.perf_counter(), time.process_time()
    file = open_contacts_file(path, BINSIZE)
    n_bins = file.info.n_bins(CHROM)
    values = file.band(CHROM, 0, n_bins, N_DIAGONALS) if what == "band" else file.marginals(CHROM)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - began_cpu,
        "gib": peak_gib(),
        "sum": float(np.nansum(values, dtype=np.float64)),
    }


def peak_gib() -> float:
    """Peak resident memory of this process (Linux). ``ru_maxrss`` would begin at the parent's peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**20


def compute(length: int, n_pixels: float, seed: int) -> list[dict[str, float | str]]:
    """Time each format and reading in a fresh process."""
    spawn = multiprocessing.get_context("spawn")
    results: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        paths, n_written = write_files(Path(folder), length, n_pixels, seed)
        for path in paths:
            for what in ("band", "marginals"):
                with spawn.Pool(1) as pool:
                    found = pool.apply(read, (path, what))
                results.append({"format": path.suffix, "what": what, "pixels": n_written, **found})
    return results


def main() -> None:
    """Print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=150, help="length of the chromosome")
    parser.add_argument("--million-pixels", type=float, default=20, help="pixels of the chromosome, about")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    results = compute(int(args.mb * 1e6), args.million_pixels * 1e6, args.seed)
    print(f"{args.mb:g} Mb at {BINSIZE:,} bp, {results[0]['pixels']:,} pixels; target: seconds, < {TARGET_GIB:g} GiB")
    for row in results:
        print(
            f"  {row['format']:5s} {row['what']:10s} {row['seconds']:7.2f} s ({row['cpu_seconds']:.2f} s of CPU)"
            f"  peak {row['gib']:.2f} GiB  sum {row['sum']:.0f}"
        )


if __name__ == "__main__":
    main()
