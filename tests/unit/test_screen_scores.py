"""Scores of a screen: their pixels, boundaries, and p-values with ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from epizarr.edit_text import parse_template
from epizarr.errors import PerturbationError
from epizarr.genome import Assembly, Region
from epizarr.io.bed import read_named_intervals
from epizarr.perturb import Mask, Scale
from epizarr.screen.scores import boundary_scores, empirical_p, significance, stripe_change
from epizarr.screen.sites import peak_sites, tile_sites

ASSEMBLY = Assembly.from_table("toy", [("chr1", 10_050), ("chr2", 3_000)])


def test_empirical_p__counts_the_observed_one_and_ties():
    null = np.array([0.0, 1.0, 1.0, -2.0, np.nan])
    p = empirical_p(np.array([0.0, 1.0, 1.5, -2.0, 3.0, np.nan]), null)
    np.testing.assert_allclose(p, [5 / 5, 4 / 5, 2 / 5, 2 / 5, 1 / 5, np.nan])
    assert np.isnan(empirical_p(np.ones(2), np.array([np.nan]))).all()


@given(seed=st.integers(0, 50), n=st.integers(1, 40), m=st.integers(1, 40))
def test_empirical_p__lies_in_its_bounds_and_falls_with_the_effect(seed, n, m):
    rng = np.random.default_rng(seed)
    effect, null = rng.integers(-3, 4, n).astype(float), rng.integers(-3, 4, m).astype(float)
    p = empirical_p(effect, null)
    assert ((p >= 1 / (1 + m)) & (p <= 1)).all()
    order = np.argsort(np.abs(effect))
    assert (np.diff(p[order]) <= 0).all()


def test_empirical_p__is_uniform_where_both_are_of_one_law():
    rng = np.random.default_rng(0)
    p, q = significance(rng.gamma(2, 1, (2000, 1)), rng.gamma(2, 1, (2000, 1)))
    assert stats.kstest(p[:, 0], "uniform").pvalue > 0.01
    assert (q >= p - 1e-12).all()
    assert (q < 0.05).mean() < 0.01


def test_stripe_change__counts_the_pixels_across_the_interval_that_are_there():
    change = np.zeros((9, 4), np.float32)
    change[0] = [0, -1, 0, 0]  # bin 0: its pixel at offset 1 lies off the chromosome
    change[2] = [9, -2, 0, 0]  # offset 0 is below the first diagonal
    change[6] = 100  # two bins behind the interval
    mean, largest, by_distance = stripe_change(change, 0, (2, 4), n_chrom_bins=9, min_diagonal=1)
    # Stripes 0 to 5; of bin 0 no pixel but (0, 0) is on the chromosome, of bin 1 all but offset 3.
    n = [5, 5, 4]
    assert largest == 2
    assert mean == pytest.approx(2 / sum(n))
    np.testing.assert_allclose(by_distance, [np.nan, 2 / n[0], 0, 0])


def band_of(boundary: float, n: int = 60, n_diagonals: int = 20) -> np.ndarray:
    """Contacts that fall with distance; those over bin 30 are less by a factor."""
    i, k = np.meshgrid(np.arange(n), np.arange(n_diagonals), indexing="ij")
    crosses = (i <= 30) & (i + k >= 30)
    band = np.where(crosses, boundary, 1.0) / (1 + k)
    return np.where(i + k < n, band, np.nan)


def test_boundary_scores__say_which_boundary_is_lost_or_gained():
    with_one, without = band_of(0.2), band_of(1.0)
    change, status = boundary_scores(with_one, without, 100, (129, 132), min_diagonal=1)
    assert status == -1
    assert change > 1
    change, status = boundary_scores(without, with_one, 100, (129, 132), min_diagonal=1)
    assert status == 1
    assert change < -1
    assert boundary_scores(with_one, with_one, 100, (129, 132), min_diagonal=1) == (0, 0)
    assert boundary_scores(with_one, without, 100, (145, 146), min_diagonal=1)[1] == 0
    nothing = np.full_like(without, np.nan)
    assert np.isnan(boundary_scores(nothing, nothing, 0, (3, 4), min_diagonal=1)).all()


def test_parse_template__leaves_the_region_open():
    region = Region("chr2", 100, 200)
    assert parse_template("mask", ASSEMBLY)(region) == Mask((), region)
    assert parse_template("mask", ASSEMBLY, "CTCF+DNase")(region) == Mask(("CTCF", "DNase"), region)
    assert parse_template("scale:CTCF:factor=0.5", ASSEMBLY, "DNase")(region) == Scale(("CTCF",), region, factor=0.5)
    with pytest.raises(PerturbationError, match="epizarr perturb"):
        parse_template("invert", ASSEMBLY)


def test_sites__are_peaks_inside_or_tiles_of_the_regions(tmp_path):
    peaks = tmp_path / "p.bed"
    peaks.write_text("chr2\t100\t200\tb\nchr1\t900\t1100\ta\nchr1\t5000\t5100\t.\n")
    assert list(read_named_intervals(peaks, ASSEMBLY)["name"]) == ["a", "chr1:5,000-5,100", "b"]
    sites = peak_sites(peaks, ASSEMBLY, [Region("chr1", 1_000, 10_050), Region("chr2", 0, 200)])
    assert [sites.region(ASSEMBLY, i) for i in range(len(sites))] == [
        Region("chr1", 5000, 5100),
        Region("chr2", 100, 200),
    ]
    tiles = tile_sites(ASSEMBLY, [Region("chr1", 9_000, 10_050)], 400)
    assert (tiles.end - tiles.start).tolist() == [400, 400, 250]
