"""A screen with the full-size 10 kb network against predicting a region of 20 Mb anew for each interval, with equal batches.

Random weights and tracks. Intervals of 400 bp lie 100 kb apart, as CTCF peaks do, in the middle of the region; the time of an
interval of the screen includes its share of the reference, of reading and of scoring. Predicting anew takes the same for every
interval and is measured on a few. Seconds are of the process, so that others' work on the machine
counts little. Wanted: 0.8 × region bins / (140 + tile bins); 140 bins read a track bin. Usage::

    python pipelines/benchmarks/screen.py [--sites 24] [--anew 2] [--threads 1]
"""

import argparse
import tempfile
import time
from pathlib import Path

from _store import make_inputs

from epizarr.perturb import TrackFacts, apply_edits
from epizarr.perturbed import open_locus
from epizarr.predict.blocks import load_model
from epizarr.screen import run
from epizarr.screen.block import Screen, ScreenTask, _Stretch, screen_block

REGION_MB, SPACING_BP, WIDTH_BP, TILE_BINS, REACH_BINS = 20, 100_000, 400, 200, 140


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sites", type=int, default=24, help="intervals of the screen; the reference counts less the more they are"
    )
    parser.add_argument("--anew", type=int, default=2, help="intervals for which the region is predicted anew")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, checkpoint = make_inputs(Path(folder), str(REGION_MB))
        first = (REGION_MB * 1_000_000 - arguments.sites * SPACING_BP) // 2
        starts = [first + index * SPACING_BP for index in range(arguments.sites)]
        peaks = Path(folder) / "peaks.bed"
        peaks.write_text("".join(f"chr1\t{start}\t{start + WIDTH_BP}\n" for start in starts))
        seconds: list[float] = []
        kept: list[tuple[Screen, ScreenTask]] = []

        def timed(_: object, tasks: list[ScreenTask], *, shared: list[Screen], **__: object) -> None:
            load_model(shared[0].job, shared[0].job.members[0])  # read once a process
            for task, screen in zip(tasks, shared, strict=True):
                begin = time.process_time()
                screen_block(task, screen)
                seconds.append(time.process_time() - begin)
                kept.append((screen, task))

        references: list[float] = []
        predict_reference = _Stretch.predict_reference

        def timed_reference(stretch: _Stretch) -> None:
            begin = time.process_time()
            predict_reference(stretch)
            references.append(time.process_time() - begin)

        _Stretch.predict_reference = timed_reference  # type: ignore[method-assign]
        run.run_tasks = timed  # type: ignore[assignment]
        run.screen_contacts(
            store,
            checkpoint,
            cell_type="T1",
            edit="mask",
            peaks=f"{peaks}@track0",
            null_draws=0,
            tile_bins=TILE_BINS,
            torch_threads=arguments.threads,
            out=Path(folder) / "out.zarr",
        )
        screen = kept[0][0]
        locus = open_locus(screen.job, "chr1", screen.names)
        anew = []
        for index in range(arguments.anew):
            edit = screen.edit_of(screen.sites.region(screen.job.assembly, index))
            begin = time.process_time()
            edited = apply_edits(locus.tracks, [edit], TrackFacts(screen.means)).tracks
            locus.stripes(edited, *locus.tiles(), 0, locus.n_bins)
            anew.append(time.process_time() - begin)
    per_site = sum(seconds) / arguments.sites
    wanted = 0.8 * locus.n_bins / (REACH_BINS + TILE_BINS)
    print(f"10 kb network, float32, {arguments.threads} threads, region of {locus.n_bins} bins, tiles of {TILE_BINS}")
    print(
        f"screen of {arguments.sites} intervals in {len(seconds)} tasks: {per_site:.2f} s an interval, reference included"
    )
    print(f"region anew, {arguments.anew} intervals: {min(anew):.2f} to {max(anew):.2f} s an interval")
    alone = (sum(seconds) - sum(references)) / arguments.sites
    print(f"the reference takes {sum(references):.2f} s, so that an interval more takes {alone:.2f} s")
    print(f"ratio {min(anew) / per_site:.2f}, of an interval more {min(anew) / alone:.2f} (wanted: {wanted:.2f})")


if __name__ == "__main__":
    main()
