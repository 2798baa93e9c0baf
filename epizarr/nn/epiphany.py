"""The Epiphany generator at any bin size: tracks in, the stripes of consecutive bins out.

One class covers the published 10 kb and 5 kb networks and any smaller one; :class:`NetworkConfig` is what differs
between them. The names of the state dict are the released ones (``conv1.conv`` … ``conv4.conv``, ``rnn1`` …,
``fc``, ``fc2``). What stands between trunk and head is one of several cores (:mod:`epizarr.nn.cores`); the published one is
the default.

Source: PUBLISHED_EPIPHANY, section 2.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from epizarr.errors import ConfigError, TensorShapeError, raise_all
from epizarr.nn.cores import DEFAULT_HEADS, Core, CoreShape, run_core
from epizarr.nn.dropout import ExampleDropout, draw_seeds
from epizarr.nn.trunk import DropoutMasks, TrunkPlan, plan_trunk, shared_trunk, window_columns

FinalRelu = Literal["never", "predict", "always"]
Head = Literal["mean", "variance"]

#: Log-variances stay within this of 0, smoothly: neither they nor their exponentials overflow, whatever the last layer gives.
MAX_LOG_VARIANCE = 20.0


def bias_of_sd(sd: Tensor) -> Tensor:
    """Bias of the variance head that gives these standard deviations where all else is 0; 0 where one of them is 0."""
    log_variance = torch.where(sd > 0, 2 * torch.log(sd), torch.zeros_like(sd))
    return MAX_LOG_VARIANCE * torch.atanh((log_variance / MAX_LOG_VARIANCE).clamp(-0.99, 0.99))


class Moments(NamedTuple):
    """What the network says of each pixel, both (batch, bin, offset); ``log_variance`` is None without a variance head."""

    mean: Tensor
    log_variance: Tensor | None


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that shapes the generator. The defaults are the published 10 kb network of five tracks.

    Parameters
    ----------
    n_tracks
        Number of tracks.
    mask_channels
        Whether each track comes with a channel that says where it was measured (1) or filled in (0). The channels
        are all signals, then all masks.
    n_offsets
        Length of a stripe in bins.
    stride
        Track bins in a bin: 100 for 10 kb over 100 bp.
    window
        Track bins seen by one stripe, half of them left of its bin's start.
    conv_channels, conv_kernels
        Output channels and kernel length of each convolution.
    pool
        Max-pooling behind each convolution but the last.
    adaptive_pool
        Segments that the last convolution's columns are pooled into.
    dropout
        Probability that a feature is dropped, behind each convolution.
    dropout_masks
        ``"shared"``: windows share the masks of the features they share. ``"per_window"``: the last layer's masks
        are drawn for each window. The masks of one window follow the published law either way.
    core
        What lets stripes depend on each other's features: ``"bilstm"`` as published, ``"conv"``, ``"dilated"`` or
        ``"transformer"``; see :mod:`epizarr.nn.cores`.
    hidden
        Half the channels of the core's states; hidden size of each direction of each LSTM.
    n_layers
        Number of layers of the core; of bidirectional LSTMs 1 to 3. Each but the first adds its input to its output.
    n_heads
        Heads of a transformer's attention, divides ``hidden``. Other cores take the default only.
    head_hidden
        Width of the linear layer behind the core.
    final_relu
        Whether negative outputs are cut at 0: ``"never"``, only in evaluation mode (``"predict"``, as in the
        released inference code), or ``"always"``.
    head
        ``"mean"``: one number a pixel, as published. ``"variance"``: mean and log-variance, the latter by one more linear
        layer on what ``fc2`` reads, so that the weights of the mean keep their names and shapes.

    Raises
    ------
    ConfigError
        If a value is out of range or the window is too short for the layers; names all problems.
    """

    n_tracks: int = 5
    mask_channels: bool = False
    n_offsets: int = 100
    stride: int = 100
    window: int = 14_000
    conv_channels: tuple[int, ...] = (70, 90, 70, 20)
    conv_kernels: tuple[int, ...] = (17, 7, 5, 5)
    pool: int = 4
    adaptive_pool: int = 45
    dropout: float = 0.1
    dropout_masks: DropoutMasks = "shared"
    core: Core = "bilstm"
    hidden: int = 1200
    n_layers: int = 3
    n_heads: int = DEFAULT_HEADS
    head_hidden: int = 900
    final_relu: FinalRelu = "never"
    head: Head = "mean"

    def __post_init__(self) -> None:
        # A list, as TOML and JSON have it, would make the config unhashable and unequal to itself read back.
        object.__setattr__(self, "conv_channels", tuple(self.conv_channels))
        object.__setattr__(self, "conv_kernels", tuple(self.conv_kernels))
        raise_all(ConfigError, "network configuration", self._problems())

    def _problems(self) -> list[str]:
        names = ("n_tracks", "n_offsets", "stride", "window", "pool", "adaptive_pool", "hidden", "head_hidden")
        problems = [f"{name} is {getattr(self, name)}, needs at least 1" for name in names if getattr(self, name) < 1]
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}, needs a probability below 1")
        problems += self._core_shape(n_features=1).problems()
        listed = (("final_relu", FinalRelu), ("dropout_masks", DropoutMasks), ("head", Head))
        for name, choices in ((name, get_args(choice)) for name, choice in listed):
            if getattr(self, name) not in choices:
                problems.append(f"{name} is {getattr(self, name)!r}, needs one of {', '.join(choices)}")
        if not self.conv_channels or len(self.conv_channels) != len(self.conv_kernels):
            problems.append(
                f"conv_channels has {len(self.conv_channels)} layers and conv_kernels {len(self.conv_kernels)}, "
                "needs the same number, at least 1"
            )
        elif min(*self.conv_channels, *self.conv_kernels) < 1:
            problems.append("conv_channels and conv_kernels need values of at least 1")
        elif self.window >= 1 and self.pool >= 1:
            columns = window_columns(self.window, self.conv_kernels, self._pools)
            if min(columns) < 1:
                problems.append(
                    f"window is {self.window} track bins, which leaves {columns} columns behind the "
                    "convolutions; needs at least 1 behind each: lengthen the window or shorten the kernels"
                )
        return problems

    @classmethod
    def published_10kb(cls) -> Self:
        """Return the published 10 kb generator: 91,677,400 parameters."""
        return cls()

    @classmethod
    def published_5kb(cls) -> Self:
        """Return the published 5 kb generator: 207,767,000 parameters."""
        return cls(stride=50, n_offsets=200, hidden=2400, n_layers=2, head_hidden=1200)

    @property
    def _pools(self) -> tuple[int, ...]:
        return (self.pool,) * (len(self.conv_channels) - 1)

    @property
    def in_channels(self) -> int:
        """Channels of the input: the tracks, twice as many with mask channels."""
        return self.n_tracks * (2 if self.mask_channels else 1)

    @property
    def has_variance(self) -> bool:
        """Whether the network says how far off its mean may be."""
        return self.head == "variance"

    @property
    def n_outputs(self) -> int:
        """Numbers that the last layers give for each bin."""
        return self.n_offsets * (2 if self.has_variance else 1)

    @property
    def n_features(self) -> int:
        """Features of each bin between the trunk and the core."""
        return self.conv_channels[-1] * self.adaptive_pool

    @property
    def core_shape(self) -> CoreShape:
        """Shape of the core."""
        return self._core_shape(self.n_features)

    def _core_shape(self, n_features: int) -> CoreShape:
        return CoreShape(self.core, n_features, self.hidden, self.n_layers, self.n_heads)

    @property
    def halo(self) -> int:
        """Track bins that a stripe sees left of the START of its bin."""
        return self.window // 2

    def input_length(self, n_bins: int) -> int:
        """Return the number of track bins that are READ for ``n_bins`` consecutive bins."""
        return (n_bins - 1) * self.stride + self.window

    def cut_length(self, n_bins: int) -> int:
        """Return the number of track bins that are CUT for ``n_bins`` consecutive bins, for the mirror's sake."""
        return n_bins * self.stride + self.window

    def trunk_plan(self, n_bins: int) -> TrunkPlan:
        """Return the trunk's plan for ``n_bins`` consecutive bins."""
        return plan_trunk(
            n_bins,
            stride=self.stride,
            window=self.window,
            kernels=self.conv_kernels,
            pools=self._pools,
            adaptive_pool=self.adaptive_pool,
        )


