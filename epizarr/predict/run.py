"""The run of a prediction: lease, ledger, one Dask task a block, and the group that is complete at the end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epizarr.cluster import Progress, run_tasks
from epizarr.errors import StoreError
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import StorePath, place_of
from epizarr.io.store import (
    BAND_ROWS,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_attrs,
    has_group,
    remove_group,
    sweep_group,
)
from epizarr.predict.blocks import load_model, predict_block
from epizarr.predict.plan import Plan, plan_prediction
from epizarr.predict.settings import BATCH_SIZE, MAX_TASK_BYTES
from epizarr.train.checkpoint import load_checkpoint


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
    plan = plan_prediction(
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
            load_model(job.checkpoint, job.checkpoint_sha256)  # once, before several threads ask for it
        run_tasks(predict_block, left, client=client, n_threads=n_threads, progress=progress)
        ledger.check_done(left)
        lease.check()
        finish_group(job.out, job.group)
        ledger.clear()
    return job.group


def _run_name(checkpoint: Path) -> str:
    """Name of the run folder that a checkpoint lies in."""
    parent = checkpoint.absolute().parent
    return parent.parent.name if parent.name == "checkpoints" else parent.name


def _is_to_do(plan: Plan, ledger: Ledger, overwrite: bool) -> bool:
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
