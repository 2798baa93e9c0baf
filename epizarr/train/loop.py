"""The training loop: set the rate, step, validate, log, checkpoint. Started again in the same folder, it goes on.

On a CPU, at one number of torch threads and of processes, a run that was stopped and resumed writes the same bytes as one that
was not: the order of examples depends on (seed, epoch) alone, their dropout masks on (seed, epoch, example), a checkpoint holds
everything else, and nothing that was read ahead counts.

Each process of a run calls :func:`train_model`; they go through the same steps, and rank 0 alone writes (``ranks.py``).
"""

import dataclasses
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from epizarr.errors import ConfigError, TrainingError, raise_all
from epizarr.io.files import is_partial, replace_file
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import StorePath, local_path
from epizarr.train.checkpoint import Position, check_resumable, save_checkpoint
from epizarr.train.config import TrainConfig, differing_fields
from epizarr.train.config_text import config_from_toml, config_toml
from epizarr.train.dataset import WindowDataset, load_batches, prefetched
from epizarr.train.log import CSV_FILE, EpochRow, require_tensorboard
from epizarr.train.provenance import PROVENANCE_FILE, append_start, describe_start
from epizarr.train.ranks import Ranks
from epizarr.train.reader import fast_decoding
from epizarr.train.records import EpochRecords, epoch_row
from epizarr.train.sampler import open_samplers
from epizarr.train.schedule import learning_rate
from epizarr.train.selection import is_stopped_early, next_epoch
from epizarr.train.signals import StopRequest
from epizarr.train.sources import TrainingData, open_training_data, store_list
from epizarr.train.start import Start, device_of, discriminator_config, make_learner, network_config, prepare_start
from epizarr.train.step import StepSums
from epizarr.train.validation import validate

_CONFIG = "config.toml"
#: Name of the lease on a run's folder.
_LEASE = "run"


@dataclass(frozen=True)
class StepReport:
    """What is told after each step: epoch (from 1) of how many, step (from 1) of how many in it, and its loss."""

    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    loss: float


class TrainProgress(Protocol):
    """Whoever wants to follow a run: a progress bar, another logger."""

    def on_step(self, report: StepReport) -> None:
        """Take note of a finished step."""

    def on_epoch(self, row: EpochRow) -> None:
        """Take note of a finished, validated epoch."""


@dataclass(frozen=True)
class TrainResult:
    """What a run has come to.

    Parameters
    ----------
    run_dir
        The run's folder.
    best
        Checkpoint that ``training.best_by`` chose; None if no epoch was finished.
    last
        Latest checkpoint; None if the run was stopped before it had one.
    is_finished
        False if ``execution.max_steps`` or a stop request ended the call, and the run may go on.
    is_early
        Whether the run is finished because ``training.patience`` epochs brought nothing better.
    best_value
        Best value of ``training.best_by``; None as for ``best``, and where it was never defined.
    rows
        The log.
    """

    run_dir: Path
    best: Path | None
    last: Path | None
    is_finished: bool
    is_early: bool
    best_value: float | None
    rows: tuple[EpochRow, ...]


