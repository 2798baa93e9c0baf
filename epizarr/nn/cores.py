"""The cores of the network: what lets the stripe of a bin depend on its neighbours, between the trunk and the head.

A core is a list of layers over states (batch, bin, channel) of ``2 * hidden`` channels. The first layer makes the states from
the trunk's features; each further one adds its output to them; some cores end with a norm. That is all the cores share and
all that runs them (:func:`run_core`); they differ in the layers:

- ``bilstm``: ``n_layers`` bidirectional LSTMs, under the released names ``rnn1`` …: the published network.
- ``conv``: ``n_layers`` convolutions along the bins with ReLU, ``mix1`` …, joined as the LSTMs are. The paper's Fig. 5B compares
  with "a convolution layer" and gives no sizes. A kernel of 7 makes the layer about as large as the LSTM in its place
  (28 ``hidden``² weights against 24), so that the comparison is one of reach and not of size.
- ``dilated``: a linear layer, then ``n_layers`` residual blocks whose convolutions (kernel 3) are dilated 1, 2, 4, … bins.
- ``transformer``: a linear layer, then ``n_layers`` pre-norm encoder layers. Positions are rotary: the product of a query
  and a key depends on their distance in bins and on no absolute place, so that a tile may begin anywhere.

Every core but ``bilstm`` gives a stripe that depends on its place in the tile by the tile's ends alone. None drops features in
training: dropout is the trunk's.

Sources: PUBLISHED_EPIPHANY, section 2; the paper's Discussion, which names dilated convolutions and transformers; Su et al.,
RoFormer (arXiv 2104.09864), section 3.2, for the positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from epizarr.nn.lstm import LARGE_HIDDEN, STRETCH_BINS, padded_examples, run_lstm, runs_here

Core = Literal["bilstm", "conv", "dilated", "transformer"]

#: Kernel, in bins, of the layers of ``conv`` and of ``dilated``.
CONV_KERNEL, DILATED_KERNEL = 7, 3
#: Width of a transformer's hidden layer over that of the states; with 2, a layer has 32 ``hidden``² weights.
FEED_FORWARD = 2
#: ``n_heads`` of every config unless told; other cores than ``transformer`` take no other value.
DEFAULT_HEADS = 8
#: Most layers of each core. The LSTMs' is the published number; 12 dilated layers reach 4095 bins to either side.
MOST_LAYERS: Mapping[str, int] = {"bilstm": 3, "conv": 12, "dilated": 12, "transformer": 12}
#: Base of the rotary angles; the slowest turns once in about 60,000 bins.
_ROTARY_BASE = 10_000.0


class ConvMix(nn.Module):
    """A convolution along the bins with ReLU, zero beyond the tile: (batch, bin, channel) in and out."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)

    def forward(self, states: Tensor) -> Tensor:
        """Convolve."""
        return functional.relu(_along_bins(self.conv, states), inplace=True)


