"""Loops of real contacts: GM12878's chr21 against the loops that its authors called in deeper data."""

import cooler
import numpy as np
import pandas as pd
import pytest

from epizarr.bands import balance_band, band_from_pixels
from epizarr.genome import Assembly
from epizarr.metrics.interactions import ranking_scores
from epizarr.metrics.loops import (
    Footprint,
    PileUp,
    Pixels,
    call_loops,
    distance_matched_controls,
    largest_near,
    loop_pixels,
    match_loops,
    score_loops,
)
from epizarr.metrics.similarity import shuffle_diagonals
from epizarr.transforms import diagonal_sums, mean_of_sums

pytestmark = pytest.mark.reference

BINSIZE, N_DIAGONALS = 10_000, 100


@pytest.fixture(scope="module")
def band(shared) -> np.ndarray:
    file = cooler.Cooler(f"{shared / 'data/gm12878_chr21/GM12878-MboI.hg19.cool'}::10000")
    pixels, weight = file.pixels()[:], file.bins()["weight"][:].to_numpy()
    n = len(weight)
    count = band_from_pixels(pixels["bin1_id"], pixels["bin2_id"], pixels["count"], n_bins=n, n_diagonals=N_DIAGONALS)
    return balance_band(count, np.append(weight, np.full(N_DIAGONALS - 1, np.nan)), 1)


@pytest.fixture(scope="module")
def given(shared, band) -> Pixels:
    path = shared / "data/gm12878_chr21/calls/GSE63525_GM12878_replicate_HiCCUPS_looplist.bed.gz"
    names = ["chrom1", "start1", "end1", "chrom2", "start2", "end2"]
    table = pd.read_csv(path, sep="\t", header=None, usecols=range(6), names=names)
    grid = Assembly.from_table("hg19", [("chr21", 48_129_895)]).bins(BINSIZE)
    loops = loop_pixels(table, grid, 0, len(band))
    known = loops.diagonal < N_DIAGONALS
    return Pixels(loops.row[known], loops.diagonal[known])


@pytest.fixture(scope="module")
def scores(band):
    return score_loops(band, mean_of_sums(*diagonal_sums(band)), Footprint.of_binsize(BINSIZE))


def test_score_loops__ranks_published_loops_above_controls(scores, given):
    controls = distance_matched_controls(given, ~np.isnan(scores.z), per_loop=20)
    z = [largest_near(scores.z, pixels) for pixels in (given, controls)]
    found = ranking_scores(np.concatenate(z), np.repeat([1.0, 0.0], [len(each) for each in z]), 1.0)
    assert found.n_positive > 50
    assert found.auroc > 0.98
    assert found.aupr > 0.85  # chance: 0.05


def test_call_loops__finds_most_published_loops(scores, given):
    called, _ = call_loops(scores)
    in_reach = ~np.isnan(scores.z[given.row, given.diagonal])
    match = match_loops(called, Pixels(given.row[in_reach], given.diagonal[in_reach]), 2)
    assert match.recall > 0.6
    assert match.precision > 0.7


def test_call_loops__a_shuffled_map_has_none(band):
    shuffled = score_loops(shuffle_diagonals(band), mean_of_sums(*diagonal_sums(band)), Footprint.of_binsize(BINSIZE))
    assert len(call_loops(shuffled)[1]) == 0


def test_pile_up__published_loops_stand_out(band, given):
    expected = mean_of_sums(*diagonal_sums(band))
    usable = ~np.isnan(band)
    controls = distance_matched_controls(given, usable, per_loop=20)
    pile = PileUp.of(band, expected, given)
    assert pile.mean[10, 10] > 2.5  # O/E at HiCCUPS loops is known to be about 2.9
    assert pile.corner_score() > 2
    assert PileUp.of(band, expected, controls).corner_score() == pytest.approx(1.0, abs=0.15)
