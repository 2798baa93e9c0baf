"""What a training run is: frozen dataclasses, every field with its kind, its meaning and the values that it may have.

Every field is *scientific* (it changes the trained parameters or the choice of the checkpoint) or *execution* (it changes
speed and memory only); a run may be resumed with other execution fields, never with other scientific ones. The defaults are
the published 10-kb network; the named departures from them are in :mod:`epizarr.train.named_configs`.

Source of the published settings: PUBLISHED_EPIPHANY, sections 2 and 3.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from epizarr.schema import TARGET_VARIABLES
from epizarr.transforms import DEFAULT_TRACK_TRANSFORM, NO_MATCH, TARGET_TRANSFORMS, TRACK_MATCHES, TRACK_TRANSFORMS

Kind = Literal["scientific", "execution"]

#: Validation scores that may choose the best checkpoint, and whether the higher of two is the better.
BEST_BY = {"loss": False, "pearson": True, "spearman": True}
#: ``target.transform`` and ``target.min_diagonal`` that stand for "what the variable or the store says".
DEFAULT_TRANSFORM = "default"
STORE_MIN_DIAGONAL = -1
#: ``training.variance_beta`` of every config unless told; without a variance head there is no other value.
DEFAULT_VARIANCE_BETA = 0.5


def _field(
    default: Any,
    doc: str,
    *,
    kind: Kind = "scientific",
    least: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Declare a field: default, one line of documentation, kind, and what values it may have."""
    metadata = {"doc": doc, "kind": kind, "least": least, "below": below, "choices": choices}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    """Which part of the store is read."""

    cell_types: tuple[str, ...] = _field(
        (), "cell types to train on; none listed: all that have tracks and contacts and are not held out"
    )
    binsize: int = _field(10_000, "bin width of the contacts in bp", least=1)
    track_binsize: int = _field(100, "bin width of the tracks in bp; divides binsize", least=1)
    tracks: tuple[str, ...] = _field(
        (), "track names in the network's order; none listed: all of the first cell type; with track_dropout, of any"
    )
    zeroed_tracks: tuple[str, ...] = _field(
        (), "tracks of the network that are fed as missing, in training and in prediction: ablation by retraining"
    )
    track_transform: str = _field(
        DEFAULT_TRACK_TRANSFORM, "transform of every track not named below", choices=tuple(TRACK_TRANSFORMS)
    )
    match: str = _field(
        NO_MATCH,
        "how each file is brought to the training tracks' distribution: none; quantile, rank for rank; background, one factor",
        choices=TRACK_MATCHES,
    )
    # Tables come last in a section: in TOML, keys behind a table's head would belong to it.
    track_transforms: dict[str, str] = _field(  # noqa: RUF009
        {}, "transform of single tracks, by name", choices=tuple(TRACK_TRANSFORMS)
    )
    matches: dict[str, str] = _field({}, "match of single tracks, by name", choices=TRACK_MATCHES)  # noqa: RUF009


@dataclass(frozen=True)
class TargetConfig:
    """What is predicted."""

    variable: str = _field("ice", "variable of the contacts group", choices=("count", *TARGET_VARIABLES))
    transform: str = _field(
        DEFAULT_TRANSFORM,
        "transform of the target; 'default': the variable's own",
        choices=(DEFAULT_TRANSFORM, *TARGET_TRANSFORMS),
    )
    missing: str = _field(
        "masked",
        "training pixels without a target: masked, or trained towards zero as in the released code",
        choices=("masked", "zero"),
    )
    min_diagonal: int = _field(
        STORE_MIN_DIAGONAL, "first diagonal in loss and metrics; -1: the store's min_diagonal", least=STORE_MIN_DIAGONAL
    )


