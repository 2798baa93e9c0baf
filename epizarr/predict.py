"""Prediction: the tracks of any cell type in, a band of contacts in the store out. No Hi-C is needed.

A run is a group ``/{cell type}/predictions/{run}/{binsize}``. Its work is one Dask task a block of :data:`BLOCK_BINS` bins: read
the tracks once with their halo, run the trunk once and the overlapping tiles in batches, turn stripes into band rows, undo
the target's transform, and write the block whole. Tiles are anchored to the chromosomes and no batch crosses a block, so a
block's values depend on nothing but its inputs and the settings kept with the group: a run that was killed and started
again gives the same bytes as one that was not.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from epizarr import __version__
from epizarr.bands import mask_band, scatter_stripes, stripe_margins
from epizarr.cluster import Progress, run_tasks
from epizarr.errors import CheckpointError, ConfigError, MemoryBoundError, StoreError, TransformError
from epizarr.genome import Assembly, BinGrid
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import (
    BAND_ROWS,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_attrs,
    group_id,
    group_path,
    has_group,
    open_tracks,
    read_region,
    remove_group,
    store_assembly,
    sweep_group,
    write_region,
)
from epizarr.io.track_binding import bind_transforms, match_record, naming_track, own_fits
from epizarr.io.track_choice import choose_tracks
from epizarr.io.track_distributions import stored_distribution
from epizarr.io.track_kinds import stored_kinds, unlike_training
from epizarr.nn import Epiphany, NetworkConfig, predict_stripes, prediction_bytes
from epizarr.tiles import bins_needed
from epizarr.track_shift import shift_warnings, track_shift
from epizarr.train.checkpoint import Checkpoint, load_checkpoint
from epizarr.train.seen import seen_in_training
from epizarr.transforms import Transform, network_input
from epizarr.windows import cut_padded, track_extent

_LOG = logging.getLogger(__name__)

#: Bins of a task: whole chunks of the band, and enough tiles to fill a batch.
BLOCK_BINS = 4 * BAND_ROWS
#: Most bins that the trunk runs at once.
TRUNK_BINS = 1000
#: Tiles that the core runs at once, unless told.
BATCH_SIZE = 32
#: What one task may use unless told: the published 5-kb network needs about 2 GiB.
MAX_TASK_BYTES = 4 << 30
#: Chunks and shards' indices that are decoded while a task reads and writes.
_CODEC_BYTES = 8 << 20
#: Raised when the same inputs and settings would give other values; part of what the ledger compares.
_CODE_FORMAT = 1


@dataclass(frozen=True)
class _Job:
    """What all tasks of a run share."""

    store: Place
    out: Place
    group: str
    tracks_group: str
    track_rows: tuple[int | None, ...]
    track_transforms: tuple[Transform, ...]
    target_transform: Transform
    assembly: Assembly
    binsize: int
    track_binsize: int
    checkpoint: str
    checkpoint_sha256: str
    tile_bins: int
    overlap_bins: int
    batch_size: int
    torch_threads: int
    digest: str

    @property
    def grid(self) -> BinGrid:
        return self.assembly.bins(self.binsize)


@dataclass(frozen=True)
class _Block:
    """Band rows ``[lo, hi)``: one task. ``pieces`` are (first row, one past the last, one past the region's last bin)."""

    job: _Job
    lo: int
    hi: int
    pieces: tuple[tuple[int, int, int], ...]

    @property
    def name(self) -> str:
        return f"contact-{self.lo:09d}"

    @property
    def digest(self) -> str:
        return self.job.digest


def predict_contacts(
    store: StorePath,
    checkpoint: str | Path,
    *,
    cell_type: str,
    run: str | None = None,
    regions: Sequence[str] | None = None,
    use: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    out: StorePath | None = None,
    tile_bins: int | None = None,
    overlap_bins: int | None = None,
    batch_size: int = BATCH_SIZE,
    torch_threads: int = 1,
    max_task_bytes: int = MAX_TASK_BYTES,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> str:
    """Predict the contacts of a cell type and write them into a store.

    The same call again resumes a run that was stopped and does nothing to one that is complete. A track that seems to hold
    another kind of signal than in training (:func:`epizarr.io.track_kinds.unlike_training`), or whose values lie far from those
    of training (:mod:`epizarr.track_shift`; read in the training regions, recorded as ``track_shift``), is told of in the log, as
    a warning; so are regions and a cell type that were seen in training (:func:`epizarr.train.seen.seen_in_training`). A network
    that was trained with ``training.track_dropout`` takes the tracks that the cell type lacks as missing.
    Memory of one task: :func:`prediction_task_bytes`; before the tasks, tracks that are matched are read whole, one at a time
    (:func:`epizarr.io.track_binding.fit_own_quantiles`).

    Parameters
    ----------
    store
        Store that holds the cell type's tracks, a folder or an address.
    checkpoint
        ``RUNDIR/best``, ``RUNDIR/last`` or a checkpoint's own folder.
    cell_type
        Cell type to predict. Its tracks are matched to the model's by name.
    run
        Name of the prediction. Default: the run folder's name.
    regions
        Regions such as ``"chr3"`` or ``"chr3:1,000,000-6,000,000"``; a pixel is predicted if both of its bins overlap one region.
        Default: every chromosome to its ends.
    use
        Stored track to read in the place of one of the model's, ``{"DNase": "ATAC"}``; recorded.
    without
        Tracks of the model to feed as missing though they are there; recorded.
    out
        Store to write to, made if it is not there. Default: ``store``.
    tile_bins
        Bins that the core sees at once. Default: the length of the training windows.
    overlap_bins
        Bins shared by two neighbouring tiles, which are cross-faded. Default: a quarter of a tile, a third more work than
        without.
    batch_size
        Most tiles that the core runs at once.
    torch_threads
        torch threads of a task; the values depend on it in the last bit. One is as fast as more where several tasks run.
    max_task_bytes
        Memory that one task may need.
    client, n_threads
        Dask client, or threads of this process: see :func:`epizarr.cluster.run_tasks`.
    progress
        Told after each block.
    overwrite
        Replace a run of this name, whatever it is made of.
    take_over
        Take the place of a writer that has given no sign of life for ten minutes.

    Returns
    -------
    Path of the group in the store; open it with :func:`epizarr.io.store.open_prediction`. ``contact`` has the units of the
    target variable. It is NaN off the chromosome, outside ``regions``, and where the target's transform cannot be undone (an
    observed-over-expected below the diagonals that training saw).

    Raises
    ------
    CheckpointError
        If the checkpoint is of another assembly (by its name, or by the length of a chromosome), or the cell type lacks
        tracks that it needs.
    ConfigError
        If tiles, batch or threads are out of range, or ``use`` or ``without`` cannot be followed
        (:func:`epizarr.io.track_choice.choose_tracks`).
    MemoryBoundError
        If a task would need more than ``max_task_bytes``.
    TransformError
        If a track cannot be matched to those of training, or the target's transform cannot be undone.
    StoreError
        If a run of this name is there and was made of something else.
    LeaseError
        If another process writes to this run.
    """
    plan = _plan(
        place_of(store),
        load_checkpoint(checkpoint),
        cell_type=cell_type,
        run=run or _run_name(Path(checkpoint)),
        regions=regions,
        use=use or {},
        without=without,
        out=place_of(out or store),
        tile_bins=tile_bins,
        overlap_bins=overlap_bins,
        batch_size=batch_size,
        torch_threads=torch_threads,
        max_task_bytes=max_task_bytes,
    )
    job = plan.job
    create_store(job.out, job.assembly)
    ledger = Ledger(work_folder(job.out, job.group))
    with Lease.acquire(job.out, job.group, take_over) as lease:
        if not _is_to_do(plan, ledger, overwrite):
            return job.group
        coords = grid_coords(job.grid, plan.n_diagonals)
        shape = (job.grid.n_bins, plan.n_diagonals)
        contact = ArraySpec(("bin", "diagonal"), shape, "f4", chunks=(BAND_ROWS, plan.n_diagonals))
        create_group(job.out, job.group, "predictions", coords=coords, arrays={"contact": contact}, attrs=plan.attrs)
        sweep_group(job.out, job.group)
        ledger.sweep_partial()
        left = ledger.left(plan.blocks)
        if left and client is None:
            _load_model(job.checkpoint, job.checkpoint_sha256)  # once, before several threads ask for it
        run_tasks(_predict_block, left, client=client, n_threads=n_threads, progress=progress)
        ledger.check_done(left)
        lease.check()
        finish_group(job.out, job.group)
        ledger.clear()
    return job.group


def prediction_task_bytes(
    network: NetworkConfig, *, tile_bins: int, overlap_bins: int, batch_size: int, block_bins: int = BLOCK_BINS
) -> int:
    """Bound the memory of one prediction task, in bytes, network included and libraries not.

    It grows with the block, the tiles and the batch, and with nothing else: not with the genome or the regions.

    Parameters
    ----------
    network
        Shape of the network.
    tile_bins, overlap_bins, batch_size
        As given to :func:`predict_contacts`.
    block_bins
        Band rows of a task.
    """
    margin = stripe_margins(network.n_offsets)[0]
    # A block may end in one tile and begin in another; the last tile of a chromosome is moved back by up to a step.
    n_bins = block_bins + margin + 3 * tile_bins - 2 * overlap_bins
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Epiphany(network).parameters())
    tracks = (
        5 * network.in_channels * network.cut_length(n_bins)
    )  # as read, transformed, padded, filled and as a tensor
    bands = 6 * (block_bins + margin) * network.n_offsets
    running = prediction_bytes(network, n_bins, tile_bins=tile_bins, batch_size=batch_size, trunk_bins=TRUNK_BINS)
    # A quarter more for the scratch memory of the matrix library: the published 10-kb network was measured at 0.78 GiB.
    return 4 * (parameters + tracks + bands) + running + running // 4 + _CODEC_BYTES


@dataclass(frozen=True)
class _Plan:
    job: _Job
    blocks: list[_Block]
    attrs: dict[str, Any]
    n_diagonals: int


def _plan(
    store: Place,
    checkpoint: Checkpoint,
    *,
    cell_type: str,
    run: str,
    regions: Sequence[str] | None,
    use: Mapping[str, str],
    without: Sequence[str],
    out: Place,
    tile_bins: int | None,
    overlap_bins: int | None,
    batch_size: int,
    torch_threads: int,
    max_task_bytes: int,
) -> _Plan:
    """Check everything that can be refused, and say what is to be done; nothing is written."""
    tile = checkpoint.n_bins if tile_bins is None else tile_bins
    overlap = tile // 4 if overlap_bins is None else overlap_bins
    network = checkpoint.network
    _check_settings(network, tile, overlap, batch_size, torch_threads, max_task_bytes)
    if not checkpoint.target_transform.has_inverse:
        raise TransformError(
            f"checkpoint {checkpoint.path}: its target transform {checkpoint.target_transform.name!r} cannot be undone, so "
            f"there is no prediction in units of {checkpoint.target_variable!r}."
        )
    assembly = store_assembly(store)
    if assembly.name != checkpoint.assembly:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} was trained on assembly {checkpoint.assembly!r}; {store} holds {assembly.name!r}. "
            "Ingest the tracks on the assembly of the checkpoint."
        )
    _check_chroms(store, assembly, checkpoint)
    tracks = open_tracks(store, cell_type, checkpoint.track_binsize)
    there = [str(name) for name in tracks["track"].values]
    chosen = choose_tracks(
        checkpoint.tracks,
        there,
        use=use,
        without=without,
        zeroed=checkpoint.config.data.zeroed_tracks,
        may_be_missing=checkpoint.tracks_may_be_missing,
        model=f"checkpoint {checkpoint.path}",
        cell_type=cell_type,
    )
    rows = tuple(None if name is None else there.index(name) for name in chosen.values())
    signal = [None if row is None else tracks["signal"].isel(track=row) for row in rows]
    missing = [name for name, source in chosen.items() if source is None]
    lacking = [name for name in missing if name not in (*without, *checkpoint.config.data.zeroed_tracks)]
    if lacking:
        _LOG.warning("%s has no track %s: fed as missing, as in part of the training", cell_type, ", ".join(lacking))
    kinds = stored_kinds(dict(zip(checkpoint.tracks, signal, strict=True))) if checkpoint.signal_kinds else {}
    for sentence in unlike_training(checkpoint.signal_kinds, kinds, cell_type):
        _LOG.warning("%s", sentence)
    view = assembly.view(regions)
    settings = {
        "tile_bins": tile,
        "overlap_bins": overlap,
        "batch_size": batch_size,
        "block_bins": BLOCK_BINS,
        "trunk_bins": TRUNK_BINS,
        "torch_threads": torch_threads,
    }
    unbound = [checkpoint.track_transforms[name] for name in checkpoint.tracks]
    transforms = bind_transforms(unbound, checkpoint.tracks, own_fits(signal, tracks["blacklisted"]))
    matches = match_record(checkpoint.tracks, transforms)
    shifts = _track_shifts(checkpoint, assembly, signal, tracks["blacklisted"], transforms)
    for sentence in shift_warnings(shifts, cell_type):
        _LOG.warning("%s", sentence)
    sources = {name: source for name, source in chosen.items() if source not in (name, None)}
    texts = [
        str(assembly.region(f"{c}:{s}-{e}")) for c, s, e in view[["chrom", "start", "end"]].itertuples(index=False)
    ]
    attrs = {
        "binsize": checkpoint.binsize,
        "span_bp": network.n_offsets * checkpoint.binsize,
        "target": checkpoint.target_variable,
        "transform": checkpoint.target_transform.to_json(),
        "checkpoint_sha256": checkpoint.sha256,
        "input_id": group_id(tracks, [name for name in chosen.values() if name is not None]),
        "tracks": json.dumps(list(checkpoint.tracks)),
        "track_binsize": checkpoint.track_binsize,
        "track_transforms": json.dumps([json.loads(t.to_json()) for t in transforms]),
        "min_diagonal": checkpoint.min_diagonal,
        "trained_on": json.dumps(checkpoint.trained_on, sort_keys=True),
        "regions": json.dumps(texts),
        "settings": json.dumps(settings, sort_keys=True),
        "epizarr_version": __version__,
        **({"track_matches": json.dumps(matches, sort_keys=True)} if matches else {}),
        **({"track_sources": json.dumps(sources, sort_keys=True)} if sources else {}),
        **({"missing_tracks": json.dumps(missing)} if missing else {}),
        **({"track_shift": json.dumps({k: round(d, 4) for k, (d, _) in shifts.items()})} if shifts else {}),
    }
    for sentence in seen_in_training(checkpoint, assembly, cell_type, [assembly.region(text) for text in texts]):
        _LOG.warning("checkpoint %s: %s", checkpoint.path, sentence)
    job = _Job(
        store=store,
        out=out,
        group=group_path("predictions", cell_type, checkpoint.binsize, run),
        tracks_group=group_path("tracks", cell_type, checkpoint.track_binsize),
        track_rows=rows,
        track_transforms=transforms,
        target_transform=checkpoint.target_transform,
        assembly=assembly,
        binsize=checkpoint.binsize,
        track_binsize=checkpoint.track_binsize,
        checkpoint=str(checkpoint.path),
        checkpoint_sha256=checkpoint.sha256,
        tile_bins=tile,
        overlap_bins=overlap,
        batch_size=batch_size,
        torch_threads=torch_threads,
        digest=hashlib.sha256(json.dumps([_CODE_FORMAT, attrs], sort_keys=True).encode()).hexdigest(),
    )
    extents = [job.grid.region_extent(assembly.region(text)) for text in texts]
    return _Plan(job, _blocks(job, extents), attrs, network.n_offsets)


