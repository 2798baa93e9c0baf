"""The convolutional trunk over overlapping windows, computed once for all of them.

A stripe at bin ``j`` sees the ``window`` track bins that start at ``s_j = j * stride``. Unrolled, the same
track bins are convolved again for every window that holds them. A convolution without padding commutes
with the shift of its input, so that one pass over the whole span serves all windows; a pooling by ``p``
does so only for shifts that are multiples of ``p``. Behind poolings whose product is ``P``, a window's
columns therefore lie on the grid of its *phase* ``s_j mod P``, and one array is kept for each phase that
some window has: 1, 4 and 16 of them for a stride of 100 and three poolings by 4.

In the array of phase ``r`` column ``t`` stands for the track bins from ``r + t * P`` on, so window ``j``
owns the columns from ``t_j = s_j // P`` on. A further pooling by ``p`` that starts at column ``f``
(``0 <= f < p``) of phase ``r`` makes phase ``r + f * P``: all there is to know about the phases' tree.

The last layer's adaptive pooling is a maximum over short segments at fixed places of each window, and
the segments have at most two different lengths. One sliding maximum for each length holds the segments of
all windows, and a window's features are looked up in it: no window is ever copied out.

Source: PUBLISHED_EPIPHANY, section 2 ("The trunk need not be run per window").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from epizarr.errors import ConfigError
from epizarr.nn.dropout import ExampleDropout

DropoutMasks = Literal["shared", "per_window"]


@dataclass(frozen=True, eq=False)
class PhasePooling:
    """One pooling of every phase's array into the arrays of the next, finer set of phases.

    ``moves`` lists (first column, parent phases); the new phases are numbered in that order, which is the
    order of their residues. ``n_columns`` columns of each new phase are needed by some window.
    """

    pool: int
    n_columns: int
    moves: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def n_phases(self) -> int:
        """Number of phases behind this pooling."""
        return sum(len(parents) for _, parents in self.moves)


@dataclass(frozen=True, eq=False)
class TrunkPlan:
    """What to compute for ``n_bins`` consecutive windows, and where each window's features then lie.

    ``n_read`` track bins are read. ``poolings`` has one entry for each layer but the last. ``conv_columns`` are the
    columns of one phase behind each convolution, ``window_columns`` those of one window. ``segment_lengths`` are
    the lengths of the adaptive pooling's segments, and ``feature_rows`` (n_bins, adaptive_pool) rows of the table
    that has, for each length in turn, one row for each phase and each segment start.
    """

    n_bins: int
    n_read: int
    poolings: tuple[PhasePooling, ...]
    conv_columns: tuple[int, ...]
    window_columns: tuple[int, ...]
    segment_lengths: tuple[int, ...]
    feature_rows: np.ndarray

    @property
    def n_phases(self) -> tuple[int, ...]:
        """Number of phases seen by each convolution."""
        return (1, *(pooling.n_phases for pooling in self.poolings))


def window_columns(window: int, kernels: Sequence[int], pools: Sequence[int]) -> list[int]:
    """Count the columns of ONE window behind each convolution.

    Parameters
    ----------
    window
        Track bins seen by a window.
    kernels
        Kernel length of each convolution.
    pools
        Pooling behind each convolution but the last.

    Returns
    -------
    One number a convolution, in columns; zero or negative where the window is too short.
    """
    columns = []
    n = window
    for layer, kernel in enumerate(kernels):
        n = n - kernel + 1
        columns.append(n)
        if layer < len(pools):
            n //= pools[layer]
    return columns


@lru_cache(maxsize=64)
def plan_trunk(
    n_bins: int, *, stride: int, window: int, kernels: tuple[int, ...], pools: tuple[int, ...], adaptive_pool: int
) -> TrunkPlan:
    """Work out the phases of each layer and the place of each window's features.

    Parameters
    ----------
    n_bins
        Number of consecutive windows.
    stride
        Track bins from one window's start to the next.
    window
        Track bins seen by a window.
    kernels
        Kernel length of each convolution.
    pools
        Pooling behind each convolution but the last.
    adaptive_pool
        Segments that the last layer's columns are pooled into.

    Raises
    ------
    ConfigError
        If there is no window, the number of poolings does not fit, or the window is too short for the layers.
    """
    columns = window_columns(window, kernels, pools)
    if n_bins < 1 or len(pools) != len(kernels) - 1 or min(columns, default=0) < 1:
        raise ConfigError(
            f"trunk of {n_bins} windows of {window} track bins with kernels {kernels} and poolings {pools}: behind the "
            f"convolutions a window has {columns} columns. It needs at least one window, one column everywhere and "
            "one pooling between each two convolutions: make the window longer or the kernels shorter."
        )
    starts = np.arange(n_bins, dtype=np.int64) * stride
    n_read = int(starts[-1]) + window
    residues = [0]
    product = 1
    conv_columns = [n_read - kernels[0] + 1]
    poolings = []
    for layer, pool in enumerate(pools):
        finer = np.unique(starts % (product * pool)).tolist()
        moves = []
        for first in range(pool):
            parents = [residues.index(residue % product) for residue in finer if residue // product == first]
            if parents:
                moves.append((first, tuple(parents)))
        product *= pool
        residues = finer
        n_columns = int(starts[-1]) // product + columns[layer] // pool
        poolings.append(PhasePooling(pool, n_columns, tuple(moves)))
        conv_columns.append(n_columns - kernels[layer + 1] + 1)

    segments = np.arange(adaptive_pool, dtype=np.int64)
    first_column = segments * columns[-1] // adaptive_pool
    length = -(-(segments + 1) * columns[-1] // adaptive_pool) - first_column
    segment_lengths = np.unique(length)
    n_places = conv_columns[-1] - segment_lengths + 1
    table_start = np.concatenate([[0], np.cumsum(n_places * len(residues))])[:-1]
    kind = np.searchsorted(segment_lengths, length)
    phase = np.searchsorted(np.asarray(residues), starts % product)
    rows = table_start[kind] + phase[:, None] * n_places[kind] + (starts // product)[:, None] + first_column
    rows.flags.writeable = False  # the plan is cached and shared
    return TrunkPlan(
        n_bins, n_read, tuple(poolings), tuple(conv_columns), tuple(columns), tuple(segment_lengths.tolist()), rows
    )


def _pool_phases(columns: Tensor, pooling: PhasePooling) -> Tensor:
    """Pool (phase, batch, channel, column) into the finer phases, each cut or filled to the columns that are needed."""
    pooled = []
    for first, parents in pooling.moves:
        # Only phases without a window in the last columns run out of input. Their fill is never looked up.
        n_whole = min(pooling.n_columns, (columns.shape[-1] - first) // pooling.pool)
        piece = columns[..., first : first + n_whole * pooling.pool]
        if len(parents) < len(columns):
            piece = piece[list(parents)]
        piece = functional.max_pool1d(piece.flatten(0, 1), pooling.pool).unflatten(0, (len(parents), -1))
        pooled.append(functional.pad(piece, (0, pooling.n_columns - n_whole)) if n_whole < pooling.n_columns else piece)
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled)


def shared_trunk(
    convolutions: Sequence[nn.Conv1d],
    signal: Tensor,
    plan: TrunkPlan,
    *,
    dropout: ExampleDropout,
    dropout_masks: DropoutMasks,
) -> Tensor:
    """Compute the features of all windows from one pass over the span they cover.

    Each layer is a convolution, ReLU, max-pooling and dropout; the last pools each window adaptively. In evaluation
    the numbers are those of the windows run one by one, up to the rounding of the convolution. With dropout, the
    law of one window's masks is the published one too, but windows SHARE masks where they share columns: a column
    dropped for one window is dropped for its neighbours of the same phase. ``dropout_masks="per_window"`` draws the
    last layer's masks for each window anew.

    Parameters
    ----------
    convolutions
        The layers, without padding, stride or dilation.
    signal
        Tracks, shape (batch, channel, track bin), at least ``plan.n_read`` track bins; those behind are ignored. No
        NaN: fill missing values before.
    plan
        The plan for these convolutions' kernels.
    dropout
        Drops features, or none.
    dropout_masks
        Whether windows share the last layer's masks too.

    Returns
    -------
    Features, shape (batch, bin, channel * adaptive_pool), the channel varying slowest, as ``flatten`` of the
    published network.
    """
    columns = signal[..., : plan.n_read].unsqueeze(0)
    for convolution, pooling in zip(convolutions, plan.poolings, strict=False):
        n_phases = len(columns)
        columns = convolution(columns.flatten(0, 1)).unflatten(0, (n_phases, -1))
        # The maximum of a ReLU is the ReLU of the maximum, in value and gradient, on a quarter of the elements.
        columns = dropout(functional.relu(_pool_phases(columns, pooling), inplace=True), example_dim=1)
    n_phases = len(columns)
    last = functional.relu(convolutions[-1](columns.flatten(0, 1)), inplace=True)

    segments = []
    for length in plan.segment_lengths:
        maxima = functional.max_pool1d(last, length, stride=1).unflatten(0, (n_phases, -1))
        segments.append(maxima.permute(0, 3, 1, 2).flatten(0, 1))
    table = torch.cat(segments)
    if dropout_masks == "shared":
        table = dropout(table, example_dim=1)
    rows = torch.tensor(plan.feature_rows, device=table.device)
    features = table.index_select(0, rows.flatten()).unflatten(0, rows.shape).permute(2, 0, 3, 1).flatten(2)
    if dropout_masks == "per_window":
        features = dropout(features, example_dim=0)
    return features
