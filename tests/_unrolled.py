"""The generator run as released: every window cut out and convolved on its own. The reference for ``epizarr.nn``.

Tests import it as ``tests._unrolled`` and the benchmarks load it by path, so that it exists once.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from epizarr.nn import Epiphany


def convolve_windows(
    convolutions: Sequence[nn.Conv1d], pools: Sequence[int], adaptive_pool: int, windows: Tensor, dropout: float = 0.0
) -> Tensor:
    """Features (window, feature) of windows (window, channel, track bin); ``dropout`` as in training."""
    columns = windows
    for convolution, pool in zip(convolutions, (*pools, None), strict=True):
        columns = functional.relu(convolution(columns))
        if pool is None:
            columns = functional.adaptive_max_pool1d(columns, adaptive_pool)
        else:
            columns = functional.max_pool1d(columns, pool)
        columns = functional.dropout(columns, dropout)
    return columns.flatten(1)


def unfold_windows(signal: Tensor, n_bins: int, window: int, stride: int) -> Tensor:
    """Copy ``n_bins`` windows out of (batch, channel, track bin): shape (batch * bin, channel, track bin)."""
    read = signal[..., : (n_bins - 1) * stride + window]
    return read.unfold(-1, window, stride).transpose(1, 2).flatten(0, 1)


def unrolled_features(model: Epiphany, signal: Tensor, n_bins: int) -> Tensor:
    """Features (batch, bin, feature) of ``n_bins`` windows of each example."""
    config = model.config
    features = convolve_windows(
        model.convolutions,
        (config.pool,) * (len(config.conv_channels) - 1),
        config.adaptive_pool,
        unfold_windows(signal, n_bins, config.window, config.stride),
        config.dropout if model.training else 0.0,
    )
    return features.unflatten(0, (len(signal), n_bins))


def plain_core(model: Epiphany, features: Tensor) -> Tensor:
    """Stripes from features with ``nn.LSTM`` itself, written out for each number of layers as published."""
    r1 = model.rnn1(features)[0]
    if model.config.n_layers == 1:
        states = r1
    else:
        r2 = model.rnn2(r1)[0] + r1
        states = r2 if model.config.n_layers == 2 else r2 + model.rnn3(r2)[0]
    stripes = model.fc2(functional.relu(model.fc(states)))
    is_cut = {"never": False, "predict": not model.training, "always": True}[model.config.final_relu]
    return functional.relu(stripes) if is_cut else stripes


def unrolled(model: Epiphany, signal: Tensor, n_bins: int) -> Tensor:
    """Stripes (batch, bin, offset) the way the released code computes them."""
    return plain_core(model, unrolled_features(model, signal, n_bins))
