"""Attributions of many targets: one Dask task each, written into a group of the store as they come."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epizarr.attribute.function import TargetFunction, Tiling
from epizarr.attribute.methods import (
    COMPLETENESS,
    COMPLETENESS_OF_ALL,
    FIRST_STEPS,
    METHODS,
    MOST_STEPS,
    N_SAMPLES,
    SHAP_SEED,
    attribute,
    check_method,
)
from epizarr.attribute.targets import Target, parse_target
from epizarr.cluster import Progress, run_tasks
from epizarr.errors import AttributionError, MemoryBoundError
from epizarr.genome import Region
from epizarr.io.files import replace_file
from epizarr.io.group_state import group_state, make_way
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import StorePath, place_of
from epizarr.io.store import (
    TRACK_CHUNK,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_id,
    group_path,
    open_group,
    open_tracks,
    read_region,
    store_assembly,
    sweep_group,
    write_region,
)
from epizarr.io.track_binding import own_fits
from epizarr.nn import Epiphany, NetworkConfig
from epizarr.perturbed.locus import Locus, open_locus, plan_effects
from epizarr.predict.blocks import Job, computing, load_model
from epizarr.predict.settings import MAX_TASK_BYTES
from epizarr.report.effect_figures import EffectTrack, attribution_figure
from epizarr.report.figures import figure_png, value_label
from epizarr.train.checkpoint import load_checkpoint, run_name
from epizarr.train.estimate import step_bytes
from epizarr.windows import cut_padded

#: Raised when the same inputs and settings would give other values; part of what the ledger compares.
_CODE_FORMAT = 1
_NUMBERS = ("value", "baseline_value", "completeness_error")
#: Stretch that a figure shows on each side of a target.
_FIGURE_MARGIN_BP = 700_000


@dataclass(frozen=True)
class _Task:
    """One target."""

    job: Job
    text: str
    index: int
    min_diagonal: int
    method: str
    levels: tuple[float, ...]
    other_group: str | None
    other_rows: tuple[int | None, ...]

    @property
    def name(self) -> str:
        return f"target-{self.index:06d}"

    @property
    def digest(self) -> str:
        return self.job.digest


def attribute_contacts(
    store: StorePath,
    checkpoint: str | Path,
    *,
    cell_type: str,
    targets: Sequence[str],
    method: str = METHODS[0],
    baseline: str = "zero",
    run: str | None = None,
    use: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    out: StorePath | None = None,
    tile_bins: int | None = None,
    overlap_bins: int | None = None,
    batch_size: int = 4,
    torch_threads: int = 1,
    max_task_bytes: int = MAX_TASK_BYTES,
    report: str | Path | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> str:
    """Attribute targets of a prediction to the raw signal of each track bin, and write the attributions into a store.

    A target depends on all that its tiles read, since the core carries signal through them: attributions reach that far. Blending
    is that of a prediction, so the sum of integrated gradients is the difference of two predictions. The same call again resumes.
    Memory of one task: :func:`attribution_task_bytes`; it does not grow with the number of targets or the genome.

    Parameters
    ----------
    store, checkpoint, cell_type, use, without, tile_bins, overlap_bins
        As for :func:`epizarr.predict_contacts`.
    targets
        What to explain, as text (:mod:`epizarr.attribute.targets`).
    method
        One of :data:`epizarr.attribute.METHODS`; see :func:`epizarr.attribute.methods.attribute`.
    baseline
        What the signal is compared with: ``"zero"``; ``"background"``, the mean of each whole track's lower three quarters; or
        the name of another cell type of the store, so that the attributions add up to the difference of the two. A bin that it
        has not measured is 0 there; a bin that ``cell_type`` has not measured gets no attribution.
    run
        Name of the group. Default: the run folder's name.
    out
        Store to write to, made if it is not there. Default: ``store``.
    batch_size
        Most tiles that the core runs at once; all of a target's tiles are held for the gradient.
    torch_threads
        torch threads of a task; the values depend on it in the last bit.
    max_task_bytes
        Memory that one task may need.
    report
        Folder to write a figure of each of the first twelve targets to, ``attribution-000.png`` and so on. For these the raw
        tracks of a chromosome are read, 4 bytes a track and track bin.
    client, n_threads, progress, overwrite, take_over
        As for :func:`epizarr.predict_contacts`.

    Returns
    -------
    Path of the group; open it with :func:`epizarr.io.store.open_attribution`.

    Raises
    ------
    AttributionError
        If a target cannot be read, or the method is unknown or not valid for this network.
    MemoryBoundError
        If a target's tiles would need more than ``max_task_bytes``.
    StoreError
        If a group of this name is there and was made of something else.
    CheckpointError, ConfigError, TransformError, LeaseError
        As :func:`epizarr.predict_contacts`.
    """
    place, home = place_of(store), place_of(out or store)
    card = load_checkpoint(checkpoint)
    network = card.network
    check_method(method, network)
    assembly = store_assembly(place)
    grid = assembly.bins(card.binsize)
    if not targets:
        raise AttributionError("an attribution needs at least one target, such as boundary:chr8:54,160,000-54,170,000.")
    if len(set(targets)) < len(targets):
        raise AttributionError("attribution: a target is given twice; give each once.")
    parsed = [parse_target(text, grid, network.n_offsets, card.min_diagonal) for text in targets]
    chroms = list(dict.fromkeys(target.chrom for target in parsed))
    name = run or run_name(checkpoint)
    plan = plan_effects(
        place,
        card,
        cell_type=cell_type,
        run=name,
        regions=[_hull(chrom, parsed) for chrom in chroms],
        use=use or {},
        without=without,
        out=home,
        tile_bins=tile_bins,
        overlap_bins=overlap_bins,
        batch_size=batch_size,
        torch_threads=torch_threads,
    )
    _check_memory(network, parsed, plan.job, max_task_bytes)
    levels, other_group, other_rows, origin = _baseline(plan.job, card.tracks, baseline, use or {})
    settings: dict[str, dict[str, Any]] = {
        "integrated-gradients": {
            "first_steps": FIRST_STEPS,
            "most_steps": MOST_STEPS,
            "completeness": [COMPLETENESS, COMPLETENESS_OF_ALL],
        },
        "gradient-shap": {"n_samples": N_SAMPLES, "seed": SHAP_SEED},
    }
    kept = {
        key: value for key, value in plan.attrs.items() if key not in ("binsize", "span_bp", "regions", "track_binsize")
    }
    attrs = kept | {
        "binsize": card.track_binsize,
        "contact_binsize": card.binsize,
        "method": json.dumps({"method": method, **settings.get(method, {})}, sort_keys=True),
        "baseline": origin,
    }
    group = group_path("attributions", cell_type, card.track_binsize, name)
    described = json.dumps([_CODE_FORMAT, attrs, list(targets)], sort_keys=True)
    job = dataclasses.replace(plan.job, group=group, digest=hashlib.sha256(described.encode()).hexdigest())
    tasks = [
        _Task(job, text, index, card.min_diagonal, method, levels, other_group, other_rows)
        for index, text in enumerate(targets)
    ]
    create_store(home, assembly)
    ledger = Ledger(work_folder(home, group))
    with Lease.acquire(home, group, take_over) as lease:

        def other_targets() -> list[str]:
            return [] if list(read_region(home, group, "target", {})) == list(targets) else ["targets"]

        state = group_state(home, group, attrs, overwrite=overwrite, called="attribution", also=other_targets)
        if make_way(home, group, state, ledger):
            _create(job, attrs, targets, card.tracks)
            ledger.sweep_partial()
            left = ledger.left(tasks)
            # The tasks of a process take turns: torch's switches for the backward pass are the process's.
            run_tasks(_attribute_target, left, client=client, n_threads=n_threads or 1, progress=progress)
            ledger.check_done(left)
            numbers = [ledger.load(task.name) for task in tasks]
            for name in _NUMBERS:
                write_region(home, group, name, {}, np.array([float(found[name]) for found in numbers]))
            lease.check()
            finish_group(home, group)
            ledger.clear()
    if report is not None:
        _write_figures(Path(report), job, group, parsed, card.tracks)
    return group


def attribution_task_bytes(network: NetworkConfig, *, n_tiles: int, tile_bins: int) -> int:
    """Bound the memory of one attribution, in bytes, network included and libraries not.

    Parameters
    ----------
    network
        Shape of the network.
    n_tiles, tile_bins
        Tiles that hold a stripe of the target (two to four for a pixel or a boundary), and their length.
    """
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Epiphany(network).parameters())
    # As a training step that holds all tiles, without gradients and moments of the weights.
    step = step_bytes(network, batch_size=n_tiles, n_bins=tile_bins)
    points = 12 * network.n_tracks * network.cut_length(n_tiles * tile_bins)
    return step - 4 * 3 * parameters + 4 * points


def _check_memory(network: NetworkConfig, targets: Sequence[Target], job: Job, max_task_bytes: int) -> None:
    settings = job.settings
    worst, needed = None, 0
    for target in targets:
        first, end = job.grid.chrom_extent(target.chrom)
        tiling = Tiling.of(end - first, target.lo, target.hi, settings.tile_bins, settings.overlap_bins)
        found = attribution_task_bytes(network, n_tiles=tiling.n_tiles, tile_bins=tiling.weights.shape[1])
        if found > needed:
            worst, needed = target, found
    if worst is not None and needed > max_task_bytes:
        raise MemoryBoundError(
            f"target {worst.text!r}: its tiles would need up to {needed / 2**30:.1f} GiB for the gradient, and it may use "
            f"{max_task_bytes / 2**30:.1f}. Choose a smaller target, shorter tiles ({settings.tile_bins} bins), or allow more."
        )


def _baseline(
    job: Job, names: Sequence[str], baseline: str, use: Mapping[str, str]
) -> tuple[tuple[float, ...], str | None, tuple[int | None, ...], str]:
    """Level of each track in the baseline; or group and rows of another cell type; and how it is recorded."""
    zeros, nothing = (0.0,) * len(names), (None,) * len(names)
    if baseline == "zero":
        return zeros, None, nothing, "zero"
    cell_type = job.tracks_group.split("/")[0]
    if baseline == "background":
        tracks = open_tracks(job.store, cell_type, job.track_binsize)
        signal = [None if row is None else tracks["signal"].isel(track=row) for row in job.track_rows]
        fits = own_fits(signal, tracks["blacklisted"])
        levels = tuple(0.0 if fit is None else fit().background for fit in fits)
        return levels, None, nothing, f"background: {json.dumps(dict(zip(names, levels, strict=True)))}"
    tracks = open_tracks(job.store, baseline, job.track_binsize)
    there = [str(name) for name in tracks["track"].values]
    sources = [use.get(name, name) for name in names]
    lacking = [
        source for source, row in zip(sources, job.track_rows, strict=True) if row is not None and source not in there
    ]
    if lacking:
        raise AttributionError(
            f"baseline {baseline!r}: this cell type has the tracks {there} and lacks {lacking}: nothing to compare with."
        )
    rows = tuple(
        None if row is None else there.index(source) for source, row in zip(sources, job.track_rows, strict=True)
    )
    used = [source for source, row in zip(sources, rows, strict=True) if row is not None]
    group = group_path("tracks", baseline, job.track_binsize)
    return zeros, group, rows, f"cell type {baseline} ({group_id(tracks, used)[:16]})"


def _create(job: Job, attrs: Mapping[str, Any], targets: Sequence[str], names: Sequence[str]) -> None:
    grid = job.assembly.bins(job.track_binsize)
    n = len(targets)
    # No shards: a target's track is a few chunks among millions of bins, and what is not written takes no place.
    shape, chunks = (n, len(names), grid.n_bins), (1, 1, TRACK_CHUNK)
    create_group(
        job.out,
        job.group,
        "attributions",
        coords={
            **grid_coords(grid, bin_table=False),
            "target": np.array(targets, dtype=object),
            "track": np.array(names, dtype=object),
        },
        arrays={
            "attribution": ArraySpec(("target", "track", "bin"), shape, "f4", chunks),
            **{name: ArraySpec(("target",), (n,), "f8") for name in _NUMBERS},
        },
        attrs=attrs,
    )
    sweep_group(job.out, job.group)


def _attribute_target(task: _Task) -> None:
    """Attribute one target and write it. Safe to run again, anywhere."""
    job, settings = task.job, task.job.settings
    model = load_model(job, job.members[0])
    target = parse_target(task.text, job.grid, model.config.n_offsets, task.min_diagonal)
    first, end = job.grid.chrom_extent(target.chrom)
    tiling = Tiling.of(end - first, target.lo, target.hi, settings.tile_bins, settings.overlap_bins)
    lo, hi = tiling.track_bins(model)
    raw, blacklisted = _read_raw(job, job.tracks_group, job.track_rows, target.chrom, lo, hi)
    if task.other_group is None:
        baseline = np.broadcast_to(np.array(task.levels, dtype=np.float32)[:, None], raw.shape)
    else:
        baseline = np.nan_to_num(_read_raw(job, task.other_group, task.other_rows, target.chrom, lo, hi)[0])
    function = TargetFunction(
        model,
        target,
        tiling,
        raw,
        blacklisted,
        job.track_transforms,
        job.target_transform,
        settings.batch_size,
    )
    with computing(settings):
        found = attribute(function, raw, baseline, task.method)
    fine_first, fine_end = job.assembly.bins(job.track_binsize).chrom_extent(target.chrom)
    a, b = fine_first + max(lo, 0), fine_first + min(hi, fine_end - fine_first)
    own = found.attribution[:, a - fine_first - lo : b - fine_first - lo]
    n_bins = job.assembly.bins(job.track_binsize).n_bins
    whole = slice(a // TRACK_CHUNK * TRACK_CHUNK, min(-(-b // TRACK_CHUNK) * TRACK_CHUNK, n_bins))
    for row, values in enumerate(own):
        part = {"target": slice(task.index, task.index + 1), "track": slice(row, row + 1), "bin": whole}
        write_region(
            job.out, job.group, "attribution", part, cut_padded(values[None, None], a, whole.start, whole.stop)
        )
    ledger = Ledger(work_folder(job.out, job.group))
    ledger.save(task.name, {name: np.array(getattr(found, name)) for name in _NUMBERS})
    ledger.mark(task.name, task.digest)


def _read_raw(
    job: Job, group: str, rows: Sequence[int | None], chrom: str, lo: int, hi: int
) -> tuple[np.ndarray, np.ndarray]:
    """Raw tracks (track, bin) and blacklist (bin) at chromosome-local track bins; NaN and False off the chromosome."""
    first, end = job.assembly.bins(job.track_binsize).chrom_extent(chrom)
    a, b = max(lo, 0), min(hi, end - first)
    part = slice(first + a, first + b)
    raw = np.full((len(rows), hi - lo), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        if row is not None:
            values = read_region(job.store, group, "signal", {"track": slice(row, row + 1), "bin": part})[0]
            raw[index] = cut_padded(values, a, lo, hi)
    blacklisted = np.zeros(hi - lo, dtype=bool)
    blacklisted[a - lo : b - lo] = read_region(job.store, group, "blacklisted", {"bin": part})
    return raw, blacklisted


def _write_figures(folder: Path, job: Job, group: str, targets: Sequence[Target], names: Sequence[str]) -> None:
    """Draw the first twelve targets: the predicted map, the tracks and their attributions."""
    folder.mkdir(parents=True, exist_ok=True)
    ds = open_group(job.out, group, "attributions")
    # By chromosome, so that the tracks of each are read once and those of one are held.
    locus: Locus | None = None
    for index, target in sorted(enumerate(targets[:12]), key=lambda pair: pair[1].chrom):
        if locus is None or locus.tracks.chrom != target.chrom:
            locus = open_locus(job, target.chrom, names)
        first, _ = locus.extent
        start = max(0, min(a for a, _ in target.intervals) - _FIGURE_MARGIN_BP)
        end = min(job.assembly.length(target.chrom), max(b for _, b in target.intervals) + _FIGURE_MARGIN_BP)
        lo, hi = (bin_id - first for bin_id in job.grid.region_extent(Region(target.chrom, start, end)))
        shown = job.grid.extent_region(first + lo, first + hi)
        n_diagonals = locus.network.n_offsets
        a, b = max(0, lo - n_diagonals), min(locus.n_bins, hi + n_diagonals)
        with np.errstate(divide="ignore", invalid="ignore"):
            band = job.target_transform.apply(locus.rows(locus.stripes(locus.tracks, *locus.tiles(), a, b)))
        fine = job.assembly.bins(job.track_binsize)
        x, y = fine.region_extent(shown)
        offset = fine.chrom_extent(target.chrom)[0]
        values = ds["attribution"].isel(target=index, bin=slice(x, y)).values
        figure = attribution_figure(
            shown,
            binsize=job.binsize,
            margin_bins=lo - a,
            band=band,
            tracks=[
                EffectTrack(name, locus.tracks.signal[row, x - offset : y - offset], values[row])
                for row, name in enumerate(names)
            ],
            marks=target.intervals,
            value_label=value_label(job.target_transform, "contacts"),
            title=f"{target.text}: {json.loads(ds.attrs['method'])['method']}, baseline {ds.attrs['baseline'].partition(':')[0]}",
        )
        replace_file(folder / f"attribution-{index:03d}.png", figure_png(figure))


def _hull(chrom: str, targets: Sequence[Target]) -> str:
    ends = [interval for target in targets if target.chrom == chrom for interval in target.intervals]
    return f"{chrom}:{min(a for a, _ in ends)}-{max(b for _, b in ends)}"
