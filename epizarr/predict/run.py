"""The runs of a prediction: leases, ledgers, one Dask graph of all their blocks, and groups that are complete at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from epizarr.calibration import Calibration
from epizarr.cluster import Progress, run_tasks
from epizarr.errors import ConfigError
from epizarr.io.group_state import GroupState, group_state, make_way
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import StorePath, place_of
from epizarr.io.store import (
    BAND_ROWS,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    sweep_group,
    write_region,
)
from epizarr.nn import Precision
from epizarr.predict.blocks import BY_MEMBER, Block, Job, predict_block
from epizarr.predict.plan import Plan, plan_predictions
from epizarr.predict.settings import MAX_TASK_BYTES, Device
from epizarr.schema import PREDICTIONS
from epizarr.train.checkpoint import run_name


@overload
def predict_contacts(
    store: StorePath, checkpoint: str | Path, *, cell_type: str, run: str | None = None, **options: Any
) -> str: ...
@overload
def predict_contacts(
    store: StorePath,
    checkpoint: str | Path | Sequence[str | Path],
    *,
    cell_type: str | Sequence[str],
    run: str | Sequence[str] | None = None,
    **options: Any,
) -> list[str]: ...
def predict_contacts(  # type: ignore[misc]  # the two above name only what decides on the type that is returned
    store: StorePath,
    checkpoint: str | Path | Sequence[str | Path],
    *,
    cell_type: str | Sequence[str],
    run: str | Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    use: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    out: StorePath | None = None,
    tile_bins: int | None = None,
    overlap_bins: int | None = None,
    tile_phase_bins: int = 0,
    batch_size: int | None = None,
    torch_threads: int = 1,
    precision: Precision = "float32",
    device: Device = "cpu",
    max_task_bytes: int = MAX_TASK_BYTES,
    ensemble: bool = False,
    mc_dropout: int = 0,
    dropout_seed: int = 0,
    by_member: bool = False,
    calibration: str | Path | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> str | list[str]:
    """Predict the contacts of one cell type or several, with one network or several, and write them into a store.

    Each checkpoint and cell type makes a run of its own; the blocks of all are one Dask graph, in the order of the checkpoints
    and, within each, of the cell types, and a run is complete as soon as its last block is. Whatever can be refused of any of
    them is refused before the first block.

    The same call again resumes a run that was stopped and does nothing to one that is complete. A track that seems to hold
    another kind of signal than in training (:func:`epizarr.io.track_kinds.unlike_training`), or whose values lie far from those
    of training (:mod:`epizarr.track_shift`; read in the training regions, recorded as ``track_shift``), is told of in the log, as
    a warning; so are regions and a cell type that were seen in training (:func:`epizarr.train.seen.seen_in_training`). A network
    that was trained with ``training.track_dropout`` takes the tracks that the cell type lacks as missing.
    Memory of one task: :func:`prediction_task_bytes`, to which come the networks that a worker keeps (at most
    :data:`~epizarr.predict.settings.KEPT_NETWORKS`); neither grows with the genome or with the number of runs. Before the tasks,
    tracks that are matched are read whole, one at a time (:func:`epizarr.io.track_binding.fit_own_quantiles`).

    Parameters
    ----------
    store
        Store that holds the cell type's tracks, a folder or an address.
    checkpoint
        ``RUNDIR/best``, ``RUNDIR/last`` or a checkpoint's own folder; one or several.
    cell_type
        Cell type to predict, or several. Its tracks are matched to the model's by name.
    run
        Name of the prediction, one for each checkpoint. Default: the run folder's name.
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
        Bins that the core sees at once. Default: twice the length of the training windows, of a transformer once.
    overlap_bins
        Bins shared by two neighbouring tiles, which are cross-faded, at most half a tile. Default: three eighths of a tile, 1.6
        times the work without; pipelines/README.md has the seams of others.
    tile_phase_bins
        Bins by which the tiles between a chromosome's first and last are moved to the left: two predictions with different phases
        tell how much is owed to where the tiles lie (``pipelines/seams.py``).
    batch_size
        Most tiles that the core runs at once. Default: as many as have 25,600 bins, 64 of 400;
        4,800 bins where the core is no LSTM.
    torch_threads
        torch threads of a task; the values depend on it in the last bit. One is as fast as more where several tasks run.
    precision
        What the core and the linear layers compute in (:mod:`epizarr.nn.precision`): ``"float32"``, ``"bfloat16"`` or ``"int8"``.
        In int8 a value depends a little on the tiles that ran with it, so that regions do not give quite the values of the whole.
    device
        ``"cpu"``, or ``"cuda"``: the GPU of this process, or of each worker of a ``cuda:N`` cluster.
    max_task_bytes
        Memory that one task may need.
    ensemble
        The checkpoints, runs of one configuration with several seeds, make ONE prediction and not one each: mean and spread of
        all members, see :mod:`epizarr.predict.members`.
    mc_dropout
        Draws of Monte-Carlo dropout of each checkpoint, 2 or more; the masks are functions of (``dropout_seed``, member, tile).
        0: nothing is dropped.
    dropout_seed
        Seed of the masks.
    by_member
        Keep the map of each member too (``contact_member``).
    calibration
        File of ``epizarr calibrate`` for the same checkpoints and ``mc_dropout``: its factors are kept with the prediction, for
        :func:`epizarr.calibration.contact_interval`.
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
    Path of the group in the store, or a list of them where several checkpoints or cell types were given as a sequence; open it
    with :func:`epizarr.io.store.open_prediction`. ``contact`` has the units of the
    target variable. It is NaN off the chromosome, outside ``regions``, and where the target's transform cannot be undone (an
    observed-over-expected below the diagonals that training saw). Of several members it is what their mean in units of the
    TRANSFORMED target is, transformed back. Where there are several members or a variance head, ``transformed_sd`` is the
    predicted standard deviation in units of the transformed target: it belongs to ``transform(contact)``.

    Raises
    ------
    CheckpointError
        If the checkpoint is of another assembly under the store's name (by the length of a chromosome), or the cell type lacks
        tracks that it needs, or the checkpoints of an ensemble are not of one kind. An assembly of another name, such as another
        species, is predicted and warned of.
    CalibrationError
        If ``calibration`` was fitted on another predictor.
    ConfigError
        If two runs would have one name, a setting is out of range, there is no GPU for ``"cuda"``, or ``use`` or ``without``
        cannot be followed (:func:`epizarr.io.track_choice.choose_tracks`).
    MemoryBoundError
        If a task would need more than ``max_task_bytes``.
    TransformError
        If a track cannot be matched to those of training, or the target's transform cannot be undone.
    StoreError
        If a run of such a name is there and was made of something else.
    LeaseError
        If another process writes to such a run.
    """
    checkpoints = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    cell_types = [cell_type] if isinstance(cell_type, str) else list(cell_type)
    plans = []
    if ensemble and len(checkpoints) == 1:
        raise ConfigError("prediction: an ensemble of 1 checkpoint; give two or more, or predict without --ensemble.")
    predictors = [checkpoints] if ensemble else [[path] for path in checkpoints]
    for paths, name in zip(predictors, _run_names(predictors, cell_types, run), strict=True):
        plans += plan_predictions(
            place_of(store),
            paths,
            cell_types=cell_types,
            run=name,
            regions=regions,
            use=use or {},
            without=without,
            out=place_of(out or store),
            tile_bins=tile_bins,
            overlap_bins=overlap_bins,
            tile_phase_bins=tile_phase_bins,
            batch_size=batch_size,
            torch_threads=torch_threads,
            precision=precision,
            device=device,
            max_task_bytes=max_task_bytes,
            mc_dropout=mc_dropout,
            dropout_seed=dropout_seed,
            by_member=by_member,
            calibration=calibration,
        )
    if device == "cuda":
        _check_gpus(client)
    with ExitStack() as leases:
        runs = _opened(plans, leases, overwrite=overwrite, take_over=take_over)
        _run_blocks(runs, client=client, n_threads=n_threads, progress=progress)
    groups = [plan.job.group for plan in plans]
    return groups[0] if isinstance(checkpoint, str | Path) and isinstance(cell_type, str) else groups


def _check_gpus(client: Any) -> None:
    """Refuse "cuda" where this process, or one of the workers that are there already, has no GPU."""
    found = {"this process": torch.cuda.is_available()} if client is None else client.run(torch.cuda.is_available)
    if without := [name for name, has_gpu in found.items() if not has_gpu]:
        raise ConfigError(
            f"prediction on device 'cuda': {without[0]} has no usable CUDA device. Use --device cpu, or --cluster cuda:N on a "
            "machine with GPUs."
        )


def _run_names(
    predictors: Sequence[Sequence[str | Path]], cell_types: Sequence[str], run: str | Sequence[str] | None
) -> list[str]:
    """Name of each predictor's runs; two of one name, or a cell type twice, would write to one group."""
    n_checkpoints = sum(len(paths) for paths in predictors)
    if not n_checkpoints or not cell_types:
        raise ConfigError(
            f"prediction: {n_checkpoints} checkpoints and {len(cell_types)} cell types; needs one of each or more."
        )
    given = [run] if isinstance(run, str) else list(run or [])
    if given and len(given) != len(predictors):
        raise ConfigError(
            f"prediction: {len(given)} names of runs for {len(predictors)} checkpoints or ensembles; give one for each, or none."
        )
    names = given or [_run_name(paths) for paths in predictors]
    for what, values in (("cell types", cell_types), ("runs", names)):
        if repeated := sorted(name for name, n in Counter(values).items() if n > 1):
            raise ConfigError(
                f"prediction: two {what} are called {', '.join(repeated)} and would be written to one place. Name each once"
                f"{'; runs are named with --run, in the order of the checkpoints' if what == 'runs' else ''}."
            )
    return names