def _check_settings(
    network: NetworkConfig, tile: int, overlap: int, batch_size: int, torch_threads: int, max_task_bytes: int
) -> None:
    if tile < 1 or not 0 <= 2 * overlap <= tile or batch_size < 1 or torch_threads < 1:
        raise ConfigError(
            f"prediction: tile_bins {tile}, overlap_bins {overlap}, batch_size {batch_size}, torch_threads {torch_threads}: each "
            "needs at least 1, and an overlap from 0 to half a tile."
        )
    needed = prediction_task_bytes(network, tile_bins=tile, overlap_bins=overlap, batch_size=batch_size)
    if needed > max_task_bytes:
        raise MemoryBoundError(
            f"prediction: a task of {BLOCK_BINS} bins would need up to {needed / 2**30:.1f} GiB and may use "
            f"{max_task_bytes / 2**30:.1f} GiB. Lower batch_size ({batch_size}) or tile_bins ({tile}), or allow more."
        )


def _check_chroms(store: Place, assembly: Assembly, checkpoint: Checkpoint) -> None:
    """Refuse a store whose chromosomes bear the names of the model's and have other lengths: a name proves no assembly."""
    different = [
        f"{chrom} ({length:,} bp, not {checkpoint.chrom_lengths[chrom]:,})"
        for chrom, length in assembly
        if checkpoint.chrom_lengths.get(chrom, length) != length
    ]
    if different:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} was trained on an assembly {checkpoint.assembly!r} with other lengths than that of "
            f"{store}: {', '.join(different[:3])}{' and others' if len(different) > 3 else ''}. They are two assemblies under "
            "one name; ingest the tracks on the assembly of the checkpoint."
        )


