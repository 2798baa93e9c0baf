"""What is to be done for a prediction, and everything that can be refused before it begins; nothing is written."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from epizarr import __version__
from epizarr.calibration import Calibration, predictor_id
from epizarr.errors import CalibrationError, CheckpointError, ConfigError, TransformError
from epizarr.genome import Assembly
from epizarr.io.calibration_file import read_calibration
from epizarr.io.places import Place
from epizarr.io.store import group_id, group_path, open_tracks, store_assembly
from epizarr.io.track_binding import bind_transforms, match_record, naming_track, own_fits
from epizarr.io.track_choice import choose_tracks
from epizarr.io.track_distributions import stored_distribution
from epizarr.io.track_kinds import stored_kinds, unlike_training
from epizarr.nn import Precision
from epizarr.predict.blocks import SD, Block, Job, blocks_of
from epizarr.predict.members import members_of, members_record
from epizarr.predict.settings import BLOCK_BINS, Device, Settings, check_settings
from epizarr.track_shift import shift_warnings, track_shift
from epizarr.train.checkpoint import Checkpoint, load_checkpoint
from epizarr.train.seen import seen_in_training, told_of_training
from epizarr.transforms import Transform

_LOG = logging.getLogger(__name__)

#: Raised when the same inputs and settings would give other values; part of what the ledger compares.
_CODE_FORMAT = 4


@dataclass(frozen=True)
class Plan:
    """One run: its job, its blocks, the attributes of its group, and what its intervals are made by."""

    job: Job
    blocks: list[Block]
    attrs: dict[str, Any]
    calibration: Calibration | None


def plan_predictions(
    store: Place, paths: Sequence[str | Path], *, cell_types: Sequence[str], **options: Any
) -> list[Plan]:
    """Plan the runs of a checkpoint or ensemble, one a cell type; weights are let go at the end. See :func:`plan_prediction`."""
    checkpoints = [load_checkpoint(path) for path in paths]
    return [plan_prediction(store, checkpoints, cell_type=cell_type, **options) for cell_type in cell_types]


def plan_prediction(
    store: Place,
    checkpoints: Sequence[Checkpoint],
    *,
    cell_type: str,
    run: str,
    regions: Sequence[str] | None,
    use: Mapping[str, str],
    without: Sequence[str],
    out: Place,
    tile_bins: int | None,
    overlap_bins: int | None,
    tile_phase_bins: int = 0,
    batch_size: int | None,
    torch_threads: int,
    precision: Precision = "float32",
    device: Device = "cpu",
    max_task_bytes: int,
    mc_dropout: int = 0,
    dropout_seed: int = 0,
    by_member: bool = False,
    calibration: str | Path | None = None,
    compares_tracks: bool = True,
) -> Plan:
    """Check everything that can be refused, and say what is to be done; nothing is written.

    ``checkpoints`` make one prediction. ``compares_tracks``: whether to read the tracks in the training regions and compare them
    with those of training, which takes longer than the prediction of one locus.
    """
    members = members_of(checkpoints, mc_dropout)
    checkpoint = checkpoints[0]  # in all but weights and seed, the others are like it
    network = checkpoint.network
    if by_member and len(members) == 1:
        raise ConfigError(
            "prediction: by_member keeps the map of each member, and there is one only (--ensemble, --mc-dropout)."
        )
    tile = network.core_shape.tile_windows * checkpoint.n_bins if tile_bins is None else tile_bins
    overlap = 3 * tile // 8 if overlap_bins is None else overlap_bins
    batch = max(network.core_shape.batch_bins // max(tile, 1), 1) if batch_size is None else batch_size
    settings = Settings(tile, overlap, tile_phase_bins, batch, torch_threads, precision, device, BLOCK_BINS)
    n_kept = len(members) if by_member else 0
    check_settings(settings, network, max_task_bytes, n_checkpoints=len(checkpoints), n_kept=n_kept)
    if not checkpoint.target_transform.has_inverse:
        raise TransformError(
            f"checkpoint {checkpoint.path}: its target transform {checkpoint.target_transform.name!r} cannot be undone, so "
            f"there is no prediction in units of {checkpoint.target_variable!r}."
        )
    assembly = store_assembly(store)
    if assembly.name == checkpoint.assembly:
        _check_chroms(store, assembly, checkpoint)
    else:
        # The tracks of another genome are as good as those of the same one: the paper predicts mouse with a human network.
        _LOG.warning(
            "checkpoint %s was trained on assembly %r, and %s holds %r: it is predicted in the coordinates of %r, and nothing is "
            "said of regions seen in training",
            checkpoint.path,
            checkpoint.assembly,
            store,
            assembly.name,
            assembly.name,
        )
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
        "checkpoint_sha256": _joint_sha256(checkpoints),
        "input_id": group_id(tracks, [name for name in chosen.values() if name is not None]),
        "tracks": json.dumps(list(checkpoint.tracks)),
        "track_binsize": checkpoint.track_binsize,
        "track_transforms": json.dumps([json.loads(t.to_json()) for t in transforms]),
        "min_diagonal": checkpoint.min_diagonal,
        "trained_on": json.dumps(told_of_training(checkpoint, assembly), sort_keys=True),
        "regions": json.dumps(texts),
        "settings": json.dumps(dataclasses.asdict(settings), sort_keys=True),
        "epizarr_version": __version__,
        **({"members": members_record(checkpoints, mc_dropout, dropout_seed)} if len(members) > 1 else {}),
        **({"kept_members": n_kept} if n_kept else {}),
        **({"track_matches": json.dumps(matches, sort_keys=True)} if matches else {}),
        **({"track_sources": json.dumps(sources, sort_keys=True)} if sources else {}),
        **({"missing_tracks": json.dumps(missing)} if missing else {}),
        **({"track_shift": json.dumps({k: round(d, 4) for k, (d, _) in shifts.items()})} if shifts else {}),
    }
    factors = None if calibration is None else read_calibration(calibration)
    if factors is not None:
        _check_calibration(factors, attrs, calibration, n_diagonals=network.n_offsets)
        attrs["calibration"] = json.dumps(
            {"fitted_on": factors.fitted_on, "sha256": hashlib.sha256(factors.to_json().encode()).hexdigest()}
        )
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
        network=network,
        members=members,
        dropout_seed=dropout_seed,
        by_member=by_member,
        settings=settings,
        digest=hashlib.sha256(json.dumps([_CODE_FORMAT, attrs], sort_keys=True).encode()).hexdigest(),
    )
    extents = [job.grid.region_extent(assembly.region(text)) for text in texts]
    if factors is not None and SD not in job.variables:
        raise CalibrationError(
            f"calibration {calibration}: one network without a variance head says no standard deviation, so there is nothing to "
            "multiply. Predict with --mc-dropout or --ensemble, as when the calibration was fitted."
        )
    return Plan(job, blocks_of(job, extents), attrs, factors)


def _joint_sha256(checkpoints: Sequence[Checkpoint]) -> str:
    """Hash of a checkpoint's tensors; of several, of their hashes."""
    if len(checkpoints) == 1:
        return checkpoints[0].sha256
    return hashlib.sha256(json.dumps([c.sha256 for c in checkpoints]).encode()).hexdigest()


