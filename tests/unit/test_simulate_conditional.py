"""Genomes redrawn given their tracks: that they follow the law, and what the tracks then leave open."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from epizarr.errors import ConfigError
from epizarr.simulate import DEFAULT, STRANDLESS, MotifRule, expected_contacts, mean_contacts, simulate_world
from epizarr.simulate.conditional import TrackPosterior, redraw_problems, redrawn_profiles
from epizarr.simulate.config import SimulationConfig
from epizarr.simulate.tracks import expected_tracks
from epizarr.simulate.world import World, strength_prior, visible_strength

KINDS = ("ctcf", "decoy", "enhancer", "promoter", "artefact")
SHORT = replace(DEFAULT, chrom_lengths=(3_004_321,))
MEDIUM = replace(DEFAULT, chrom_lengths=(10_000_000,))
LONG = replace(DEFAULT, chrom_lengths=(20_000_000,))


def with_noise(config: SimulationConfig, log_sd: float, reads: float) -> SimulationConfig:
    peaks = tuple(replace(rule, log_sd=log_sd) for rule in config.peaks)
    return replace(config, peaks=peaks, reads_per_100bp=reads)


def without_shapes(config: SimulationConfig) -> SimulationConfig:
    """CTCF peaks whose shape does not tell the strand, nor whether they are decoys; and no DNase peak at stopping sites."""
    kept = [rule for rule in config.peaks if (rule.kind, rule.track) != ("ctcf", "DNase")]
    flat = [replace(r, upstream_bp=380.0, downstream_bp=380.0) if r.track == "CTCF" else r for r in kept]
    return replace(config, peaks=tuple(flat))


def strengths(world: World, kind: str) -> np.ndarray:
    return world.sites_of("sim1", kind)["strength"].to_numpy()


def test_track_posterior__begins_with_the_signal_of_the_genome() -> None:
    world = simulate_world(SHORT, 3, "A")
    chain = TrackPosterior(world, "sim1")
    n_runs = -(-SHORT.chrom_lengths[0] // SHORT.run_bp)
    inner = chain._signal[:, chain._margin : chain._margin + n_runs]
    np.testing.assert_allclose(inner, expected_tracks(world, "sim1", 0, n_runs), atol=1e-9)


def test_track_posterior__keeps_the_signal_of_its_sites() -> None:
    """After any moves, the signal that the chain keeps is that of the sites that it has."""
    chain = TrackPosterior(simulate_world(without_shapes(SHORT), 3, "A"), "sim1")
    before = chain.current().sites
    for _ in range(5):
        chain.sweep()
    n_runs = -(-SHORT.chrom_lengths[0] // SHORT.run_bp)
    inner = chain._signal[:, chain._margin : chain._margin + n_runs]
    np.testing.assert_allclose(inner, expected_tracks(chain.current(), "sim1", 0, n_runs), rtol=1e-9)
    assert (chain.current().sites["kind"] != before["kind"]).any()


@pytest.mark.parametrize("kind", ["ctcf", "decoy", "enhancer", "promoter"])
def test_track_posterior__rank_of_the_truth_among_redraws_is_uniform(
    kind: str, redrawn: tuple[World, list[World]]
) -> None:
    """Simulation-based calibration (Talts et al. 2018)."""
    world, worlds = redrawn
    drawn = np.array([w.sites.loc[world.sites_of("sim1", kind).index, "strength"] for w in worlds])
    rank = (drawn < strengths(world, kind)).sum(axis=0)
    counts = np.bincount(rank * 4 // (len(worlds) + 1), minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-3
    # It would be uniform too if the tracks told nothing: they tell most.
    assert drawn.std(axis=0).mean() < 0.6 * strengths(world, kind).std()


@pytest.fixture(scope="module")
def redrawn() -> tuple[World, list[World]]:
    world = simulate_world(LONG, 11, "A")
    return world, list(TrackPosterior(world, "sim1").redraws(31))


def test_track_posterior__forgets_strengths_between_redraws(redrawn: tuple[World, list[World]]) -> None:
    _, worlds = redrawn
    drawn = np.array([w.sites_of("sim1", "enhancer")["strength"] for w in worlds])
    away = drawn - drawn.mean(axis=0)
    assert abs((away[1:] * away[:-1]).mean() / (away**2).mean()) < 0.15


@pytest.mark.slow
def test_track_posterior__strength_follows_the_closed_form_where_reads_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With many reads heights are known, and the law of a strength given them is prior times normal, by quadrature."""
    world = simulate_world(replace(SHORT, reads_per_100bp=1e5), 5, "A")
    chain = TrackPosterior(world, "sim1")
    drawn = np.array([strengths(w, "promoter") for w in chain.redraws(120)])
    ((_, low, high),) = strength_prior(SHORT, "promoter")
    grid = np.linspace(low, high, 20_001)
    sites = world.sites_of("sim1", "promoter")
    law = np.zeros((len(sites), len(grid)))
    for rule in (rule for rule in SHORT.peaks if rule.kind == "promoter"):
        off = np.log(
            sites[f"height_{rule.track}"].to_numpy()[:, None] / rule.height / visible_strength("promoter", grid)
        )
        law -= 0.5 * (off / rule.log_sd) ** 2
    weight = np.exp(law - law.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ grid
    sd = np.sqrt(weight @ grid**2 - mean**2)
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / sd, 0.0, atol=0.4)
    np.testing.assert_allclose(drawn.std(axis=0) / sd, 1.0, atol=0.3)


