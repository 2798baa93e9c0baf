"""HiC-DC+ against the original R package, on real 50-kb maps of chr21 and chr22; tables are read from EPIZARR_SHARED."""

import json

import numpy as np
import pandas as pd
import pytest

from epizarr.normalize.hicdcplus import (
    HicdcplusFit,
    HicdcplusSettings,
    PairGeometry,
    PairRows,
    evaluate,
    fit_hicdcplus,
    p_values,
    q_values,
)

pytestmark = pytest.mark.reference

#: The covariates at 100 kb are of hg38, and so are the regions of those runs; all else is hg19.
LENGTHS = {("chr21", 50_000): 48_129_895, ("chr22", 50_000): 51_304_566, ("chr22", 100_000): 50_818_468}
ALL_ROWS = HicdcplusSettings(sample_fraction=1.0)

#: Runs in which both of R's fits reached the maximum, with the settings they were made with.
CONVERGED = {
    **{f"{label}_50kb_Donly_ssize1": ALL_ROWS for label in ("HMEC_chr21", "HMEC_chr22")},
    **{f"NSD2HIGH_{chrom}_50kb_Donly_ssize1": ALL_ROWS for chrom in ("chr21", "chr22")},
    **{
        f"{sample}_{chrom}_50kb_Donly_ssize0.1_seed1010": HicdcplusSettings()
        for sample in ("HMEC", "NSD2HIGH")
        for chrom in ("chr21", "chr22")
    },
    "HMEC_chr21_50kb_variant_Dmin100k_Dmax1500k_ssize1": HicdcplusSettings(
        sample_fraction=1.0, min_result_distance=100_000, max_result_distance=1_500_000
    ),
    "HMEC_chr21_50kb_variant_countknots_ssize1": HicdcplusSettings(sample_fraction=1.0, knots="count-based"),
    "HMEC_chr21_50kb_variant_df8_ssize1": HicdcplusSettings(sample_fraction=1.0, df=8),
    "HMEC_chr22_50kb_covariates_ssize0.1_seed1010": HicdcplusSettings(),
    "NSD2HIGH_chr22_50kb_covariates_ssize0.1_seed1010": HicdcplusSettings(),
}


@pytest.fixture(scope="module")
def refs(shared):
    folder = shared / "refs" / "hicdcplus"
    if not folder.is_dir():
        pytest.skip("no refs/hicdcplus in EPIZARR_SHARED")
    return folder


def read_table(refs, tag):
    path = refs / f"{tag}.tsv.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in EPIZARR_SHARED")
    return pd.read_csv(path, sep="\t")


def read_model(refs, tag):
    lines = (refs / f"{tag}.model.txt").read_text().splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def read_features(refs, n_bins, binsize):
    if binsize == 50_000:
        table = pd.read_csv(refs / "covariates_chr22_50kb_bintolen.txt.gz", sep="\t")
        start, names = table["bins"].str.split("-").str[1].astype(int) // 1000 * 1000, ("gc", "len")
    else:
        table = pd.read_csv(refs / "covariates_chr22_hg38_100kb_1D.tsv.gz", sep="\t")
        start, names = table["start"], ("gc", "len", "map")
    features = {name: np.zeros(n_bins) for name in names}
    bins = start // binsize
    inside = bins < n_bins
    for name in names:
        features[name][bins[inside]] = table.loc[inside, name]
    return features