def _layout(job: Job, calibration: Calibration | None) -> tuple[dict[str, np.ndarray], dict[str, ArraySpec]]:
    """Coordinates and arrays of the group."""
    n_bins, n_diagonals, n_members = job.grid.n_bins, job.network.n_offsets, len(job.members)
    coords = grid_coords(job.grid, n_diagonals)
    band = ArraySpec(("bin", "diagonal"), (n_bins, n_diagonals), "f4", chunks=(BAND_ROWS, n_diagonals))
    arrays = {name: band for name in job.variables if name != BY_MEMBER}
    if job.by_member:
        shape, chunks = (n_members, n_bins, n_diagonals), (1, BAND_ROWS, n_diagonals)
        arrays[BY_MEMBER] = ArraySpec(("member", "bin", "diagonal"), shape, "f4", chunks=chunks)
        coords["member"] = np.array([member.name for member in job.members], dtype=object)
    if calibration is not None:
        arrays["interval_factor"] = ArraySpec(("coverage", "diagonal"), calibration.factors.shape, "f8")
        coords["coverage"] = np.array(calibration.coverages)
    return coords, arrays


def _run_name(checkpoints: Sequence[str | Path]) -> str:
    """Name of the run folder that a checkpoint lies in, with ``-ensemble`` where it is the first of several."""
    name = run_name(checkpoints[0])
    return name if len(checkpoints) == 1 else f"{name}-ensemble"


