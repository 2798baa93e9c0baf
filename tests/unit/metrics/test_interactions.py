"""ROC and precision-recall against their definitions, pair by pair and threshold by threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.metrics.interactions import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    MISSING,
    PAPER_THRESHOLDS,
    TRUE_NEGATIVE,
    TRUE_POSITIVE,
    ThresholdCounts,
    outcomes,
    ranking_scores,
)


def _draw(seed: int, n_rows: int = 40, n_diagonals: int = 5, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    observed = rng.normal(1.0, 1.2, (n_rows, n_diagonals))
    prediction = (0.5 * observed + rng.normal(0.7, 1.0, observed.shape)).round(digits)  # rounded: ties
    observed[rng.random(observed.shape) < 0.1] = np.nan
    prediction[rng.random(observed.shape) < 0.1] = np.nan
    return prediction, observed


def _by_definition(prediction, observed, threshold):
    both = ~(np.isnan(prediction) | np.isnan(observed))
    score, is_true = prediction[both], observed[both] >= threshold
    above, below = score[is_true][:, None], score[~is_true][None, :]
    auroc = ((above > below) + 0.5 * (above == below)).mean()
    recall_before, aupr = 0.0, 0.0
    for t in np.unique(score)[::-1]:
        recall, precision = (score[is_true] >= t).mean(), is_true[score >= t].mean()
        aupr += (recall - recall_before) * precision
        recall_before = recall
    return auroc, aupr


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([1.0, 2.0]))
def test_ranking_scores__agree_with_the_definitions(seed, threshold):
    prediction, observed = _draw(seed)
    scores = ranking_scores(prediction, observed, threshold)
    assert (scores.auroc, scores.aupr) == pytest.approx(_by_definition(prediction, observed, threshold), rel=1e-12)


def test_ranking_scores__the_truth_is_perfect_and_a_constant_is_chance():
    _, observed = _draw(0)
    itself = ranking_scores(observed, observed, 2.0)
    assert (itself.auroc, itself.aupr) == (1.0, 1.0)
    constant = ranking_scores(np.zeros_like(observed), observed, 2.0)
    assert constant.auroc == 0.5
    assert constant.aupr == pytest.approx(constant.n_positive / (constant.n_positive + constant.n_negative))


def test_ranking_scores__without_positives_are_undefined():
    scores = ranking_scores(np.arange(3.0), np.zeros(3), 2.0)
    assert np.isnan([scores.auroc, scores.aupr]).all()


def test_threshold_counts__blocks_add_up():
    prediction, observed = _draw(1)
    whole = ThresholdCounts.of_rows(prediction, observed, 2.0)
    parts = [ThresholdCounts.of_rows(prediction[c], observed[c], 2.0) for c in (slice(0, 7), slice(7, 40))]
    np.testing.assert_array_equal(ThresholdCounts.total(parts).positive, whole.positive)
    np.testing.assert_array_equal(ThresholdCounts.total(parts).negative, whole.negative)


def test_threshold_counts__are_the_prediction_cut_into_classes():
    prediction, observed = _draw(2, digits=3)
    cut = np.where(np.isnan(prediction), np.nan, np.searchsorted(PAPER_THRESHOLDS, prediction, side="right"))
    scores, expected = ThresholdCounts.of_rows(prediction, observed, 2.0).scores(), ranking_scores(cut, observed, 2.0)
    assert (scores.n_positive, scores.n_negative) == (expected.n_positive, expected.n_negative)
    assert (scores.auroc, scores.aupr) == pytest.approx((expected.auroc, expected.aupr), rel=1e-12)


def test_threshold_counts__curves_are_rates_at_each_threshold():
    prediction, observed = _draw(4)
    recall, fall_out, precision = ThresholdCounts.of_rows(prediction, observed, 2.0, (0.5, 1.5)).curves()
    both = ~(np.isnan(prediction) | np.isnan(observed))
    found, is_true = prediction[both] >= 1.5, observed[both] >= 2.0
    assert recall[0] == found[is_true].mean()
    assert fall_out[0] == found[~is_true].mean()
    assert precision[0] == is_true[found].mean()
    assert (recall[-1], fall_out[-1], precision[-1]) == (1.0, 1.0, is_true.mean())


def test_threshold_counts__refuse_thresholds_out_of_order():
    with pytest.raises(ValueError, match="ascend"):
        ThresholdCounts.of_rows(*_draw(0), 2.0, (1.0, 0.5))


def test_outcomes__mark_every_pixel():
    observed = np.array([3.0, 3.0, 0.0, 0.0, np.nan, 3.0])
    prediction = np.array([2.0, 0.0, 2.0, 0.0, 2.0, np.nan])
    expected = [TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_NEGATIVE, MISSING, MISSING]
    assert outcomes(prediction, observed, 2.0, 1.0).tolist() == expected