class Case:
    """A run of the package: our rows made from its table, and where the table's rows lie in our band."""

    def __init__(self, refs, tag):
        self.table = read_table(refs, tag)
        chrom = self.table["chrom"][0]
        binsize = 100_000 if "_100kb_" in tag else 50_000
        geometry = PairGeometry(LENGTHS[chrom, binsize], binsize, 2_000_000)
        n_bins = geometry.n_bins
        self.i = self.table["startI"].to_numpy() // binsize
        self.k = self.table["startJ"].to_numpy() // binsize - self.i
        counts = np.full((n_bins, geometry.n_diagonals), np.nan)
        for k in range(geometry.n_diagonals):
            counts[: n_bins - k, k] = 0
        counts[self.i, self.k] = self.table["counts"]
        features = read_features(refs, n_bins, binsize) if "covariates" in tag else {}
        self.rows = PairRows(chrom, geometry, counts, features)
        self.sample = np.zeros(counts.shape, dtype=bool)
        drawn = self.table["in_sample"] == 1 if "in_sample" in self.table else np.ones(len(self.table), dtype=bool)
        self.sample[self.i[drawn], self.k[drawn]] = True

    def fit(self, settings):
        model, outlier = fit_hicdcplus(self.rows, settings, sample=self.sample)
        return model, outlier[self.i, self.k]

    def evaluate(self, model):
        found = evaluate(model, self.rows.counts, self.rows.features)
        p = p_values(model, self.rows.counts, found.mu)
        q = q_values(p)
        return {name: values[self.i, self.k] for name, values in {**found._asdict(), "p": p, "q": q}.items()}