@dataclass(frozen=True)
class _Run:
    """A run whose lease is held and whose group waits for its blocks."""

    plan: Plan
    ledger: Ledger
    lease: Lease
    left: list[Block]

    def complete(self) -> None:
        """Close the group; all blocks have been written."""
        job = self.plan.job
        self.ledger.check_done(self.left)
        self.lease.check()
        finish_group(job.out, job.group)
        self.ledger.clear()


def _opened(plans: Sequence[Plan], leases: ExitStack, *, overwrite: bool, take_over: bool) -> list[_Run]:
    """Take all leases, refuse what cannot be done, and only then make the groups; runs that are complete are left out."""
    create_store(plans[0].job.out, plans[0].job.assembly)
    held = []
    for plan in plans:
        job = plan.job
        ledger = Ledger(work_folder(job.out, job.group))
        held.append((plan, ledger, leases.enter_context(Lease.acquire(job.out, job.group, take_over))))
    states = [_state(plan, overwrite) for plan in plans]
    runs = []
    for (plan, ledger, lease), state in zip(held, states, strict=True):
        job = plan.job
        if not make_way(job.out, job.group, state, ledger):
            continue
        coords, arrays = _layout(job, plan.calibration)
        create_group(job.out, job.group, "predictions", coords=coords, arrays=arrays, attrs=plan.attrs)
        sweep_group(job.out, job.group)
        if plan.calibration is not None:
            write_region(job.out, job.group, "interval_factor", {}, plan.calibration.factors)
        ledger.sweep_partial()
        runs.append(_Run(plan, ledger, lease, ledger.left(plan.blocks)))
    return runs


def _state(plan: Plan, overwrite: bool) -> GroupState:
    """What is there of a run; what cannot be resumed and must not be replaced is refused."""
    # Attributes that only some runs have: one that this run is not to have makes another run, too.
    attrs = dict.fromkeys(PREDICTIONS.optional_attrs) | plan.attrs
    return group_state(plan.job.out, plan.job.group, attrs, overwrite=overwrite, called="prediction")


def _run_blocks(runs: Sequence[_Run], *, client: Any, n_threads: int | None, progress: Progress | None) -> None:
    """Run the blocks of all runs as one graph, and complete each run with its last block."""
    tasks = [(run, block) for run in runs for block in run.left]
    n_left = Counter(id(run) for run, _ in tasks)

    def finished(place: int) -> None:
        run = tasks[place][0]
        n_left[id(run)] -= 1
        if not n_left[id(run)]:
            run.complete()

    for run in runs:
        if not run.left:
            run.complete()
    run_tasks(
        predict_block,
        [block for _, block in tasks],
        shared=[run.plan.job for run, _ in tasks],
        client=client,
        n_threads=n_threads,
        progress=progress,
        finished=finished,
    )