@dataclass(frozen=True)
class SplitsConfig:
    """Regions as strings, ``"chr3"`` or ``"chr21:15,400,000-34,000,000"``, and cell types that are held out."""

    train: tuple[str, ...] = _field((), "training regions")
    validation: tuple[str, ...] = _field((), "validation regions: they choose the best checkpoint")
    test: tuple[str, ...] = _field(
        (), "test regions: never read here, recorded so that nothing else is scored by default"
    )
    held_out_cell_types: tuple[str, ...] = _field(
        (), "cell types of the stores that neither train nor choose the checkpoint"
    )

    def named(self) -> dict[str, tuple[str, ...]]:
        """Region strings of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of the generator; lengths in bp, so that they hold at any bin width. See ``epizarr.nn.NetworkConfig``."""

    n_offsets: int = _field(100, "length of a stripe in bins", least=1)
    window_bp: int = _field(
        1_400_000,
        "tracks seen by one stripe; half of it on either side of its bin's start; at least the stripe's span + 400 kb",
        least=1,
    )
    mask_channels: bool = _field(False, "one more channel a track: where it was measured")
    conv_channels: tuple[int, ...] = _field((70, 90, 70, 20), "output channels of the convolutions", least=1)
    conv_kernels: tuple[int, ...] = _field((17, 7, 5, 5), "kernel lengths of the convolutions", least=1)
    pool: int = _field(4, "max-pooling behind each convolution but the last", least=1)
    adaptive_pool: int = _field(45, "segments that a window's last columns are pooled into", least=1)
    dropout: float = _field(0.1, "probability that a feature is dropped", least=0, below=1)
    dropout_masks: str = _field(
        "shared", "whether windows share the last layer's dropout masks", choices=("shared", "per_window")
    )
    core: str = _field(
        "bilstm",
        "what joins neighbouring bins: bilstm, as published; conv, the paper's comparison; dilated; transformer",
        choices=("bilstm", "conv", "dilated", "transformer"),
    )
    hidden: int = _field(1200, "half the channels of the core; hidden size of each direction of each LSTM", least=1)
    n_layers: int = _field(
        3, "number of layers of the core: of LSTMs 1 to 3, of other layers 1 to 12", least=1, below=13
    )
    n_heads: int = _field(8, "attention heads of a transformer, a divisor of hidden; of no use to other cores", least=1)
    head_hidden: int = _field(900, "width of the linear layer behind the core", least=1)
    final_relu: str = _field("never", "where negative outputs are cut at 0", choices=("never", "predict", "always"))
    head: str = _field(
        "mean",
        "what the network says of a pixel: mean; variance, mean and variance, trained by the Gaussian likelihood",
        choices=("mean", "variance"),
    )


