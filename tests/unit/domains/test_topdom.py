import numpy as np
import pytest

from epizarr import topdom, topdom_domains
from epizarr.domains.topdom import _pieces
from epizarr.errors import BandReachError
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares

GRID = Assembly.from_table("test", [("chr1", 6000)]).bins(100)


@pytest.fixture
def band():
    """Three domains with noise; nothing in the last ten bins."""
    rng = np.random.default_rng(0)
    domain = np.searchsorted([18, 37], np.arange(60), side="right")
    mean = np.where(domain[:, None] == domain, 20.0, 2.0) / np.sqrt(1 + np.abs(np.arange(60)[:, None] - np.arange(60)))
    square = np.triu(rng.poisson(mean * 10)).astype(float)
    square += np.triu(square, 1).T
    square[50:], square[:, 50:] = 0, 0
    return band_array(band_from_squares({"chr1": square}, 20), GRID)


def test_topdom_domains__end_with_the_bins_before_the_borders(band):
    table = topdom_domains(topdom(band, 5))
    assert table[["start", "end", "tag"]].to_numpy().tolist() == [
        [0, 1800, "domain"],
        [1800, 3700, "domain"],
        [3700, 5000, "domain"],
        [5000, 6000, "gap"],
    ]


def test_topdom__needs_a_pvalue_below_the_significance(band):
    strict = topdom(band, 5, significance=0.0)
    assert not (strict["extremum"] == -1).any()


def test_topdom__says_which_window_the_band_allows(band):
    with pytest.raises(BandReachError, match=r"window of 11 bins .*22 diagonals.*stores 20.* is 10 bins"):
        topdom(band, [5, 11])
    topdom(band, 10)


@pytest.mark.parametrize("windows", [[], [0], [5, 5], [-3]])
def test_topdom__refuses_windows_that_are_no_numbers_of_bins(band, windows):
    with pytest.raises(ValueError, match="above 0 and once only"):
        topdom(band, windows)


def test_pieces__lose_a_single_last_gap_and_tag_wholly_significant_domains():
    gap = np.array([0, 0, 1, 1, 0, 0, 0, 1], dtype=bool)
    boundary = np.array([0, 0, 0, 0, 1, 0, 0, 0], dtype=bool)
    small = np.array([1, 1, 1, 1, 1, 1, 0, 1], dtype=bool)
    assert _pieces(gap, boundary, small) == [(0, 2, "boundary"), (2, 5, "gap"), (5, 8, "domain")]
