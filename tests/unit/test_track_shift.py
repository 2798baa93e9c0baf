"""Distance of a track from those of training."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from epizarr.errors import TransformError
from epizarr.simulate import DEFAULT, simulate_world
from epizarr.simulate.tracks import sample_tracks
from epizarr.track_shift import (
    N_STRETCHES,
    SHIFT_WARNING,
    STRETCH_BINS,
    TrackDistribution,
    sample_bins,
    shift_warnings,
    track_shift,
)
from epizarr.transforms import Transform, fit_track_transform


def distribution(values: np.ndarray) -> TrackDistribution:
    found = TrackDistribution.of([values])
    assert found is not None
    return found


@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: 2 * x, lambda x: x + 1, lambda x: np.where(x < 1, 0, x), np.log1p]
)
def test_track_shift__is_the_wasserstein_distance_of_scipy_in_training_sd(change):
    rng = np.random.default_rng(0)
    trained, found = rng.gamma(2.0, 1.0, 50_000), change(rng.gamma(2.0, 1.0, 40_000))
    distance, mean = track_shift(distribution(trained), distribution(found))
    # Distributions are kept as 101 knots.
    assert distance == pytest.approx(wasserstein_distance(trained, found) / trained.std(), abs=0.02)
    assert mean == pytest.approx((found.mean() - trained.mean()) / trained.std(), abs=0.02)


def test_track_shift__of_zeros_against_ones_is_exact():
    zeros, mixed = np.zeros(2_000), np.repeat([0.0, 3.0], [1_500, 500])
    assert track_shift(distribution(mixed), distribution(zeros))[0] == pytest.approx(0.75 / mixed.std(), rel=1e-9)


def test_track_distribution__reads_back_what_it_wrote():
    first = distribution(np.random.default_rng(1).gamma(2.0, 1.0, 5_000))
    again = TrackDistribution.from_params(first.to_params())
    assert again.to_params() == first.to_params()
    assert track_shift(first, again)[0] == 0


@pytest.mark.parametrize("change", [{"sd": -1.0}, {"sd": None}, {"quantiles": {}}])
def test_track_distribution__refuses_what_is_none(change):
    with pytest.raises(TransformError):
        TrackDistribution.from_params(distribution(np.arange(2_000.0)).to_params() | change)


def test_track_distribution__few_bins_say_nothing():
    assert TrackDistribution.of([np.full(5_000, np.nan), np.ones(999)]) is None


def test_sample_bins__takes_all_of_little():
    assert sample_bins([(5, 10), (20, 20), (30, 90)]) == [(5, 10), (30, 90)]


def test_sample_bins__spreads_stretches_over_the_extents():
    extents = [(1_000, 1_500_000), (9_000_000, 9_400_000)]
    found = sample_bins(extents)
    assert sum(hi - lo for lo, hi in found) == N_STRETCHES * STRETCH_BINS
    assert all(any(a <= lo < hi <= b for a, b in extents) for lo, hi in found)
    assert (found[0][0], found[-1][1]) == (1_000, 9_400_000)
    in_second = sum(hi - lo for lo, hi in found if lo >= 9_000_000)
    assert in_second / (N_STRETCHES * STRETCH_BINS) == pytest.approx(400 / 1_899, abs=0.01)


def test_shift_warnings__says_which_and_which_way():
    found = shift_warnings({"CTCF": (1.0, 0.9), "DNase": (1.0, -1.0), "H3K27ac": (SHIFT_WARNING / 2, 0.0)}, "K562")
    assert [("'CTCF'" in s, "mostly higher" in s, "mostly lower" in s) for s in found] == [
        (True, True, False),
        (False, False, True),
    ]


def simulated(cell_type: str) -> dict[str, np.ndarray]:
    """Tracks of 10 Mb in bins of 100 bp, by name."""
    world = simulate_world(DEFAULT, 0, cell_type)
    parts = [sample_tracks(world, chrom, block)[1] for chrom in DEFAULT.assembly.chrom_names for block in range(5)]
    return dict(zip(DEFAULT.tracks, np.concatenate(parts, axis=1), strict=True))


def transformed(transform: Transform, values: np.ndarray) -> TrackDistribution:
    return distribution(transform.apply(values.astype(np.float32), np.zeros(len(values), dtype=bool)))


def test_track_shift__tells_other_units_from_another_cell_type_on_simulated_tracks():
    trained, found = simulated("SIM1"), simulated("SIM2")
    for name, values in trained.items():
        transform = fit_track_transform("blacklist_clip_log1p", [values])
        base = transformed(transform, values)
        same = track_shift(base, transformed(transform, found[name]))[0]
        scaled = [track_shift(base, transformed(transform, factor * found[name]))[0] for factor in (1.5, 3, 1 / 3)]
        assert same < 0.8 * SHIFT_WARNING
        assert min(scaled) > 1.4 * SHIFT_WARNING
        assert min(scaled) > 2 * same
        if name == "DNase":
            assert track_shift(base, transformed(transform, found["CTCF"]))[0] > 1.4 * SHIFT_WARNING