def _track_shifts(
    checkpoint: Checkpoint,
    assembly: Assembly,
    signal: Sequence[xr.DataArray | None],
    blacklisted: xr.DataArray,
    transforms: Sequence[Transform],
) -> dict[str, tuple[float, float]]:
    """How far each track that is read lies from training, where the checkpoint says what was there.

    Both are read in the training regions, as far as the store has their chromosomes: elsewhere the genome differs, not the assay.
    """
    grid = assembly.bins(checkpoint.track_binsize)
    regions = [text for text in checkpoint.trained_on["splits"]["train"] if text.partition(":")[0] in assembly]
    extents = [grid.region_extent(assembly.region(text)) for text in regions]
    shifts = {}
    for name, values, transform in zip(checkpoint.tracks, signal, transforms, strict=True):
        trained = checkpoint.track_distributions.get(name)
        if trained is not None and values is not None:
            with naming_track(name):
                found = stored_distribution(values, blacklisted, transform, extents)
            if found is not None:
                shifts[name] = track_shift(trained, found)
    return shifts


def _blocks(job: _Job, extents: Sequence[tuple[int, int]]) -> list[_Block]:
    """Blocks of the genome's bins that hold a row of a region; the others stay as they are made, NaN."""
    blocks = []
    n_bins = job.grid.n_bins
    for lo in range(0, n_bins, BLOCK_BINS):
        hi = min(lo + BLOCK_BINS, n_bins)
        pieces = tuple((max(lo, a), min(hi, b), b) for a, b in sorted(extents) if max(lo, a) < min(hi, b))
        if pieces:
            blocks.append(_Block(job, lo, hi, pieces))
    return blocks


