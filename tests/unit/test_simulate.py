"""The rules of the simulated genome: what is drawn, what it does to contacts and tracks, and that a seed is enough."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from epizarr.errors import ConfigError
from epizarr.simulate import (
    DEFAULT,
    PeakRule,
    SimulationConfig,
    World,
    chrom_lengths_of,
    expected_contacts,
    expected_tracks,
    simulate_world,
)
from epizarr.simulate.contacts import (
    COUNT_BLOCK_BINS,
    contact_profiles,
    contacts_from_profiles,
    count_model,
    covered_share,
    expected_decay,
    sample_pixels,
)
from epizarr.simulate.tracks import SIGNAL_BLOCK_BP, is_covered, sample_tracks

N_BINS = 300
BARE = replace(DEFAULT, chrom_lengths=(N_BINS * 10_000,))


@pytest.fixture(scope="module")
def world() -> World:
    return simulate_world(DEFAULT, 1, "SIM1")


def bare_world(*sites: tuple[int, str, str, float]) -> World:
    """A chromosome of one compartment that holds only the given sites: (position, kind, strand, strength)."""
    heights = {f"height_{track}": 0.0 for track in BARE.tracks}
    rows = [
        {"chrom": "sim1", "position": p, "kind": k, "strand": s, "strength": v} | heights | {"height_CTCF": 10.0}
        for p, k, s, v in sites
    ]
    domains = [{"chrom": "sim1", "start": 0, "end": N_BINS * 10_000, "kind": "compartment", "level": 1.0}]
    columns = ["chrom", "position", "kind", "strand", "strength", *heights]
    numbers = {"position": int, "strength": float} | dict.fromkeys(heights, float)
    table = pd.DataFrame(rows, columns=columns).astype(numbers)
    return World(BARE, 0, "X", BARE.assembly, table, pd.DataFrame(domains))


def band_of(world: World) -> np.ndarray:
    return expected_contacts(world, "sim1", 0, N_BINS, 100)


def test_default__is_frozen() -> None:
    # If this fails you changed a default: say so in CHANGELOG.md, then put the new hash here.
    assert hashlib.sha256(repr(DEFAULT).encode()).hexdigest()[:16] == "acb594d4d1093f58"


def test_simulation_config__lists_every_problem_at_once() -> None:
    with pytest.raises(ConfigError, match=r"run_bp.*loop_floor.*tracks \['ATAC'\]"):
        SimulationConfig(run_bp=300, loop_floor=2.0, peaks=(PeakRule("ctcf", "ATAC", 1.0, 1.0, 1.0, 0.0),))


def test_chrom_lengths_of__names_the_nearest_size() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'small'"):
        chrom_lengths_of("smal")


def test_chrom_lengths_of__human_has_24_chromosomes_of_hg38() -> None:
    lengths = chrom_lengths_of("human")
    assert (len(lengths), lengths[0], sum(lengths)) == (24, 248_956_422, 3_088_269_832)


def test_simulate_world__is_given_by_its_seed(world: World) -> None:
    again = simulate_world(DEFAULT, 1, "SIM1")
    pd.testing.assert_frame_equal(again.sites, world.sites)
    pd.testing.assert_frame_equal(again.domains, world.domains)


def test_simulate_world__changes_with_the_seed(world: World) -> None:
    assert not simulate_world(DEFAULT, 2, "SIM1").sites.equals(world.sites)


def test_simulate_world__does_not_depend_on_other_chromosomes(world: World) -> None:
    alone = simulate_world(replace(DEFAULT, chrom_lengths=DEFAULT.chrom_lengths[:1]), 1, "SIM1")
    shared = world.sites[world.sites["chrom"] == "sim1"]
    pd.testing.assert_frame_equal(alone.sites, shared.reset_index(drop=True))


def test_simulate_world__cell_types_share_part_of_their_ctcf_sites() -> None:
    config = replace(DEFAULT, chrom_lengths=(40_000_000,))
    a, b = (set(simulate_world(config, 1, c).sites_of("sim1", "ctcf")["position"]) for c in ("A", "B"))
    # 0.7 are constitutive, and half of a cell's other 0.3 is by chance in the other cell.
    assert len(a & b) / len(a) == pytest.approx(0.85, abs=0.06)


def test_simulate_world__has_the_same_gaps_in_every_cell_type(world: World) -> None:
    other = simulate_world(DEFAULT, 1, "SIM2")
    gaps = [w.domains_of("sim1", "gap").reset_index(drop=True) for w in (world, other)]
    pd.testing.assert_frame_equal(*gaps)


def test_simulate_world__puts_no_site_into_a_gap(world: World) -> None:
    for chrom in world.assembly.chrom_names:
        position = world.sites[world.sites["chrom"] == chrom]["position"].to_numpy()
        for start, end in world.domains_of(chrom, "gap")[["start", "end"]].itertuples(index=False):
            assert not ((position >= start) & (position < end)).any()


def test_simulate_world__compartments_tile_each_chromosome(world: World) -> None:
    for chrom, length in world.assembly:
        segments = world.domains_of(chrom, "compartment")
        edges = [0, *segments["end"]]
        assert list(segments["start"]) == edges[:-1]
        assert edges[-1] == length


def test_simulate_world__heights_are_independent_between_tracks() -> None:
    sites = simulate_world(replace(DEFAULT, chrom_lengths=(80_000_000,)), 1, "A").sites_of("sim1", "ctcf")
    barrier = -np.log1p(-sites["strength"])
    noise = [np.log(sites[f"height_{track}"] / barrier) for track in ("CTCF", "DNase")]
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.1


def test_covered_share__adds_level_times_covered_bases() -> None:
    domains = pd.DataFrame({"start": [5, 28], "end": [25, 30], "level": [1.0, 2.0]})
    np.testing.assert_allclose(covered_share(domains, 4, 10), [0.5, 1.0, 0.9, 0.0])


def test_covered_share__merge_counts_a_base_once() -> None:
    domains = pd.DataFrame({"start": [0, 2, 6], "end": [8, 5, 10], "level": 1.0})
    np.testing.assert_allclose(covered_share(domains, 1, 10, merge=True), [1.0])


def test_expected_decay__passes_through_its_knots() -> None:
    decay = expected_decay(DEFAULT, 200)
    knots = dict(zip(DEFAULT.decay_distance_bp, DEFAULT.decay_contacts, strict=True))
    np.testing.assert_allclose(decay[[1, 10, 100]], [knots[10e3], knots[100e3], knots[1e6]])


def test_sample_pixels__another_bin_width_has_as_many_contacts_between_the_same_places() -> None:
    totals = []
    for binsize in (10_000, 5_000):
        config = replace(BARE, binsize=binsize, contacts_per_unit=200_000.0)
        world = replace(bare_world(), config=config)
        left, right, count = sample_pixels(world, "sim1", 0, count_model(world, "sim1"))
        distance = (right - left) * binsize
        totals.append(count[(distance > 100_000) & (distance < 1_000_000) & (left * binsize < 1_000_000)].sum())
    assert totals[1] == pytest.approx(totals[0], rel=0.05)


def test_expected_contacts__without_features_follow_the_decay() -> None:
    band = band_of(bare_world())
    compartment = np.exp(BARE.compartment_effect)
    np.testing.assert_allclose(band[50], expected_decay(BARE, 100) * compartment, rtol=1e-12)


def test_expected_contacts__are_missing_off_the_chromosome_only() -> None:
    band = band_of(bare_world((1_000_000, "ctcf", "+", 0.9)))
    i, k = np.indices(band.shape)
    np.testing.assert_array_equal(np.isnan(band), i + k >= N_BINS)


def test_expected_contacts__agree_with_the_formula_written_out() -> None:
    config = replace(BARE, stall_gain=0.0, loop_floor=0.0, compartment_effect=0.0)
    sites = bare_world((95_000, "ctcf", "+", 0.9), (142_000, "ctcf", "-", 0.7), (185_000, "ctcf", "+", 0.5))
    world = replace(sites, config=config)
    stop_left, stop_right = {9: 0.9, 18: 0.5}, {14: 0.7}
    band = expected_contacts(world, "sim1", 0, 30, 20) / expected_decay(config, 20)
    for i, j in [(5, 5), (5, 20), (9, 14), (10, 18), (14, 18), (8, 13), (0, 19)]:
        passed = [
            np.prod([1 - stop_left.get(m, 0.0) for m in range(i + 1, x + 1)])
            * np.prod([1 - stop_right.get(m, 0.0) for m in range(x, j)])
            for x in range(i, j + 1)
        ]
        assert band[i, j - i] == pytest.approx(np.mean(passed), rel=1e-12)


def test_expected_contacts__convergent_sites_make_a_corner_peak() -> None:
    convergent = band_of(bare_world((1_005_000, "ctcf", "+", 0.9), (1_405_000, "ctcf", "-", 0.9)))[100, 40]
    divergent = band_of(bare_world((1_005_000, "ctcf", "-", 0.9), (1_405_000, "ctcf", "+", 0.9)))[100, 40]
    assert convergent > 2.5 * band_of(bare_world())[100, 40] > divergent


def test_expected_contacts__a_stronger_boundary_between_blocks_a_corner_peak() -> None:
    loop = ((1_005_000, "ctcf", "+", 0.9), (1_405_000, "ctcf", "-", 0.9))
    boundary = ((1_195_000, "ctcf", "-", 0.97), (1_205_000, "ctcf", "+", 0.97))
    assert band_of(bare_world(*loop, *boundary))[100, 40] < 0.6 * band_of(bare_world(*loop))[100, 40]


def test_expected_contacts__a_site_makes_a_stripe_on_the_side_it_points_to() -> None:
    band = band_of(bare_world((1_005_000, "ctcf", "+", 0.9)))
    plain = band_of(bare_world())
    rightward, leftward = band[100, 30] / plain[100, 30], band[70, 30] / plain[70, 30]
    assert rightward > 1.5
    assert leftward <= 1.0


def test_expected_contacts__decoys_do_nothing() -> None:
    decoys = bare_world((1_005_000, "decoy", ".", 0.9), (1_405_000, "decoy", ".", 0.9))
    np.testing.assert_array_equal(band_of(decoys), band_of(bare_world()))


def test_expected_contacts__losing_a_boundary_joins_its_domains() -> None:
    pair = bare_world((995_000, "ctcf", "-", 0.95), (1_005_000, "ctcf", "+", 0.95))
    edited = replace(pair, sites=pair.sites.iloc[:0])
    across = (slice(85, 98), slice(15, 20))
    assert (band_of(edited)[across] > band_of(pair)[across]).all()


def test_expected_contacts__enhancers_meet_promoters_in_their_domain_only() -> None:
    pair = ((1_005_000, "enhancer", ".", 1.0), (1_305_000, "promoter", "+", 1.0))
    wall = ((1_195_000, "ctcf", "-", 0.97), (1_205_000, "ctcf", "+", 0.97))
    gain = band_of(bare_world(*pair))[100, 30] / band_of(bare_world())[100, 30]
    walled = band_of(bare_world(*pair, *wall))[100, 30] / band_of(bare_world(*wall))[100, 30]
    assert gain == pytest.approx(1 + DEFAULT.enhancer_promoter_effect)
    assert walled < 1 + 0.6 * DEFAULT.enhancer_promoter_effect


def test_expected_contacts__refuse_rows_off_the_chromosome() -> None:
    with pytest.raises(IndexError, match=r"\[0, 301\)"):
        expected_contacts(bare_world(), "sim1", 0, N_BINS + 1, 10)


def test_count_model__gives_all_bins_the_same_total() -> None:
    config = replace(DEFAULT, chrom_lengths=(15_000_000,))
    model = count_model(world := simulate_world(config, 1, "A"), "sim1")
    n, k = len(model.bias), config.n_diagonals
    square = np.zeros((n, n))
    band = expected_contacts(world, "sim1", 0, n, k)
    for d in range(2, n):
        i = np.arange(n - d)
        square[i, i + d] = band[: n - d, d] if d < k else model.far[i] * model.far[i + d]
    good = model.profiles.is_mappable
    total = (square + square.T)[np.ix_(good, good)].sum(axis=1)
    assert total.std() / total.mean() < 0.02


def test_sample_pixels__are_sorted_and_avoid_unmappable_bins(world: World) -> None:
    model = count_model(world, "sim1")
    left, right, count = sample_pixels(world, "sim1", 0, model)
    keys = left * len(model.bias) + right
    assert (np.diff(keys) > 0).all()
    assert (count > 0).all()
    assert model.profiles.is_mappable[left].all()
    assert model.profiles.is_mappable[right].all()


def test_sample_pixels__average_to_depth_times_bias_times_expected() -> None:
    config = replace(BARE, contacts_per_unit=100_000.0)
    world = replace(bare_world(), config=config)
    model = count_model(world, "sim1")
    left, right, count = sample_pixels(world, "sim1", 0, model)
    on = right - left == 5
    mean = 100_000 * model.bias[left] * model.bias[right] * band_of(world)[0, 5]
    ratio = count[on] / mean[on]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)


def test_expected_tracks__the_tail_of_a_ctcf_peak_points_along_its_strand() -> None:
    tails = []
    for strand in "+-":
        track = expected_tracks(bare_world((1_500_050, "ctcf", strand, 0.9)), "sim1", 14_900, 15_101)
        ctcf = track[DEFAULT.tracks.index("CTCF")]
        tails.append(ctcf[101:].sum() - ctcf[:100].sum())
    assert tails[0] == pytest.approx(-tails[1])
    assert tails[0] > 10


def test_expected_tracks__tell_decoys_from_stopping_sites(world: World) -> None:
    sites = world.sites
    assert (sites.loc[sites["kind"] == "ctcf", "height_DNase"] > 0).all()
    assert (sites.loc[sites["kind"] == "decoy", "height_DNase"] == 0).all()


def test_sample_tracks__average_to_the_expected_signal(world: World) -> None:
    first, signal = sample_tracks(world, "sim1", 0)
    expected = expected_tracks(world, "sim1", first, first + signal.shape[1])
    covered = ~np.isnan(signal[0])
    ratio = np.nansum(signal, axis=1) / expected[:, covered].sum(axis=1)
    np.testing.assert_allclose(ratio, 1.0, atol=0.03)


def test_sample_tracks__are_missing_in_gaps_only(world: World) -> None:
    first, signal = sample_tracks(world, "sim1", 0)
    covered = is_covered(world, "sim1", first, first + signal.shape[1])
    np.testing.assert_array_equal(np.isnan(signal), np.tile(~covered, (5, 1)))
    assert not covered[0]


def test_sample_tracks__finer_runs_keep_the_level() -> None:
    config = replace(DEFAULT, run_bp=10)
    first, signal = sample_tracks(simulate_world(config, 1, "SIM1"), "sim1", 1)
    coarse = sample_tracks(simulate_world(DEFAULT, 1, "SIM1"), "sim1", 1)[1]
    assert (first, signal.shape[1]) == (SIGNAL_BLOCK_BP // 10, SIGNAL_BLOCK_BP // 10)
    np.testing.assert_allclose(np.nanmean(signal, axis=1), np.nanmean(coarse, axis=1), rtol=0.05)


def test_contacts_from_profiles__last_block_may_be_short(world: World) -> None:
    profiles = contact_profiles(world, "sim1")
    n = len(profiles.mappable)
    last = n // COUNT_BLOCK_BINS * COUNT_BLOCK_BINS
    assert contacts_from_profiles(profiles, DEFAULT, last, n, 200).shape == (n - last, 200)
