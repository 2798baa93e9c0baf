"""Scores of a network on held-out regions, streamed over batches."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from epizarr.train.dataset import TensorBatch


@dataclass(frozen=True)
class ValidationScores:
    """Scores pooled over all valid pixels, in the units of the transformed target.

    Parameters
    ----------
    loss
        Mean squared error.
    mean_pearson
        Pearson correlation at each distance, averaged over the distances where it is defined; NaN if there is none.
    n_pixels
        Number of valid pixels.
    """

    loss: float
    mean_pearson: float
    n_pixels: int


class DistanceSums:
    """Running sums of each offset, from which error and correlation follow; float64, so that order hardly matters.

    Parameters
    ----------
    n_offsets
        Length of a stripe.
    """

    def __init__(self, n_offsets: int) -> None:
        # n, x, y, x², y², xy, (x - y)²
        self.sums = np.zeros((7, n_offsets))

    def add(self, prediction: np.ndarray, target: np.ndarray, valid: np.ndarray) -> None:
        """Add pixels: three arrays (..., offset); the target counts where ``valid`` only."""
        axes = tuple(range(valid.ndim - 1))
        x = np.where(valid, prediction, 0).astype(np.float64)
        y = np.where(valid, target, 0).astype(np.float64)
        for row, values in enumerate((valid, x, y, x * x, y * y, x * y, (x - y) ** 2)):
            self.sums[row] += values.sum(axis=axes, dtype=np.float64)

    def scores(self) -> ValidationScores:
        """Error and correlation of all pixels added so far."""
        n, x, y, xx, yy, xy, error = self.sums
        with np.errstate(invalid="ignore", divide="ignore"):
            x_spread, y_spread = xx - x * x / n, yy - y * y / n
            pearson = (xy - x * y / n) / np.sqrt(x_spread * y_spread)
            # What rounding leaves of a constant is no spread.
            pearson[(x_spread <= 1e-12 * xx) | (y_spread <= 1e-12 * yy)] = np.nan
        defined = pearson[np.isfinite(pearson)]
        total = int(n.sum())
        return ValidationScores(
            loss=float(error.sum()) / total if total else float("nan"),
            mean_pearson=float(defined.mean()) if defined.size else float("nan"),
            n_pixels=total,
        )


def validate(
    model: nn.Module, batches: Iterable[TensorBatch], n_offsets: int, device: torch.device
) -> ValidationScores:
    """Score a network on batches, in evaluation mode; leaves the model's mode as it was."""
    sums = DistanceSums(n_offsets)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                prediction = model(batch.signal.to(device)).cpu()
                sums.add(prediction.numpy(), batch.target.numpy(), batch.valid.numpy())
    finally:
        model.train(was_training)
    return sums.scores()
