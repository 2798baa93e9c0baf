"""HiC-DC+ on small chromosomes made here: rows, covariates, sample, fit, values, and what is refused."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from epizarr.errors import FitError, NormalizationError
from epizarr.normalize.hicdcplus import (
    HicdcplusFit,
    HicdcplusSettings,
    PairGeometry,
    PairRows,
    evaluate,
    expected_counts,
    fit_hicdcplus,
    p_values,
    q_values,
)
from epizarr.normalize.hicdcplus_pairs import draw_sample

BINSIZE = 10_000
SETTINGS = HicdcplusSettings(max_distance=200_000, max_result_distance=200_000, sample_fraction=0.5)


def make_rows(
    n_bins=400, seed=0, chrom="chr1", theta=1.5, depth=40.0, features=True, length=None, max_distance=200_000
):
    """A chromosome drawn from a model of distance and two covariates; its last bin is short."""
    rng = np.random.default_rng(seed)
    geometry = PairGeometry(length or n_bins * BINSIZE - 3_001, BINSIZE, max_distance)
    names = {}
    if features:
        names = {"gc": rng.uniform(0.3, 0.6, n_bins), "len": rng.uniform(2000, 9000, n_bins)}
        names["len"][n_bins // 4 : n_bins // 4 + 10] = 0
    counts = np.full((n_bins, geometry.n_diagonals), np.nan, dtype=np.float32)
    for k in range(geometry.n_diagonals):
        log_mu = np.full(n_bins - k, np.log(depth) - np.log(k + 1))
        if features:
            gc, length_ = np.log(names["gc"]), np.log(np.maximum(names["len"], 1))
            log_mu += 0.5 * (gc[: n_bins - k] + gc[k:] + 1.6) + 0.4 * (length_[: n_bins - k] + length_[k:] - 17)
        counts[: n_bins - k, k] = rng.poisson(np.exp(log_mu) * rng.gamma(theta, 1 / theta, n_bins - k))
    return PairRows(chrom, geometry, counts, names)


def every_pair(geometry):
    """(i, k, D) of all pairs, by the definition: midpoints of the true bins, halves rounded down."""
    starts = np.arange(geometry.n_bins) * geometry.binsize
    ends = np.minimum(starts + geometry.binsize, geometry.length)
    for i in range(geometry.n_bins):
        for j in range(i, geometry.n_bins):
            d = abs(int(starts[i] + ends[i]) - int(starts[j] + ends[j])) // 2
            if j - i <= round(geometry.max_distance / geometry.binsize) and d <= geometry.max_distance:
                yield i, j - i, d


def row_band(rows):
    geometry = rows.geometry
    out = np.zeros((geometry.n_bins, geometry.n_diagonals), dtype=bool)
    for k in range(geometry.n_diagonals):
        out[: geometry.n_bins - k, k] = rows.is_row(k)
    return out


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def fitted(rows):
    return fit_hicdcplus(rows, SETTINGS, seed=1)


# rows and covariates


@pytest.mark.parametrize(
    ("length", "binsize", "max_distance"),
    [(95, 10, 40), (100, 10, 40), (91, 10, 43), (99, 10, 47), (35, 10, 200), (4, 10, 40)],
)
def test_pair_geometry__distances_follow_their_definition(length, binsize, max_distance):
    geometry = PairGeometry(length, binsize, max_distance)
    rows = PairRows("chr1", geometry, np.zeros((geometry.n_bins, geometry.n_diagonals)))
    expected = {(i, k): d for i, k, d in every_pair(geometry)}
    found = {}
    for i, k in np.argwhere(row_band(rows)):
        at_last = i + k == geometry.n_bins - 1
        found[int(i), int(k)] = int((geometry.distance_to_last if at_last else geometry.distance)[k])
    assert found == expected


def test_pair_rows__leave_out_bins_without_length_or_covariate_and_missing_counts():
    rows = make_rows(n_bins=60)
    rows.features["gc"][5] = np.nan
    rows.features["gc"][7] = 0
    rows.counts[20, 3] = np.nan
    no_length = set(range(15, 25))
    for i, k in itertools.product(range(60), range(21)):
        wanted = i + k < 60 and not {i, i + k} & (no_length | {5}) and (i, k) != (20, 3)
        assert row_band(rows)[i, k] == wanted


def test_pair_rows__covariates_are_scaled_over_all_pairs_with_a_product():
    rows = make_rows(n_bins=60)
    pairs = [(i, i + k) for i, k, _ in every_pair(rows.geometry)]
    for name, feature in rows.features.items():
        products = np.array([feature[i] * feature[j] for i, j in pairs])
        logs = np.log(products[products > 0])
        np.testing.assert_allclose(rows.scaling[name], (logs.mean(), logs.std(ddof=1)))


def test_pair_rows__counts_that_are_not_whole_are_refused():
    rows = make_rows(n_bins=60)
    rows.counts[12, 4] = 2.5
    with pytest.raises(
        NormalizationError, match=r"chromosome chr1: the count of bins 12 and 16 is 2\.5; .* unbalanced map"
    ):
        PairRows("chr1", rows.geometry, rows.counts)


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_pair_rows__impossible_counts_are_refused(value):
    counts = np.zeros((60, 21))
    counts[3, 0] = value
    with pytest.raises(NormalizationError, match="bins 3 and 3"):
        PairRows("chr1", PairGeometry(600_000, BINSIZE, 200_000), counts)


def test_pair_rows__a_band_without_the_last_diagonal_is_refused():
    with pytest.raises(NormalizationError, match=r"shape \(60, 20\).*60 bins and at least 21 diagonals"):
        PairRows("chr1", PairGeometry(600_000, BINSIZE, 200_000), np.zeros((60, 20)))


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (np.full(60, -0.1), "'gc' is -0.1 at bin 0"),
        (np.full(60, np.inf), "'gc' is inf"),
        (np.ones(59), r"shape \(59,\)"),
    ],
)
def test_pair_rows__impossible_covariates_are_refused(feature, message):
    with pytest.raises(NormalizationError, match=message):
        PairRows("chr1", PairGeometry(600_000, BINSIZE, 200_000), np.zeros((60, 21)), {"gc": feature})


# sample


def test_draw_sample__takes_the_fraction_of_each_class_of_distance_zero_and_not():
    rows = make_rows(depth=2)
    sample = draw_sample(rows, 0.3, 0, 0, 200_000)
    band = row_band(rows)
    assert not sample[~band].any()
    n_bins = rows.geometry.n_bins
    at_last = np.add.outer(np.arange(n_bins), np.arange(21)) == n_bins - 1
    # The last bin is short: its pair at diagonal k belongs to the class of diagonal k - 1; diagonal 20 joins diagonal 19.
    class_of = np.broadcast_to(np.arange(21), band.shape) - (at_last & (np.arange(21) > 0))
    class_of = np.minimum(class_of, 19)
    for c in range(20):
        for zero in (True, False):
            stratum = band & (class_of == c) & ((rows.counts == 0) == zero)
            assert sample[stratum].sum() == int(0.3 * stratum.sum())


def test_draw_sample__depends_on_seed_and_name_only(rows):
    first = draw_sample(rows, 0.1, 3, 0, 200_000)
    np.testing.assert_array_equal(draw_sample(rows, 0.1, 3, 0, 200_000), first)
    for seed, chrom in ((4, "chr1"), (3, "chr2")):
        other = PairRows(chrom, rows.geometry, rows.counts, rows.features)
        assert (draw_sample(other, 0.1, seed, 0, 200_000) != first).any()


def test_draw_sample__draws_rows_outside_the_results_too(rows):
    sample = draw_sample(rows, 0.5, 0, 50_000, 100_000)
    assert sample[:, 0].any()
    assert sample[:, 20].any()


# fit


def test_fit_hicdcplus__recovers_overdispersion_and_covariates():
    """The first fit's theta: the second leaves the largest counts out on purpose."""
    rows = make_rows(n_bins=1500, seed=3)
    model, outlier = fit_hicdcplus(rows, replace(SETTINGS, sample_fraction=1.0))
    assert abs(1 / model.first_alpha - 1.5) < 0.05  # sampling error 0.013
    assert model.theta > 1 / model.first_alpha
    assert 0.01 < outlier.sum() / model.n_sample < 0.04
    assert (model.n_outliers, model.n_rows) == (outlier.sum(), row_band(rows).sum())
    # Standard errors from the Fisher information; the covariates are independent of each other and of distance.
    i, k = np.nonzero(row_band(rows))
    mu = expected_counts(model, rows.features)[i, k]
    for name, beta, truth in zip(model.covariates, model.covariate_beta, (0.5, 0.4), strict=True):
        log, (mean, sd) = rows.log_features[name], rows.scaling[name]
        error = 1 / np.sqrt(np.sum(mu / (1 + model.alpha * mu) * ((log[i] + log[i + k] - mean) / sd) ** 2))
        assert error < 0.01
        assert abs(beta - truth * sd) < 4 * error


