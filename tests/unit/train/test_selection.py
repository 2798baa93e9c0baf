"""The choice of the best checkpoint, and early stopping, from rows of scores."""

import math

import pytest

from epizarr.train.checkpoint import Position
from epizarr.train.config import OptimSettings
from epizarr.train.selection import is_stopped_early, next_epoch
from epizarr.train.validation import ValidationScores

NAN = math.nan


def follow(values: list[float], **settings) -> list[Position]:
    """Positions after epochs of ten steps whose chosen score is as given; the other scores point the other way."""
    chosen = OptimSettings(**settings)
    positions = [Position()]
    for epoch, value in enumerate(values):
        scores = dict.fromkeys(("loss", "pearson", "spearman", "skill"), float(epoch)) | {chosen.best_by: value}
        before = Position(**{**vars(positions[-1]), "step": 10 * (epoch + 1), "epoch_step": 10})
        positions.append(next_epoch(before, ValidationScores(**scores, n_pixels=1), chosen))
    return positions


@pytest.mark.parametrize(
    ("best_by", "values", "step", "value"),
    [
        ("loss", [0.3, 0.2, 0.25], 20, 0.2),
        ("pearson", [0.3, 0.2, 0.25], 10, 0.3),
        ("spearman", [0.1, 0.2, 0.4], 30, 0.4),
        ("pearson", [0.3, 0.3], 10, 0.3),  # of equal ones the first
        ("pearson", [0.1, NAN, 0.0], 10, 0.1),
        ("pearson", [NAN, -0.2], 20, -0.2),
        ("loss", [NAN, 5.0], 20, 5.0),
    ],
)
def test_next_epoch__best_is_the_best_value_of_the_named_score(best_by, values, step, value):
    last = follow(values, best_by=best_by)[-1]
    assert (last.best_step, last.best_value, last.epoch) == (step, value, len(values))


def test_next_epoch__without_any_number_the_first_is_the_best():
    last = follow([NAN, NAN], best_by="pearson")[-1]
    assert (last.best_step, last.best_value) == (10, None)


def test_is_stopped_early__after_patience_epochs_that_are_no_better():
    settings = OptimSettings(patience=2)
    positions = follow([0.5, 0.6, 0.4, 0.4, 0.41, 0.1], patience=2)
    assert [is_stopped_early(p, settings) for p in positions[1:]] == [False, False, False, False, True, False]


def test_is_stopped_early__never_without_patience():
    assert not is_stopped_early(follow([0.1] + [0.2] * 50)[-1], OptimSettings())
