"""The training loop: set the rate, step, validate, log, checkpoint. Started again in the same folder, it goes on.

On a CPU and at one number of torch threads, a run that was stopped and resumed writes the same bytes as one that was not: the
order of examples depends on (seed, epoch) alone, a checkpoint holds everything else, and nothing that was read ahead counts.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from epizarr.errors import CheckpointError, ConfigError, TrainingError, raise_all
from epizarr.io.files import is_partial, replace_file
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import StorePath, local_path
from epizarr.io.track_kinds import stored_kinds
from epizarr.nn import Epiphany, NetworkConfig, difference_sum, squared_error_sum
from epizarr.train.checkpoint import (
    Checkpoint,
    ModelCard,
    Position,
    load_checkpoint,
    load_training_state,
    save_checkpoint,
    settle_checkpoints,
)
from epizarr.train.config import (
    NetworkSettings,
    OptimSettings,
    TrainConfig,
    config_from_toml,
    config_toml,
    differing_fields,
)
from epizarr.train.dataset import TensorBatch, WindowDataset, load_batches
from epizarr.train.log import EpochRow, RunLog
from epizarr.train.reader import fast_decoding
from epizarr.train.sampler import open_samplers
from epizarr.train.sources import (
    TrainingData,
    fit_distributions,
    fit_transforms,
    open_training_data,
    store_list,
    transformed_mean,
)
from epizarr.train.validation import validate

_CONFIG, _LOG = "config.toml", "log.csv"
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
        Checkpoint of the lowest validation loss; None if no epoch was finished.
    last
        Latest checkpoint.
    is_finished
        False if ``execution.max_steps`` stopped the run.
    best_loss
        Lowest validation loss; None as for ``best``.
    rows
        The log.
    """

    run_dir: Path
    best: Path | None
    last: Path
    is_finished: bool
    best_loss: float | None
    rows: tuple[EpochRow, ...]


def train_model(
    stores: StorePath | Sequence[StorePath],
    config: TrainConfig,
    run_dir: str | Path,
    *,
    cell_types: Sequence[str] | None = None,
    progress: TrainProgress | None = None,
    take_over: bool = False,
) -> TrainResult:
    """Train a network on a store or several, or go on where an earlier call in the same folder stopped.

    Parameters
    ----------
    stores
        One store to read or a list of them: folders or addresses, of one assembly. Every training region of every cell type is
        seen once an epoch.
    config
        What to train; see :func:`~epizarr.train.config.load_config`.
    run_dir
        Folder of the run: ``config.toml`` (resolved), ``log.csv``, ``checkpoints/``, and the links ``best`` and ``last``.
    cell_types
        Cell types to train on, instead of those of the config.
    progress
        Told after every step and every epoch.
    take_over
        Take the place of a run in this folder that has given no sign of life for ten minutes.

    Returns
    -------
    Where the checkpoints are, and the log.

    Raises
    ------
    ConfigError
        If the folder holds a run with other scientific settings, the stores lack something, or two of them have a cell type of
        one name; before any work.
    AssemblyMismatchError
        If the stores have different assemblies.
    SplitError
        If regions cannot be used or lie too close together.
    CheckpointError
        If the run's last checkpoint is damaged or was made from other input files.
    LeaseError
        If another process trains in this folder, or has taken it over.
    StoreError
        If ``run_dir`` is an address: checkpoints are linked and renamed, which needs a folder.
    TrainingError
        If a loss, of a step or of the validation, is no longer finite.

    Examples
    --------
    >>> config = load_config("small", ["splits.train=['chr1']", "splits.validation=['chr2']"])  # doctest: +SKIP
    >>> train_model("atlas.zarr", config, "runs/first", cell_types=["GM12878"]).best  # doctest: +SKIP
    """
    run_dir = local_path(run_dir)
    previous = _run_config(run_dir)
    with fast_decoding(*store_list(stores)):
        data = open_training_data(stores, config, cell_types=cell_types, previous=previous)
    if previous is not None:
        changed = differing_fields(previous, data.config)
        raise_all(
            ConfigError, f"run folder {run_dir} holds another run; give a new folder, or these settings back", changed
        )
    network = network_config(data.config)
    device = _device(data.config)
    run_dir.mkdir(parents=True, exist_ok=True)
    threads = data.config.execution.threads
    with Lease.acquire(run_dir, _LEASE, take_over) as lease, _torch_settings(threads):
        _sweep(run_dir)
        replace_file(run_dir / _CONFIG, config_toml(data.config).encode())
        return _train(data, network, run_dir, device, progress, lease)