def train_model(
    stores: StorePath | Sequence[StorePath],
    config: TrainConfig,
    run_dir: str | Path,
    *,
    cell_types: Sequence[str] | None = None,
    progress: TrainProgress | None = None,
    take_over: bool = False,
    ranks: Ranks | None = None,
    stop: StopRequest | None = None,
    command: Sequence[str] = (),
) -> TrainResult:
    """Train a network on a store or several, or go on where an earlier call in the same folder stopped.

    Parameters
    ----------
    stores
        One store to read or a list of them: folders or addresses, of one assembly. Every training region of every cell type is
        seen once an epoch.
    config
        What to train; see :func:`~epizarr.train.config_text.load_config`.
    run_dir
        Folder of the run: ``config.toml`` (resolved), ``provenance.json``, ``log.csv``, ``pictures/``, ``checkpoints/``, and the
        links ``best`` and ``last``.
    cell_types
        Cell types to train on, instead of those of the config.
    progress
        Told after every step and every epoch.
    take_over
        Take the place of a run in this folder that has given no sign of life for ten minutes.
    ranks
        Which of several processes this is (:func:`epizarr.train.ranks.joined_ranks`); all call this function with the same
        arguments and see the same folders. By default it is the only one.
    stop
        Once it is set in any process, the step that is going on is finished, a checkpoint written, and the call returns
        (:func:`~epizarr.train.signals.stop_on_signals`).
    command
        Command line, for ``provenance.json``.

    Returns
    -------
    Where the checkpoints are, and the log (of rank 0; the others have none).

    Raises
    ------
    ConfigError
        If the folder holds a run with other scientific settings, the stores lack something, two of them have a cell type of one
        name, or TensorBoard is asked for and not installed; before any work.
    AssemblyMismatchError
        If the stores have different assemblies.
    SplitError
        If regions cannot be used or lie too close together.
    CheckpointError
        If the run's last checkpoint is damaged, was made from other input files, or holds no training state.
    LeaseError
        If another process trains in this folder, or has taken it over.
    StoreError
        If ``run_dir`` is an address: checkpoints are linked and renamed, which needs a folder.
    TrainingError
        If a loss, of a step or of the validation, is no longer finite.
    LostRankError
        If another process of the run has ended.

    Examples
    --------
    >>> config = load_config("small", ["splits.train=['chr1']", "splits.validation=['chr2']"])  # doctest: +SKIP
    >>> train_model("atlas.zarr", config, "runs/first", cell_types=["GM12878"]).best  # doctest: +SKIP
    """
    ranks = ranks or Ranks(device=device_of(config))
    run_dir = local_path(run_dir)
    ranks.from_lead(lambda: check_resumable(run_dir))
    previous = ranks.from_lead(lambda: _run_config(run_dir))
    with fast_decoding(*store_list(stores)):
        data = open_training_data(stores, config, cell_types=cell_types, previous=previous)
    if previous is not None:
        changed = differing_fields(previous, data.config)
        raise_all(
            ConfigError, f"run folder {run_dir} holds another run; give a new folder, or these settings back", changed
        )
    network, judge = network_config(data.config), discriminator_config(data.config)
    if data.config.execution.tensorboard:
        require_tensorboard()
    with ExitStack() as stack:

        def lead() -> Start:
            run_dir.mkdir(parents=True, exist_ok=True)
            held.append(stack.enter_context(Lease.acquire(run_dir, _LEASE, take_over)))
            _sweep(run_dir)
            replace_file(run_dir / _CONFIG, config_toml(data.config).encode())
            start = prepare_start(data, network, judge, run_dir)
            append_start(run_dir, describe_start(data, ranks.device, step=start.position.step, command=command))
            return start

        held: list[Lease] = []
        stack.enter_context(torch_settings(data.config.execution.threads))
        start = ranks.from_lead(lead)
        return _train(data, start, run_dir, ranks, progress, held[0] if held else None, stop or StopRequest())


def _sweep(run_dir: Path) -> None:
    """Remove temporary files that a killed run left; other people's files in the folder stay, whatever they are called."""
    for path in run_dir.iterdir():
        if any(is_partial(path.name, name) for name in (_CONFIG, CSV_FILE, PROVENANCE_FILE)):
            path.unlink(missing_ok=True)
    Ledger(work_folder(run_dir, _LEASE)).sweep_partial()


