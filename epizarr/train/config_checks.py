"""Whether the values of a training config are in range and fit together; all problems are told at once."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from epizarr.errors import ConfigError, nearest_match, raise_all
from epizarr.train.config import (
    DEFAULT_VARIANCE_BETA,
    DataConfig,
    TrainConfig,
)


def check_config(config: TrainConfig, origin: str = "training config", *, is_trained: bool = False) -> TrainConfig:
    """Return the config if all its values are in range and fit together.

    ``is_trained``: of a network that exists, with a window that would be refused today; it still predicts.

    Raises
    ------
    ConfigError
        With every problem found.
    """
    problems = []
    for section in dataclasses.fields(config):
        settings = getattr(config, section.name)
        for f in dataclasses.fields(settings):
            problems += _range_problems(f"{section.name}.{f.name}", getattr(settings, f.name), f.metadata)
    data, network = config.data, config.network
    if data.track_binsize > 0 and data.binsize % data.track_binsize:
        problems.append(f"data.binsize = {data.binsize} is not a multiple of data.track_binsize = {data.track_binsize}")
    elif data.track_binsize > 0 and network.window_bp % (2 * data.track_binsize):
        problems.append(
            f"network.window_bp = {network.window_bp} is not a multiple of two track bins, {2 * data.track_binsize} bp"
        )
    if config.training.mse_weight == config.training.adversarial_weight == 0:
        problems.append(
            "training.mse_weight and training.adversarial_weight are both 0: there is nothing to learn from"
        )
    if config.training.variance_beta > 1:
        problems.append(f"training.variance_beta = {config.training.variance_beta}: needs at most 1")
    if network.head == "mean" and config.training.variance_beta != DEFAULT_VARIANCE_BETA:
        problems.append(
            f"training.variance_beta = {config.training.variance_beta} needs network.head = 'variance': leave it at "
            f"{DEFAULT_VARIANCE_BETA}"
        )
    if config.target.min_diagonal >= network.n_offsets:
        problems.append(
            f"target.min_diagonal = {config.target.min_diagonal} leaves nothing of {network.n_offsets} offsets"
        )
    for name, entries in (("cell_types", data.cell_types), ("tracks", data.tracks)):
        repeated = sorted({entry for entry in entries if entries.count(entry) > 1})
        if repeated:
            problems.append(f"data.{name} lists {repeated} more than once")
    problems += _example_problems(config)
    if not is_trained and network.window_bp < config.least_window_bp:
        problems.append(
            f"network.window_bp = {network.window_bp} is too narrow: stripes of {network.n_offsets} x {data.binsize} bp "
            f"(network.n_offsets x data.binsize) need at least {config.least_window_bp}, so that they see what surrounds "
            "their contacts"
        )
    if data.tracks:
        problems += [f"{text}, which data.tracks does not list" for text in stray_tracks(data, data.tracks)]
    device = config.execution.device
    if device not in ("cpu", "cuda") and not (device.startswith("cuda:") and device[5:].isdigit()):
        problems.append(f"execution.device = {device!r}: needs cpu, cuda or cuda:N")
    raise_all(ConfigError, origin, problems)
    return config


def _example_problems(config: TrainConfig) -> list[str]:
    """What does not fit together about cell types, pairs and missing tracks."""
    data, training = config.data, config.training
    problems = []
    both = sorted(set(data.cell_types) & set(config.splits.held_out_cell_types))
    if both:
        problems.append(
            f"data.cell_types lists {both}, which splits.held_out_cell_types holds out; take them out of one"
        )
    if data.tracks and set(data.tracks) == set(data.zeroed_tracks):
        problems.append(f"data.zeroed_tracks = {list(data.zeroed_tracks)} leaves the network no track")
    if training.delta_weight > 0 and not training.pairs:
        problems.append(
            f"training.delta_weight = {training.delta_weight}: weighs the difference of two cell types at one locus, so it "
            "needs training.pairs = true"
        )
    if training.pairs and len(data.cell_types) == 1:
        problems.append("training.pairs = true needs two cell types or more")
    if training.pairs and training.batch_size % 2:
        problems.append(
            f"training.batch_size = {training.batch_size}: with training.pairs it must be even, or pairs would part"
        )
    if training.track_dropout > 0 and not config.network.mask_channels:
        problems.append(
            f"training.track_dropout = {training.track_dropout} needs network.mask_channels = true, by which the network tells "
            "a missing track from one without signal"
        )
    return problems


def stray_tracks(data: DataConfig, tracks: Sequence[str]) -> list[str]:
    """Say which of the keys that speak of single tracks name others than ``tracks``, one text each."""
    named: dict[str, Collection[str]] = {
        "track_transforms": data.track_transforms,
        "matches": data.matches,
        "zeroed_tracks": data.zeroed_tracks,
    }
    stray = {key: sorted(set(by_track) - set(tracks)) for key, by_track in named.items()}
    return [f"data.{key} names {names}" for key, names in stray.items() if names]


def _range_problems(key: str, value: Any, metadata: Mapping[str, Any]) -> list[str]:
    entries = value if isinstance(value, tuple) else tuple(value.values()) if isinstance(value, dict) else (value,)
    problems = []
    for entry in entries:
        choices, least, below = metadata["choices"], metadata["least"], metadata["below"]
        if choices is not None and entry not in choices:
            problems.append(
                f"{key} = {entry!r}: needs one of {', '.join(choices)}.{nearest_match(str(entry), choices)}"
            )
        if least is not None and not (math.isfinite(entry) and entry >= least):
            problems.append(f"{key} = {entry}: needs at least {least}")
        if below is not None and entry >= below:
            problems.append(f"{key} = {entry}: needs less than {below}")
    return problems
