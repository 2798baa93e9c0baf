"""A screen: its intervals, one Dask graph of its blocks, and the group, the table and the figure that come of it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.cluster import Progress, run_tasks
from epizarr.errors import MemoryBoundError, PerturbationError
from epizarr.genome import Assembly, Region
from epizarr.io.files import replace_file
from epizarr.io.group_state import group_state, make_way
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import StorePath, place_of
from epizarr.io.store import (
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_path,
    open_group,
    open_tracks,
    store_assembly,
    sweep_group,
    write_region,
)
from epizarr.perturb import ChromTracks, Copy
from epizarr.perturbed.locus import mean_and_total, plan_effects, read_stretch
from epizarr.predict.plan import Plan
from epizarr.predict.settings import MAX_TASK_BYTES
from epizarr.report.figures import figure_png
from epizarr.report.screen_figures import screen_figure
from epizarr.screen.block import Screen, ScreenTask, screen_block, screen_task_bytes, screen_tasks
from epizarr.screen.scores import SCORES, significance, view_margin
from epizarr.screen.sites import Sites, null_sites, peak_sites, tile_sites
from epizarr.train.checkpoint import Checkpoint, load_checkpoint

#: Raised when the same inputs and settings would give other values; part of what the ledger compares.
_CODE_FORMAT = 1


def screen_contacts(
    store: StorePath,
    checkpoint: str | Path,
    *,
    cell_type: str,
    edit: str,
    peaks: str | Path | None = None,
    tile_bp: int | None = None,
    regions: Sequence[str] | None = None,
    linked: Mapping[str, Sequence[str]] | None = None,
    null_draws: int = 1,
    seed: int = 0,
    bands: bool = False,
    run: str | None = None,
    use: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    out: StorePath | None = None,
    tile_bins: int | None = None,
    overlap_bins: int | None = None,
    batch_size: int | None = None,
    torch_threads: int = 1,
    max_task_bytes: int = MAX_TASK_BYTES,
    report: str | Path | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> str:
    """Make one edit at every interval, each on its own, and score what it does to the predicted contacts.

    The reference is predicted once a block; for each interval only what its edit can reach is computed anew. The numbers are
    those of :func:`epizarr.perturbed.perturbed_bands` with the same tiles, up to the rounding of batches. Scores are worked out
    within a band of the interval (:mod:`epizarr.screen.scores`). The same call again resumes.

    Parameters
    ----------
    store, checkpoint, cell_type, use, without, tile_bins, overlap_bins, batch_size, torch_threads
        As for :func:`epizarr.predict_contacts`.
    edit
        Edit of values without its region: ``mask``, ``mask:CTCF+RAD21:to=background``, ``scale:*:factor=0.5``.
    peaks
        BED or narrowPeak file of the intervals, or ``FILE@TRACKS``, which names the tracks where the edit names none.
    tile_bp
        Instead: tiles of this width, side by side.
    regions
        Where intervals and null intervals lie. Default: the genome.
    linked
        Tracks that follow edits of another.
    null_draws, seed
        Random intervals for each one asked for (:func:`epizarr.screen.sites.null_sites`), and their seed. 0: no p-values.
    bands
        Whether to keep the change of the contacts around each interval.
    run
        Name of the group. Default: kind of the edit, and the tracks.
    out
        Store to write to, made if it is not there. Default: ``store``.
    max_task_bytes
        Memory that a task may need; see :func:`screen_task_bytes`. To draw null intervals, this process also holds the edited
        tracks of a chromosome, 12 bytes a track and track bin.
    report
        Folder to write ``screen.tsv`` and ``screen.png`` to.
    client, n_threads, progress, overwrite, take_over
        As for :func:`epizarr.predict_contacts`.

    Returns
    -------
    Path of the group; open it with :func:`epizarr.open_screen`.

    Raises
    ------
    PerturbationError
        If the edit cannot be read or made, or there is no interval.
    MemoryBoundError
        If a task would need more than ``max_task_bytes``.
    StoreError
        If a group of this name is there and was made of something else.
    CheckpointError, ConfigError, TransformError, LeaseError
        As :func:`epizarr.predict_contacts`.
    """
    place, home = place_of(store), place_of(out or store)
    assembly = store_assembly(place)
    if (peaks is None) == (tile_bp is None):
        raise PerturbationError("screen: needs peaks of a file (--peaks) or tiles (--tile-bp), and not both.")
    where = [assembly.region(text) for text in regions] if regions else [Region(c, 0, n) for c, n in assembly]
    named_tracks: str | None = None
    if peaks is not None:
        file, named_tracks = _split_peaks(peaks)
        sites = peak_sites(file, assembly, where)
    else:
        sites = tile_sites(assembly, where, int(tile_bp or 0))
    if null_draws < 0:
        raise PerturbationError(f"screen: {null_draws} null draws; needs 0 (no p-values) or more.")
    card = load_checkpoint(checkpoint)
    name = run or _default_name(edit, named_tracks)
    chroms = [assembly.chrom_names[code] for code in np.unique(sites.chrom)]
    plan = plan_effects(
        place,
        card,
        cell_type=cell_type,
        run=name,
        regions=[str(region) for region in where] if regions else chroms,
        use=use or {},
        without=without,
        out=home,
        tile_bins=tile_bins,
        overlap_bins=overlap_bins,
        batch_size=batch_size,
        torch_threads=torch_threads,
    )
    screen = _planned(plan, card, sites, edit, named_tracks, linked or {}, use or {}, bands)
    _check_memory(screen, max_task_bytes)
    screen = _with_null(screen, where, null_draws, seed, avoids_sites=peaks is not None)
    attrs = {key: value for key, value in plan.attrs.items() if key != "track_binsize"} | {
        "edit": str(screen.edit_of(sites.region(assembly, 0))).replace(f":{sites.region(assembly, 0)}", ""),
        "null": json.dumps({"draws": null_draws, "seed": seed}, sort_keys=True),
        "sites_id": _sites_id(screen),
    }
    group = group_path("screens", cell_type, card.binsize, name)
    digest = hashlib.sha256(json.dumps([_CODE_FORMAT, attrs, screen.n_rows], sort_keys=True).encode()).hexdigest()
    screen = dataclasses.replace(screen, job=dataclasses.replace(plan.job, group=group, digest=digest))
    tasks = screen_tasks(screen)
    create_store(home, assembly)
    ledger = Ledger(work_folder(home, group))
    with Lease.acquire(home, group, take_over) as lease:

        def other_bands() -> list[str]:
            there = "difference" in open_group(home, group, "screens", allow_incomplete=True)
            return [] if there == bands else ["choice of --bands"]

        state = group_state(home, group, attrs, overwrite=overwrite, called="screen", also=other_bands)
        if make_way(home, group, state, ledger):
            _create(screen, attrs)
            ledger.sweep_partial()
            left = ledger.left(tasks)
            run_tasks(
                screen_block,
                left,
                shared=[screen] * len(left),
                client=client,
                n_threads=n_threads,
                progress=progress,
            )
            ledger.check_done(left)
            _write_scores(screen, tasks, ledger)
            lease.check()
            finish_group(home, group)
            ledger.clear()
    if report is not None:
        _write_report(Path(report), open_group(home, group, "screens"), assembly)
    return group


def screen_table(ds: xr.Dataset) -> pd.DataFrame:
    """Rank the intervals of a screen by how much they change the contacts around them.

    Parameters
    ----------
    ds
        A ``screens`` group. Its scores are read; the differences of the contacts, if it has them, are not.

    Returns
    -------
    Table with columns ``rank`` (from 1), ``name``, ``chrom``, ``start``, ``end`` (bp), each of
    :data:`epizarr.screen.scores.SCORES`, and its p- and q-values ``p_*``, ``q_*`` for the mean change and the insulation; those
    whose edit could not be made (NaN) last.
    """
    names = ds["chrom_name"].values[ds["chrom"].values]
    scores = ds[["effect", "p_value", "q_value"]].load()
    columns: dict[str, Any] = {
        "name": ds["perturbation"].values,
        "chrom": names,
        "start": ds["start"].values,
        "end": ds["end"].values,
    }
    for score in SCORES:
        columns[score] = scores["effect"].sel(score=score).values
    for score in ("mean_abs_change", "insulation_change"):
        for letter, variable in (("p", "p_value"), ("q", "q_value")):
            columns[f"{letter}_{score}"] = scores[variable].sel(score=score).values
    table = pd.DataFrame(columns).sort_values("mean_abs_change", ascending=False, kind="stable", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def _split_peaks(peaks: str | Path) -> tuple[Path, str | None]:
    """File and tracks of ``FILE@TRACKS``; a file that is there is taken as it is called."""
    file, at, tracks = str(peaks).rpartition("@")
    if not at or Path(peaks).exists():
        return Path(peaks), None
    return Path(file), tracks


def _planned(
    plan: Plan,
    card: Checkpoint,
    sites: Sites,
    edit: str,
    tracks: str | None,
    linked: Mapping[str, Sequence[str]],
    use: Mapping[str, str],
    bands: bool,
) -> Screen:
    """Make the screen without null intervals; refuses tracks that cannot be edited."""
    job = plan.job
    names = tuple(card.tracks)
    screen = Screen(
        job=job,
        target=card.target_variable,
        names=names,
        use=dict(use),
        edit=edit,
        tracks=tracks,
        linked={name: tuple(others) for name, others in linked.items()},
        means={},
        min_diagonal=card.min_diagonal,
        sites=sites,
        n_asked=len(sites),
        order=np.lexsort((sites.start, sites.chrom)),
        n_rows=0,
    )
    first = screen.edit_of(sites.region(job.assembly, 0))
    unknown = [name for name in first.tracks if name not in names]
    if unknown:
        raise PerturbationError(f"screen: there is no track {', '.join(unknown)}; the network reads {list(names)}.")
    absent = [name for name in first.tracks if job.track_rows[names.index(name)] is None]
    if absent:
        raise PerturbationError(f"screen: {', '.join(absent)} is fed as missing, so that there is nothing to edit.")
    if isinstance(first, Copy):
        there = [str(name) for name in open_tracks(job.store, first.cell_type, job.track_binsize)["track"].values]
        lacking = [name for name in first.tracks or names if use.get(name, name) not in there]
        if lacking:
            raise PerturbationError(f"screen: cell type {first.cell_type!r} has no track {', '.join(lacking)}.")
    means = dict.fromkeys(names, float("nan"))
    for name in first.tracks or names:
        row = job.track_rows[names.index(name)]
        if row is not None:
            means[name] = mean_and_total(job, row)[0]
    n_rows = 0
    if bands:
        widest = max(hi - lo for lo, hi in map(screen.bins_of, range(len(sites))))
        n_rows = widest + 2 * view_margin(job.network.n_offsets)
    return dataclasses.replace(screen, means=means, n_rows=n_rows)


def _with_null(screen: Screen, regions: Sequence[Region], n_draws: int, seed: int, *, avoids_sites: bool) -> Screen:
    """Add the random intervals behind those that were asked for."""
    job, sites = screen.job, screen.sites
    if not n_draws:
        return screen
    edited = screen.edit_of(sites.region(job.assembly, 0)).tracks or screen.names
    rows = {name: job.track_rows[screen.names.index(name)] for name in edited}
    present = {name: row for name, row in rows.items() if row is not None}
    group = open_tracks(job.store, job.tracks_group.split("/")[0], job.track_binsize)

    def read_chrom(code: int) -> ChromTracks:
        return read_stretch(job, group, job.assembly.chrom_names[code], list(present), list(present.values()))

    null, matched = null_sites(
        job.assembly,
        sites,
        regions,
        read_chrom,
        means=screen.means,
        n_draws=n_draws,
        seed=seed,
        avoids_sites=avoids_sites,
    )
    null = dataclasses.replace(null, name=matched.astype(object))
    both = Sites(*(np.concatenate([getattr(s, f.name) for s in (sites, null)]) for f in dataclasses.fields(Sites)))
    return dataclasses.replace(screen, sites=both, order=np.lexsort((both.start, both.chrom)))


def _check_memory(screen: Screen, max_task_bytes: int) -> None:
    settings = screen.job.settings
    widths = [hi - lo for lo, hi in map(screen.bins_of, range(len(screen.sites)))]
    needed = screen_task_bytes(
        screen.job.network,
        tile_bins=settings.tile_bins,
        overlap_bins=settings.overlap_bins,
        batch_size=settings.batch_size,
        widest_bins=max(widths) + 1,  # a null interval may lie across one bin more
    )
    if needed > max_task_bytes:
        widest = screen.sites.region(screen.job.assembly, int(np.argmax(widths)))
        raise MemoryBoundError(
            f"screen: a task would need up to {needed / 2**30:.1f} GiB and may use {max_task_bytes / 2**30:.1f} GiB. Lower "
            f"batch_size ({settings.batch_size}) or tile_bins ({settings.tile_bins}), leave out the widest interval ({widest}, "
            f"{widest.length:,} bp), or allow more."
        )


def _sites_id(screen: Screen) -> str:
    sites = screen.sites
    table = json.dumps(
        [[str(name) for name in sites.name], *(v.tolist() for v in (sites.chrom, sites.start, sites.end))]
    )
    return hashlib.sha256(f"{screen.n_asked} {table}".encode()).hexdigest()


def _create(screen: Screen, attrs: Mapping[str, Any]) -> None:
    job, sites, n = screen.job, screen.sites, screen.n_asked
    n_scores, n_diagonals, n_null = len(SCORES), job.network.n_offsets, len(sites) - n
    coords = grid_coords(job.grid, n_diagonals, bin_table=False) | {
        "perturbation": sites.name[:n],
        "chrom": sites.chrom[:n],
        "start": sites.start[:n],
        "end": sites.end[:n],
        "score": np.array(SCORES, dtype=object),
    }
    arrays = {
        **{
            name: ArraySpec(("perturbation", "score"), (n, n_scores), "f8") for name in ("effect", "p_value", "q_value")
        },
        "abs_change": ArraySpec(("perturbation", "diagonal"), (n, n_diagonals), "f4"),
    }
    if n_null:
        arrays["null_effect"] = ArraySpec(("null", "score"), (n_null, n_scores), "f8")
        coords |= {
            "null_of": sites.name[n:].astype(np.int64),
            "null_start": sites.start[n:],
            "null_end": sites.end[n:],
        }
    if screen.n_rows:
        shape = (n, screen.n_rows, n_diagonals)
        arrays["difference"] = ArraySpec(("perturbation", "row", "diagonal"), shape, "f4", chunks=(1, *shape[1:]))
        first = [screen.bins_of(index)[0] - view_margin(n_diagonals) for index in range(n)]
        coords["first_row"] = job.grid.chrom_offset[sites.chrom[:n]] + np.array(first, dtype=np.int64)
    create_group(job.out, job.group, "screens", coords=coords, arrays=arrays, attrs=attrs)
    sweep_group(job.out, job.group)


def _write_scores(screen: Screen, tasks: Sequence[ScreenTask], ledger: Ledger) -> None:
    """Put together what the tasks left, and add p- and q-values."""
    job, n = screen.job, screen.n_asked
    effect = np.full((len(screen.sites), len(SCORES)), np.nan)
    by_distance = np.full((len(screen.sites), job.network.n_offsets), np.nan)
    for task in tasks:
        found = ledger.load(task.name)
        own = screen.order[task.first : task.last]
        effect[own], by_distance[own] = found["effect"], found["by_distance"]
    p, q = significance(effect[:n], effect[n:])
    values = {"effect": effect[:n], "p_value": p, "q_value": q, "abs_change": by_distance[:n].astype(np.float32)}
    if len(effect) > n:
        values["null_effect"] = effect[n:]
    for name, array in values.items():
        write_region(job.out, job.group, name, {}, array)


def _write_report(folder: Path, ds: xr.Dataset, assembly: Assembly) -> None:
    table = screen_table(ds)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "screen.tsv", table.to_csv(sep="\t", index=False, float_format="%.4g").encode())
    null = ds["null_effect"].values if "null_effect" in ds else np.zeros((0, len(SCORES)))
    figure = screen_figure(
        table,
        assembly,
        null_mean=null[:, SCORES.index("mean_abs_change")],
        title=f"{ds.attrs['edit']} at {len(table):,} intervals",
    )
    replace_file(folder / "screen.png", figure_png(figure))


def _default_name(edit: str, tracks: str | None) -> str:
    kind, *parts = edit.split(":")
    named = [part for part in parts if part and "=" not in part and part != "*"] or [tracks or "all"]
    return f"{kind}-{named[0]}"