def _train(
    data: TrainingData,
    start: Start,
    run_dir: Path,
    ranks: Ranks,
    progress: TrainProgress | None,
    lease: Lease | None,
    stop: StopRequest,
) -> TrainResult:
    """Run the epochs that are left. ``lease`` is the lead's; the other ranks write nothing."""
    config, settings, card, position = data.config, data.config.training, start.card, start.position
    learner = make_learner(start, config, ranks.device)
    track_sd = {name: distribution.sd for name, distribution in card.track_distributions.items()}
    train, held_out = open_samplers(data, card.target_transform, card.track_transforms, track_sd)
    records = None if lease is None else EpochRecords(run_dir, card, position, held_out, config)
    training_mean = np.array(card.target_mean)
    saved = position

    def save(suffix: str = "") -> None:
        nonlocal saved
        saved = position
        if lease is not None:
            lease.check()
            generator, *judge = learner.trained
            save_checkpoint(run_dir, card, generator, position, *judge, suffix=suffix)

    def result(*, is_finished: bool) -> TrainResult:
        is_early = is_finished and position.epoch < settings.epochs
        return _result(run_dir, position, records, is_finished=is_finished, is_early=is_early)

    def stopped() -> TrainResult:
        """Save what no checkpoint holds yet, and end the call."""
        if position != saved:
            save(suffix="-stopped")  # where the epoch's validation is still to come, this step will be saved again
        return result(is_finished=False)

    try:
        epochs, max_steps = range(position.epoch, settings.epochs), config.execution.max_steps
        dataset = WindowDataset(train, epochs, position.epoch_step, rank=ranks.rank, world=ranks.world)
        batches = prefetched(load_batches(dataset, config.execution.num_workers), ranks.device)
        learner.train()
        for epoch in epochs:
            if is_stopped_early(position, settings):
                break
            began = time.perf_counter()
            n_steps = train.n_steps(epoch)
            if settings.reset_adam and position.epoch_step == 0:
                learner.reset_optimizers()
            while position.epoch_step < n_steps:
                if _is_stopped(stop, ranks):
                    return stopped()
                if 0 < max_steps <= position.step:
                    return result(is_finished=False)
                learner.set_rate(learning_rate(settings, epoch + position.epoch_step / n_steps, position.step))
                sums = learner.step(next(batches), ranks)
                position = _advanced(position, sums)
                if progress is not None:
                    loss = sums.squared_error / max(sums.n_pixels, 1)
                    progress.on_step(StepReport(epoch + 1, settings.epochs, position.epoch_step, n_steps, loss))
                is_due = position.step % config.execution.checkpoint_steps == 0 or position.step == max_steps
                if is_due and position.epoch_step < n_steps:  # an epoch's last step is saved with its validation
                    save()
            keep = () if records is None else records.examples
            validation = validate(learner.generator, held_out, training_mean, ranks, keep=keep, stop=stop)
            if validation is None:
                return stopped()
            _check_finite(validation.scores.loss, f"validation loss of epoch {epoch + 1}")
            row = epoch_row(position, epoch, n_steps, settings, validation.scores, time.perf_counter() - began)
            if records is not None and lease is not None:
                lease.check()
                records.add(row, validation)
            position = next_epoch(position, validation.scores, settings)
            save()
            if progress is not None:
                progress.on_epoch(row)
    finally:
        train.reader.close()
        if records is not None:
            records.close()
    return result(is_finished=True)


def _is_stopped(stop: StopRequest, ranks: Ranks) -> bool:
    """Whether any process was asked to stop; then all were."""
    (n_asked,) = ranks.sum_numbers(float(stop.is_set))
    if n_asked:
        stop.ask(signal.SIGTERM)
    return n_asked > 0


def _check_finite(loss: float, what: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"training: the {what} is {loss}. Lower training.lr, or look for infinite values in the target (`epizarr check`). "
            "The last checkpoint is from before."
        )


def _advanced(position: Position, sums: StepSums) -> Position:
    return dataclasses.replace(
        position,
        epoch_step=position.epoch_step + 1,
        step=position.step + 1,
        loss_sum=position.loss_sum + sums.squared_error,
        n_pixels=position.n_pixels + sums.n_pixels,
        adversarial_sum=position.adversarial_sum + sums.adversarial,
        discriminator_sum=position.discriminator_sum + sums.discriminator,
        n_shown=position.n_shown + sums.n_shown,
    )


def _result(
    run_dir: Path, position: Position, records: EpochRecords | None, *, is_finished: bool, is_early: bool
) -> TrainResult:
    return TrainResult(
        run_dir=run_dir,
        best=run_dir / "best" if position.best_step is not None else None,
        last=run_dir / "last" if (run_dir / "last").is_symlink() else None,
        is_finished=is_finished,
        is_early=is_early,
        best_value=position.best_value,
        rows=() if records is None else tuple(records.table.rows),
    )


def _run_config(run_dir: Path) -> TrainConfig | None:
    """Read the resolved config of the run that a folder holds, if it holds one."""
    file = run_dir / _CONFIG
    return config_from_toml(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


@contextmanager
def torch_settings(threads: int) -> Iterator[None]:
    """Use so many torch threads and leave the caller's number and random state as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
