"""Quantile functions of tracks and the matching of one to another: ranks, ties, missing values, and depth."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import poisson

from epizarr.errors import TransformError
from epizarr.quantiles import (
    QuantileFunction,
    fit_quantiles,
    match_background,
    match_quantiles,
    match_to,
)
from epizarr.simulate import DEFAULT, simulate_world
from epizarr.simulate.tracks import sample_tracks

#: Few different values, so that ties are many, and some missing.
small_tracks = npst.arrays(
    np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, 7.5, float("nan")])
).filter(lambda track: not np.isnan(track).all())
#: Any float32 values.
any_tracks = npst.arrays(np.float32, st.integers(1, 60), elements=st.floats(-50, 1e6, width=32))


def known(track: np.ndarray) -> np.ndarray:
    return np.sort(track[~np.isnan(track)].astype(np.float64))


@given(any_tracks)
def test_fit_quantiles__is_the_empirical_one_where_values_are_few(track):
    fitted, ordered = fit_quantiles(track), known(track)
    middle = (np.arange(len(ordered)) + 0.5) / len(ordered)
    np.testing.assert_array_equal(fitted.quantile(middle), ordered)


@given(small_tracks, st.integers(1, 50))
def test_fit_quantiles__does_not_ask_how_bins_are_cut_into_blocks(track, cut):
    whole, parts = fit_quantiles(track), fit_quantiles([track[:cut], track[cut:]])
    assert whole.to_params() == parts.to_params()


@given(any_tracks)
def test_fit_quantiles__is_the_same_after_json(track):
    fitted = fit_quantiles(track)
    again = QuantileFunction.from_params(json.loads(json.dumps(fitted.to_params())))
    np.testing.assert_array_equal(again.values, fitted.values)
    np.testing.assert_array_equal(again.upto, fitted.upto)


@given(small_tracks, small_tracks)
def test_match_quantiles__ties_become_the_mean_of_the_reference_at_their_ranks(own, reference):
    # Repeated until both have the same number of bins, the k-th smallest of one goes with the k-th of the other.
    n = len(known(own)) * len(known(reference))
    mine = np.repeat(known(own), n // len(known(own)))
    theirs = np.repeat(known(reference), n // len(known(reference)))
    expected = {v: theirs[mine == v].mean() for v in np.unique(mine)}
    out = match_quantiles(fit_quantiles(own), fit_quantiles(reference)).apply(own.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(out), np.isnan(own))
    has = ~np.isnan(own)
    np.testing.assert_allclose(out[has], [expected[v] for v in own[has].astype(np.float64)], rtol=1e-9, atol=1e-9)


@given(any_tracks, any_tracks, any_tracks)
def test_match_quantiles__is_monotone_and_stays_within_the_reference(own, reference, other):
    matched = match_quantiles(fit_quantiles(own), fit_quantiles(reference)).apply(np.sort(other).astype(np.float64))
    assert (np.diff(matched) >= 0).all()
    assert matched.min() >= reference.min()
    assert matched.max() <= reference.max()


@given(any_tracks)
def test_match_quantiles__to_itself_changes_nothing(track):
    fitted = fit_quantiles(track)
    np.testing.assert_allclose(match_quantiles(fitted, fitted).apply(track), track, rtol=1e-6, atol=1e-6)


@given(small_tracks, st.sampled_from([0.25, 0.5, 3.0]))
def test_match_quantiles__does_not_ask_for_units(track, factor):
    reference = fit_quantiles(np.array([0.0, 1.0, 2.0, 9.0]))
    ours, theirs = (
        match_quantiles(fit_quantiles(t), reference).apply(t.astype(np.float64)) for t in (track, track * factor)
    )
    np.testing.assert_allclose(theirs, ours, rtol=1e-12)


def test_match_quantiles__zeros_stay_zero_under_a_reference_with_more_of_them():
    own, reference = np.array([0.0] * 3 + [1.0, 2.0, 3.0, 4.0]), np.array([0.0] * 5 + [10.0, 20.0])
    np.testing.assert_array_equal(match_quantiles(fit_quantiles(own), fit_quantiles(reference)).apply(own[:3]), 0.0)


def test_match_quantiles__follows_the_reference_between_its_knots():
    # Many different values in both: knots are chosen, the distribution between them is linear.
    rng = np.random.default_rng(0)
    own, reference = rng.gamma(2.0, size=200_000), 3.0 * rng.exponential(size=150_000)
    fitted = fit_quantiles(own), fit_quantiles(reference)
    assert max(len(f.values) for f in fitted) <= 512
    out = np.sort(match_quantiles(*fitted).apply(own))
    middle = [(np.arange(n) + 0.5) / n for n in (len(own), len(reference))]
    expected = np.interp(middle[0], middle[1], np.sort(reference))
    # One of our last bins stands for less than one of theirs, and the last for the mean over it.
    np.testing.assert_allclose(out[:-100], expected[:-100], rtol=0.01, atol=0.005)
    np.testing.assert_allclose(out[-100:], expected[-100:], rtol=0.05)
    assert out.mean() == pytest.approx(reference.mean(), rel=2e-3)


def test_fit_quantiles__keeps_the_exact_share_of_a_common_value():
    rng = np.random.default_rng(0)
    track = np.where(rng.random(50_000) < 0.3, 0.0, rng.gamma(2.0, size=50_000))
    fitted = fit_quantiles(track)
    assert (fitted.values[0], fitted.upto[0]) == (0.0, (track == 0).mean())


def test_match_background__multiplies():
    reference, own = fit_quantiles(np.arange(100.0)), fit_quantiles(np.arange(100.0) / 8)
    values = np.array([0.0, 2.0, np.nan, -1.0, 1e9])
    np.testing.assert_allclose(match_background(own, reference).apply(values), values * 8, rtol=1e-12)


def test_match_background__refuses_a_track_of_peaks():
    with pytest.raises(TransformError, match="this file's is 0"):
        match_background(fit_quantiles(np.array([0.0] * 99 + [5.0])), fit_quantiles(np.ones(3)))


@pytest.mark.parametrize("match", ["quantile", "background"])
def test_match_to__works_in_place_and_keeps_dtype_and_missing(match):
    track = np.array([[0.0, 1.0, np.nan], [2.0, 4.0, 1.0]], dtype=np.float32)
    params = {"match": match, "reference": fit_quantiles(track * 10).to_params()}
    values = track.copy()
    match_to(params, fit_quantiles(track)).apply_in_place(values)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, track * 10, rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"match": "quantile"}, r"needs \['reference'\]"),
        ({"match": "quantil", "reference": {}}, "Did you mean 'quantile'"),
        ({"match": "quantile", "reference": {}}, "has values, below, upto"),
        (
            {
                "match": "quantile",
                "reference": {"values": [1.0, 0.0], "below": [0, 0.5], "upto": [0.5, 1], "n_bins": 2},
            },
            "increasing values",
        ),
    ],
)
def test_match_to__refuses_what_it_cannot_use(params, message):
    with pytest.raises(TransformError, match=message):
        match_to(params, fit_quantiles(np.ones(3)))


@pytest.mark.parametrize("values", [np.full(3, np.nan), np.empty(0), [], np.array([1.0, np.inf])])
def test_fit_quantiles__refuses_unmeasured_and_infinite(values):
    with pytest.raises(TransformError, match="cannot be fitted"):
        fit_quantiles(values)


def simulated_reads(reads_per_100bp: float) -> np.ndarray:
    """Reads in each 100-bp bin of 4 Mb of simulated CTCF; gaps are left out."""
    config = replace(DEFAULT, reads_per_100bp=reads_per_100bp)
    world = simulate_world(config, 7, "A")
    signal = np.concatenate([sample_tracks(world, "sim1", block)[1][4] for block in range(4)])
    return np.rint(signal[~np.isnan(signal)] * reads_per_100bp).astype(np.int64)


def changes(full: np.ndarray, half: np.ndarray, match) -> tuple[float, float]:
    """Root mean square change of log(1 + value) from full to half depth, without and with matching to the full track."""
    matched = match(fit_quantiles(half), fit_quantiles(full)).apply(half)
    return tuple(float(np.sqrt(np.mean((np.log1p(v) - np.log1p(full)) ** 2))) for v in (half, matched))  # type: ignore[return-value]


@pytest.mark.parametrize("match", [match_quantiles, match_background])
def test_match__half_the_depth_barely_changes_a_deep_coverage(match):
    reads = simulated_reads(400.0)
    half = np.random.default_rng(0).binomial(reads, 0.5)
    without, matched = changes(reads / 400, half / 400, match)
    assert without > 0.24
    assert matched < 0.03


def test_match_quantiles__at_usual_depth_half_the_reads_add_their_noise_and_no_bias():
    # 5 reads a bin: single bins are noisy, but 10-kb means of the signal (a bin of the map) are not.
    reads = simulated_reads(5.0)
    half = np.random.default_rng(0).binomial(reads, 0.5) / 5
    full = reads / 5
    matched = match_quantiles(fit_quantiles(half), fit_quantiles(full)).apply(half)

    def by_10_kb(track: np.ndarray) -> np.ndarray:
        return np.log1p(track)[: len(track) // 100 * 100].reshape(-1, 100).mean(axis=1)

    assert np.abs(by_10_kb(half) - by_10_kb(full)).mean() > 0.2
    assert np.abs(by_10_kb(matched) - by_10_kb(full)).mean() < 0.03
    peaks = full >= np.quantile(full, 0.99)
    assert abs(np.log1p(matched[peaks]).mean() - np.log1p(full[peaks]).mean()) < 0.05
    assert abs(np.log1p(half[peaks]).mean() - np.log1p(full[peaks]).mean()) > 0.5


def test_match_quantiles__half_the_depth_keeps_the_peaks_of_p_values_where_one_factor_does_not():
    reads = simulated_reads(5.0)
    half = np.random.default_rng(0).binomial(reads, 0.5)

    def score(count: np.ndarray) -> np.ndarray:
        return np.minimum(-poisson.logsf(count - 1, count.mean()) / np.log(10), 300)

    full, shallow = score(reads), score(half)
    fitted = fit_quantiles(shallow), fit_quantiles(full)
    peaks = full >= np.quantile(full, 0.995)

    def lost(track: np.ndarray) -> float:
        return float(np.log1p(full[peaks]).mean() - np.log1p(track[peaks]).mean())

    assert lost(shallow) > 0.4
    assert lost(match_background(*fitted).apply(shallow)) > 0.4
    assert abs(lost(match_quantiles(*fitted).apply(shallow))) < 0.05