def test_fit_hicdcplus__outliers_lie_above_the_quantile_of_the_first_fit():
    """With the log of distance the first fit's mean can be rebuilt: no outliers are left out of a fit that is refitted."""
    rows = make_rows(features=False)
    settings = replace(SETTINGS, sample_fraction=1.0, distance="log")
    everything = row_band(rows)
    model, outlier = fit_hicdcplus(rows, settings, sample=everything)
    from epizarr.normalize.grouped_design import GroupedDesign
    from epizarr.normalize.negative_binomial import fit_negative_binomial

    i, k = np.nonzero(everything)
    distance = np.where(i + k == rows.geometry.n_bins - 1, rows.geometry.distance_to_last[k], rows.geometry.distance[k])
    columns = np.log2(distance + 1.0)[None]
    counts = rows.counts[i, k].astype(int)
    names = ("intercept", "log distance")
    first = fit_negative_binomial(
        counts, GroupedDesign(np.ones((1, 1)), np.array([len(i)]), columns, names), what="chromosome test"
    )
    mu = np.exp(first.beta[0] + first.beta[1] * columns[0])
    above = counts > stats.nbinom.ppf(0.975, first.theta, first.theta / (first.theta + mu))
    np.testing.assert_array_equal(outlier[i, k], above)
    kept = GroupedDesign(np.ones((1, 1)), np.array([(~above).sum()]), columns[:, ~above], names)
    second = fit_negative_binomial(counts[~above], kept, what="chromosome test")
    np.testing.assert_allclose(
        [model.intercept, *model.distance_beta, model.theta], [*second.beta, second.theta], rtol=1e-8
    )