@dataclass(frozen=True)
class OptimSettings:
    """Examples, optimiser and schedule."""

    seed: int = _field(0, "seed of initial weights, phases, order and dropout", least=0)
    n_bins: int = _field(200, "bins of a training window", least=1)
    batch_size: int = _field(1, "windows of a step, over all processes", least=1)
    random_phase: bool = _field(
        True, "windows begin at a place drawn anew each epoch; false: always at the region's start"
    )
    reset_adam: bool = _field(False, "each epoch begins with a new Adam, as in the released code")
    epochs: int = _field(55, "epochs; in each, every training bin is seen once", least=1)
    lr: float = _field(1e-4, "learning rate of Adam at the start", least=0)
    weight_decay: float = _field(5e-4, "L2 penalty of Adam", least=0)
    schedule: str = _field(
        "halving",
        "course of the rate: halving, every halve_epochs; cosine, down to lr_floor over the run",
        choices=("halving", "cosine"),
    )
    halve_epochs: int = _field(16, "halving: the rate is halved each time after so many epochs", least=1)
    lr_floor: float = _field(1e-6, "the rate never falls below this, but for the warm-up", least=0)
    start_at_mean: bool = _field(
        False, "the untrained network gives the training mean of each offset, and the variance if it has that head"
    )
    warmup_steps: int = _field(0, "steps over which the rate rises to its value; 0: it starts there", least=0)
    clip_norm: float = _field(0.0, "norm that gradients are scaled down to where they exceed it; 0: never", least=0)
    mse_weight: float = _field(
        1.0, "weight in the loss of the mean squared error, or of the likelihood with a variance head", least=0
    )
    variance_beta: float = _field(
        DEFAULT_VARIANCE_BETA,
        "likelihood of a variance head: power of the variance that weighs a pixel; 0: plain, 1: mean as by squared error",
        least=0,
    )
    adversarial_weight: float = _field(
        0.0,
        "weight of the discriminator's judgement in the loss (paper: 0.05 beside 0.95); 0: no discriminator",
        least=0,
    )
    precision: str = _field(
        "float32",
        "number format of the networks' products; bfloat16 pays on GPUs, and is slow on a CPU that does not compute in it",
        choices=("float32", "bfloat16"),
    )
    best_by: str = _field("loss", "validation score that chooses the best checkpoint", choices=tuple(BEST_BY))
    patience: int = _field(0, "stop after so many epochs in a row without a better best_by; 0: never", least=0)
    mirror: bool = _field(False, "half of the examples, drawn anew each epoch, are read backwards")
    track_dropout: float = _field(
        0.0,
        "probability that a track of an example is fed as missing, never all; needs network.mask_channels",
        least=0,
        below=1,
    )
    track_noise: float = _field(
        0.0, "noise added to measured bins after the transform, in units of the track's training sd", least=0
    )
    scale_jitter: float = _field(
        0.0, "sd of the logarithm of a factor on the signal before its transform, one a track and example", least=0
    )
    pairs: bool = _field(False, "examples of one locus in two cell types follow each other, in the same step")
    delta_weight: float = _field(
        0.0, "weight of the squared error of the difference between the cell types of a pair; needs pairs", least=0
    )
    block_windows: int = _field(8, "most consecutive windows that are fetched and shuffled as one block", least=1)
    buffer_blocks: int = _field(16, "least blocks among which windows are shuffled", least=1)


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Shape and rate of the discriminator; used where ``training.adversarial_weight`` is above 0."""

    channels: tuple[int, ...] = _field((15, 25, 25, 10), "output channels of the convolutions", least=1)
    kernel: int = _field(5, "side of the kernels in pixels", least=1)
    lr: float = _field(1e-4, "learning rate of its Adam at the start; it follows the generator's schedule", least=0)


@dataclass(frozen=True)
class ExecutionSettings:
    """What changes speed and memory only."""

    threads: int = _field(
        1, "torch threads; results are equal bit for bit only at one number of threads", kind="execution", least=1
    )
    device: str = _field("cpu", "where the network runs: cpu, cuda or cuda:N", kind="execution")
    micro_batch: int = _field(
        0,
        "most windows that a process runs at once, to save memory; 0: all of its share of a batch",
        kind="execution",
        least=0,
    )
    read_threads: int = _field(2, "threads that decode a block", kind="execution", least=1)
    prefetch_blocks: int = _field(16, "blocks read ahead of the one in use", kind="execution", least=1)
    cache_bytes: int = _field(
        2**31, "memory of each reading process for decoded data, in bytes", kind="execution", least=0
    )
    num_workers: int = _field(0, "processes that make batches; 0: a thread of this one", kind="execution", least=0)
    checkpoint_steps: int = _field(1000, "steps between checkpoints within an epoch", kind="execution", least=1)
    max_steps: int = _field(
        0, "stop after so many steps, counted from the run's start; 0: run all epochs", kind="execution", least=0
    )
    pictures: bool = _field(True, "draw a few validation maps after each epoch, into pictures/", kind="execution")
    tensorboard: bool = _field(False, "log to tensorboard/ too; needs the extra `tensorboard`", kind="execution")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run.

    Raises
    ------
    ConfigError
        On construction from TOML (:func:`~epizarr.train.config_text.load_config`), with every problem found. A config built in
        Python is checked by :func:`~epizarr.train.config_checks.check_config`.
    """

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    target: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    splits: SplitsConfig = dataclasses.field(default_factory=SplitsConfig)
    network: NetworkSettings = dataclasses.field(default_factory=NetworkSettings)
    training: OptimSettings = dataclasses.field(default_factory=OptimSettings)
    discriminator: DiscriminatorSettings = dataclasses.field(default_factory=DiscriminatorSettings)
    execution: ExecutionSettings = dataclasses.field(default_factory=ExecutionSettings)

    @property
    def stride(self) -> int:
        """Track bins in a contact bin."""
        return self.data.binsize // self.data.track_binsize

    @property
    def window(self) -> int:
        """Track bins seen by one stripe."""
        return self.network.window_bp // self.data.track_binsize

    @property
    def halo(self) -> int:
        """Track bins seen on either side of a window of bins."""
        return self.window // 2

    @property
    def least_window_bp(self) -> int:
        """Least window of a stripe: its span and 400 kb, in proportion where the span is below 1 Mb (paper, Methods: 1.4 Mb)."""
        span = self.network.n_offsets * self.data.binsize
        return span + min(400_000, span * 2 // 5)

    @property
    def margin_bp(self) -> int:
        """Least distance between regions of different splits: halo plus half the network's band."""
        return self.network.window_bp // 2 + self.network.n_offsets * self.data.binsize // 2


class FieldInfo(NamedTuple):
    """One field as ``epizarr config show`` prints it."""

    key: str
    value: Any
    kind: Kind
    doc: str


def config_fields(config: TrainConfig) -> list[FieldInfo]:
    """List every field of a config with its value, kind and one line of documentation, as ``section.name``."""
    return [
        FieldInfo(
            f"{section.name}.{f.name}",
            getattr(getattr(config, section.name), f.name),
            f.metadata["kind"],
            f.metadata["doc"],
        )
        for section in dataclasses.fields(config)
        for f in dataclasses.fields(getattr(config, section.name))
    ]


def differing_fields(old: TrainConfig, new: TrainConfig, kind: Kind = "scientific") -> list[str]:
    """List fields of one kind that differ, as ``"training.lr: 0.001 there, 0.0001 here"``."""
    pairs = zip(config_fields(old), config_fields(new), strict=True)
    return [f"{a.key}: {a.value!r} there, {b.value!r} here" for a, b in pairs if a.kind == kind and a.value != b.value]
