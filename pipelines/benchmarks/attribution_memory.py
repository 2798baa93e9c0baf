"""Peak memory of ``epizarr attribute`` over a whole chromosome, at two lengths of it, with the published 10-kb network.

Random weights and tracks. Boundaries lie evenly along a chromosome, more on a longer one; the command runs in its own process
and draws figures (``-o``) of the first twelve. Wanted: beside the libraries no more than ``attribution_task_bytes`` of the widest
target, and the chromosome's raw tracks, which the figures read; so the same at both lengths but for these. Linux. Usage::

    python pipelines/benchmarks/attribution_memory.py [--megabases 25 100] [--spacing-mb 5] [--method saliency]
"""

import argparse
import tempfile
import time
from pathlib import Path

from _memory import peak_gb
from _store import BINSIZE, N_TRACKS, TRACK_BINSIZE, in_a_process, make_inputs

TILE_BINS, OVERLAP_BINS = 400, 150


def attribute(store: Path, checkpoint: Path, targets: Path, method: str, report: Path) -> tuple[float, float, float]:
    """Memory in GB before the first target and at the peak, and seconds."""
    import captum.attr  # noqa: F401
    import matplotlib.figure  # noqa: F401

    import epizarr.attribute  # noqa: F401
    from epizarr.cli import run

    before, begin = peak_gb(), time.perf_counter()
    words = ["attribute", str(store), "--checkpoint", str(checkpoint), "--cell-type", "T1", "--targets", str(targets)]
    words += ["--method", method, "-o", str(report)]
    if run(words) != 0:
        raise SystemExit("epizarr attribute failed")
    return before, peak_gb(), time.perf_counter() - begin


def bound_gb(checkpoint: Path, n_bins: int, targets: list[str]) -> float:
    """The stated bound of the widest target, in GB."""
    from epizarr.attribute import attribution_task_bytes
    from epizarr.attribute.function import Tiling
    from epizarr.attribute.targets import parse_target
    from epizarr.genome import Assembly
    from epizarr.train.checkpoint import load_checkpoint

    network = load_checkpoint(checkpoint).network
    grid = Assembly.from_table("random", [("chr1", n_bins * BINSIZE)]).bins(BINSIZE)
    found = []
    for text in targets:
        target = parse_target(text, grid, network.n_offsets, 1)
        tiling = Tiling.of(n_bins, target.lo, target.hi, TILE_BINS, OVERLAP_BINS)
        found.append(attribution_task_bytes(network, n_tiles=tiling.n_tiles, tile_bins=TILE_BINS))
    return max(found) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabases", type=int, nargs="+", default=[25, 100], help="lengths of the chromosome")
    parser.add_argument("--spacing-mb", type=float, default=5.0, help="from one target to the next")
    parser.add_argument("--method", default="saliency", help="integrated-gradients takes 16 times as long and more")
    options = parser.parse_args()
    for megabases in options.megabases:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            store, checkpoint = in_a_process(make_inputs, folder, str(megabases))
            n_targets = int(megabases / options.spacing_mb)
            starts = [int((index + 0.5) * options.spacing_mb * 1e6) for index in range(n_targets)]
            targets = [f"boundary:chr1:{start}-{start + BINSIZE}" for start in starts]
            listed = folder / "targets.txt"
            listed.write_text("".join(f"{target}\n" for target in targets))
            bound = in_a_process(bound_gb, checkpoint, megabases * 1_000_000 // BINSIZE, targets)
            before, peak, seconds = in_a_process(
                attribute, store, checkpoint, listed, options.method, folder / "figures"
            )
            tracks = 4 * N_TRACKS * megabases * 1_000_000 // TRACK_BINSIZE / 1e9
            print(
                f"{megabases} Mb, {n_targets} boundaries, {options.method}: {seconds:.0f} s; peak {peak:.2f} GB, {before:.2f} of "
                f"them the libraries; grown by {peak - before:.2f} (wanted: {bound:.2f} for a target and {tracks:.2f} for the "
                "figures' tracks)"
            )


if __name__ == "__main__":
    main()
