"""Insulation on the band against the definition on square matrices, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr import insulation
from epizarr.bands import band_from_square, mirror_band
from epizarr.domains.insulation import bad_distance, insulation_scores, li_threshold, minima_prominence
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares, random_square

seeds = st.integers(0, 2**32 - 1)


def slow_scores(square: np.ndarray, window: int, min_diagonal: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and number of valid pixels of each bin, from the definition."""
    n = len(square)
    mean, count = np.full(n, np.nan), np.zeros(n, dtype=int)
    for x in range(n):
        pixels = [
            square[a, c]
            for a in range(max(0, x - window + 1), x + 1)
            for c in range(x, min(n, x + window))
            if c - a >= min_diagonal and not np.isnan(square[a, c])
        ]
        count[x] = len(pixels)
        if pixels:
            mean[x] = sum(pixels) / len(pixels)
    known = mean[~np.isnan(mean)]
    middle = np.median(known) if len(known) else 0.0
    score = [np.log2(m / middle) if m > 0 and middle > 0 else np.nan for m in mean]
    return np.array(score), count


def slow_prominence(track: np.ndarray) -> np.ndarray:
    """Walk to both sides of each minimum until the track is lower than there."""
    found, lowest_seen = np.full(len(track), np.nan), False
    maxima = [track[i] for i in range(1, len(track) - 1) if track[i] > max(track[i - 1], track[i + 1])]
    for i in range(1, len(track) - 1):
        if not track[i] < min(track[i - 1], track[i + 1]):
            continue
        sides = []
        for step in (-1, 1):
            j, highest = i + step, track[i]
            while 0 <= j < len(track) and track[j] >= track[i]:
                highest, j = max(highest, track[j]), j + step
            if 0 <= j < len(track):
                sides.append(highest - track[i])
        if sides:
            found[i] = min(sides)
        elif not lowest_seen:
            lowest_seen = True
            found[i] = (max(maxima) if maxima else max(track)) - track[i]
    return found


@given(seeds, st.integers(1, 40), st.sampled_from([0.0, 0.2]), st.integers(1, 6), st.integers(0, 3))
def test_insulation_scores__equal_the_definition_on_squares(seed, n, bad_share, window, min_diagonal):
    square = random_square(np.random.default_rng(seed), n, bad_share)
    score, n_valid = insulation_scores(band_from_square(square, 11), [window], min_diagonal=min_diagonal)
    slow_score, slow_n_valid = slow_scores(square, window, min_diagonal)
    np.testing.assert_array_equal(n_valid[0], slow_n_valid)
    np.testing.assert_allclose(score[0], slow_score, atol=1e-10)


@given(seeds, st.integers(3, 40))
def test_insulation_scores__of_a_mirrored_chromosome_are_mirrored(seed, n):
    band = band_from_square(random_square(np.random.default_rng(seed), n), 11)
    forward, backward = insulation_scores(band, [3, 6])[0], insulation_scores(mirror_band(band), [3, 6])[0]
    np.testing.assert_allclose(backward[:, ::-1], forward, atol=1e-10)


@given(st.lists(st.integers(0, 6), max_size=30).map(np.array))
def test_minima_prominence__equals_a_walk_from_each_minimum(heights):
    np.testing.assert_array_equal(minima_prominence(heights.astype(float)), slow_prominence(heights.astype(float)))


@given(st.lists(st.booleans(), min_size=1, max_size=30).map(np.array))
def test_bad_distance__equals_the_nearest_of_all(bad):
    places = [-1, *np.flatnonzero(bad).tolist(), len(bad)]
    assert bad_distance(bad).tolist() == [min(abs(i - p) for p in places) for i in range(len(bad))]


@pytest.fixture(scope="module")
def genome():
    """Three chromosomes, the last a single bin, the second without any contact that is known."""
    rng = np.random.default_rng(7)
    squares = {"chr1": random_square(rng, 130), "chr2": np.full((40, 40), np.nan), "chr3": np.ones((1, 1))}
    grid = Assembly.from_table("test", [("chr1", 12_950), ("chr2", 4_000), ("chr3", 60)]).bins(100)
    return grid, squares, band_from_squares(squares, 21)


def test_insulation__treats_each_chromosome_on_its_own(genome):
    grid, squares, band = genome
    got = insulation(band_array(band, grid), [300, 1000])
    for chrom, square in squares.items():
        ours = got.isel(bin=got["chrom"] == chrom)
        for window in (300, 1000):
            score, n_valid = slow_scores(square, window // 100, 2)
            np.testing.assert_allclose(ours["score"].sel(window=window), score, atol=1e-10)
            np.testing.assert_array_equal(ours["n_valid"].sel(window=window), n_valid)
    assert not got["is_boundary"].isel(bin=got["chrom"] != "chr1").any()


@settings(max_examples=5)
@given(st.integers(1, 200))
def test_insulation__is_the_same_for_any_chunks(genome, chunk):
    grid, _, band = genome
    whole = insulation(band_array(band, grid), [300, 1000], min_bad_distance=2)
    chunked = insulation(band_array(band, grid).chunk({"bin": chunk, "diagonal": 7}), [300, 1000], min_bad_distance=2)
    assert whole.identical(chunked)


def test_insulation__is_the_same_at_any_band_width(genome):
    grid, _, band = genome
    assert insulation(band_array(band, grid), 300).identical(insulation(band_array(band[:, :5], grid), 300))


def test_insulation__of_a_region_sees_nothing_beyond_it(genome):
    grid, squares, band = genome
    got = insulation(band_array(band, grid), 300, regions=["chr1:2,000-6,000"])
    assert got["start"].values.tolist() == list(range(2000, 6000, 100))
    np.testing.assert_allclose(got["score"][0], slow_scores(squares["chr1"][20:60, 20:60], 3, 2)[0], atol=1e-10)


@given(seeds)
def test_li_threshold__separates_at_least_cross_entropy(seed):
    """No split of the values has a lower cross-entropy by more than the last step moves."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.gamma(2.0, 0.05, 60), rng.normal(2.0, 0.2, 25)])
    limit = li_threshold(np.append(values, np.nan))
    assert np.quantile(values, 0.05) < limit < 2.0
    low, high = values[values <= limit], values[values > limit]
    shifted = [part.mean() - values.min() for part in (low, high)]
    fixed_point = (shifted[0] - shifted[1]) / np.log(shifted[0] / shifted[1]) + values.min()
    assert limit == pytest.approx(fixed_point, abs=1e-2)