def test_fit_hicdcplus__does_not_depend_on_other_chromosomes_or_their_order():
    chromosomes = [make_rows(n_bins=120, seed=i, chrom=f"chr{i}") for i in (1, 2)]
    forward = {rows.chrom: fit_hicdcplus(rows, SETTINGS, seed=5)[0] for rows in chromosomes}
    backward = {rows.chrom: fit_hicdcplus(rows, SETTINGS, seed=5)[0] for rows in reversed(chromosomes)}
    assert forward == backward


def test_fit_hicdcplus__an_empty_main_diagonal_is_fitted_as_zeros(rows):
    counts = rows.counts.copy()
    counts[:, 0] = 0
    model, _ = fit_hicdcplus(PairRows("chr1", rows.geometry, counts, rows.features), SETTINGS)
    assert 0 < model.theta < 1.5  # zeros among counts of 40 look like overdispersion
    assert np.isfinite(model.distance_beta).all()


def test_fit_hicdcplus__missing_main_diagonal_is_left_out(rows):
    counts = rows.counts.copy()
    counts[:, 0] = np.nan
    model, _ = fit_hicdcplus(PairRows("chr1", rows.geometry, counts, rows.features), SETTINGS)
    assert model.boundary[0] == rows.geometry.distance_to_last[1]
    found = evaluate(model, counts, rows.features)
    assert np.isnan(found.mu[:, 0]).all()
    assert np.isfinite(found.mu[:50, 1:]).all()


def test_fit_hicdcplus__a_covariate_without_effect_has_coefficient_0(rows):
    features = {**rows.features, "map": np.zeros(400), "width": np.full(400, 3.0)}
    model, _ = fit_hicdcplus(PairRows("chr1", rows.geometry, rows.counts, features), SETTINGS, seed=1)
    expected, _ = fit_hicdcplus(rows, SETTINGS, seed=1)
    assert model.covariates == ("gc", "len", "map", "width")
    assert model.covariate_beta == (*expected.covariate_beta, 0.0, 0.0)
    np.testing.assert_array_equal(expected_counts(model, features), expected_counts(expected, rows.features))


