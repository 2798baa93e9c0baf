import numpy as np
import pandas as pd
import pytest

from epizarr.domains.boundaries import boundary_agreement, domain_agreement, domain_labels, score_correlation
from epizarr.domains.insulation import insulation
from epizarr.errors import RegionError
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares, random_square

GRID = Assembly.from_table("test", [("chr1", 3000), ("chr2", 1000)]).bins(100)


def _boundaries(*rows: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame([(c, s, s + 100) for c, s in rows], columns=["chrom", "start", "end"])


def _domains(*rows: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def test_boundary_agreement__matches_one_to_one_within_the_tolerance():
    true = _boundaries(("chr1", 500), ("chr1", 1500), ("chr2", 500))
    # Two are near the first true one, and only one of them can match it.
    found = _boundaries(("chr1", 400), ("chr1", 600), ("chr1", 1700), ("chr2", 500), ("chr3", 500))
    got = boundary_agreement(found, true, binsize=100, tolerance_bins=1)
    assert (got.n_found, got.n_true, got.n_matched) == (5, 3, 2)
    assert (got.precision, got.recall, got.f1) == (2 / 5, 2 / 3, 0.5)
    assert boundary_agreement(found, true, binsize=100, tolerance_bins=2).n_matched == 3
    assert boundary_agreement(found, true, binsize=100, tolerance_bins=0).n_matched == 1


def test_boundary_agreement__without_boundaries_is_undefined():
    got = boundary_agreement(_boundaries(), _boundaries(), binsize=100)
    assert np.isnan([got.precision, got.recall, got.f1]).all()


def test_domain_labels__cover_the_bins_that_a_domain_overlaps():
    labels = domain_labels(_domains(("chr1", 0, 250), ("chr2", 900, 1000)), GRID)
    assert np.flatnonzero(labels == 0).tolist() == [0, 1, 2]
    assert np.flatnonzero(labels == 1).tolist() == [39]


def test_domain_labels__refuse_domains_that_share_a_bin():
    with pytest.raises(RegionError, match=r"chr1:400-900 shares a bin with another.*one level"):
        domain_labels(_domains(("chr1", 0, 500), ("chr1", 400, 900)), GRID)


def test_domain_agreement__counts_domains_only():
    tagged = _domains(("chr1", 0, 1000), ("chr1", 1000, 3000)).assign(tag=["domain", "gap"])
    assert domain_agreement(tagged, _domains(("chr1", 0, 3000)), GRID).n_bins == 10


def test_domain_agreement__of_a_split_domain():
    got = domain_agreement(_domains(("chr1", 0, 400)), _domains(("chr1", 0, 200), ("chr1", 200, 400)), GRID)
    assert got.jaccard == pytest.approx(2 / 6)
    assert got.variation_of_information == pytest.approx(1.0)


@pytest.fixture
def squares():
    rng = np.random.default_rng(1)
    return {"chr1": random_square(rng, 30), "chr2": random_square(rng, 10, 0.0)}


def test_score_correlation__is_one_for_scaled_contacts(squares):
    band = band_from_squares(squares, 11)
    one, other = insulation(band_array(band, GRID), [300, 500]), insulation(band_array(band * 3, GRID), [300, 500])
    got = score_correlation(one["score"], other["score"])
    np.testing.assert_allclose(got["pearson"], 1)
    np.testing.assert_allclose(got["spearman"], 1)
    assert (got["n_bins"] == (~np.isnan(one["score"])).sum("bin")).all()


def test_score_correlation__equals_numpy_over_common_bins(squares):
    one = insulation(band_array(band_from_squares(squares, 11), GRID), 300)
    other = one.copy()
    other["score"] = one["score"].copy(data=np.random.default_rng(0).normal(size=one["score"].shape))
    other["score"][0, :7] = np.nan
    both = ~np.isnan(one["score"].values[0]) & ~np.isnan(other["score"].values[0])
    expected = np.corrcoef(one["score"].values[0, both], other["score"].values[0, both])[0, 1]
    assert float(score_correlation(one["score"], other["score"])["pearson"][0]) == pytest.approx(expected)


def test_score_correlation__refuses_other_windows(squares):
    band = band_array(band_from_squares(squares, 11), GRID)
    with pytest.raises(ValueError, match="same regions and windows"):
        score_correlation(insulation(band, 300)["score"], insulation(band, 500)["score"])
