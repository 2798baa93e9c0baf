import numpy as np
import pytest

from epizarr import insulation, insulation_boundaries
from epizarr.domains.insulation import li_threshold
from epizarr.errors import BandReachError, RegionError, SchemaError
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares

GRID = Assembly.from_table("test", [("chr1", 6000), ("chr2", 4000)]).bins(100)


def _blocks(n: int, edges: list[int]) -> np.ndarray:
    """Square of domains: 10 contacts within, 1 between."""
    domain = np.searchsorted(edges, np.arange(n), side="right")
    return np.where(domain[:, None] == domain, 10.0, 1.0)


@pytest.fixture
def band():
    # A bin of its own between two domains is more insulated than either of its neighbours.
    squares = {"chr1": _blocks(60, [20, 21]), "chr2": _blocks(40, [25, 26])}
    return band_array(band_from_squares(squares, 21), GRID)


def test_insulation__calls_the_bins_between_blocks(band):
    found = insulation_boundaries(insulation(band, [500], threshold=0.5))
    assert list(zip(found["chrom"], found["start"], strict=True)) == [("chr1", 2000), ("chr2", 2500)]
    assert (found["end"] - found["start"] == 100).all()
    assert (found["strength"] > 0.5).all()


def test_insulation__of_a_constant_map_is_zero_everywhere():
    band = band_array(band_from_squares({"chr1": np.ones((60, 60)), "chr2": np.ones((40, 40))}, 21), GRID)
    got = insulation(band, [500, 1000])
    assert (got["score"] == 0).all()
    assert not got["is_boundary"].any()
    assert np.isnan(got["threshold"]).all()


def test_insulation__does_not_depend_on_the_unit_of_contacts(band):
    small = band.copy(data=band.values * 1e-6)
    np.testing.assert_allclose(insulation(band, 500)["score"], insulation(small, 500)["score"], atol=1e-12)


def test_insulation__says_which_window_the_band_allows(band):
    with pytest.raises(BandReachError, match=r"1,200 bp reads contacts up to 22 bins apart .* stores 21.* is 1,100 bp"):
        insulation(band, [300, 1200])
    insulation(band, [1100])


@pytest.mark.parametrize("windows", [[], [150], [0], [300, 300]])
def test_insulation__refuses_windows_that_are_not_whole_bins(band, windows):
    with pytest.raises(ValueError, match="positive multiple of the bin size"):
        insulation(band, windows)


def test_insulation__refuses_a_band_without_its_grid(band):
    with pytest.raises(SchemaError, match="which bins"):
        insulation(band.drop_attrs(), 300)


def test_insulation__refuses_a_band_that_was_cut(band):
    with pytest.raises(ValueError, match="give the whole band and `regions`"):
        insulation(band.isel(bin=slice(0, 60)), 300)


def test_insulation__refuses_a_region_without_a_whole_bin(band):
    with pytest.raises(RegionError, match="no whole bin"):
        insulation(band, 300, regions=["chr1:110-190"])


def test_insulation__gives_no_score_near_a_bad_bin(band):
    broken = band.copy()
    broken[30] = np.nan
    for k in range(1, 21):
        broken[30 - k, k] = np.nan
    got = insulation(broken, 300, min_bad_distance=3).isel(bin=slice(0, 60))["score"][0]
    assert np.flatnonzero(np.isnan(got)).tolist() == [0, 1, 28, 29, 30, 31, 32, 58, 59]


@pytest.mark.parametrize(("values", "limit"), [([], np.nan), ([np.nan], np.nan), ([2.0, 2.0], 2.0)])
def test_li_threshold__of_one_value_is_that_value(values, limit):
    assert li_threshold(np.array(values, dtype=float)) == pytest.approx(limit, nan_ok=True)