def _sweep(run_dir: Path) -> None:
    """Remove temporary files that a killed run left; other people's files in the folder stay, whatever they are called."""
    for path in run_dir.iterdir():
        if is_partial(path.name, _CONFIG) or is_partial(path.name, _LOG):
            path.unlink(missing_ok=True)
    Ledger(work_folder(run_dir, _LEASE)).sweep_partial()


def _train(
    data: TrainingData,
    network: NetworkConfig,
    run_dir: Path,
    device: torch.device,
    progress: TrainProgress | None,
    lease: Lease,
) -> TrainResult:
    """Run the epochs that are left."""
    config, settings = data.config, data.config.training
    torch.manual_seed(settings.seed)
    model = Epiphany(network).to(device)
    # Fused: the same rule in one pass over the weights instead of a dozen, which are bound by memory.
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    if (run_dir / "last").is_symlink():
        checkpoint = load_checkpoint(run_dir / "last")
        card, position = _resumed_card(checkpoint, data), checkpoint.position
        load_training_state(checkpoint, model, optimizer)
        settle_checkpoints(run_dir, position)
    else:
        card, position = _new_card(data, network), Position()
        if settings.start_at_mean:
            # Otherwise the first steps move every hidden unit alike towards the mean, and the network may stay constant.
            mean = transformed_mean(data, card.target_transform)
            with torch.no_grad():
                model.fc2.bias.copy_(torch.from_numpy(mean))
    log = RunLog(run_dir / _LOG, position.log_rows)
    train, held_out = open_samplers(
        data, card.target_transform, card.track_transforms, {name: d.sd for name, d in card.track_distributions.items()}
    )
    try:
        epochs, max_steps = range(position.epoch, settings.epochs), config.execution.max_steps
        batches = load_batches(WindowDataset(train, epochs, position.epoch_step), config.execution.num_workers)
        model.train()
        for epoch in epochs:
            began = time.perf_counter()
            n_steps = train.n_steps(epoch)
            while position.epoch_step < n_steps:
                if 0 < max_steps <= position.step:
                    return _result(run_dir, position, log, is_finished=False)
                lr = learning_rate(settings, epoch, position.step)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                loss_sum, n_pixels = _step(model, optimizer, next(batches), device, settings)
                position = _advanced(position, loss_sum, n_pixels)
                if progress is not None:
                    loss = loss_sum / max(n_pixels, 1)
                    progress.on_step(StepReport(epoch + 1, settings.epochs, position.epoch_step, n_steps, loss))
                is_due = position.step % config.execution.checkpoint_steps == 0 or position.step == max_steps
                if is_due and position.epoch_step < n_steps:  # an epoch's last step is saved with its validation
                    lease.check()
                    save_checkpoint(run_dir, card, model, optimizer, position)
            scores = validate(model, WindowDataset(held_out, range(1)), network.n_offsets, device)
            _check_finite(scores.loss, f"validation loss of epoch {epoch + 1}")
            train_loss = position.loss_sum / max(position.n_pixels, 1)
            seconds = round(time.perf_counter() - began, 3)
            lr = learning_rate(settings, epoch, position.step - 1)
            lease.check()
            row = EpochRow(epoch + 1, position.step, lr, train_loss, scores.loss, scores.mean_pearson, seconds)
            log.append(row)
            position = _next_epoch(position, scores.loss)
            save_checkpoint(run_dir, card, model, optimizer, position)
            if progress is not None:
                progress.on_epoch(row)
    finally:
        train.reader.close()
    return _result(run_dir, position, log, is_finished=True)


def _step(
    model: Epiphany, optimizer: torch.optim.Optimizer, batch: TensorBatch, device: torch.device, settings: OptimSettings
) -> tuple[float, int]:
    """Take one optimiser step; returns the batch's summed squared error and number of valid pixels."""
    optimizer.zero_grad(set_to_none=True)
    prediction = model(batch.signal.to(device))
    target, valid = batch.target.to(device), batch.valid.to(device)
    total, n_valid = squared_error_sum(prediction, target, valid)
    loss = total / n_valid.clamp(min=1)
    if settings.delta_weight > 0:
        delta, n_delta = difference_sum(prediction, target, valid, batch.locus)
        loss = loss + settings.delta_weight * delta / n_delta.clamp(min=1)
    loss.backward()
    loss_sum = total.item()
    _check_finite(loss_sum, f"loss of epoch {batch.epoch + 1}, step {batch.step + 1}")
    if settings.clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    return loss_sum, int(n_valid.item())


