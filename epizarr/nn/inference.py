"""Prediction along a chromosome: the trunk once, overlapping tiles through the core, blended without seams.

The core sees one tile at a time, so that a bin's stripe depends on the tile it lies in; where tiles lie and how they blend is
:mod:`epizarr.tiles`. All bins here are local to one chromosome, 0-based and half-open.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epizarr.errors import ConfigError, TensorShapeError
from epizarr.nn.epiphany import Epiphany, NetworkConfig
from epizarr.tiles import bins_needed, blend_weights, tile_starts, tiles_touching


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and each one back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Predict with a network: every module in evaluation mode, without gradients."""
    with _evaluation_mode(model), torch.inference_mode():
        yield


class StripeMoments(NamedTuple):
    """Mean and variance of each pixel, (bin, offset); ``variance`` is None of a network without a variance head."""

    mean: Tensor
    variance: Tensor | None


@dataclass(frozen=True)
class TiledRange:
    """The bins [lo, hi) of a chromosome, the tiles that they are predicted in, and the signal.

    Parameters
    ----------
    signal
        Tracks, shape (channel, track bin), missing values filled, from the window of ``first_bin`` to that of the last bin of the
        tiles that hold a bin of the range; what lies behind is ignored.
    first_bin
        Bin of the signal's first window.
    lo, hi
        The range.
    starts, weights
        Tiles of the whole chromosome: first bins, and weights (tile, bin of the tile).
    tile_seeds
        Seed of the dropout masks of each tile of the chromosome, int64, on the CPU: one draw of Monte-Carlo dropout. The trunk
        then runs tile by tile, as masks belong to tiles. Default: nothing is dropped.
    """

    signal: Tensor
    first_bin: int
    lo: int
    hi: int
    starts: np.ndarray
    weights: np.ndarray
    tile_seeds: Tensor | None = None

    @property
    def tile_bins(self) -> int:
        """Length of each tile."""
        return self.weights.shape[1]

    @property
    def tiles(self) -> np.ndarray:
        """Indices of the tiles that hold a bin of the range."""
        return tiles_touching(self.starts, self.tile_bins, self.lo, self.hi)


def tiled_range(
    config: NetworkConfig,
    signal: Tensor,
    *,
    first_bin: int,
    n_chrom_bins: int,
    lo: int,
    hi: int,
    tile_bins: int,
    overlap_bins: int,
    phase_bins: int = 0,
    tile_seeds: Tensor | None = None,
) -> TiledRange:
    """Lay the usual tiles over a range of a chromosome, and check that the signal reaches all of them.

    Parameters
    ----------
    config
        Shape of the network.
    signal, first_bin, tile_seeds
        As in :class:`TiledRange`; ``first_bin`` is at most the first of :func:`bins_needed`.
    n_chrom_bins, lo, hi, tile_bins, overlap_bins, phase_bins
        As in :func:`bins_needed`.

    Raises
    ------
    ConfigError
        If range or tiles are out of range.
    TensorShapeError
        If the signal does not cover the bins needed or has another number of channels, or there is not one seed a tile.
    """
    needed_lo, needed_hi = bins_needed(n_chrom_bins, lo, hi, tile_bins, overlap_bins, phase_bins)
    skipped = (needed_lo - first_bin) * config.stride
    n_wanted = skipped + config.input_length(needed_hi - needed_lo)
    if signal.ndim != 2 or signal.shape[0] != config.in_channels or skipped < 0 or signal.shape[1] < n_wanted:
        raise TensorShapeError(
            f"prediction of bins {lo} to {hi}: the signal has shape {tuple(signal.shape)} and begins with the window of "
            f"bin {first_bin}; needs ({config.in_channels}, track bins) from bin {needed_lo} or earlier with at least "
            f"{n_wanted} track bins. Ask bins_needed for the bins and NetworkConfig.input_length for their track bins."
        )
    starts = tile_starts(n_chrom_bins, tile_bins, overlap_bins, phase_bins)
    if tile_seeds is not None and tile_seeds.shape != starts.shape:
        raise TensorShapeError(
            f"prediction: tile_seeds has shape {tuple(tile_seeds.shape)}; needs a seed for each of {len(starts)} tiles."
        )
    weights = blend_weights(n_chrom_bins, tile_bins, overlap_bins, phase_bins)
    return TiledRange(signal, first_bin, lo, hi, starts, weights, tile_seeds)


def predict_stripes(
    model: Epiphany, signal: Tensor, *, batch_size: int, trunk_bins: int = 1000, **where: Any
) -> Tensor:
    """Predict the stripes of the bins [lo, hi) of a chromosome: the mean of :func:`predict_tiles` of one :func:`tiled_range`."""
    placed = tiled_range(model.config, signal, **where)
    return predict_tiles(model, [placed], batch_size=batch_size, trunk_bins=trunk_bins)[0].mean


