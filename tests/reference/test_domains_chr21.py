"""Boundaries of a real map (GM12878, chr21, 10 kb) against CTCF peaks of the same cells."""

import cooler
import numpy as np
import pyBigWig
import pytest
import xarray as xr

import epizarr as ez
from epizarr.bands import balance_band
from epizarr.domains.boundaries import domain_agreement
from epizarr.genome import Assembly
from tests._bands import band_array, chrom_band

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def real(shared):
    """ICE-balanced band, bins with a weight, and bins within one of a CTCF peak."""
    folder = shared / "data/gm12878_chr21"
    clr = cooler.Cooler(f"{folder}/GM12878-MboI.hg19.cool::10000")
    pixels, weight = clr.pixels()[:], clr.bins()[:]["weight"].to_numpy()
    grid = Assembly.from_table("hg19", [("chr21", int(clr.chromsizes.iloc[0]))]).bins(10_000)
    ends = (pixels[name].to_numpy() for name in ("bin1_id", "bin2_id", "count"))
    count = chrom_band(*ends, len(weight), 200)
    band = balance_band(count, np.concatenate([weight, np.full(199, np.nan)]), 2)
    with pyBigWig.open(f"{folder}/tracks/GM12878_CTCF.peaksignal.hg19.bw") as track:
        peak = np.array(
            track.stats("chr21", 0, grid.assembly.length("chr21"), nBins=len(weight), type="max"), dtype=float
        )
    near = np.convolve(np.nan_to_num(peak) > 0, np.ones(3), "same") > 0
    return band_array(band, grid), ~np.isnan(weight), near


def test_boundaries__lie_at_ctcf_peaks_twice_as_often_as_bins_do(real):
    band, good, near = real
    chance = near[good].mean()
    insulated = ez.insulation(band, [100_000, 250_000, 500_000])
    called = ez.topdom(band, [10, 20, 30, 40, 50])
    separated = ez.tad_separation(band, bad_bin=xr.DataArray(~good, dims="bin"))
    calls = [*insulated["is_boundary"].values, *(called["extremum"].values == -1), separated["is_boundary"].values]
    for is_boundary in calls:
        assert is_boundary.sum() > 30
        assert near[is_boundary].mean() > 1.9 * chance


def test_topdom_domains__of_two_windows_agree_more_than_by_chance(real):
    """Domains of windows that differ a little are nested or equal, those of a shifted map are not."""
    band, _, _ = real
    table = ez.topdom_domains(ez.topdom(band, [20, 30]))
    first, other = (table[table["window"] == w] for w in (20, 30))
    agreed = domain_agreement(first, other, ez.grid_of(band))
    shifted = other.assign(start=other["start"] - 200_000, end=other["end"] - 200_000)
    shifted = shifted[shifted["start"] >= 0]
    by_chance = domain_agreement(first, shifted, ez.grid_of(band))
    assert agreed.jaccard > by_chance.jaccard
    assert agreed.variation_of_information < 0.5 * by_chance.variation_of_information
