"""Checkpoints: a folder of safetensors, JSON and TOML that is written whole or not at all, and never runs code.

``RUNDIR/checkpoints/step-XXXXXXXX`` holds

- ``model.safetensors``: the network's state dict;
- ``discriminator.safetensors``: the discriminator's state dict, in adversarial runs only; also a score of realism;
- ``training.safetensors``: the optimisers' moments, needed only to go on training. There is no random state to keep: what is
  random in training is a function of (seed, epoch, example);
- ``checkpoint.json``: what the network is, which tracks it reads, its fitted transforms, what it was trained on, and where
  in the run it stands;
- ``config.toml``: the resolved configuration.

``RUNDIR/best`` and ``RUNDIR/last`` point to one of them. They are relative symbolic links because replacing a link is one
atomic rename, needs no second copy of a gigabyte, and survives moving the run folder. No wall time is written, so the same
run gives the same bytes.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from epizarr.errors import CheckpointError, EpizarrError, InputNotFoundError, raise_all
from epizarr.io.files import file_sha256
from epizarr.nn import Discriminator, Epiphany
from epizarr.train.card import ModelCard, card_document, card_from_document, card_problems
from epizarr.train.config_text import config_from_toml, config_toml

#: "MAJOR.MINOR" of the folder's format; another major is refused.
CHECKPOINT_VERSION = "1.2"
CHECKPOINT_FOLDER = "checkpoints"

_MODEL, _JUDGE, _TRAINING = "model.safetensors", "discriminator.safetensors", "training.safetensors"
_CARD, _CONFIG = "checkpoint.json", "config.toml"

#: A network and the optimiser that trains it, if it is still trained.
Trained = tuple[nn.Module, torch.optim.Optimizer | None]


@dataclass(frozen=True)
class Position:
    """Where a run stands. The next step is step ``epoch_step`` of epoch ``epoch``, both counted from 0.

    Parameters
    ----------
    epoch, epoch_step
        The resume point.
    step
        Steps done in all.
    loss_sum, n_pixels
        Squared errors and valid pixels of this epoch's steps so far: the running training loss.
    adversarial_sum, discriminator_sum, n_shown
        Adversarial losses of both networks, and windows that the discriminator was shown, in this epoch so far.
    best_value, best_step
        Best value so far of the score ``training.best_by``, and the step it was reached at. None before the first validation;
        the value also where the score was never defined.
    stale_epochs
        Finished epochs since the best one.
    log_rows
        Rows of ``log.csv`` written so far.
    """

    epoch: int = 0
    epoch_step: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_pixels: int = 0
    adversarial_sum: float = 0.0
    discriminator_sum: float = 0.0
    n_shown: int = 0
    best_value: float | None = None
    best_step: int | None = None
    stale_epochs: int = 0
    log_rows: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint(ModelCard):
    """A checkpoint read from disk: the card, the weights, and where the run stood.

    Parameters
    ----------
    state
        State dict of the network, on the CPU.
    position
        Where in its run the network stands.
    sha256
        Hash of ``model.safetensors``, which identifies the network.
    path
        Folder it was read from, links resolved.
    """

    state: dict[str, Tensor] = field(repr=False)
    position: Position
    sha256: str
    path: Path

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.position.epoch

    @property
    def step(self) -> int:
        """Steps done."""
        return self.position.step

    def model(self) -> Epiphany:
        """Return the network with its weights, on the CPU, in evaluation mode."""
        model = Epiphany(self.network)
        model.load_state_dict(self.state)
        return model.eval()

    def judge(self) -> Discriminator:
        """Return the discriminator with its weights, on the CPU, in evaluation mode.

        Raises
        ------
        CheckpointError
            If the run had no adversarial loss, or the file is damaged.
        """
        where = f"checkpoint {self.path}"
        if self.discriminator is None:
            raise CheckpointError(f"{where}: it was trained without an adversarial loss, so it has no discriminator.")
        judge = Discriminator(self.discriminator)
        document = _read_document(self.path / _CARD, where)
        _checked_sha256(self.path / _JUDGE, document.get("discriminator_sha256"), where)
        state = _load_tensors(self.path / _JUDGE, where)
        raise_all(CheckpointError, f"{where}: {_JUDGE}", state_problems(state, judge))
        judge.load_state_dict(state)
        return judge.eval()


def save_checkpoint(
    run_dir: Path,
    card: ModelCard,
    trained: Trained,
    position: Position,
    judge: Trained | None = None,
    *,
    suffix: str = "",
) -> Path:
    """Write a checkpoint, move the pointers to it, and drop the folders that no pointer names.

    Killed at any moment, it leaves ``last`` and ``best`` on whole checkpoints: the folder is written under another name,
    flushed to disk and renamed; then each link is replaced by a rename.

    Parameters
    ----------
    run_dir
        The run's folder.
    card
        What the network is.
    trained
        The network and its optimiser; without an optimiser, the checkpoint predicts and cannot be trained on.
    position
        Where the run stands; ``best`` moves too if this is the best step.
    judge
        The discriminator and its optimiser, where ``card`` has one.
    suffix
        Ending of the folder's name, where the same step may be saved again later: a folder that ``last`` names is never
        replaced.

    Returns
    -------
    The checkpoint's folder.
    """
    folder = run_dir / CHECKPOINT_FOLDER / f"step-{position.step:08d}{suffix}"
    partial = folder.with_name(folder.name + ".partial")
    for stale in (partial, folder):  # left by a run that was killed and has now come here again
        if stale.exists():
            shutil.rmtree(stale)
    partial.mkdir(parents=True)
    save_file(_stored_state(trained[0]), partial / _MODEL)
    document: dict[str, Any] = {"checkpoint_version": CHECKPOINT_VERSION, "model_sha256": file_sha256(partial / _MODEL)}
    moments = _moments(_GENERATOR, trained)
    if judge is not None:
        save_file(_stored_state(judge[0]), partial / _JUDGE)
        document["discriminator_sha256"] = file_sha256(partial / _JUDGE)
        moments |= _moments(_DISCRIMINATOR, judge)
    if trained[1] is not None:
        save_file(moments, partial / _TRAINING)
        document["training_sha256"] = file_sha256(partial / _TRAINING)
    document |= {
        "position": dataclasses.asdict(position),
        **card_document(card),
    }
    (partial / _CARD).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (partial / _CONFIG).write_text(config_toml(card.config), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        _flush(path)
    os.replace(partial, folder)
    _flush(folder.parent)
    _point_to(run_dir, "last", folder)
    settle_checkpoints(run_dir, position)
    return folder


def _point_to(run_dir: Path, name: str, folder: Path) -> None:
    """Make ``RUNDIR/name`` a link to a checkpoint's folder, replacing an older link in one step."""
    link = run_dir / f".{name}.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.resolve().relative_to(run_dir.resolve()), target_is_directory=True)
    os.replace(link, run_dir / name)
    _flush(run_dir)