def _run_name(checkpoint: Path) -> str:
    """Name of the run folder that a checkpoint lies in."""
    parent = checkpoint.absolute().parent
    return parent.parent.name if parent.name == "checkpoints" else parent.name


def _is_to_do(plan: _Plan, ledger: Ledger, overwrite: bool) -> bool:
    """Whether the run is not complete yet; a run of this name that is made of something else is refused or removed."""
    job = plan.job
    if not has_group(job.out, job.group):
        ledger.clear()  # marks must never outlive the chunks they speak of
        return True
    found = group_attrs(job.out, job.group)
    different = sorted(key for key, value in plan.attrs.items() if found.get(key) != value)
    is_complete = found.get("state") == "complete"
    if different and not overwrite:
        raise StoreError(
            f"{job.out}: run {job.group!r} is there and was made with another {', '.join(different)}. Give this prediction "
            "another name (--run), or replace what is there (--overwrite)."
        )
    if is_complete and not overwrite:
        ledger.clear()  # left where a run was killed right after its last step
        return False
    if different or is_complete:
        ledger.clear()
        remove_group(job.out, job.group)
    return True


@lru_cache(maxsize=1)
def _load_model(path: str, sha256: str) -> Epiphany:
    """Load the network once a process."""
    checkpoint = load_checkpoint(path)
    if checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"checkpoint {path} was replaced while it was used for prediction; start the prediction again."
        )
    return checkpoint.model()


