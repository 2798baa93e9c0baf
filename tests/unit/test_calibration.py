"""Conformal factors against what exchangeable data must give, and intervals against their definition."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

from epizarr.calibration import (
    Calibration,
    conformal_factor,
    conformal_level,
    contact_interval,
    effective_pixels,
    error_scores,
    fit_calibration,
    predictor_id,
)
from epizarr.errors import CalibrationError
from epizarr.transforms import Transform

NAN = np.nan
ATTRS = {"checkpoint_sha256": "abc", "target": "ice"}


def heavy(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Scores far from those of a normal distribution."""
    return np.abs(rng.standard_t(2, shape))


def calibration_of(scores, **settings) -> Calibration:
    return fit_calibration(scores, predictor=predictor_id(ATTRS), fitted_on="A, chr1", **settings)


@pytest.mark.parametrize("n", [9, 10, 99, 500])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_conformal_factor__is_the_score_of_the_rank_that_exchangeability_asks_for(n, coverage):
    scores = np.random.default_rng(n).permutation(n) + 1.0
    assert conformal_factor(scores, coverage) == np.ceil(round((n + 1) * coverage, 9))


def test_conformal_factor__is_infinite_where_no_score_is_large_enough():
    assert conformal_factor(np.arange(18.0), 0.95) == np.inf
    assert conformal_factor(np.arange(19.0), 0.95) == 18.0
    assert conformal_factor(np.arange(1000.0), 0.95, n_effective=18) == np.inf
    assert np.isnan(conformal_factor(np.zeros(0), 0.5))


def test_conformal_level__rises_as_there_are_fewer_scores():
    levels = [conformal_level(0.9, n) for n in (10_000, 100, 20)]
    assert levels == sorted(levels)
    assert levels[0] == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_fit_calibration__covers_exchangeable_pixels(coverage):
    rng = np.random.default_rng(7)
    n_fit, n_new, n_diagonals = 400, 5_000, 40
    found = calibration_of([heavy(rng, n_fit, n_diagonals)], coverages=(coverage,))
    inside = heavy(rng, n_new, n_diagonals) <= found.factors[0]
    # Given n scores, the coverage of new ones is distributed as Beta(k, n + 1 - k), of mean k / (n + 1).
    k = np.ceil((n_fit + 1) * coverage)
    expected = k / (n_fit + 1)
    spread = np.sqrt(expected * (1 - expected) * (1 / (n_fit + 2) + 1 / n_new) / n_diagonals)
    # Independent pixels are now and then thought a little dependent, which only makes intervals wider.
    assert expected - 4 * spread < inside.mean() < expected + 4 * spread + 0.02
    assert (inside.sum(axis=0) > binom.ppf(1e-6, n_new, expected - 0.08)).all()


def test_fit_calibration__is_careful_with_pixels_that_repeat_each_other():
    rng = np.random.default_rng(1)
    plain, repeated = heavy(rng, 300, 20), np.repeat(heavy(rng, 30, 20), 10, axis=0)
    free, bound = calibration_of([plain]), calibration_of([repeated])
    assert bound.n_effective.mean() < 0.25 * free.n_effective.mean()
    assert (bound.n_pixels == free.n_pixels).all()
    assert np.isinf(calibration_of([np.repeat(heavy(rng, 10, 20), 10, axis=0)]).factors[-1]).mean() > 0.5


def test_effective_pixels__are_all_of_independent_ones_and_few_of_correlated_ones():
    rng = np.random.default_rng(3)
    independent = rng.random((4_000, 30))
    assert effective_pixels([independent]).mean() > 0.85 * 4_000
    smooth = np.apply_along_axis(np.convolve, 0, rng.normal(size=(4_000, 30)), np.ones(20), mode="same")
    # A moving sum of 20 has the autocorrelation time 20; of its sign rather less.
    assert 4_000 / 20 < effective_pixels([smooth]).mean() < 4_000 / 8


def test_effective_pixels__skip_gaps_and_do_not_join_regions():
    scores = np.random.default_rng(0).random((200, 3))
    scores[50:60], scores[:, 2] = NAN, NAN
    n = effective_pixels([scores, scores[:1]])
    assert (n[:2] <= 191).all()
    assert (n[:2] >= 1).all()
    assert n[2] == 0


def test_fit_calibration__leaves_a_diagonal_without_pixels_nan():
    scores = np.random.default_rng(0).random((200, 3))
    scores[:, 0] = NAN
    found = calibration_of([scores])
    assert np.isnan(found.factors[:, 0]).all()
    assert np.isfinite(found.factors[:, 1:]).all()
    assert found.n_pixels.tolist() == [0, 200, 200]