def predict_tiles(
    model: Epiphany, ranges: Sequence[TiledRange], *, batch_size: int, trunk_bins: int = 1000
) -> list[StripeMoments]:
    """Predict mean and variance of the stripes of some ranges: :func:`blend_tiles` in evaluation mode and without gradients.

    The result does not depend on how a chromosome is cut into ranges, up to rounding, and the same call gives the
    same bits again with the same number of threads. Memory beside signal and result: see :func:`prediction_bytes`.

    Parameters
    ----------
    model
        The network. Run in evaluation mode and left in the mode it came in.
    ranges
        What is predicted, in one go.
    batch_size
        Most tiles that the core runs at once. On a CPU 32 and more come near the speed of the matrix products.
    trunk_bins
        Most bins that the trunk runs at once.

    Returns
    -------
    Moments of each range, (hi - lo, offset), on its signal's device, in the network's dtype, in units of the transformed
    target. Where tiles overlap, mean and variance are both their weighted means.

    Raises
    ------
    ConfigError
        If ``batch_size`` or ``trunk_bins`` are out of range.
    """
    if batch_size < 1 or trunk_bins < 1:
        raise ConfigError(f"prediction: batch_size is {batch_size} and trunk_bins {trunk_bins}, both need at least 1.")
    with evaluation(model):
        found = blend_tiles(model, ranges, batch_size=batch_size, trunk_bins=trunk_bins)
    # A tensor born in inference mode is refused by autograd; a copy made outside is an ordinary one.
    return [
        StripeMoments(mean.to(device, copy=True), None if variance is None else variance.to(device, copy=True))
        for (mean, variance), device in zip(found, [one.signal.device for one in ranges], strict=True)
    ]


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Let :func:`blend_tiles` be differentiated with respect to its signal, in evaluation mode.

    cuDNN's LSTM has no backward pass in evaluation mode, so that torch's own LSTM runs instead, on CUDA more slowly.
    Parameters need no gradient meanwhile, which would be computed and dropped.
    """
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with _evaluation_mode(model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for parameter, needs in wanted:
            parameter.requires_grad_(needs)


def shared_features(model: Epiphany, signal: Tensor, n_bins: int, trunk_bins: int) -> Tensor:
    """Run the trunk over consecutive bins, at most ``trunk_bins`` at once.

    Parameters
    ----------
    model
        The network, in the mode that it is in.
    signal
        Tracks, shape (channel, track bin), from the first bin's window on.
    n_bins, trunk_bins
        Bins, and most bins at once.

    Returns
    -------
    Features, (bin, feature), on the network's device.
    """
    config = model.config
    parameter = next(model.parameters())
    features = parameter.new_empty(n_bins, config.n_features)
    for piece in range(0, n_bins, trunk_bins):
        n = min(trunk_bins, n_bins - piece)
        begin = piece * config.stride
        cut = signal[None, :, begin : begin + config.input_length(n)].to(parameter)
        features[piece : piece + n] = model.features(cut, n)[0]
    return features


def blend_tiles(
    model: Epiphany, ranges: Sequence[TiledRange], *, batch_size: int, trunk_bins: int = 1000
) -> list[StripeMoments]:
    """Run the trunk once, the tiles of all ranges in batches, and blend them; what prediction and attribution share.

    Parameters
    ----------
    model
        The network, in the mode that it is in.
    ranges, batch_size, trunk_bins
        As in :func:`predict_tiles`. A batch holds tiles of several ranges, as far as they are of one length.

    Returns
    -------
    Moments of each range, (hi - lo, offset), on the network's device.
    """
    parameter = next(model.parameters())
    features = [_features_by_tile(model, one, trunk_bins) for one in ranges]
    blended: list[StripeMoments] = []
    of_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for place, one in enumerate(ranges):
        mean = parameter.new_zeros(one.hi - one.lo, model.config.n_offsets)
        blended.append(StripeMoments(mean, torch.zeros_like(mean) if model.config.has_variance else None))
        of_length[one.tile_bins] += [(place, tile) for tile in one.tiles.tolist()]
    for tiles in of_length.values():
        # Batches of nearly equal size: a last batch of a few tiles would run at a fraction of the speed.
        for batch in np.array_split(np.arange(len(tiles)), -(-len(tiles) // batch_size)):
            own = [tiles[index] for index in batch.tolist()]
            predicted = model.moments(torch.stack([features[place](tile) for place, tile in own]))
            for row, (place, tile) in enumerate(own):
                one, moments = ranges[place], blended[place]
                start = int(one.starts[tile])
                begin, end = max(one.lo, start), min(one.hi, start + one.tile_bins)
                inside, into = slice(begin - start, end - start), slice(begin - one.lo, end - one.lo)
                weight = torch.as_tensor(one.weights[tile, inside]).to(parameter)[:, None]
                moments.mean[into] += weight * predicted.mean[row, inside]
                if moments.variance is not None and predicted.log_variance is not None:
                    moments.variance[into] += weight * predicted.log_variance[row, inside].exp()
    return blended


def _features_by_tile(model: Epiphany, one: TiledRange, trunk_bins: int) -> Callable[[int], Tensor]:
    """Return what gives the features of a tile, (bin, feature): the trunk runs once for all, or for each with its own dropout."""
    config, tiles, length, seeds = model.config, one.tiles, one.tile_bins, one.tile_seeds
    needed_lo, needed_hi = int(one.starts[tiles[0]]), int(one.starts[tiles[-1]]) + length
    if seeds is None:
        signal = one.signal[:, (needed_lo - one.first_bin) * config.stride :]
        shared = shared_features(model, signal, needed_hi - needed_lo, trunk_bins)
        return lambda tile: shared[int(one.starts[tile]) - needed_lo :][:length]

    def dropped(tile: int) -> Tensor:
        begin = (int(one.starts[tile]) - one.first_bin) * config.stride
        cut = one.signal[None, :, begin : begin + config.input_length(length)].to(next(model.parameters()))
        return model.features(cut, length, seeds=seeds[tile : tile + 1])[0]

    return dropped


@dataclass(frozen=True)
class NetworkGflop:
    """Work of one forward pass in 10^9 operations, a multiplication and an addition counted as two.

    ``unrolled_trunk`` is what the trunk would take if each window were convolved on its own.
    """

    trunk: float
    core: float
    head: float
    unrolled_trunk: float

    @property
    def total(self) -> float:
        """Trunk, core and linear layers as epizarr runs them."""
        return self.trunk + self.core + self.head


def network_gflop(config: NetworkConfig, n_bins: int, batch: int = 1) -> NetworkGflop:
    """Count the operations of the matrix products and convolutions of one forward pass.

    Parameters
    ----------
    config
        The shape of the network.
    n_bins
        Bins of one example.
    batch
        Number of examples.

    Returns
    -------
    The counts; additions of biases, activations and poolings are left out.

    Examples
    --------
    >>> work = network_gflop(NetworkConfig.published_10kb(), n_bins=200)
    >>> round(work.core + work.head, 1), round(work.trunk, 1), round(work.unrolled_trunk, 1)
    (36.6, 1.8, 106.4)
    """
    plan = config.trunk_plan(n_bins)
    widths = zip(config.conv_channels, (config.in_channels, *config.conv_channels), config.conv_kernels, strict=False)
    per_column = [n_out * n_in * kernel for n_out, n_in, kernel in widths]
    columns = [phases * n for phases, n in zip(plan.n_phases, plan.conv_columns, strict=True)]
    head = config.core_shape.width * config.head_hidden + config.head_hidden * config.n_outputs
    scale = 2e-9 * batch
    return NetworkGflop(
        trunk=scale * sum(work * n for work, n in zip(per_column, columns, strict=True)),
        core=scale * config.core_shape.products(n_bins),
        head=scale * n_bins * head,
        unrolled_trunk=scale * n_bins * sum(work * n for work, n in zip(per_column, plan.window_columns, strict=True)),
    )


def prediction_bytes(
    config: NetworkConfig, n_feature_bins: int, *, tile_bins: int, batch_size: int, trunk_bins: int
) -> int:
    """Bound the working memory of :func:`predict_tiles` on a CPU in float32.

    Signal, result, network and the library itself are not counted. The features of all bins stay; to them comes
    the larger of the trunk's and the core's working memory. Only ``trunk_bins`` and ``batch_size`` bound the
    latter: it does not grow with the range.

    Parameters
    ----------
    config
        The shape of the network.
    n_feature_bins
        Extent of :func:`bins_needed`.
    tile_bins, batch_size, trunk_bins
        As given to :func:`tiled_range` and :func:`predict_tiles`.

    Returns
    -------
    Bytes.
    """
    plan = config.trunk_plan(trunk_bins)
    convolved = sum(
        n_out * phases * columns
        for n_out, phases, columns in zip(config.conv_channels, plan.n_phases, plan.conv_columns, strict=True)
    )
    # Each convolved value may exist twice: as it is, and in the blocked layout that the convolution works in.
    # Behind it come the pooled values, at the end the table of segments and the features looked up in it.
    looked_up = 3 * trunk_bins * config.n_features
    trunk = 2 * convolved + convolved // config.pool + config.in_channels * plan.n_read + looked_up
    steps = batch_size * tile_bins
    head = 2 * config.head_hidden + config.n_outputs
    core = config.core_shape.working_values(batch_size, tile_bins) + steps * head
    return 4 * (n_feature_bins * config.n_features + max(trunk, core))
