"""TAD-separation score on the band against its description on square matrices, and what must not change it."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.domains.separation import score_minima, tad_boundaries, tad_domains, tad_separation
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares, random_square

BINSIZE = 1000
DEPTHS = {"min_depth_bp": 3000, "max_depth_bp": 6000, "step_bp": 1000}
seeds = st.integers(0, 2**32 - 1)


def slow_scores(square: np.ndarray, length: int, windows: list[int], max_depth: int) -> dict[int, list[float]]:
    """Scores of the bins with contacts, from the description: start after gaps are closed -> a score a window."""
    a = np.nan_to_num(square)
    kept = [i for i in range(len(a)) if a[i].any()]
    start, end = [i * BINSIZE for i in kept], [min((i + 1) * BINSIZE, length) for i in kept]
    depth, m = int(max_depth * 2.5 * 1.5 / BINSIZE), len(kept)
    z = np.zeros((m, m))
    by_distance: dict[int, list[tuple[int, int]]] = {}
    for p in range(m):
        for q in range(p + 1, min(m, p + depth)):
            by_distance.setdefault(kept[q] - kept[p], []).append((p, q))
    for d, pairs in by_distance.items():
        x = [a[kept[p], kept[q]] for p, q in pairs]
        n = max(m - d, len(x))
        mean = sum(x) / n
        sd = np.sqrt((sum((v - mean) ** 2 for v in x) + (n - len(x)) * mean**2) / n)
        for (p, q), v in zip(pairs, x, strict=True):
            z[p, q] = 0 if d > depth else (v - mean) / sd if sd > 0 else np.nan
    for p in range(1, m):
        if end[p - 1] != start[p]:
            end[p - 1] = start[p] = start[p] - int((start[p] - end[p - 1]) / 2)
    start[0] = 0
    found = {}
    for c in range(m):
        scores = []
        for w in windows:
            left = max(i for i in range(m) if start[i] <= max(0, start[c] - w))
            right = max(i for i in range(m) if start[i] <= min(end[-1], end[c] + w) - 1)
            block = z[left:c, c:right]
            scores.append(block.mean() if block.size else 0.0)
        if not np.isnan(scores).any():
            found[start[c]] = scores
    return found


@given(seeds, st.integers(12, 60), st.sampled_from([0.0, 0.15]))
@settings(max_examples=30)
def test_tad_separation__equals_the_description_on_squares(seed, n, bad_share):
    # Bins without contacts are 0 here, as in the original, so that all pixels of the others are known.
    square = np.nan_to_num(random_square(np.random.default_rng(seed), n, bad_share))
    length = n * BINSIZE - 300
    grid = Assembly.from_table("test", [("chr1", length)]).bins(BINSIZE)
    got = tad_separation(band_array(band_from_squares({"chr1": square}, n), grid), **DEPTHS)
    expected = slow_scores(square, length, got["window"].values.tolist(), 6000)
    ours = {
        int(start): scores
        for start, scores, ok in zip(
            got["joined_start"].values, got["scores"].values.T, ~np.isnan(got["score"].values), strict=True
        )
        if ok
    }
    assert list(ours) == list(expected)
    for start, scores in expected.items():
        np.testing.assert_allclose(ours[start], scores, atol=1e-9)


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 5))
def test_score_minima__are_not_followed_by_lower_values(heights, lookahead):
    y = np.array(heights, dtype=float)
    for at in score_minima(y, lookahead):
        assert y[at] <= y[at : at + lookahead].min()
        assert y[at] < y[:at].max()


@pytest.fixture(scope="module")
def genome():
    rng = np.random.default_rng(11)
    sizes = {"chr1": 150, "chr2": 30, "chr3": 120}
    squares = {chrom: random_square(rng, n, 0.05) for chrom, n in sizes.items()}
    squares["chr2"][:] = 0
    return squares


def _genome_band(squares, chroms, n_diagonals=23):
    grid = Assembly.from_table("test", [(c, len(squares[c]) * BINSIZE - 10) for c in chroms]).bins(BINSIZE)
    return band_array(band_from_squares({c: squares[c] for c in chroms}, n_diagonals), grid)


def _calls(found: xr.Dataset) -> tuple[set, set]:
    return tuple(
        set(table[["chrom", "start", "end"]].itertuples(index=False, name=None))
        for table in (tad_boundaries(found), tad_domains(found))
    )


def test_tad_separation__does_not_depend_on_the_order_of_chromosomes(genome):
    kwargs = {**DEPTHS, "significance": 0.5}
    calls = [
        _calls(tad_separation(_genome_band(genome, order), **kwargs))
        for order in (sorted(genome), sorted(genome)[::-1])
    ]
    assert calls[0] == calls[1]
    assert all(calls[0])


def test_tad_separation__of_one_chromosome_equals_that_of_a_region(genome):
    whole = tad_separation(_genome_band(genome, ["chr1", "chr3"]), **DEPTHS, regions=["chr3"])
    alone = tad_separation(_genome_band(genome, ["chr3"]), **DEPTHS)
    assert whole.drop_vars("bin").identical(alone.drop_vars("bin"))


def test_tad_separation__of_a_region_stays_within_it(genome):
    found = tad_separation(_genome_band(genome, ["chr1"]), **DEPTHS, regions=["chr1:40,000-90,000"])
    square = genome["chr1"][40:90, 40:90]
    alone = tad_separation(
        band_array(band_from_squares({"c": square}, 23), Assembly.from_table("t", [("c", 50_000)]).bins(BINSIZE)),
        **DEPTHS,
    )
    np.testing.assert_array_equal(found["scores"], alone["scores"])
    np.testing.assert_array_equal(found["joined_start"], alone["joined_start"] + 40_000)


@settings(max_examples=4)
@given(st.integers(1, 150))
def test_tad_separation__is_the_same_for_any_chunks(genome, chunk):
    band = _genome_band(genome, ["chr1", "chr2"])
    whole = tad_separation(band, **DEPTHS)
    assert whole.identical(tad_separation(band.chunk({"bin": chunk, "diagonal": 7}), **DEPTHS))


def test_tad_separation__is_defined_without_the_diagonals_that_balancing_leaves_out(genome):
    band = _genome_band(genome, ["chr1"])
    missing = band.copy()
    missing[:, :2] = np.nan
    zero_sum = tad_separation(missing, **DEPTHS)
    other = missing.copy()
    other[:, 0] = np.where(np.isnan(band[:, 0]), np.nan, 7.0)  # the main diagonal counts nowhere
    assert np.isfinite(zero_sum["score"]).sum() > 100
    np.testing.assert_array_equal(zero_sum["scores"], tad_separation(other, **DEPTHS)["scores"])
