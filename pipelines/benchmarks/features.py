"""FASTA to HiC-DC+'s features of every bin: time and memory on a random genome with hg38's chromosomes.

The genome is written first, in lines of 60 bases; ``--length`` shortens all chromosomes alike. Features are taken with Arima's
enzymes at 10 kb, once without an index beside the FASTA (which is then read twice) and once with one. Usage::

    python pipelines/benchmarks/features.py [--length 3100000000] [--seed 0]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from epizarr.genome import Assembly
from epizarr.io.bin_features import read_bin_features
from epizarr.io.chromsizes import open_assembly

BINSIZE = 10_000
LINE_BP = 60
TARGET_S = 300


def shortened_assembly(length: int) -> Assembly:
    """hg38 with all chromosomes shortened, so that they have about ``length`` bp together."""
    whole = open_assembly("hg38")
    share = length / sum(whole.chrom_lengths)
    return Assembly.from_table("random", [(chrom, max(1, round(n * share))) for chrom, n in whole])


def write_random_fasta(path: Path, assembly: Assembly, seed: int) -> None:
    """Write random bases, and an index of the file beside it."""
    rng = np.random.default_rng(seed)
    lines_at_once = 10_000
    with open(path, "wb") as file, open(f"{path}.fai", "w") as index:
        for chrom, length in assembly:
            file.write(f">{chrom}\n".encode())
            index.write(f"{chrom}\t{length}\t{file.tell()}\t{LINE_BP}\t{LINE_BP + 1}\n")
            for lo in range(0, length, LINE_BP * lines_at_once):
                n = min(LINE_BP * lines_at_once, length - lo)
                text = np.full((-(-n // LINE_BP), LINE_BP + 1), ord("\n"), dtype=np.uint8)
                text[:, :LINE_BP] = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, (len(text), LINE_BP))]
                file.write(text.tobytes()[: n + (n - 1) // LINE_BP] + b"\n")


def peak_mb() -> float:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compute(length: int, seed: int) -> dict[str, float]:
    """Seconds without and with an index, and memory in MB, of which ``before_mb`` was in use when the work began."""
    assembly = shortened_assembly(length)
    found: dict[str, float] = {"mb": sum(assembly.chrom_lengths) / 1e6, "largest_mb": max(assembly.chrom_lengths) / 1e6}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.fa"
        write_random_fasta(path, assembly, seed)
        index = Path(f"{path}.fai")
        hidden = index.rename(index.with_suffix(".hidden"))
        found["before_mb"] = peak_mb()
        for name in ("without_index_s", "with_index_s"):
            began = time.perf_counter()
            read_bin_features(path, assembly, BINSIZE, enzymes=["Arima"])
            found[name] = time.perf_counter() - began
            if hidden.exists():
                hidden.rename(index)
    found["peak_mb"] = peak_mb()
    return found


def main() -> None:
    """Print seconds, rates and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=3_100_000_000, help="bp of the genome")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = compute(args.length, args.seed)
    print(f"FASTA to gc and len of {BINSIZE:,}-bp bins, {found['mb']:,.0f} Mb of random bases, Arima's enzymes")
    for name, label in (("without_index_s", "without an index"), ("with_index_s", "with an index")):
        seconds = found[name]
        print(f"  {label:17} {seconds:7.1f} s  {found['mb'] / seconds:6.0f} Mb/s  (human genome: target {TARGET_S} s)")
    per_base = (found["peak_mb"] - found["before_mb"]) * 1.048576 / found["largest_mb"]
    print(
        f"  memory            {found['peak_mb']:7.0f} MB at the peak, {found['before_mb']:.0f} MB before: "
        f"{per_base:.1f} bytes a base of the largest chromosome ({found['largest_mb']:.0f} Mb)"
    )


if __name__ == "__main__":
    main()