class ConvLayer(nn.Module):
    """Holder of one convolution, for the released names ``conv1.conv`` and so on."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel)


class Epiphany(nn.Module):
    """The generator: a convolutional trunk per bin, a residual core along the bins, two linear layers.

    The published core is of bidirectional LSTMs. With ``r1 = L1(x)``, each further LSTM adds its input to its output:
    the published 10 kb head reads ``L3(r2) + r2`` with ``r2 = L2(r1) + r1``, the published 5 kb head ``r2``, and a
    network of one layer ``r1``.

    Parameters
    ----------
    config
        The shape of the network.

    Examples
    --------
    >>> config = NetworkConfig(n_tracks=2, hidden=8, n_layers=1, head_hidden=4, n_offsets=10)
    >>> model = Epiphany(config).eval()
    >>> model(torch.zeros(3, 2, config.cut_length(20))).shape
    torch.Size([3, 20, 10])
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        n_in = config.in_channels
        for layer, (channels, kernel) in enumerate(
            zip(config.conv_channels, config.conv_kernels, strict=True), start=1
        ):
            self.add_module(f"conv{layer}", ConvLayer(n_in, channels, kernel))
            n_in = channels
        core = config.core_shape.layers()
        for name, module in core.items():
            self.add_module(name, module)
        self._core_names = tuple(core)
        #: What the core and ``fc`` compute in, where it is not what the others do (:mod:`epizarr.nn.precision`).
        self.core_dtype: torch.dtype | None = None
        self.fc = nn.Linear(config.core_shape.width, config.head_hidden)
        self.fc2 = nn.Linear(config.head_hidden, config.n_offsets)
        # Last, so that the other layers begin with the same weights with either head.
        self.fc_log_variance = nn.Linear(config.head_hidden, config.n_offsets) if config.has_variance else None

    @property
    def convolutions(self) -> list[nn.Conv1d]:
        """The trunk's convolutions, first to last."""
        holders = [self.get_submodule(f"conv{layer}.conv") for layer in range(1, len(self.config.conv_channels) + 1)]
        return [module for module in holders if isinstance(module, nn.Conv1d)]

    @property
    def core_layers(self) -> dict[str, nn.Module]:
        """The layers of the core, first to last, by name."""
        return {name: self.get_submodule(name) for name in self._core_names}

    def features(self, signal: Tensor, n_bins: int | None = None, *, seeds: Tensor | None = None) -> Tensor:
        """Run the trunk, once over the whole span.

        Parameters
        ----------
        signal
            Tracks, shape (batch, channel, track bin), missing values filled. The first bin's window is the first
            ``window`` track bins.
        n_bins
            Number of bins. The track bins are then ``config.input_length(n_bins)`` or
            ``config.cut_length(n_bins)``; the last ``stride`` of a cut are ignored. By default the signal is taken
            as a cut: the length alone cannot tell a cut of n bins from the input of n + 1.
        seeds
            Seeds of the examples' dropout masks, int64, shape (batch,), on the CPU; features are dropped by them in either
            mode. By default they are drawn from torch's generator in training mode, and nothing is dropped in evaluation.

        Returns
        -------
        Features, shape (batch, bin, ``config.n_features``).

        Raises
        ------
        TensorShapeError
            If the signal has another number of dims, channels or track bins.
        """
        config = self.config
        length = signal.shape[-1] if signal.ndim else 0
        wanted = max((length - config.window) // config.stride, 1) if n_bins is None else n_bins
        lengths = {config.cut_length(wanted)} | (set() if n_bins is None else {config.input_length(wanted)})
        if signal.ndim != 3 or signal.shape[1] != config.in_channels or length not in lengths or wanted < 1:
            raise TensorShapeError(
                f"network input: shape {tuple(signal.shape)}, needs (batch, {config.in_channels}, track bins) with "
                f"{' or '.join(f'{n:,}' for n in sorted(lengths))} track bins for {wanted} bins "
                f"({config.n_tracks} tracks{' and their masks' if config.mask_channels else ''}, "
                f"window {config.window:,}, stride {config.stride}). Cut the tracks with NetworkConfig.cut_length."
            )
        if self.training and seeds is None:
            seeds = draw_seeds(len(signal))
        return shared_trunk(
            self.convolutions,
            signal,
            config.trunk_plan(wanted),
            dropout=ExampleDropout(config.dropout, seeds, signal.device),
            dropout_masks=config.dropout_masks,
        )

    def moments(self, features: Tensor) -> Moments:
        """Run the core and the linear layers over features of consecutive bins.

        Parameters
        ----------
        features
            What :meth:`features` returns, shape (batch, bin, ``config.n_features``).

        Returns
        -------
        Mean and, with a variance head, log-variance of each pixel of the stripes, shape (batch, bin, offset), in units of the
        transformed target.

        Raises
        ------
        TensorShapeError
            If the features have another number of dims or another width.
        """
        if features.ndim != 3 or features.shape[-1] != self.config.n_features:
            raise TensorShapeError(
                f"network features: shape {tuple(features.shape)}, need (batch, bin, {self.config.n_features}), "
                "as Epiphany.features returns them."
            )
        states = run_core(self.core_layers, features.to(self.core_dtype or features.dtype))
        hidden = functional.relu(self.fc(states)).to(features.dtype)
        mean: Tensor = self.fc2(hidden)
        if self.config.final_relu == "always" or (self.config.final_relu == "predict" and not self.training):
            mean = functional.relu(mean)
        if self.fc_log_variance is None:
            return Moments(mean, None)
        return Moments(mean, MAX_LOG_VARIANCE * torch.tanh(self.fc_log_variance(hidden) / MAX_LOG_VARIANCE))

    def core(self, features: Tensor) -> Tensor:
        """Return the mean of :meth:`moments`, shape (batch, bin, offset)."""
        return self.moments(features).mean

    def forward(self, signal: Tensor, n_bins: int | None = None, *, seeds: Tensor | None = None) -> Tensor:
        """Predict the stripes of consecutive bins, their mean: :meth:`core` of :meth:`features`, see there."""
        return self.core(self.features(signal, n_bins, seeds=seeds))
