import numpy as np
import pytest

from epizarr import domain_scores
from epizarr.errors import AssemblyMismatchError, BandReachError
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares

GRID = Assembly.from_table("test", [("chr1", 1_200_000), ("chr2", 700_000)]).bins(10_000)
OPTIONS = {"windows_bp": [50_000, 100_000], "max_depth_bp": 120_000}


def _map(seed: int, width: int = 24, shift: int = 0):
    rng = np.random.default_rng(seed)
    squares = {}
    for chrom, n in (("chr1", 120), ("chr2", 70)):
        i = np.arange(n)
        domain = (i + shift) // 23
        mean = np.where(domain[:, None] == domain, 60.0, 10.0) / (1 + np.abs(i[:, None] - i))
        square = np.triu(rng.poisson(mean * 5)).astype(float)
        squares[chrom] = square + np.triu(square, 1).T
    return band_array(band_from_squares(squares, width), GRID)


def test_domain_scores__of_the_truth_itself_are_perfect():
    got = domain_scores(_map(0), _map(0), **OPTIONS)
    for name in ("insulation_pearson", "insulation_spearman", "topdom_pearson", "topdom_jaccard", "separation_pearson"):
        np.testing.assert_allclose(got[name], 1)
    boundaries = ("insulation_precision", "insulation_recall", "topdom_precision", "topdom_f1", "separation_recall")
    for name in (*boundaries, "separation_jaccard"):
        np.testing.assert_array_equal(got[name], 1)
    np.testing.assert_allclose(got["topdom_variation"], 0, atol=1e-12)
    assert got["separation_pearson"].dims == ()
    assert int(got["separation_true"]) > 3
    assert (got["topdom_true"] > 3).all()


def test_domain_scores__are_better_for_the_same_domains_than_for_others():
    truth = _map(0)
    same, other = (
        domain_scores(truth, band, **OPTIONS | {"windows_bp": 100_000}) for band in (_map(1), _map(1, shift=11))
    )
    for name in ("insulation_pearson", "topdom_f1", "topdom_jaccard", "separation_f1"):
        assert float(same[name].max()) > float(other[name].max()) + 0.1
    assert float(same["topdom_variation"][0]) < float(other["topdom_variation"][0])


def test_domain_scores__count_pixels_that_both_maps_have():
    truth, prediction = _map(0), _map(1)
    masked = truth.copy()
    masked[40:60] = np.nan
    given = prediction.copy()
    given[40:60] = 1e6  # what lies there cannot matter
    a, b = (domain_scores(masked, p, **OPTIONS) for p in (prediction, given))
    assert a.identical(b)


def test_domain_scores__use_the_diagonals_that_both_store():
    wider = domain_scores(_map(0), _map(1, width=30), **OPTIONS)
    assert wider.identical(domain_scores(_map(0), _map(1), **OPTIONS))


def test_domain_scores__refuse_windows_beyond_the_narrower_band():
    with pytest.raises(BandReachError, match="stores 24"):
        domain_scores(_map(0, width=60), _map(1), **OPTIONS | {"windows_bp": 200_000})


def test_domain_scores__refuse_maps_on_other_bins():
    other = Assembly.from_table("test", [("chr1", 2_400_000), ("chr2", 1_400_000)]).bins(20_000)
    with pytest.raises(AssemblyMismatchError, match="10,000 and 20,000 bp"):
        domain_scores(_map(0), band_array(_map(1).values, other))