def _check_finite(loss: float, what: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"training: the {what} is {loss}. Lower training.lr, or look for infinite values in the target (`epizarr check`). "
            "The last checkpoint is from before."
        )


def _advanced(position: Position, loss_sum: float, n_pixels: int) -> Position:
    return dataclasses.replace(
        position,
        epoch_step=position.epoch_step + 1,
        step=position.step + 1,
        loss_sum=position.loss_sum + loss_sum,
        n_pixels=position.n_pixels + n_pixels,
    )


def _next_epoch(position: Position, validation_loss: float) -> Position:
    is_best = position.best_loss is None or validation_loss < position.best_loss
    return dataclasses.replace(
        position,
        epoch=position.epoch + 1,
        epoch_step=0,
        loss_sum=0.0,
        n_pixels=0,
        best_loss=validation_loss if is_best else position.best_loss,
        best_step=position.step if is_best else position.best_step,
        log_rows=position.log_rows + 1,
    )


def learning_rate(settings: OptimSettings, epoch: int, step: int) -> float:
    """Rate of a step (epoch and step from 0): halved every ``halve_epochs``, never below the floor, after a linear rise."""
    lr = max(settings.lr * 0.5 ** (epoch // settings.halve_epochs), settings.lr_floor)
    return lr * min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else lr


def network_config(config: TrainConfig) -> NetworkConfig:
    """Shape of the network of a resolved config.

    Raises
    ------
    ConfigError
        If the layers do not fit the window.
    """
    same = {
        f.name: getattr(config.network, f.name) for f in dataclasses.fields(NetworkSettings) if f.name != "window_bp"
    }
    return NetworkConfig(n_tracks=len(config.data.tracks), stride=config.stride, window=config.window, **same)


def _new_card(data: TrainingData, network: NetworkConfig) -> ModelCard:
    config = data.config
    target_transform, track_transforms = fit_transforms(data)
    return ModelCard(
        network=network,
        tracks=config.data.tracks,
        track_binsize=config.data.track_binsize,
        binsize=config.data.binsize,
        n_bins=config.training.n_bins,
        target_variable=config.target.variable,
        target_transform=target_transform,
        track_transforms=track_transforms,
        min_diagonal=config.target.min_diagonal,
        assembly=data.assembly.name,
        chrom_lengths=dict(data.assembly),
        trained_on={
            "cell_types": list(config.data.cell_types),
            "held_out_cell_types": list(config.splits.held_out_cell_types),
            "splits": {name: list(regions) for name, regions in config.splits.named().items()},
        },
        inputs={source.cell_type: source.inputs for source in data.sources},
        config=config,
        signal_kinds={
            source.cell_type: stored_kinds(dict(zip(config.data.tracks, source.signal, strict=True)))
            for source in data.sources
        },
        track_distributions=fit_distributions(data, track_transforms),
    )


def _resumed_card(checkpoint: Checkpoint, data: TrainingData) -> ModelCard:
    """Card of a run that goes on: transforms stay as they were fitted, execution settings may be new."""
    inputs = {source.cell_type: source.inputs for source in data.sources}
    changed = sorted(
        f"{cell_type}: {name}"
        for cell_type in inputs.keys() | checkpoint.inputs.keys()
        for name in inputs.get(cell_type, {}).keys() | checkpoint.inputs.get(cell_type, {}).keys()
        if inputs.get(cell_type, {}).get(name) != checkpoint.inputs.get(cell_type, {}).get(name)
    )
    if changed:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} was trained on other files than the store now holds, or on the same read in another "
            f"way ({', '.join(changed)}). Give a new run folder, or the store that the run began with."
        )
    values = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(ModelCard)}
    return ModelCard(**values | {"config": data.config})


def _result(run_dir: Path, position: Position, log: RunLog, *, is_finished: bool) -> TrainResult:
    best = run_dir / "best" if position.best_loss is not None else None
    return TrainResult(run_dir, best, run_dir / "last", is_finished, position.best_loss, tuple(log.rows))


def _run_config(run_dir: Path) -> TrainConfig | None:
    """Read the resolved config of the run that a folder holds, if it holds one."""
    file = run_dir / _CONFIG
    return config_from_toml(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def _device(config: TrainConfig) -> torch.device:
    device = torch.device(config.execution.device)
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise ConfigError(
            f"execution.device = {config.execution.device!r}: this machine has {torch.cuda.device_count()} usable CUDA "
            "devices. Set execution.device='cpu'."
        )
    return device


@contextmanager
def _torch_settings(threads: int) -> Iterator[None]:
    """Use so many torch threads and leave the caller's number and random state as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