def test_track_posterior__shapes_tell_strands_and_decoys() -> None:
    """In the default rules; from a wrong start the chain finds them too."""
    world = simulate_world(SHORT, 3, "A")
    chain = TrackPosterior(world, "sim1")
    true = chain._option.copy()
    ctcf = np.flatnonzero(true < 2)
    chain._option[ctcf] = 1 - true[ctcf]
    # The chain as it would be had it begun there.
    chain._shape = chain._shapes(np.arange(len(true)), chain._option)
    n_runs = -(-SHORT.chrom_lengths[0] // SHORT.run_bp)
    chain._signal[:, chain._margin : chain._margin + n_runs] = expected_tracks(chain.current(), "sim1", 0, n_runs)
    for _ in range(30):
        chain.sweep()
    np.testing.assert_array_equal(chain._option, true)


def test_track_posterior__without_shapes_a_peak_is_what_it_is_by_its_density() -> None:
    world = simulate_world(without_shapes(MEDIUM), 4, "A")
    worlds = list(TrackPosterior(world, "sim1").redraws(20))
    ctcf = world.sites_of("sim1", "ctcf", "decoy").index
    strand = np.array([w.sites.loc[ctcf, "strand"] for w in worlds])
    stopping = sum(weight for weight, _, _ in strength_prior(MEDIUM, "ctcf"))
    share = stopping / (stopping + MEDIUM.decoy_per_mb)
    assert (strand != ".").mean() == pytest.approx(share, abs=0.09)
    assert (strand == "+").sum() / (strand != ".").sum() == pytest.approx(0.5, abs=0.08)


def test_track_posterior__motifs_tell_strands_and_strengths() -> None:
    flat = without_shapes(MEDIUM)
    plain, with_motifs = (
        simulate_world(config, 4, "A") for config in (flat, replace(flat, motifs=MotifRule(log_sd=0.05)))
    )
    spread = []
    for world in (plain, with_motifs):
        worlds = list(TrackPosterior(world, "sim1").redraws(10))
        index = world.sites_of("sim1", "ctcf").index
        strand = np.array([w.sites.loc[index, "strand"] for w in worlds])
        spread.append(((strand != strand[0]).any(axis=0).mean(), worlds))
    assert spread[0][0] > 0.5
    assert spread[1][0] == 0.0
    sd = [
        np.array([w.sites.loc[world.sites_of("sim1", "ctcf").index, "strength"] for w in worlds]).std(axis=0).mean()
        for world, (_, worlds) in zip((plain, with_motifs), spread, strict=True)
    ]
    assert sd[1] < 0.5 * sd[0]


def test_mean_contacts__without_noise_are_the_truth() -> None:
    config = with_noise(SHORT, log_sd=1e-3, reads=1e6)
    world = simulate_world(config, 3, "A")
    n_bins = -(-SHORT.chrom_lengths[0] // SHORT.binsize)
    mean = mean_contacts(redrawn_profiles(world, "sim1", 4), config, 0, n_bins, 50)
    np.testing.assert_allclose(mean, expected_contacts(world, "sim1", 0, n_bins, 50), rtol=0.01)


def test_mean_contacts__come_nearer_to_the_truth_than_any_redraw(redrawn: tuple[World, list[World]]) -> None:
    world, worlds = redrawn
    true = np.log(expected_contacts(world, "sim1", 0, 1900, 60))
    each = [np.log(expected_contacts(w, "sim1", 0, 1900, 60)) for w in worlds]
    mean = np.log(np.mean(np.exp(each), axis=0))
    errors = [np.square(other - true).mean() for other in each]
    # The truth is one more draw: half of a redraw's squared distance to it is the spread, the other half the truth's own.
    assert np.square(mean - true).mean() == pytest.approx(np.mean(errors) / 2, rel=0.2)


def test_redraws__change_nothing_but_sites_of_the_chromosome() -> None:
    config = replace(DEFAULT, chrom_lengths=(1_500_000, 1_500_000))
    world = simulate_world(config, 2, "A")
    (other,) = TrackPosterior(world, "sim1").redraws(1)
    assert other.domains.equals(world.domains)
    elsewhere = world.sites["chrom"] != "sim1"
    assert other.sites[elsewhere].equals(world.sites[elsewhere])
    assert (other.sites["position"] == world.sites["position"]).all()


def test_redraws__are_given_by_the_seed() -> None:
    world = simulate_world(SHORT, 3, "A")
    first, again = (list(TrackPosterior(world, "sim1").redraws(2))[1].sites for _ in range(2))
    assert first.equals(again)


def test_track_posterior__refuses_rules_without_noise() -> None:
    world = simulate_world(with_noise(SHORT, log_sd=0.0, reads=5.0), 3, "A")
    with pytest.raises(ConfigError, match=r"ctcf in CTCF.*small positive one"):
        TrackPosterior(world, "sim1")


def test_redraw_problems__names_rules_of_one_kind_and_track() -> None:
    config = replace(SHORT, peaks=(*SHORT.peaks, SHORT.peaks[0]))
    assert "('ctcf', 'CTCF') has several peak rules" in redraw_problems(config)[0]


def test_strandless__tracks_tell_decoys_but_no_strand() -> None:
    config = replace(STRANDLESS, chrom_lengths=(10_000_000,))
    world = simulate_world(config, 4, "A")
    worlds = list(TrackPosterior(world, "sim1").redraws(20))
    index = world.sites_of("sim1", "ctcf", "decoy").index
    kinds = np.array([w.sites.loc[index, "kind"] for w in worlds])
    assert (kinds == world.sites.loc[index, "kind"].to_numpy()).all()
    ctcf = world.sites_of("sim1", "ctcf").index
    same = np.array([w.sites.loc[ctcf, "strand"] for w in worlds]) == world.sites.loc[ctcf, "strand"].to_numpy()
    assert same.mean() == pytest.approx(0.5, abs=0.1)
