"""What a run starts from: its networks, and either fitted transforms or the checkpoint to go on from."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from epizarr.errors import CheckpointError, ConfigError
from epizarr.io.track_kinds import stored_kinds
from epizarr.nn import Discriminator, DiscriminatorConfig, Epiphany, NetworkConfig, bias_of_sd
from epizarr.train.card import ModelCard
from epizarr.train.checkpoint import Checkpoint, Position, load_checkpoint, load_training_state, settle_checkpoints
from epizarr.train.config import NetworkSettings, TrainConfig
from epizarr.train.fits import fit_distributions, fit_transforms, transformed_mean, transformed_sd
from epizarr.train.sources import TrainingData
from epizarr.train.step import Learner


@dataclass(frozen=True)
class Start:
    """Where a run begins or goes on: what all processes must agree on.

    ``checkpoint`` is the folder to go on from, None of a new run.
    """

    card: ModelCard
    position: Position
    checkpoint: Path | None


def prepare_start(
    data: TrainingData, network: NetworkConfig, judge: DiscriminatorConfig | None, run_dir: Path
) -> Start:
    """Fit the transforms of a new run, or read the checkpoint that one goes on from; settles the folder's links.

    Raises
    ------
    CheckpointError
        If the last checkpoint is damaged or was made from other input files.
    """
    if not (run_dir / "last").is_symlink():
        return Start(_new_card(data, network, judge), Position(), None)
    checkpoint = load_checkpoint(run_dir / "last")
    card = _resumed_card(checkpoint, data)
    settle_checkpoints(run_dir, checkpoint.position)
    return Start(card, checkpoint.position, checkpoint.path)


def make_learner(start: Start, config: TrainConfig, device: torch.device) -> Learner:
    """Make the networks as they are at the start of the run, or were at the checkpoint."""
    torch.manual_seed(config.training.seed)
    generator = Epiphany(start.card.network).to(device)
    judge = None if start.card.discriminator is None else Discriminator(start.card.discriminator).to(device)
    learner = Learner(generator, judge, config)
    if start.checkpoint is not None:
        load_training_state(load_checkpoint(start.checkpoint), *learner.trained)
        return learner
    mean = torch.tensor(start.card.target_mean)
    with torch.no_grad():
        if config.training.start_at_mean:
            # Otherwise the first steps move every hidden unit alike towards the mean, and the network may stay constant.
            generator.fc2.bias.copy_(mean)
            if generator.fc_log_variance is not None:
                # For the same reason: all pixels would agree that the variance is too large, and turn the hidden units alike.
                generator.fc_log_variance.bias.copy_(bias_of_sd(torch.tensor(start.card.target_sd)))
        if judge is not None:
            judge.fill.copy_(mean)
    return learner


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


def discriminator_config(config: TrainConfig) -> DiscriminatorConfig | None:
    """Shape of the discriminator of a resolved config; None without an adversarial loss.

    Raises
    ------
    ConfigError
        If the windows are too small for its layers.
    """
    if config.training.adversarial_weight == 0:
        return None
    settings = config.discriminator
    return DiscriminatorConfig(
        n_bins=config.training.n_bins,
        n_offsets=config.network.n_offsets,
        channels=settings.channels,
        kernel=settings.kernel,
    )


def _new_card(data: TrainingData, network: NetworkConfig, judge: DiscriminatorConfig | None) -> ModelCard:
    config = data.config
    target_transform, track_transforms = fit_transforms(data)
    mean = transformed_mean(data, target_transform)
    sd = transformed_sd(data, target_transform, mean).tolist() if network.has_variance else ()
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
        target_mean=tuple(mean.tolist()),
        target_sd=tuple(sd),
        discriminator=judge,
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
    # A checkpoint of format 1.1 has no mean.
    mean = checkpoint.target_mean or tuple(transformed_mean(data, checkpoint.target_transform).tolist())
    return ModelCard(**values | {"config": data.config, "target_mean": mean})


def device_of(config: TrainConfig, local_rank: int = 0) -> torch.device:
    """Device of a process: of several on one machine, ``cuda`` gives each its own GPU.

    Raises
    ------
    ConfigError
        If the machine has no such device.
    """
    device = torch.device(config.execution.device)
    if device.type != "cuda":
        return device
    index = local_rank if device.index is None else device.index
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= n_devices:
        raise ConfigError(
            f"execution.device = {config.execution.device!r}, process {local_rank} of this machine: it has {n_devices} usable "
            "CUDA devices. Start at most one process a GPU, or set execution.device='cpu'."
        )
    return torch.device("cuda", index)
