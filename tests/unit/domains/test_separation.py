import numpy as np
import pytest
import xarray as xr

from epizarr import tad_boundaries, tad_domains, tad_separation
from epizarr.domains.separation import _depths, _windows
from epizarr.errors import BandReachError
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares

GRID = Assembly.from_table("test", [("chr1", 1_200_000)]).bins(10_000)


@pytest.fixture
def band():
    """Four domains of 30 bins, with noise."""
    rng = np.random.default_rng(0)
    i = np.arange(120)
    mean = np.where(i[:, None] // 30 == i // 30, 60.0, 10.0) / (1 + np.abs(i[:, None] - i))
    square = np.triu(rng.poisson(mean * 5)).astype(float)
    return band_array(band_from_squares({"chr1": square + np.triu(square, 1).T}, 100), GRID)


def test_tad_domains__lie_between_the_borders_of_blocks(band):
    found = tad_separation(band, min_depth_bp=50_000, max_depth_bp=200_000)
    boundaries = tad_boundaries(found)
    assert boundaries["position"].tolist() == [300_000, 600_000, 900_000]
    assert boundaries["start"].tolist() == [295_000, 595_000, 895_000]
    assert boundaries["end"].tolist() == [305_000, 605_000, 905_000]
    assert (boundaries["pvalue"] < 0.01).all()
    assert tad_domains(found)[["start", "end"]].to_numpy().tolist() == [[300_000, 600_000], [600_000, 900_000]]


def test_tad_separation__joins_the_neighbours_of_bad_bins(band):
    bad = xr.DataArray(np.isin(np.arange(120), [50, 51, 52]), dims="bin")
    found = tad_separation(band, bad_bin=bad)
    assert np.flatnonzero(np.isnan(found["score"])).tolist() == [50, 51, 52]
    assert int(found["joined_end"][49]) == int(found["joined_start"][53]) == 515_000


def test_tad_separation__keeps_fewer_boundaries_after_a_stronger_correction(band):
    by = {
        how: set(tad_boundaries(tad_separation(band, correction=how, significance=1e-3))["position"])
        for how in ("none", "fdr", "bonferroni")
    }
    assert by["none"] >= by["fdr"] >= by["bonferroni"]
    assert by["none"] == {300_000, 600_000, 900_000}


def test_tad_separation__says_which_depth_the_band_allows(band):
    with pytest.raises(BandReachError, match=r"max_depth_bp 510,000 .*102 diagonals.* is 500,000 bp"):
        tad_separation(band, max_depth_bp=510_000)
    tad_separation(band, max_depth_bp=500_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_depth_bp": 20_000},
        {"max_depth_bp": 40_000},
        {"step_bp": 5000},
        {"min_depth_bp": 300_000, "max_depth_bp": 200_000},
    ],
)
def test_tad_separation__refuses_depths_of_too_few_bins(band, wrong):
    with pytest.raises(ValueError, match=r"at least 30,000, 50,000 and 10,000 bp"):
        tad_separation(band, **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_boundary_bp": 5000}, "a bin is 10,000 bp"),
        ({"correction": "holm"}, "'holm' is unknown"),
        ({"bad_bin": xr.DataArray(np.zeros(3, dtype=bool), dims="bin")}, "each of the genome's 120 bins"),
    ],
)
def test_tad_separation__refuses_what_it_cannot_use(band, wrong, message):
    with pytest.raises(ValueError, match=message):
        tad_separation(band, **wrong)


def test_windows__grow_as_in_the_original():
    assert _windows(60_000, 180_000, 20_000) == [60_000, 80_000, 116_568, 163_923]


@pytest.mark.parametrize(("binsize", "bins"), [(500, (30, 60, 4)), (5000, (10, 40, 2)), (50_000, (5, 10, 2))])
def test_depths__follow_from_the_bin_size(binsize, bins):
    assert _depths(binsize, None, None, None) == tuple(n * binsize for n in bins)
