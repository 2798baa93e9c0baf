"""A screen of all CTCF peaks of a 20-Mb region with the full-size 10-kb network, against predicting the region anew for each.

Random weights and tracks. 200 intervals of 400 bp lie 100 kb apart, about as CTCF peaks do. The time of an interval is a 200th of
all that the screen does: planning, reading, the references of all blocks, scores, writing. ``--sites 50`` screens those in the
middle, about one block of the four, with its own reference; with fewer the reference counts for more. Predicting anew takes the
same for every interval and is measured on a few, whose contacts are compared. Both run the core over as many tiles at once: those
of the region. Seconds are of the process, so that others' work on the machine counts less, and of one run.

Wanted: 0.8 × region bins / (140 + tile bins), where 140 bins read a track bin; differences of at most 1e-5. Usage::

    python pipelines/benchmarks/screen.py [--sites 200] [--anew 4] [--threads 1]
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _store import make_inputs

from epizarr.genome import Region
from epizarr.io.places import place_of
from epizarr.io.store import open_screen
from epizarr.nn import Epiphany
from epizarr.perturb import Mask, apply_edits
from epizarr.perturbed import Locus, open_locus
from epizarr.perturbed.locus import plan_effects
from epizarr.screen import block, run
from epizarr.tiles import tile_starts
from epizarr.train.checkpoint import load_checkpoint

REGION_MB, BINSIZE, SPACING_BP, WIDTH_BP = 20, 10_000, 100_000, 400
TILE_BINS, OVERLAP_BINS, REACH_BINS = 200, 75, 140
N_SITES = REGION_MB * 1_000_000 // SPACING_BP
#: Tiles of the region: the most that the core runs at once, in the screen as in predicting anew.
BATCH_SIZE = len(tile_starts(REGION_MB * 1_000_000 // BINSIZE, TILE_BINS, OVERLAP_BINS))
WANTED_DIFFERENCE = 1e-5
#: What a screen's time is made of, and the function of each part.
PARTS: dict[str, tuple[Any, str]] = {
    "blocks": (run, "screen_block"),
    "reading": (block._Stretch, "__init__"),
    "reference": (block._Stretch, "predict_reference"),
    "trunk": (Epiphany, "features"),
    "core": (Epiphany, "core"),
    "edits": (block._Stretch, "change"),
    "scores": (block._Stretch, "scores"),
    "writing": (block, "_write_rows"),
}


@contextmanager
def timed(holder: Any, name: str, seconds: dict[str, float], part: str) -> Iterator[None]:
    """Add the seconds of every call of a function to those of a part."""
    original: Callable[..., Any] = getattr(holder, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        begin = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[part] += time.process_time() - begin

    setattr(holder, name, wrapper)
    try:
        yield
    finally:
        setattr(holder, name, original)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=N_SITES, help=f"intervals that are screened, at most {N_SITES}")
    parser.add_argument("--anew", type=int, default=4, help="intervals for which the region is predicted anew")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    arguments = parser.parse_args()
    if not 1 <= arguments.anew <= arguments.sites <= N_SITES:
        parser.error(f"--sites is at most {N_SITES}, and --anew at most as many")
    first_site = (N_SITES - arguments.sites) // 2
    starts = [(first_site + index) * SPACING_BP + SPACING_BP // 2 for index in range(arguments.sites)]
    seconds: dict[str, float] = defaultdict(float)
    settings: dict[str, Any] = {"tile_bins": TILE_BINS, "overlap_bins": OVERLAP_BINS, "batch_size": BATCH_SIZE}
    settings |= {"torch_threads": arguments.threads}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, checkpoint = make_inputs(folder, str(REGION_MB))
        peaks, out = folder / "peaks.bed", folder / "out.zarr"
        peaks.write_text("".join(f"chr1\t{start}\t{start + WIDTH_BP}\n" for start in starts))
        with ExitStack() as stack:
            for part, (holder, function) in PARTS.items():
                stack.enter_context(timed(holder, function, seconds, part))
            begin = time.process_time()
            run.screen_contacts(
                store,
                checkpoint,
                cell_type="T1",
                edit="mask",
                peaks=f"{peaks}@track0",
                null_draws=0,
                bands=True,
                run="mask",
                out=out,
                n_threads=1,
                **settings,
            )
            whole = time.process_time() - begin
        place, card = place_of(store), load_checkpoint(checkpoint)
        options: dict[str, Any] = {"cell_type": "T1", "run": "anew", "regions": None, "use": {}, "without": []}
        locus = open_locus(plan_effects(place, card, out=place, **options, **settings).job, "chr1", card.tracks)
        before = locus.rows(predicted := _region(locus, locus.tracks))
        ds = open_screen(out, "T1", "mask", BINSIZE)
        anew: list[float] = []
        differences: list[float] = []
        changes: list[float] = []
        for index in np.linspace(0, arguments.sites - 1, arguments.anew).astype(int).tolist():
            edit = Mask(("track0",), Region("chr1", starts[index], starts[index] + WIDTH_BP))
            facts = locus.facts([edit], use={})
            begin = time.process_time()
            stripes = _region(locus, apply_edits(locus.tracks, [edit], facts).tracks)
            anew.append(time.process_time() - begin)
            found, first = ds["difference"].isel(perturbation=index).values, int(ds["first_row"][index])
            there = slice(max(-first, 0), locus.n_bins - first)
            expected = (locus.rows(stripes) - before)[max(first, 0) : first + len(found)]
            differences.append(float(np.nanmax(np.abs(found[there] - expected))))
            changes.append(float(np.nanmax(np.abs(expected))))
    once = whole - seconds["blocks"] + seconds["reading"] + seconds["reference"]
    an_interval, alone = whole / arguments.sites, (whole - once) / arguments.sites
    ratio, wanted = min(anew) / an_interval, 0.8 * locus.n_bins / (REACH_BINS + TILE_BINS)
    rest = whole - seconds["trunk"] - seconds["core"]
    print(
        f"10-kb network, float32, {arguments.threads} threads, region of {locus.n_bins} bins, tiles of {TILE_BINS}, at most "
        f"{BATCH_SIZE} at once"
    )
    print(
        f"screen of {arguments.sites} intervals: {whole:.1f} s: "
        + ", ".join(
            f"{name} {seconds[name]:.2f}" for name in ("core", "trunk", "reading", "edits", "scores", "writing")
        )
        + f"; all but trunk and core {rest / whole:.1%}"
    )
    print(
        f"an interval {an_interval:.2f} s: {alone:.2f} s for it alone and its share of {once:.1f} s for all, "
        f"{seconds['reference']:.1f} s of them the references"
    )
    print(f"the region anew, {arguments.anew} times: {min(anew):.2f} to {max(anew):.2f} s")
    print(f"ratio {ratio:.2f} (wanted: {wanted:.2f})")
    print(
        f"largest difference of a contact's change {max(differences):.1e}; contacts change by up to {max(changes):.1e} and are "
        f"up to {np.abs(predicted).max():.1e} (wanted: {WANTED_DIFFERENCE:.0e} of the latter)"
    )


def _region(locus: Locus, tracks: Any) -> np.ndarray:
    """Stripes of the whole region, predicted anew."""
    return locus.stripes(tracks, *locus.tiles(), 0, locus.n_bins)


if __name__ == "__main__":
    main()
