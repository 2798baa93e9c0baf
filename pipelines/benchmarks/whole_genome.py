"""A genome predicted on a store: where the time goes, the memory, and what fewer bits cost and gain.

A store of five random tracks and the published 10-kb network with random weights are made first, in a folder that is removed.
Each way then runs in a process of its own, between two timings of large float32 products on as many threads. ``network`` is the
time in trunk and core, mean of the threads; ``start-up`` is imports, plan and reading the network. Wanted: the network's time at
most 1.5 times that of its operations at the rate of the products; everything else below 3 % of the time behind the start-up;
below 6 GB. Differences are those from float32 over the same tiles, over the sd of a diagonal. Usage::

    python pipelines/benchmarks/whole_genome.py [--size small | human | MB] [--threads 2] [--device cpu]
"""

import argparse
import json
import resource
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from _store import BINSIZE, SMALL_MB, in_a_process, make_inputs

WANTED_RATIO, WANTED_REST, WANTED_GB = 1.5, 0.03, 6.0
#: Ways: label, settings of predict_contacts.
WAYS: dict[str, dict[str, Any]] = {
    "float32, no overlap": {"overlap_bins": 0},
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "int8": {"precision": "int8"},
}


class Clock:
    """Adds up the seconds that threads spend in functions, and keeps when they were first in one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.first = float("inf")
        self._lock = threading.Lock()

    def wrap(self, module: Any, name: str, what: str) -> None:
        """Time a module's function under a name."""
        function = getattr(module, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            with self._lock:
                self.seconds[what] += time.perf_counter() - begin
                self.first = min(self.first, begin)
            return result

        setattr(module, name, timed)


def run_way(store: Path, checkpoint: Path, out: Path, settings: dict[str, Any]) -> dict[str, float]:
    """Predict in this process; seconds by what they went to, and the peak memory in GB."""
    begin = time.perf_counter()
    from epizarr.predict import blocks, predict_contacts

    clock = Clock()
    clock.wrap(blocks, "load_model", "load")
    clock.wrap(blocks, "_read_tracks", "read")
    clock.wrap(blocks, "predict_tiles", "network")
    clock.wrap(blocks, "write_region", "write")
    predict_contacts(store, checkpoint, cell_type="T1", out=out, **settings)
    wall = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # The network is read within the first blocks, of which one reads and the others wait.
    start = clock.first - begin + clock.seconds.pop("load") / settings["n_threads"]
    return {"wall": wall, "start": start, "peak": peak, **clock.seconds}


def product_rate(n_threads: int, device: str) -> float:
    """GFLOP/s of large float32 products, all threads together, each with one thread of torch."""
    import torch

    torch.set_num_threads(1)
    n, n_products = (2048, 4) if device == "cpu" else (8192, 20)
    pairs = [(torch.randn(n, n, device=device), torch.randn(n, n, device=device)) for _ in range(n_threads)]

    def multiply(left: torch.Tensor, right: torch.Tensor) -> None:
        for _ in range(n_products):
            product = torch.mm(left, right)
        product[0, 0].item()  # waits for a GPU

    def seconds() -> float:
        threads = [threading.Thread(target=multiply, args=pair) for pair in pairs]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin

    seconds()
    return n_threads * n_products * 2e-9 * n**3 / min(seconds() for _ in range(3))


def operations(store: Path, checkpoint: Path, out: Path) -> float:
    """GFLOP of trunk, core and layers for all tiles of the genome, laid as the prediction in ``out`` says."""
    from epizarr.io.store import open_prediction, store_assembly
    from epizarr.nn import network_gflop
    from epizarr.tiles import tile_starts
    from epizarr.train.checkpoint import load_checkpoint

    card = load_checkpoint(checkpoint)
    settings = json.loads(open_prediction(out, "T1", "random", BINSIZE).attrs["settings"])
    total = 0.0
    grid = store_assembly(store).bins(BINSIZE)
    for chrom in grid.assembly.chrom_names:
        lo, hi = grid.chrom_extent(chrom)
        tiles = tile_starts(hi - lo, settings["tile_bins"], settings["overlap_bins"])
        core = network_gflop(card.network, min(settings["tile_bins"], hi - lo), batch=len(tiles))
        total += core.core + core.head + network_gflop(card.network, hi - lo).trunk
    return total


def differences(out: Path, exact: Path) -> tuple[float, float]:
    """Median and 99.9th percentile over all pixels of |difference| / sd of the diagonal, first four blocks."""
    from epizarr.io.store import open_prediction

    here, there = (open_prediction(path, "T1", "random", BINSIZE)["contact"][:16_384].values for path in (out, exact))
    shares = np.abs(here - there) / np.nanstd(there, axis=0)
    return float(np.nanmedian(shares)), float(np.nanpercentile(shares, 99.9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", help=f"small ({SMALL_MB} Mb), human, or a number of Mb")
    parser.add_argument("--threads", type=int, default=2, help="tasks at once; on a CPU each computes with one thread")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="what to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, checkpoint = in_a_process(make_inputs, folder, options.size)
        print(f"published 10-kb network, {options.size}, {options.threads} tasks at once on {options.device}")
        rate = in_a_process(product_rate, options.threads, options.device)
        exact = folder / "float32.zarr"
        for way, settings in WAYS.items():
            if way not in options.ways or (way == "int8" and options.device == "cuda"):
                continue
            out = folder / f"{way}.zarr"
            settings = {**settings, "n_threads": options.threads, "device": options.device}
            found = in_a_process(run_way, store, checkpoint, out, settings)
            again = in_a_process(product_rate, options.threads, options.device)
            gflop = in_a_process(operations, store, checkpoint, out)
            lanes = options.threads if options.device == "cpu" else 1
            network, behind = found["network"] / lanes, found["wall"] - found["start"]
            ideal = gflop / max(rate, again)
            print(
                f"{way:<20} {found['wall']:8.1f} s: start-up {found['start']:.1f}, read {found['read'] / lanes:.2f}, "
                f"network {network:.1f}, write {found['write'] / lanes:.2f}; peak {found['peak']:.2f} GB (wanted: {WANTED_GB})"
            )
            print(
                f"{'':<20} {gflop:.0f} GFLOP at {max(rate, again):.0f} GFLOP/s: {ideal:.1f} s, network {network / ideal:.2f} "
                f"times that (wanted: {WANTED_RATIO}); everything else {1 - network / behind:.1%} behind the start-up (wanted: "
                f"{WANTED_REST:.0%})"
            )
            if way in ("bfloat16", "int8") and exact.exists():
                print(f"{'':<20} |difference| / sd: median %.2g, 99.9th percentile %.2g" % differences(out, exact))
            rate = again


if __name__ == "__main__":
    main()
