"""The torch side of realism: a fresh classifier for the two-sample test, and the trained discriminator as a judge.

Imports torch: whoever only opens scores need not wait for it, so :mod:`epizarr.evaluate.realism` imports this when it is needed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from epizarr.bands import mirror_stripes
from epizarr.metrics.realism import ClassifierProtocol, ColumnScale, Score, window_starts_of
from epizarr.nn import Discriminator, DiscriminatorConfig, is_shown


def train_classifier(
    real: Sequence[np.ndarray], fake: Sequence[np.ndarray], protocol: ClassifierProtocol
) -> Score | None:
    """Train a fresh classifier to tell the windows of one map from those of another.

    Both maps are standardised by the mean and spread of the real one's offsets. Windows begin anywhere, and every second one is
    read backwards (exactly: :func:`~epizarr.bands.mirror_stripes`), which keeps a few dozen megabases from being learnt by heart.

    Parameters
    ----------
    real, fake
        Stripes (bin, offset) of the same regions, one array a region, NaN in both where a pixel does not count. Not of the
        chromosomes that it is to be scored on.
    protocol
        How.

    Returns
    -------
    The classifier, of windows in the same units: logits, above 0 where it takes a window for real. None if no window has enough
    valid pixels.

    Raises
    ------
    ConfigError
        If the windows are too small for the protocol's layers.
    """
    config = DiscriminatorConfig(protocol.n_bins, real[0].shape[1], protocol.channels, protocol.kernel)
    # One row more than a window: odd offsets of a mirrored window come from the bin behind it.
    starts = [
        (index, start)
        for index, stripes in enumerate(real)
        for start in window_starts_of(stripes, protocol.n_bins + 1, 1)
    ]
    if not starts:
        return None
    scale = ColumnScale.of(real)
    maps = [[scale.apply(stripes) for stripes in one] for one in (real, fake)]
    rng = np.random.default_rng(protocol.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(protocol.seed)
        network = Discriminator(config)  # pixels that are missing are 0 in both maps already, the mean of their offset
    optimizer = torch.optim.Adam(network.parameters(), lr=protocol.lr, weight_decay=protocol.weight_decay)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, protocol.n_steps)
    labels = torch.tensor([1.0, 0.0]).repeat_interleave(protocol.n_windows)
    for _ in range(protocol.n_steps):
        chosen = rng.integers(len(starts), size=protocol.n_windows)
        is_mirrored = rng.random(protocol.n_windows) < 0.5
        windows = [
            _cut(one[starts[i][0]], starts[i][1], protocol.n_bins, mirror)
            for one in maps
            for i, mirror in zip(chosen, is_mirrored, strict=True)
        ]
        batch = torch.from_numpy(np.stack(windows))
        loss = functional.binary_cross_entropy_with_logits(network(batch, _all_valid(batch)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
    network.eval()

    def score(windows: np.ndarray, valid: np.ndarray) -> np.ndarray:
        shown = torch.from_numpy(scale.apply(np.where(valid, windows, np.nan)))
        with torch.inference_mode():
            return np.asarray(network(shown, _all_valid(shown)).numpy())

    return score


def judging(judge: Discriminator) -> Score:
    """Make a scoring callable of a trained discriminator: logits of transformed stripes, NaN where it is not shown the window."""

    def score(maps: np.ndarray, valid: np.ndarray) -> np.ndarray:
        shown = is_shown(torch.from_numpy(valid)).numpy()
        logits = np.full(len(maps), np.nan)
        if shown.any():
            with torch.inference_mode():
                logits[shown] = judge(*_tensors(maps[shown], valid[shown])).numpy()
        return logits

    return score


def judge_features(judge: Discriminator, maps: np.ndarray) -> np.ndarray:
    """What a trained discriminator's linear layer judges by, each channel averaged over its positions.

    Parameters
    ----------
    judge
        The discriminator.
    maps
        Transformed stripes (window, bin, offset), NaN where missing.

    Returns
    -------
    Features, float64 (window, channel).
    """
    parts = [np.zeros((0, judge.config.channels[-1]))]
    for lo in range(0, len(maps), 32):
        part = maps[lo : lo + 32]
        with torch.inference_mode():
            parts.append(judge.features(*_tensors(part, ~np.isnan(part))).mean(dim=(2, 3)).double().numpy())
    return np.concatenate(parts)


def _tensors(maps: np.ndarray, valid: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(maps.astype(np.float32)), torch.from_numpy(valid)


def _all_valid(batch: Tensor) -> Tensor:
    return torch.ones_like(batch, dtype=torch.bool)


def _cut(stripes: np.ndarray, start: int, n_bins: int, is_mirrored: bool) -> np.ndarray:
    rows = stripes[start : start + n_bins + 1]
    return mirror_stripes(rows) if is_mirrored else rows[:n_bins]
