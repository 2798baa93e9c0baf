"""The model card: everything about a trained network but its weights, and its JSON."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from epizarr.nn import DiscriminatorConfig, NetworkConfig
from epizarr.signal_kind import SignalKind
from epizarr.track_shift import TrackDistribution
from epizarr.train.config import TrainConfig
from epizarr.transforms import Transform


@dataclass(frozen=True)
class ModelCard:
    """Everything about a trained network but its weights.

    Parameters
    ----------
    network
        Shape of the network.
    tracks
        Track names in the order of its channels.
    track_binsize, binsize
        Bin widths of tracks and contacts in bp.
    n_bins
        Bins of a training window.
    target_variable
        Variable of the contacts group that it predicts.
    target_transform
        Transform of the target, fitted on the training regions.
    track_transforms
        Transform of each track, fitted on the training regions.
    min_diagonal
        First diagonal that loss and metrics count.
    assembly
        Name of the store's assembly.
    chrom_lengths
        Length of each of its chromosomes in bp, by name: two assemblies may bear one name.
    trained_on
        ``{"cell_types": [names], "held_out_cell_types": [names], "splits": {"train": [regions], "validation": [regions],
        "test": [regions]}}``, as text; up to format 1.1 no cell type is said to be held out.
    inputs
        What the data were made from: ``{cell type: {input name: sha256}}``; see ``epizarr.train.sources.Source``.
    config
        The resolved configuration.
    signal_kinds
        What each track seemed to hold in training, by cell type and track; empty in checkpoints of format 1.0.
    target_mean
        Mean of the transformed target over the training regions, by offset; empty up to format 1.1.
    target_sd
        Standard deviation of the transformed target over the training regions, by offset; of networks with a variance head,
        others have none.
    discriminator
        Shape of the discriminator that it was trained with; None without an adversarial loss.
    track_distributions
        Values of each transformed track over the training regions; empty up to format 1.1.
    """

    network: NetworkConfig
    tracks: tuple[str, ...]
    track_binsize: int
    binsize: int
    n_bins: int
    target_variable: str
    target_transform: Transform
    track_transforms: dict[str, Transform]
    min_diagonal: int
    assembly: str
    chrom_lengths: dict[str, int]
    trained_on: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    config: TrainConfig
    signal_kinds: dict[str, dict[str, SignalKind]] = field(default_factory=dict, kw_only=True)
    target_mean: tuple[float, ...] = field(default=(), kw_only=True)
    target_sd: tuple[float, ...] = field(default=(), kw_only=True)
    discriminator: DiscriminatorConfig | None = field(default=None, kw_only=True)
    track_distributions: dict[str, TrackDistribution] = field(default_factory=dict, kw_only=True)

    @property
    def tracks_may_be_missing(self) -> bool:
        """Whether the network has learned to do without some of its tracks."""
        return self.config.training.track_dropout > 0


def card_document(card: ModelCard) -> dict[str, Any]:
    """Return a card as JSON knows it, without its config."""
    document = {f.name: getattr(card, f.name) for f in dataclasses.fields(ModelCard) if f.name != "config"}
    document["network"] = dataclasses.asdict(card.network)
    document["discriminator"] = None if card.discriminator is None else dataclasses.asdict(card.discriminator)
    document["target_transform"] = json.loads(card.target_transform.to_json())
    document["track_transforms"] = {name: json.loads(t.to_json()) for name, t in card.track_transforms.items()}
    document["signal_kinds"] = {
        cell_type: {track: dataclasses.asdict(kind) for track, kind in kinds.items()}
        for cell_type, kinds in card.signal_kinds.items()
    }
    document["track_distributions"] = {name: d.to_params() for name, d in card.track_distributions.items()}
    return document


def card_from_document(document: dict[str, Any], config: TrainConfig) -> ModelCard:
    """Make a card of what :func:`card_document` returned, of this minor version of the format or an older one.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing or cannot be read.
    """
    absent: dict[str, Any] = {"signal_kinds": {}, "track_distributions": {}, "target_mean": (), "target_sd": ()}
    document = absent | {"discriminator": None} | document
    values = {f.name: document[f.name] for f in dataclasses.fields(ModelCard) if f.name != "config"}
    values["network"] = NetworkConfig(**values["network"])
    if values["discriminator"] is not None:
        values["discriminator"] = DiscriminatorConfig(**values["discriminator"])
    values |= {name: tuple(values[name]) for name in ("tracks", "target_mean", "target_sd")}
    values["chrom_lengths"] = dict(values["chrom_lengths"])
    values["target_transform"] = Transform.from_json(json.dumps(values["target_transform"]))
    values["track_transforms"] = {
        name: Transform.from_json(json.dumps(raw)) for name, raw in values["track_transforms"].items()
    }
    values["signal_kinds"] = {
        cell_type: {track: SignalKind(**raw) for track, raw in kinds.items()}
        for cell_type, kinds in values["signal_kinds"].items()
    }
    values["track_distributions"] = {
        name: TrackDistribution.from_params(raw) for name, raw in values["track_distributions"].items()
    }
    return ModelCard(**values, config=config)


def card_problems(card: ModelCard) -> list[str]:
    """Say what does not fit together, one text each."""
    network = card.network
    problems = []
    if len(card.tracks) != network.n_tracks:
        problems.append(f"{len(card.tracks)} tracks are named, the network has {network.n_tracks}")
    if set(card.track_transforms) != set(card.tracks):
        problems.append(
            f"transforms are kept for {sorted(card.track_transforms)}, the tracks are {sorted(card.tracks)}"
        )
    if card.binsize != network.stride * card.track_binsize:
        problems.append(
            f"bins of {card.binsize} bp are not the network's {network.stride} track bins of {card.track_binsize} bp"
        )
    for name in ("target_mean", "target_sd"):
        n_values = len(getattr(card, name))
        if n_values not in (0, network.n_offsets):
            problems.append(f"{name} has {n_values} offsets, the network {network.n_offsets}")
    if not 0 <= card.min_diagonal < network.n_offsets:
        problems.append(f"min_diagonal is {card.min_diagonal}, the network has {network.n_offsets} offsets")
    if not all(type(length) is int and length > 0 for length in card.chrom_lengths.values()):
        problems.append("chrom_lengths does not give each chromosome a length in bp")
    if "cell_types" not in card.trained_on or "train" not in card.trained_on.get("splits", {}):
        problems.append("trained_on does not say which cell types and regions were trained on")
    return problems
