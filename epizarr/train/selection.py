"""Which checkpoint is the best, and when a run stops because it gets no better."""

import dataclasses
import math

from epizarr.train.checkpoint import Position
from epizarr.train.config import BEST_BY, OptimSettings
from epizarr.train.validation import ValidationScores


def next_epoch(position: Position, scores: ValidationScores, settings: OptimSettings) -> Position:
    """Place of the run after an epoch and its validation.

    The epoch is the best if the metric ``settings.best_by`` is better than in every epoch before: of equal ones the first is.
    An undefined metric (NaN) is worse than any number; if no epoch has a number, the first is the best.

    Parameters
    ----------
    position
        Place after the epoch's last step.
    scores
        Of the epoch's validation.
    settings
        Names the metric.
    """
    value = float(getattr(scores, settings.best_by))
    is_best = position.best_step is None or _is_better(value, position.best_value, higher=BEST_BY[settings.best_by])
    number = None if math.isnan(value) else value  # JSON has no NaN
    return dataclasses.replace(
        position,
        epoch=position.epoch + 1,
        epoch_step=0,
        loss_sum=0.0,
        n_pixels=0,
        adversarial_sum=0.0,
        discriminator_sum=0.0,
        n_shown=0,
        best_value=number if is_best else position.best_value,
        best_step=position.step if is_best else position.best_step,
        stale_epochs=0 if is_best else position.stale_epochs + 1,
        log_rows=position.log_rows + 1,
    )


def is_stopped_early(position: Position, settings: OptimSettings) -> bool:
    """Whether ``settings.patience`` epochs in a row were no better than the best, so that the run is finished."""
    return 0 < settings.patience <= position.stale_epochs


def _is_better(value: float, best: float | None, *, higher: bool) -> bool:
    if math.isnan(value):
        return False
    return best is None or (value > best if higher else value < best)
