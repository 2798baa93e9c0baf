"""What is to be done for a prediction, and everything that can be refused before it begins; nothing is written."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from epizarr import __version__
from epizarr.errors import CheckpointError, TransformError
from epizarr.genome import Assembly
from epizarr.io.places import Place
from epizarr.io.store import group_id, group_path, open_tracks, store_assembly
from epizarr.io.track_binding import bind_transforms, match_record, naming_track, own_fits
from epizarr.io.track_choice import choose_tracks
from epizarr.io.track_distributions import stored_distribution
from epizarr.io.track_kinds import stored_kinds, unlike_training
from epizarr.predict.blocks import Block, Job, blocks_of
from epizarr.predict.settings import BLOCK_BINS, Settings, check_settings
from epizarr.track_shift import shift_warnings, track_shift
from epizarr.train.checkpoint import Checkpoint
from epizarr.train.seen import seen_in_training
from epizarr.transforms import Transform

_LOG = logging.getLogger(__name__)

#: Raised when the same inputs and settings would give other values; part of what the ledger compares.
_CODE_FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """One run: its job, its blocks, and the attributes of its group."""

    job: Job
    blocks: list[Block]
    attrs: dict[str, Any]
    n_diagonals: int


def plan_prediction(
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
    compares_tracks: bool = True,
) -> Plan:
    """Check everything that can be refused, and say what is to be done; nothing is written.

    ``compares_tracks``: whether to read the tracks in the training regions and compare them with those of training, which takes
    longer than the prediction of one locus.
    """
    tile = checkpoint.n_bins if tile_bins is None else tile_bins
    overlap = tile // 4 if overlap_bins is None else overlap_bins
    network = checkpoint.network
    settings = Settings(tile, overlap, batch_size, torch_threads, BLOCK_BINS)
    check_settings(settings, network, max_task_bytes)
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
    unbound = [checkpoint.track_transforms[name] for name in checkpoint.tracks]
    transforms = bind_transforms(unbound, checkpoint.tracks, own_fits(signal, tracks["blacklisted"]))
    matches = match_record(checkpoint.tracks, transforms)
    shifts = _track_shifts(checkpoint, assembly, signal, tracks["blacklisted"], transforms) if compares_tracks else {}
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
        "settings": json.dumps(dataclasses.asdict(settings), sort_keys=True),
        "epizarr_version": __version__,
        **({"track_matches": json.dumps(matches, sort_keys=True)} if matches else {}),
        **({"track_sources": json.dumps(sources, sort_keys=True)} if sources else {}),
        **({"missing_tracks": json.dumps(missing)} if missing else {}),
        **({"track_shift": json.dumps({k: round(d, 4) for k, (d, _) in shifts.items()})} if shifts else {}),
    }
    for sentence in seen_in_training(checkpoint, assembly, cell_type, [assembly.region(text) for text in texts]):
        _LOG.warning("checkpoint %s: %s", checkpoint.path, sentence)
    job = Job(
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
        settings=settings,
        digest=hashlib.sha256(json.dumps([_CODE_FORMAT, attrs], sort_keys=True).encode()).hexdigest(),
    )
    extents = [job.grid.region_extent(assembly.region(text)) for text in texts]
    return Plan(job, blocks_of(job, extents), attrs, network.n_offsets)


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