def settle_checkpoints(run_dir: Path, position: Position) -> None:
    """Finish what a kill behind the move of ``last`` left undone: move ``best``, remove what no pointer names.

    Parameters
    ----------
    run_dir
        The run's folder.
    position
        Position of the checkpoint that ``last`` names.
    """
    for name in ("last", "best"):
        (run_dir / f".{name}.partial").unlink(missing_ok=True)
    if position.best_step == position.step:
        _point_to(run_dir, "best", (run_dir / "last").resolve())
    kept = {(run_dir / name).resolve() for name in ("last", "best")}
    for folder in sorted((run_dir / CHECKPOINT_FOLDER).glob("step-*")):
        if folder.resolve() not in kept:
            shutil.rmtree(folder)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint.

    Parameters
    ----------
    path
        ``RUNDIR/best``, ``RUNDIR/last`` or a checkpoint's own folder.

    Raises
    ------
    InputNotFoundError
        If there is no such folder; lists the checkpoints near it.
    CheckpointError
        If a file is missing or was changed, the format has another major version, or weights, tracks and transforms do
        not fit each other. Nothing in a checkpoint is executed.
    """
    folder = _checkpoint_folder(Path(path))
    where = f"checkpoint {path}"
    missing = [name for name in (_MODEL, _CARD, _CONFIG) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{where}: {', '.join(missing)} missing. It was not copied whole; copy the folder again.")
    document = _read_document(folder / _CARD, where)
    sha256 = _checked_sha256(folder / _MODEL, document.get("model_sha256"), where)
    try:
        config = config_from_toml((folder / _CONFIG).read_text(encoding="utf-8"), f"{where}: {_CONFIG}")
        card = card_from_document(document, config)
        position = _position_from_document(document["position"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # EpizarrErrors are ValueErrors too: a config or transform that this version refuses names its own problem.
        reason = str(error) if isinstance(error, EpizarrError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{where}: {_CARD} or {_CONFIG} cannot be used ({reason}).") from error
    state = _load_tensors(folder / _MODEL, where)
    with torch.device("meta"):
        problems = card_problems(card) + state_problems(state, Epiphany(card.network))
    raise_all(CheckpointError, where, problems)
    fields = {f.name: getattr(card, f.name) for f in dataclasses.fields(card)}
    return Checkpoint(**fields, state=state, position=position, sha256=sha256, path=folder)


def run_name(path: str | Path) -> str:
    """Name of the run folder that a checkpoint lies in, given as ``RUNDIR/best`` or by its own folder."""
    parent = Path(path).absolute().parent
    return parent.parent.name if parent.name == CHECKPOINT_FOLDER else parent.name


def check_resumable(run_dir: Path) -> None:
    """Refuse a run folder whose last checkpoint holds no training state, before anything is written to it.

    Raises
    ------
    CheckpointError
        If there is such a checkpoint, as imported weights have.
    """
    last = run_dir / "last"
    if last.is_symlink() and not (last / _TRAINING).is_file():
        raise CheckpointError(
            f"run folder {run_dir}: its checkpoint has no {_TRAINING} (imported weights have none), so it can predict but not "
            "be trained on. Train in a new folder."
        )


def load_training_state(checkpoint: Checkpoint, trained: Trained, judge: Trained | None = None) -> None:
    """Put a checkpoint's weights and optimisers' moments back: training goes on as if never stopped.

    Parameters
    ----------
    checkpoint
        From :func:`load_checkpoint`.
    trained, judge
        Networks and optimisers as they were made at the start of the run, as for :func:`save_checkpoint`; changed in place.

    Raises
    ------
    CheckpointError
        If the training state is missing, changed, or belongs to another network.
    """
    where = f"checkpoint {checkpoint.path}"
    file = checkpoint.path / _TRAINING
    if not file.is_file():
        raise CheckpointError(f"{where}: {_TRAINING} is missing, so it can predict but not be trained on.")
    document = _read_document(checkpoint.path / _CARD, where)
    _checked_sha256(file, document.get("training_sha256"), where)
    tensors = _load_tensors(file, where)
    trained[0].load_state_dict(checkpoint.state)
    _load_moments(_GENERATOR, trained, tensors, where)
    if judge is not None:
        judge[0].load_state_dict(checkpoint.judge().state_dict())
        _load_moments(_DISCRIMINATOR, judge, tensors, where)


#: Prefixes of the moments' names.
_GENERATOR, _DISCRIMINATOR = "optimizer", "discriminator_optimizer"


def _stored_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _moments(prefix: str, trained: Trained) -> dict[str, Tensor]:
    network, optimizer = trained
    state = {} if optimizer is None else optimizer.state_dict()["state"]
    return {
        f"{prefix}.{name}:{key}": value.detach().cpu().contiguous()
        for index, (name, _) in enumerate(network.named_parameters())
        for key, value in state.get(index, {}).items()
    }


def _load_moments(prefix: str, trained: Trained, tensors: dict[str, Tensor], where: str) -> None:
    network, optimizer = trained
    if optimizer is None:
        return
    moments: dict[int, dict[str, Tensor]] = {}
    n_parameters = 0
    for index, (name, parameter) in enumerate(network.named_parameters()):
        n_parameters += 1
        own = f"{prefix}.{name}:"
        found = {key.removeprefix(own): value for key, value in tensors.items() if key.startswith(own)}
        wrong = [key for key, value in found.items() if key != "step" and value.shape != parameter.shape]
        if wrong:
            raise CheckpointError(f"{where}: optimiser state {wrong} of {name} does not have the parameter's shape.")
        if found:
            moments[index] = found
    if len(moments) not in (0, n_parameters):
        raise CheckpointError(f"{where}: {_TRAINING} does not hold the state of every parameter.")
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _position_from_document(document: dict[str, Any]) -> Position:
    """Read a position; before format 1.2 the loss alone chose the best checkpoint."""
    renamed = {"best_value" if name == "best_loss" else name: value for name, value in document.items()}
    return Position(**renamed)


def state_problems(state: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """Say how a state dict differs from a network's, one text a tensor: missing, unknown, of another shape or type."""
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()}
    problems = [f"tensor {name} {shape} is missing" for name, (shape, _) in wanted.items() if name not in state]
    problems += [
        f"tensor {name} {tuple(t.shape)} is not part of the network" for name, t in state.items() if name not in wanted
    ]
    for name, (shape, dtype) in wanted.items():
        found = state.get(name)
        if found is not None and tuple(found.shape) != shape:
            problems.append(f"tensor {name} has shape {tuple(found.shape)}, the network's has {shape}")
        elif found is not None and found.dtype != dtype:
            problems.append(f"tensor {name} is {found.dtype}, the network's is {dtype}")
    return problems