def test_fit_hicdcplus__collinear_covariates_are_refused_by_name(rows):
    features = {**rows.features, "gc2": rows.features["gc"] ** 2}
    with pytest.raises(FitError, match=r"chromosome chr1: columns \['gc', 'gc2'\] are collinear"):
        fit_hicdcplus(PairRows("chr1", rows.geometry, rows.counts, features), SETTINGS)


def test_fit_hicdcplus__counts_that_stop_short_of_the_range_are_refused(rows):
    counts = rows.counts.copy()
    counts[:, 8:] = np.where(np.isnan(counts[:, 8:]), np.nan, 0)
    with pytest.raises(FitError, match=r"chromosome chr1: .* did not converge .*hold no count at all"):
        fit_hicdcplus(PairRows("chr1", rows.geometry, counts, rows.features), SETTINGS)


def test_fit_hicdcplus__a_map_so_sparse_that_every_count_is_an_outlier_is_refused():
    rows = make_rows(n_bins=1500, depth=0.15, features=False)
    assert rows.counts[:1000, 12:].any()
    message = r"chromosome chr1: .*The first fit converged, but its \d+ outliers are all the counts .*too sparse"
    with pytest.raises(FitError, match=message):
        fit_hicdcplus(rows, SETTINGS)


@pytest.mark.parametrize(
    ("n_bins", "value", "message"),
    [
        (60, 0.0, r"all 1,050 counts are 0.*Leave the chromosome out"),
        (60, np.nan, "no pair of its 60 bins is a row"),
        (1, 5.0, "lie at 1 distances"),
        (6, 5.0, "lie at 6 distances"),
    ],
)
def test_fit_hicdcplus__a_chromosome_with_too_little_is_refused(n_bins, value, message):
    geometry = PairGeometry(n_bins * BINSIZE, BINSIZE, 200_000)
    rows = PairRows("chrM", geometry, np.full((n_bins, geometry.n_diagonals), value))
    with pytest.raises(FitError, match=rf"chromosome chrM: .*{message}"):
        fit_hicdcplus(rows, SETTINGS)


def test_fit_hicdcplus__a_sample_of_what_is_no_row_is_refused(rows):
    sample = row_band(rows)
    sample[100, 0] = True  # its len is 0
    with pytest.raises(NormalizationError, match="marks 1 pairs that are no rows"):
        fit_hicdcplus(rows, SETTINGS, sample=sample)


def test_fit_hicdcplus__a_sample_with_nothing_in_it_is_refused():
    rows = make_rows(n_bins=30, features=False)
    with pytest.raises(FitError, match="the sample is empty; fit a larger sample"):
        fit_hicdcplus(rows, replace(SETTINGS, sample_fraction=0.01))


def test_fit_hicdcplus__another_range_than_the_rows_is_refused(rows):
    with pytest.raises(NormalizationError, match="reach 200,000 bp and the settings ask for 2,000,000 bp"):
        fit_hicdcplus(rows, HicdcplusSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_fraction": 0.0},
        {"sample_fraction": 1.1},
        {"max_distance": 0},
        {"min_result_distance": 5, "max_result_distance": 5},
        {"distance": "cubic"},
        {"df": 3},
        {"knots": "even"},
    ],
)
def test_hicdcplus_settings__out_of_range_are_refused(wrong):
    with pytest.raises(NormalizationError, match=next(iter(wrong))):
        HicdcplusSettings(**wrong)


# values


def test_evaluate__is_oe_and_zscore_of_the_count(rows, fitted):
    model, _ = fitted
    found = evaluate(model, rows.counts, rows.features)
    band = row_band(rows)
    assert np.isfinite(found.oe[band]).all()
    assert np.isnan(found.mu[~band]).all()
    np.testing.assert_allclose(found.oe[band], rows.counts[band] / found.mu[band])
    sdev = np.sqrt(found.mu + found.mu**2 / model.theta)
    np.testing.assert_allclose(found.zscore[band], ((rows.counts - found.mu) / sdev)[band])
    assert (found.oe[band & (rows.counts == 0)] == 0).all()


def test_evaluate__a_missing_count_stays_missing(rows, fitted):
    counts = rows.counts.copy()
    counts[50, 2] = np.nan
    found = evaluate(fitted[0], counts, rows.features)
    p = p_values(fitted[0], counts, found.mu)
    assert np.isnan([found.oe[50, 2], found.zscore[50, 2], p[50, 2]]).all()
    assert np.isfinite(found.mu[50, 2])


