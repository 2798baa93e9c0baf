"""Learning rates against their closed forms."""

import math

import pytest

from epizarr.train.config import OptimSettings
from epizarr.train.schedule import learning_rate


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1e-4), (15.99, 1e-4), (16, 5e-5), (47.5, 2.5e-5), (48, 1.25e-5), (400, 1e-6)]
)
def test_learning_rate__published_rule_halves_every_16_epochs_down_to_the_floor(epoch, expected):
    assert learning_rate(OptimSettings(), epoch, 10_000) == pytest.approx(expected, rel=1e-12)


COSINE = OptimSettings(schedule="cosine", lr=1e-3, lr_floor=1e-5, epochs=8)


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1e-3), (0.5, (1e-3 + 1e-5) / 2), (2 / 3, 1e-5 + (1e-3 - 1e-5) / 4), (1, 1e-5)]
)
def test_learning_rate__cosine_runs_from_the_rate_to_the_floor(share, expected):
    assert learning_rate(COSINE, 8 * share, 10_000) == pytest.approx(expected, rel=1e-12)


def test_learning_rate__cosine_follows_the_fraction_of_an_epoch():
    rates = [learning_rate(COSINE, 3 + i / 7, 100 + i) for i in range(7)]
    assert rates == sorted(rates, reverse=True)
    slope = -math.pi / 8 * math.sin(math.pi * 3.5 / 8) / 2 * (1e-3 - 1e-5)
    assert rates[-1] - rates[0] == pytest.approx(slope * 6 / 7, rel=0.02)


@pytest.mark.parametrize("schedule", ["halving", "cosine"])
def test_learning_rate__warm_up_multiplies_the_schedule(schedule):
    with_warm_up = OptimSettings(schedule=schedule, warmup_steps=4)
    without = OptimSettings(schedule=schedule)
    shares = [learning_rate(with_warm_up, 0.1 * s, s) / learning_rate(without, 0.1 * s, s) for s in range(6)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