@pytest.mark.parametrize("tag", CONVERGED)
def test_fit_hicdcplus__is_rs_where_r_converged(refs, tag):
    case = Case(refs, tag)
    model, outlier = case.fit(CONVERGED[tag])
    expected = read_model(refs, tag)
    np.testing.assert_allclose(model.theta, float(expected["fit2_theta"]), rtol=1e-6)
    np.testing.assert_allclose(1 / model.first_alpha, float(expected["fit1_theta"]), rtol=1e-6)
    np.testing.assert_allclose(2 * model.log_likelihood, float(expected["fit2_loglik2"]), atol=1e-4)
    np.testing.assert_array_equal(model.interior_knots, [float(x) for x in expected["fit2_knots"].split(",")])
    np.testing.assert_array_equal(outlier, case.table["outlier"] == 1)
    assert model.n_sample == int(expected["n_sample"])
    found = case.evaluate(model)
    np.testing.assert_allclose(found["mu"], case.table["mu"], rtol=1e-5)
    np.testing.assert_allclose(found["sdev"], case.table["sdev"], rtol=1e-5)
    np.testing.assert_allclose(found["p"], case.table["pvalue"], atol=1e-5)
    np.testing.assert_allclose(found["q"], case.table["qvalue"], atol=1e-5)
    counts = case.table["counts"]
    np.testing.assert_allclose(found["oe"], counts / case.table["mu"], rtol=1e-5)
    # Where a count is close to mu, its Z-score inherits the rounding of mu.
    zscore = (counts - case.table["mu"]) / case.table["sdev"]
    np.testing.assert_allclose(found["zscore"], zscore, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tag", ["HMEC_chr21_50kb_Donly_ssize1", "HMEC_chr22_50kb_covariates_ssize0.1_seed1010"])
def test_pair_rows__are_the_packages_rows(refs, tag):
    case = Case(refs, tag)
    geometry = case.rows.geometry
    at_last = case.i + case.k == geometry.n_bins - 1
    distance = np.where(at_last, geometry.distance_to_last[case.k], geometry.distance[case.k])
    np.testing.assert_array_equal(distance, case.table["D"])
    is_row = np.zeros(case.rows.counts.shape, dtype=bool)
    for k in range(geometry.n_diagonals):
        is_row[: geometry.n_bins - k, k] = case.rows.is_row(k)
    expected = np.zeros_like(is_row)
    expected[case.i, case.k] = True
    np.testing.assert_array_equal(is_row, expected)


def test_pair_covariates__are_the_packages_columns(refs):
    from epizarr.normalize.hicdcplus_pairs import pair_covariate

    case = Case(refs, "HMEC_chr22_50kb_covariates_ssize0.1_seed1010")
    for name in case.rows.covariates:
        log = case.rows.log_features[name]
        found = pair_covariate(log[case.i], log[case.i + case.k], *case.rows.scaling[name])
        np.testing.assert_allclose(found, case.table[name], atol=1e-10)


def test_draw_sample__takes_as_many_of_each_stratum_as_the_package(refs):
    from epizarr.normalize.hicdcplus_pairs import draw_sample

    for tag in ("HMEC_chr21_50kb_Donly_ssize0.1_seed1010", "HMEC_chr22_50kb_covariates_ssize0.1_seed1010"):
        case = Case(refs, tag)
        ours = draw_sample(case.rows, 0.1, 0, 0, 2_000_000)[case.i, case.k]
        theirs = case.table["in_sample"] == 1
        stratum = [case.table["D"] // 50_000, case.table["counts"] > 0]
        # D = Dmax is drawn together with the class before; compare the two classes' sum.
        stratum[0] = stratum[0].clip(upper=39)
        sizes = [pd.Series(drawn, index=theirs.index).groupby(stratum).sum() for drawn in (ours, theirs)]
        pd.testing.assert_series_equal(*sizes, check_names=False)


def test_fit_hicdcplus__converges_where_r_fell_back_to_poisson(refs):
    tag = "HMEC_chr22_50kb_covariates_ssize1"
    path = refs / f"{tag}_CONVERGED_statsmodels.model.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not in EPIZARR_SHARED")
    expected = json.loads(path.read_text())
    case = Case(refs, f"{tag}_CONVERGED_statsmodels")
    model, outlier = case.fit(ALL_ROWS)
    np.testing.assert_allclose(1 / model.first_alpha, expected["fit1_theta"], rtol=1e-6)
    np.testing.assert_allclose(model.theta, expected["fit2_theta"], rtol=1e-6)
    np.testing.assert_allclose(
        [model.intercept, *model.covariate_beta, *model.distance_beta], expected["fit2_coef"], rtol=1e-6
    )
    np.testing.assert_array_equal(outlier, case.table["outlier"] == 1)
    found = case.evaluate(model)
    np.testing.assert_allclose(found["mu"], case.table["mu"], rtol=1e-6)
    np.testing.assert_allclose(found["q"], case.table["qvalue"], atol=1e-6)


@pytest.mark.parametrize("sample", ["HMEC", "NSD2HIGH"])
@pytest.mark.parametrize("run", ["100kb_covariates_ssize0.5_seed1010", "100kb_covariates_ssize1"])
def test_fit_hicdcplus__is_no_poisson_model_at_100kb(refs, sample, run):
    case = Case(refs, f"{sample}_chr22_{run}")
    model, _ = case.fit(HicdcplusSettings())
    assert 0.3 < model.theta < 3
    # The mappability of this table is 0 everywhere: no effect, as R's NA.
    assert model.covariate_beta[model.covariates.index("map")] == 0


def test_fit_hicdcplus__is_likelier_than_rs_unfinished_log_distance_fit(refs):
    """R warned that its fit did not converge: theta and outliers agree, mu only to 2e-4, and our likelihood is the higher."""
    tag = "HMEC_chr21_50kb_variant_logdist_ssize1"
    case = Case(refs, tag)
    model, outlier = case.fit(HicdcplusSettings(sample_fraction=1.0, distance="log"))
    expected = read_model(refs, tag)
    np.testing.assert_allclose(model.theta, float(expected["fit2_theta"]), rtol=1e-6)
    np.testing.assert_array_equal(outlier, case.table["outlier"] == 1)
    gain = 2 * model.log_likelihood - float(expected["fit2_loglik2"])
    assert 1e-7 < gain < 1e-4
    np.testing.assert_allclose(case.evaluate(model)["mu"], case.table["mu"], rtol=1e-3)


def test_hicdcplus_fit__json_evaluates_alike_on_real_data(refs):
    case = Case(refs, "HMEC_chr22_50kb_covariates_ssize0.1_seed1010")
    model, _ = case.fit(HicdcplusSettings())
    again = HicdcplusFit.from_json(model.to_json())
    assert again == model
    np.testing.assert_array_equal(case.evaluate(again)["zscore"], case.evaluate(model)["zscore"])