def test_evaluate__values_outside_the_results_are_missing(rows):
    settings = replace(SETTINGS, min_result_distance=20_000, max_result_distance=100_000)
    model, _ = fit_hicdcplus(rows, settings, seed=1)
    found = evaluate(model, rows.counts, rows.features)
    n_bins = rows.geometry.n_bins
    assert np.isnan(found.mu[:, :2]).all()
    assert np.isnan(found.mu[: n_bins - 12, 11:]).all()
    assert np.isfinite(found.mu[:50, 2:11]).all()
    # The pair with the short last bin at diagonal 2 is nearer than 20 kb, that at diagonal 11 farther than 100 kb.
    assert np.isnan([found.mu[n_bins - 3, 2], found.mu[n_bins - 12, 11]]).all()
    assert np.isfinite(found.mu[n_bins - 11, 10])


def test_expected_counts__follow_the_formula_pair_by_pair(rows, fitted):
    model, _ = fitted
    mu = expected_counts(model, rows.features)
    for i, k in ((0, 0), (37, 5), (399, 0), (390, 9), (380, 19), (200, 20)):
        at_last = i + k == rows.geometry.n_bins - 1
        d = (rows.geometry.distance_to_last if at_last else rows.geometry.distance)[[k]]
        expected = model.log_mean_of_distance(d)[0]
        for name, mean, sd, beta in zip(
            model.covariates, model.covariate_mean, model.covariate_sd, model.covariate_beta, strict=True
        ):
            expected += beta * (np.log(rows.features[name][i] * rows.features[name][i + k]) - mean) / sd
        np.testing.assert_allclose(mu[i, k], np.exp(expected), rtol=1e-10)


def test_expected_counts__a_feature_of_0_counts_as_the_average(rows, fitted):
    features = {**rows.features, "gc": rows.features["gc"].copy()}
    features["gc"][10] = 0
    found, usual = (expected_counts(fitted[0], f)[10, 3] for f in (features, rows.features))
    z = (np.log(rows.features["gc"][10] * rows.features["gc"][13]) - fitted[0].covariate_mean[0]) / fitted[
        0
    ].covariate_sd[0]
    np.testing.assert_allclose(found, usual / np.exp(fitted[0].covariate_beta[0] * z))


def test_expected_counts__beyond_the_fit_is_missing(rows, fitted):
    mu = expected_counts(fitted[0], rows.features, n_diagonals=30)
    assert np.isnan(mu[:, 21:]).all()
    np.testing.assert_array_equal(mu[:, :21], expected_counts(fitted[0], rows.features))


def test_expected_counts__other_covariates_than_fitted_are_refused(rows, fitted):
    with pytest.raises(NormalizationError, match=r"missing here are \['len'\], and \['lenn'\].*Did you mean 'len'"):
        expected_counts(fitted[0], {"gc": rows.features["gc"], "lenn": rows.features["len"]})


def test_expected_counts__a_block_off_the_chromosome_is_refused(rows, fitted):
    with pytest.raises(NormalizationError, match="bins 390 to 410 are asked of the 400"):
        expected_counts(fitted[0], rows.features, first=390, n_rows=20)


def test_hicdcplus_fit__json_reads_back_exactly(fitted):
    model, _ = fitted
    assert HicdcplusFit.from_json(model.to_json()) == model


def test_hicdcplus_fit__without_overdispersion_is_json_too(fitted):
    model = replace(fitted[0], alpha=0.0)
    assert model.theta == np.inf
    assert json.loads(model.to_json())["alpha"] == 0
    counts, mu = np.array([[0.0, 3.0]]), np.array([[1.0, 2.0]])
    np.testing.assert_allclose(p_values(model, counts, mu), [[1, stats.poisson.sf(2, 2.0)]])


def test_q_values__are_benjamini_hochberg_over_all_values():
    rng = np.random.default_rng(0)
    p = np.where(rng.random((30, 20)) < 0.6, 1.0, rng.random((30, 20)) ** 3)
    p[3, 4:8] = np.nan
    p[5, 5:8] = p[5, 4]
    q = q_values(p)
    valid = ~np.isnan(p)
    np.testing.assert_allclose(q[valid], stats.false_discovery_control(p[valid]))
    np.testing.assert_array_equal(np.isnan(q), ~valid)