def _check_calibration(
    factors: Calibration, attrs: Mapping[str, Any], origin: str | Path | None, *, n_diagonals: int
) -> None:
    """Refuse factors of another predictor: its standard deviations mean something else."""
    if factors.predictor != predictor_id(attrs) or len(factors.n_pixels) != n_diagonals:
        raise CalibrationError(
            f"calibration {origin}: it was fitted on predictions of other checkpoints, or with another number of dropout draws "
            f"({factors.fitted_on}). Predict validation regions with these checkpoints and options, and run `epizarr calibrate` "
            "on that."
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
    On another assembly there are none.
    """
    if assembly.name != checkpoint.assembly:
        return {}
    grid = assembly.bins(checkpoint.track_binsize)
    regions = [text for text in checkpoint.trained_on["splits"]["train"] if text.partition(":")[0] in assembly]
    extents = [grid.region_extent(assembly.region(text)) for text in regions]
    shifts = {}
    for name, values, transform in zip(checkpoint.tracks, signal, transforms, strict=True):
        trained = checkpoint.track_distributions.get(name)
        if trained is not None and values is not None:
            blacklisted = blacklisted.load()  # once for all tracks: a byte a bin
            with naming_track(name):
                found = stored_distribution(values, blacklisted, transform, extents)
            if found is not None:
                shifts[name] = track_shift(trained, found)
    return shifts
