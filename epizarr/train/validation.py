"""Scores of a network on the validation regions, by the functions that ``evaluate`` scores predictions with.

Windows are laid side by side from each region's start, without overlap; maps are compared in the transformed target's units,
at every pixel that counts. ``evaluate`` leaves out pixels where one of its baselines has no value, and its prediction may have
been made with overlapping tiles: with neither, the numbers are the same.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from epizarr.metrics.correlation import DistanceScores, mean_defined, score_by_distance, skill
from epizarr.train.dataset import WindowDataset
from epizarr.train.ranks import Ranks
from epizarr.train.sampler import Sampler
from epizarr.train.signals import StopRequest


@dataclass(frozen=True)
class ValidationScores:
    """Scores of one validation.

    Parameters
    ----------
    loss
        Mean squared error over the valid pixels of all cell types; NaN if there are none or a prediction is not finite.
    pearson, spearman
        Correlation at each distance, averaged over the distances where it is defined, then over cell types; NaN if it is
        nowhere defined.
    skill
        Share of the squared error of the training regions' mean at each distance that the network removes; NaN as ``loss``.
    n_pixels
        Number of valid pixels.
    """

    loss: float
    pearson: float
    spearman: float
    skill: float
    n_pixels: int


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Parameters
    ----------
    scores
        The scores.
    maps
        Prediction and target (bin, offset) of the examples that were to be kept; the target is NaN where a pixel does not
        count.
    """

    scores: ValidationScores
    maps: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def validate(
    model: nn.Module,
    held_out: Sampler,
    training_mean: np.ndarray,
    ranks: Ranks,
    *,
    keep: Collection[int] = (),
    stop: StopRequest | None = None,
) -> Validation | None:
    """Score a network in evaluation mode; leaves the model's mode as it was.

    Memory: 8 bytes a validation pixel of one cell type (15 MB for two small human chromosomes at 10 kb and 100 offsets, 60 MB
    at 5 kb and 200), since ranks need all values at once.

    Parameters
    ----------
    model
        Takes (example, channel, track bin) and returns (example, bin, offset).
    held_out
        The validation regions; gone through once, cell type by cell type.
    training_mean
        Mean of the transformed target over the training regions (offset): what ``skill`` is relative to.
    ranks
        Processes among which the windows are shared; each gets all scores.
    keep
        Examples whose maps are returned too.
    stop
        Once it is set, the validation is given up; by a run of one process only, since all must do the same.

    Returns
    -------
    Scores and maps; None if it was given up.
    """
    plan = held_out.plan(0)
    source_of = np.array([s.source for s in held_out.reader.stretches])[plan.stretch]
    collected: dict[int, _CollectedMaps] = {}
    found: list[_SourceScores | None] = []
    maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in WindowDataset(held_out, range(1), rank=ranks.rank, world=ranks.world):
                if stop is not None and stop.is_set and ranks.world == 1:
                    return None
                prediction = model(batch.signal.to(ranks.device)).float().cpu().numpy() if len(batch.signal) else ()
                target = np.where(batch.valid.numpy(), batch.target.numpy(), np.nan)
                here = range(batch.step * held_out.batch_size, min((batch.step + 1) * held_out.batch_size, len(plan)))
                for source in np.unique(source_of[here]).tolist():
                    if source not in collected:
                        collected[source] = _CollectedMaps(np.flatnonzero(source_of == source), target.shape[1:])
                for place, example in enumerate(batch.examples.tolist()):
                    collected[int(source_of[example])].put(example, prediction[place], target[place])
                for source in [s for s, maps_of in collected.items() if maps_of.last < here.stop]:
                    whole = collected.pop(source)
                    whole.gather(ranks)
                    found.append(_score(whole, training_mean))
                    maps |= whole.pick(keep)
    finally:
        model.train(was_training)
    return Validation(_pooled(found), maps)


class _CollectedMaps:
    """Prediction and target of the windows of one cell type, filled in any order, by several processes."""

    def __init__(self, examples: np.ndarray, shape: tuple[int, ...]) -> None:
        self.last = int(examples[-1])
        self._place = {int(example): place for place, example in enumerate(examples)}
        self.prediction, self.target = np.zeros((2, len(examples), *shape), dtype=np.float32)

    def put(self, example: int, prediction: np.ndarray, target: np.ndarray) -> None:
        """Take one window."""
        place = self._place[example]
        self.prediction[place], self.target[place] = prediction, target

    def gather(self, ranks: Ranks) -> None:
        """Bring the windows of all processes together: each has zeros where another has values."""
        self.prediction = ranks.sum_array(self.prediction)
        self.target = ranks.sum_array(self.target)

    def pick(self, examples: Collection[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Copy the maps of those of the examples that are here."""
        places = {example: self._place[example] for example in examples if example in self._place}
        return {example: (self.prediction[i].copy(), self.target[i].copy()) for example, i in places.items()}


@dataclass(frozen=True)
class _SourceScores:
    """Scores of one cell type, and the squared error of the training mean."""

    scores: DistanceScores
    mean_error: float


def _score(maps: _CollectedMaps, training_mean: np.ndarray) -> _SourceScores | None:
    """Scores of one cell type; None if a prediction is not finite, which ``score_by_distance`` would take for missing."""
    n_offsets = maps.target.shape[-1]
    prediction, target = maps.prediction.reshape(-1, n_offsets), maps.target.reshape(-1, n_offsets)
    if not np.isfinite(prediction[~np.isnan(target)]).all():
        return None
    mean = np.broadcast_to(training_mean.astype(np.float32), target.shape)
    return _SourceScores(
        score_by_distance(prediction, target), float(score_by_distance(mean, target).squared_error.sum())
    )


def _pooled(found: list[_SourceScores | None]) -> ValidationScores:
    known = [one for one in found if one is not None]
    n_pixels = sum(int(one.scores.n_pixels.sum()) for one in known)
    if len(known) < len(found) or not n_pixels:
        nan = float("nan")
        return ValidationScores(nan, nan, nan, nan, n_pixels)
    loss = sum(float(one.scores.squared_error.sum()) for one in known) / n_pixels
    return ValidationScores(
        loss=loss,
        pearson=mean_defined(np.array([one.scores.mean_pearson for one in known])),
        spearman=mean_defined(np.array([one.scores.mean_spearman for one in known])),
        skill=skill(loss, sum(one.mean_error for one in known) / n_pixels),
        n_pixels=n_pixels,
    )