@pytest.mark.parametrize("coverages", [(), (0.9, 0.5), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_fit_calibration__refuses_coverages_that_are_none(coverages):
    with pytest.raises(CalibrationError, match="ascending numbers between 0 and 1"):
        calibration_of([np.ones((5, 2))], coverages=coverages)


def test_fit_calibration__refuses_nothing_to_fit_on():
    with pytest.raises(CalibrationError, match="no pixel has a truth"):
        calibration_of([np.full((5, 2), NAN)])


def test_error_scores__are_errors_in_standard_deviations():
    truth, mean, sd = (
        np.array([[3.0, 1.0, 2.0, NAN]]),
        np.array([[1.0, 1.0, 1.0, 1.0]]),
        np.array([[4.0, 0.0, 0.0, 1.0]]),
    )
    np.testing.assert_array_equal(error_scores(truth, mean, sd), [[0.5, 0.0, np.inf, NAN]])


def test_calibration__reads_back_what_it_wrote():
    scores = np.random.default_rng(0).random((12, 3))
    scores[:, 0] = NAN
    found = calibration_of([scores])  # twelve pixels are too few for 95 %
    read = Calibration.from_json(found.to_json(), "file")
    assert np.isinf(found.factors).any()
    np.testing.assert_array_equal(read.factors, found.factors)
    np.testing.assert_array_equal(read.n_pixels, found.n_pixels)
    np.testing.assert_allclose(read.n_effective, found.n_effective, atol=0.006)
    assert (read.predictor, read.coverages, read.fitted_on) == (found.predictor, found.coverages, found.fitted_on)
    assert read.to_json() == found.to_json()


@pytest.mark.parametrize("text", ["", "{}", '{"calibration_format": 9}', "[1]"])
def test_calibration__refuses_another_file(text):
    with pytest.raises(CalibrationError, match=r"here\.json: cannot be read .*`epizarr calibrate`"):
        Calibration.from_json(text, "here.json")


def prediction(transform: str = "obs_over_exp_log1p", **more) -> xr.Dataset:
    steps = {"obs_over_exp_log1p": ("obs_over_exp", "log1p"), "linear": ()}[transform]
    params = {"obs_over_exp": {"expected": [0.0, 2.0, 1.0]}} if steps else {}
    contact = np.array([[NAN, 2.0, 0.1], [NAN, 5.0, NAN]], dtype=np.float32)
    return xr.Dataset(
        {
            "contact": (("bin", "diagonal"), contact),
            "transformed_sd": (("bin", "diagonal"), np.where(np.isnan(contact), NAN, 0.2).astype(np.float32)),
            **more,
        },
        coords={"diagonal": [0, 1, 2]},
        attrs={**ATTRS, "transform": Transform(transform, steps, params).to_json()},
    )


def factors(values) -> Calibration:
    n = np.ones(3)
    return Calibration(predictor_id(ATTRS), (0.5, 0.9), np.array(values, dtype=float), n.astype(int), n, "A")


def test_contact_interval__is_the_interval_of_the_transformed_target_transformed_back():
    found = contact_interval(prediction(), 0.9, factors([[NAN, 0.5, 0.5], [NAN, 2.0, 3.0]]))
    mean = np.log1p(np.array([2.0, 5.0]) / 2.0)
    np.testing.assert_allclose(found["lower"][:, 1], np.expm1(mean - 0.4) * 2.0, rtol=1e-5)
    np.testing.assert_allclose(found["upper"][:, 1], np.expm1(mean + 0.4) * 2.0, rtol=1e-5)
    assert found["lower"].values[0, 2] == 0  # log1p(0.1) - 0.6 is below zero, and no contact is
    assert np.isnan(found["upper"].values[1, 2])
    assert np.isnan(found["upper"].values[:, 0]).all()


def test_contact_interval__without_enough_pixels_holds_everything():
    found = contact_interval(prediction(), 0.9, factors(np.full((2, 3), np.inf)))
    assert (found["lower"].values[:, 1], found["upper"].values[:, 1]) == (
        pytest.approx(np.zeros(2)),
        pytest.approx(np.full(2, np.inf)),
    )


def test_contact_interval__of_signed_values_goes_below_zero():
    signed = prediction("linear").assign_attrs(target="akita")
    found = contact_interval(signed, 0.5, factors([[1.0] * 3, [2.0] * 3]))
    assert found["lower"].values[0, 2] == pytest.approx(-0.1)


def test_contact_interval__takes_the_factors_kept_with_the_prediction_and_is_lazy():
    kept = {"interval_factor": (("coverage", "diagonal"), np.array([[NAN, 1.0, 1.0]])), "coverage": ("coverage", [0.8])}
    found = contact_interval(prediction(**kept).chunk({"bin": 1}), 0.8)
    assert found["upper"].chunks
    given = contact_interval(prediction(), 0.9, factors([[1.0] * 3, [NAN, 1.0, 1.0]]))
    np.testing.assert_array_equal(found["upper"].values, given["upper"].values)


@pytest.mark.parametrize(
    ("change", "coverage", "calibration", "says"),
    [
        (lambda ds: ds.drop_vars("transformed_sd"), 0.9, None, "has no transformed_sd"),
        (lambda ds: ds, 0.9, None, "has no interval_factor"),
        (lambda ds: ds, 0.7, factors(np.ones((2, 3))), r"coverages \[0.5, 0.9\], not for 0.7"),
        (lambda ds: ds.assign_attrs(members="x"), 0.9, factors(np.ones((2, 3))), "another predictor"),
    ],
)
def test_contact_interval__says_what_is_missing(change, coverage, calibration, says):
    with pytest.raises(CalibrationError, match=says):
        contact_interval(change(prediction()), coverage, calibration)


def test_predictor_id__knows_the_members_and_not_the_tiles():
    assert predictor_id(ATTRS) == predictor_id({**ATTRS, "settings": json.dumps({"tile_bins": 3})})
    assert predictor_id(ATTRS) != predictor_id({**ATTRS, "members": "two"})
    assert predictor_id(ATTRS) != predictor_id({**ATTRS, "checkpoint_sha256": "abd"})