def _checkpoint_folder(path: Path) -> Path:
    folder = path.resolve()
    if (folder / _CARD).is_file():
        return folder
    if (folder / "best").exists():
        raise CheckpointError(
            f"checkpoint {path} is a run folder; give one of its checkpoints: {path}/best or {path}/last."
        )
    if not folder.is_dir():
        near = [name for name in ("best", "last") if (path.parent / name).exists()]
        listed = f"{path.parent} has {' and '.join(near)}" if near else f"{path.parent} holds no checkpoint"
        raise InputNotFoundError(f"checkpoint {path}: no such folder; {listed}.")
    return folder


def _read_document(path: Path, where: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON or bad UTF-8
        raise CheckpointError(f"{where}: {path.name} is not JSON ({error}).") from error
    version = str(document.get("checkpoint_version")) if isinstance(document, dict) else "None"
    if version.split(".")[0] != CHECKPOINT_VERSION.split(".")[0]:
        raise CheckpointError(
            f"{where}: format {version}, this epizarr reads {CHECKPOINT_VERSION.split('.')[0]}.x. Use the release that wrote it."
        )
    return dict(document)


def _load_tensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{where}: {path.name} is not a safetensors file ({error}).") from error


def _checked_sha256(path: Path, wanted: object, where: str) -> str:
    found = file_sha256(path)
    if found != wanted:
        raise CheckpointError(
            f"{where}: {path.name} has sha256 {found[:12]}…, {_CARD} says {str(wanted)[:12]}…. "
            "The file was changed or not copied whole; copy the checkpoint again."
        )
    return found


def _flush(path: Path) -> None:
    """Push a file or folder to disk, so that a rename cannot become durable before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