class DilatedBranch(nn.Module):
    """What a residual block adds: norm, dilated convolution to half the channels, ReLU, back to all channels."""

    def __init__(self, width: int, inner: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        reach = dilation * (DILATED_KERNEL // 2)
        self.conv = nn.Conv1d(width, inner, DILATED_KERNEL, padding=reach, dilation=dilation)
        self.out = nn.Linear(inner, width)

    def forward(self, states: Tensor) -> Tensor:
        """Return the addend."""
        inner = functional.relu(_along_bins(self.conv, self.norm(states)), inplace=True)
        output: Tensor = self.out(inner)
        return output


class AttentionBranch(nn.Module):
    """What self-attention over the bins of a tile adds, with rotary positions and a norm before it."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """Return the addend."""
        qkv = self.qkv(self.norm(states)).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        angles = _rotary_angles(query)
        attended = functional.scaled_dot_product_attention(_turned(query, angles), _turned(key, angles), value)
        output: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return output


class FeedForwardBranch(nn.Module):
    """What a transformer's two linear layers on each bin add."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, FEED_FORWARD * width)
        self.out = nn.Linear(FEED_FORWARD * width, width)

    def forward(self, states: Tensor) -> Tensor:
        """Return the addend."""
        output: Tensor = self.out(functional.relu(self.inner(self.norm(states)), inplace=True))
        return output


def _along_bins(conv: nn.Conv1d, states: Tensor) -> Tensor:
    convolved: Tensor = conv(states.transpose(1, 2)).transpose(1, 2)
    return convolved


def _rotary_angles(query: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, (bin, pair of channels), of the angle by which a pair is turned at each bin."""
    n_bins, n_pairs = query.shape[-2], query.shape[-1] // 2
    # In float64: in half precision the angles of far bins would be wrong by whole turns.
    speed = _ROTARY_BASE ** -(torch.arange(n_pairs, device=query.device, dtype=torch.float64) / n_pairs)
    angle = torch.arange(n_bins, device=query.device, dtype=torch.float64)[:, None] * speed
    return angle.cos().to(query.dtype), angle.sin().to(query.dtype)


def _turned(channels: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn channel pairs (i, i + half) of (batch, head, bin, channel)."""
    cos, sin = angles
    first, second = channels.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


@dataclass(frozen=True)
class CoreShape:
    """What shapes a core.

    Parameters
    ----------
    core
        Which one.
    n_features
        Channels that come in from the trunk.
    hidden
        Half the channels of the states: one direction of an LSTM, the inner channels of a dilated block.
    n_layers
        Number of layers; of a transformer, each has attention and a feed-forward part.
    n_heads
        Heads of a transformer's attention; :data:`DEFAULT_HEADS` with the other cores.
    """

    core: Core
    n_features: int
    hidden: int
    n_layers: int
    n_heads: int

    @property
    def width(self) -> int:
        """Channels of the states."""
        return 2 * self.hidden

    @property
    def reach_bins(self) -> int | None:
        """Bins to either side that a stripe depends on beside its own, within the tile; None: all of the tile."""
        if self.core == "conv":
            return self.n_layers * (CONV_KERNEL // 2)
        if self.core == "dilated":
            return sum(self._dilations) * (DILATED_KERNEL // 2)
        return None

    @property
    def tile_windows(self) -> int:
        """Length of a tile at prediction, unless told, over that of a training window.

        Two were no worse than one where that was measured, and left smaller seams for the same work (``pipelines/seams.py``). A
        transformer stays at the number of neighbours that it was trained on.
        """
        return 1 if self.core == "transformer" else 2

    @property
    def batch_bins(self) -> int:
        """Bins of the tiles that run at once at prediction, unless told.

        An LSTM multiplies one bin of all tiles at a time and is the faster the more tiles there are; the other cores multiply all
        bins of a tile at once, and many tiles only cost them memory.
        """
        return 25_600 if self.core == "bilstm" else 4_800

    @property
    def _dilations(self) -> list[int]:
        return [2**layer for layer in range(self.n_layers)]

    def problems(self) -> list[str]:
        """Say what does not fit together, one text each."""
        most = MOST_LAYERS.get(self.core)
        if most is None:
            return [f"core is {self.core!r}, needs one of {', '.join(MOST_LAYERS)}"]
        problems = []
        if not 1 <= self.n_layers <= most:
            problems.append(f"n_layers is {self.n_layers}, core {self.core!r} needs 1 to {most}")
        if self.core != "transformer":
            if self.n_heads != DEFAULT_HEADS:
                problems.append(
                    f"n_heads is {self.n_heads}, which only core 'transformer' uses: leave it at {DEFAULT_HEADS}"
                )
        elif self.n_heads < 1 or self.width % (2 * self.n_heads):
            problems.append(
                f"n_heads is {self.n_heads} and hidden {self.hidden}: a transformer's heads share 2 * hidden channels and each "
                "needs an even number of them: make hidden a multiple of n_heads"
            )
        return problems

    def layers(self) -> dict[str, nn.Module]:
        """Make the core's layers in the order in which they run, by the names of the state dict."""
        width, layers = self.width, range(1, self.n_layers + 1)
        inputs = [self.n_features] + [width] * (self.n_layers - 1)
        if self.core == "bilstm":
            return {
                f"rnn{i}": nn.LSTM(n_in, self.hidden, batch_first=True, bidirectional=True)
                for i, n_in in zip(layers, inputs, strict=True)
            }
        if self.core == "conv":
            return {f"mix{i}": ConvMix(n_in, width, CONV_KERNEL) for i, n_in in zip(layers, inputs, strict=True)}
        made: dict[str, nn.Module] = {"entry": nn.Linear(self.n_features, width)}
        for i, dilation in zip(layers, self._dilations, strict=True):
            if self.core == "dilated":
                made[f"dilated{i}"] = DilatedBranch(width, self.hidden, dilation)
            else:
                made[f"attention{i}"] = AttentionBranch(width, self.n_heads)
                made[f"feed_forward{i}"] = FeedForwardBranch(width)
        return made | {"norm": nn.LayerNorm(width)}

    def products(self, n_bins: int) -> int:
        """Count the multiplications of the matrix products and convolutions of one example of ``n_bins`` bins."""
        width, hidden, n = self.width, self.hidden, self.n_layers
        inputs = self.n_features + (n - 1) * width
        if self.core == "bilstm":
            return n_bins * 2 * 4 * hidden * (inputs + n * hidden)
        if self.core == "conv":
            return n_bins * CONV_KERNEL * inputs * width
        entry = n_bins * self.n_features * width
        if self.core == "dilated":
            return entry + n * n_bins * (DILATED_KERNEL * width * hidden + hidden * width)
        linear = (3 + 1 + 2 * FEED_FORWARD) * width * width
        return entry + n * n_bins * (linear + 2 * n_bins * width)

    def working_values(self, batch: int, n_bins: int) -> int:
        """Bound the numbers that running without gradients holds at once, features that come in and states included.

        It counts what the libraries copy too: inputs and outputs of a convolution in their blocked layout, the gates of an
        LSTM's direction, the repacked weights of one layer, and a transformer's scores as if they were all held.
        """
        steps, width, hidden = batch * n_bins, self.width, self.hidden
        widest = max(self.n_features, width) if self.n_layers > 1 else self.n_features
        if self.core == "bilstm":
            # Input, output and their sum; inside, of one direction, what torch's LSTM holds of all bins, or ours of a stretch.
            of_stretch = min(n_bins, STRETCH_BINS) * padded_examples(batch) * (widest + 5 * hidden)
            inside = of_stretch if hidden >= LARGE_HIDDEN else self._lstm_values(steps)
            return steps * (self.n_features + 3 * width) + inside
        if self.core == "conv":
            return steps * (self.n_features + 2 * widest + 4 * width) + CONV_KERNEL * widest * width
        if self.core == "dilated":
            return steps * (self.n_features + 7 * width + 2 * hidden) + DILATED_KERNEL * width * hidden
        # Of attention: states, norm, q k v, both turned with their temporaries, what is attended and its sum.
        scores = 2 * batch * self.n_heads * n_bins * n_bins
        return steps * (self.n_features + 11 * width) + scores + 3 * width * width

    def _lstm_values(self, steps: int) -> int:
        """Numbers that torch holds inside one direction of an LSTM: gates, cell and output, the library's own, weights again."""
        return steps * (14 + 2) * self.hidden + 4 * self.hidden * (max(self.n_features, self.width) + self.hidden)

    def kept_values(self, batch: int, n_bins: int) -> int:
        """Bound the numbers that a forward pass in training keeps for its gradient; the features are not counted."""
        steps, width, hidden, n = batch * n_bins, self.width, self.hidden, self.n_layers
        if self.core == "bilstm":
            # Of each direction: four gates, cell and output, as computed and in the library's reserve; both joined, the sum. One
            # more is at work.
            return n * steps * (2 * 14 * hidden + 2 * width) + self._lstm_values(steps)
        if self.core == "conv":
            return n * steps * 5 * width
        if self.core == "dilated":
            return steps * (2 * width + n * (4 * width + 3 * hidden))
        scores = 3 * batch * self.n_heads * n_bins * n_bins
        return steps * width * (2 + n * (14 + 2 * FEED_FORWARD)) + n * scores


def run_core(layers: Mapping[str, nn.Module], features: Tensor) -> Tensor:
    """Run the layers of :meth:`CoreShape.layers`.

    Parameters
    ----------
    layers
        The layers in order, by name.
    features
        Features of consecutive bins, (batch, bin, channel).

    Returns
    -------
    States, (batch, bin, 2 * hidden). No example depends on another of its batch.
    """
    states = features
    for place, (name, layer) in enumerate(layers.items()):
        if runs_here(layer, states):
            output = run_lstm(layer, states)
        else:
            output = layer(states)
            if isinstance(output, tuple):  # an LSTM gives its last states too
                output = output[0]
        states = output if place == 0 or name == "norm" else output + states
    return states
