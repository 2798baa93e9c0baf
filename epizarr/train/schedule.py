"""The learning rate of each step, a function of the settings and of the place in the run alone: a resumed run has the same.

Epochs differ in their number of steps (the phase decides how many windows there are), so schedules follow the epochs done, a
number with a fraction, and not the steps. The warm-up alone counts steps.
"""

import math

from epizarr.train.config import OptimSettings


def learning_rate(settings: OptimSettings, epoch: float, step: int) -> float:
    """Rate of one step of the optimiser.

    - ``halving``, the published rule: ``max(lr · 2^-floor(epoch / halve_epochs), lr_floor)``.
    - ``cosine``: ``lr_floor + (lr - lr_floor) · (1 + cos(π · epoch / epochs)) / 2``, from ``lr`` at the start of the run to
      ``lr_floor`` at its end.

    Either is multiplied by ``(step + 1) / warmup_steps`` for the first ``warmup_steps`` steps.

    Parameters
    ----------
    settings
        Schedule, rates, number of epochs and warm-up.
    epoch
        Epochs done before this step, with the fraction of the one that is going on.
    step
        Steps done before this step, over all epochs.

    Examples
    --------
    >>> learning_rate(OptimSettings(schedule="cosine", lr=1e-3, lr_floor=0.0, epochs=10), 5.0, 900)
    0.0005
    """
    if settings.schedule == "cosine":
        share = (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
        lr = settings.lr_floor + (settings.lr - settings.lr_floor) * share
    else:
        lr = max(settings.lr * 0.5 ** (math.floor(epoch) // settings.halve_epochs), settings.lr_floor)
    return lr * min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else lr