@contextmanager
def _torch_threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _predict_block(block: _Block) -> None:
    """Predict one block and write it. Safe to run again, anywhere."""
    job = block.job
    model = _load_model(job.checkpoint, job.checkpoint_sha256)
    values = np.full((block.hi - block.lo, model.config.n_offsets), np.nan, dtype=np.float32)
    with _torch_threads(job.torch_threads):
        for first, last, end in block.pieces:
            values[first - block.lo : last - block.lo] = _predict_rows(job, model, first, last, end)
    write_region(job.out, job.group, "contact", {"bin": slice(block.lo, block.hi)}, values)
    Ledger(work_folder(job.out, job.group)).mark(block.name, job.digest)


def _predict_rows(job: _Job, model: Epiphany, first: int, last: int, end: int) -> np.ndarray:
    """Band rows ``[first, last)`` (bin ids of one chromosome) in the target's units; NaN for pixels that reach ``end``."""
    network, grid = model.config, job.grid
    n_diagonals = network.n_offsets
    chrom = job.assembly.chrom_names[int(grid.chrom_code(np.array(first)))]
    chrom_first, chrom_end = grid.chrom_extent(chrom)
    n_chrom_bins = chrom_end - chrom_first
    # The last rows' pixels lie on stripes of bins to their right, none of them past the region's end.
    lo, hi = first - chrom_first, min(last + stripe_margins(n_diagonals)[0], end) - chrom_first
    needed_lo, needed_hi = bins_needed(n_chrom_bins, lo, hi, job.tile_bins, job.overlap_bins)
    signal = _read_tracks(job, chrom, *track_extent(needed_lo, needed_hi - needed_lo, network.stride, network.halo))
    stripes = predict_stripes(
        model,
        torch.from_numpy(network_input(signal, mask_channels=network.mask_channels)),
        first_bin=needed_lo,
        n_chrom_bins=n_chrom_bins,
        lo=lo,
        hi=hi,
        tile_bins=job.tile_bins,
        overlap_bins=job.overlap_bins,
        batch_size=job.batch_size,
        trunk_bins=TRUNK_BINS,
    )
    band = scatter_stripes(stripes.numpy(), 0, last - first, n_diagonals)
    in_region = np.arange(first, last + n_diagonals - 1) < end
    return job.target_transform.invert(mask_band(band, in_region))


def _read_tracks(job: _Job, chrom: str, lo: int, hi: int) -> np.ndarray:
    """Transformed tracks at chromosome-local track bins ``[lo, hi)``, (track, bin); NaN off the chromosome or missing."""
    first, end = job.assembly.bins(job.track_binsize).chrom_extent(chrom)
    a, b = max(lo, 0), min(hi, end - first)
    part = slice(first + a, first + b)
    blacklisted = read_region(job.store, job.tracks_group, "blacklisted", {"bin": part})
    signal = np.full((len(job.track_rows), hi - lo), np.nan, dtype=np.float32)
    for index, (row, transform) in enumerate(zip(job.track_rows, job.track_transforms, strict=True)):
        if row is None:
            continue
        values = read_region(job.store, job.tracks_group, "signal", {"track": slice(row, row + 1), "bin": part})
        signal[index] = cut_padded(transform.apply(values[0], blacklisted), a, lo, hi)
    return signal
