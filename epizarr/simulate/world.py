"""The simulated genome itself: where its features lie, and what they do.

A :class:`World` is two tables. Everything else (expected contacts, expected tracks, noisy files) is computed from them,
so an edited genome is an edited table: ``dataclasses.replace(world, sites=world.sites.drop(index=[17]))`` is the same
cell without site 17, with the same noise everywhere else.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from epizarr.genome import Assembly
from epizarr.simulate.config import SimulationConfig

LEAST_ACTIVITY = {"enhancer": 0.3, "promoter": 0.2}
"""Strengths of enhancers and promoters are uniform from here to 1."""

_GAP_MARGIN_BP = 2_000  # no site within this distance of a gap: its peak would be cut


def no_motifs() -> pd.DataFrame:
    """Make the motif table of a genome whose rules have no motifs."""
    return pd.DataFrame({"chrom": [], "position": [], "strand": [], "score": []}).astype(
        {"chrom": object, "position": np.int64, "strand": object, "score": float}
    )


@dataclass(frozen=True)
class World:
    """A genome of one simulated cell type.

    Parameters
    ----------
    config
        The rules.
    seed, cell_type
        What the noise is drawn from, besides the purpose, chromosome and block.
    assembly
        Chromosomes.
    sites
        One row per site, sorted by chromosome and position: ``chrom``; ``position`` (bp); ``kind``; ``strand`` (``"+"``,
        ``"-"`` or ``"."``); ``strength``; and ``height_<track>``, the summit of its peak (0 where it has none). Kinds:

        - ``ctcf``: stops loops that come from the side its strand points to, with probability ``strength``; a ``+`` site
          stops the left arm of a loop, a ``-`` site the right arm.
        - ``decoy``: a CTCF peak that stops nothing; ``strength`` is only what its peak looks like.
        - ``enhancer``, ``promoter``: ``strength`` is their activity in [0, 1].
        - ``artefact``: a spike in every track, without effect on contacts.
    domains
        One row per interval: ``chrom``, ``start``, ``end`` (bp, half-open), ``kind``, ``level``. Kinds: ``compartment``
        (level > 0 is A, < 0 is B; they tile each chromosome), ``polycomb`` (not overlapping), and ``gap`` (unmappable, may
        overlap others and is all that is seen where it does).
    motifs
        One row per instance of the CTCF motif where ``config.motifs`` has a rule, sorted by chromosome and position:
        ``chrom``, ``position``, ``strand`` and ``score`` (bits). The same in all cell types of a seed.
    """

    config: SimulationConfig
    seed: int
    cell_type: str
    assembly: Assembly
    sites: pd.DataFrame
    domains: pd.DataFrame
    motifs: pd.DataFrame = field(default_factory=no_motifs)

    def sites_of(self, chrom: str, *kinds: str) -> pd.DataFrame:
        """Return the sites of the given kinds on a chromosome, in order of position."""
        chosen = (self.sites["chrom"] == chrom) & self.sites["kind"].isin(kinds)
        return self.sites[chosen].sort_values("position", kind="stable")

    def domains_of(self, chrom: str, kind: str) -> pd.DataFrame:
        """Return the domains of one kind on a chromosome, in order of start."""
        chosen = (self.domains["chrom"] == chrom) & (self.domains["kind"] == kind)
        return self.domains[chosen].sort_values("start", kind="stable")


def random_stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the random numbers of one purpose, the same whatever was drawn before or elsewhere."""
    digest = hashlib.sha256("\x1f".join(map(str, purpose)).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, *np.frombuffer(digest, dtype="<u4").tolist()]))


def simulate_world(config: SimulationConfig, seed: int, cell_type: str) -> World:
    """Draw a genome.

    Worlds of one configuration and seed have the same gaps, and share the configured part of their other features.

    Parameters
    ----------
    config
        The rules.
    seed
        Non-negative seed of the genome.
    cell_type
        Name of the cell type.

    Returns
    -------
    The world; about 10 kB per Mb.

    Examples
    --------
    >>> world = simulate_world(DEFAULT, 0, "SIM1")
    >>> sorted(world.sites["kind"].unique())
    ['artefact', 'ctcf', 'decoy', 'enhancer', 'promoter']
    """
    assembly = config.assembly
    sites, domains, motifs = [], [], [no_motifs()]
    for chrom, length in assembly:
        gaps = _draw_gaps(config, random_stream(seed, "gaps", chrom), length)
        compartments = _draw_compartments(config, seed, cell_type, chrom, length)
        polycomb = _draw_polycomb(config, seed, cell_type, chrom, length)
        found = pd.concat(
            [
                _draw_ctcf(config, seed, cell_type, chrom, length),
                _draw_scattered(config, seed, cell_type, chrom, length, compartments),
            ],
            ignore_index=True,
        )
        # Heights are drawn for all sites before any is dropped, so that a gap changes no other site.
        found = _with_heights(config, found, random_stream(seed, "heights", chrom, cell_type))
        found = found[~_in_any(found["position"].to_numpy(), gaps, _GAP_MARGIN_BP)].sort_values("position")
        sites.append(found.assign(chrom=chrom))
        domains.append(pd.concat([compartments, polycomb, gaps]).assign(chrom=chrom))
        instances = _draw_motifs(config, seed, chrom, length)
        instances = instances[~_in_any(instances["position"].to_numpy(), gaps, _GAP_MARGIN_BP)].sort_values("position")
        motifs.append(instances.assign(chrom=chrom))
    site_table = pd.concat(sites, ignore_index=True)
    domain_table = pd.concat(domains, ignore_index=True)
    heights = [f"height_{track}" for track in config.tracks]
    return World(
        config,
        seed,
        cell_type,
        assembly,
        site_table[["chrom", "position", "kind", "strand", "strength", *heights]],
        domain_table[["chrom", "start", "end", "kind", "level"]],
        pd.concat(motifs[1:] if config.motifs else motifs[:1], ignore_index=True)[
            ["chrom", "position", "strand", "score"]
        ],
    )


def _domain_table(kind: str, start: np.ndarray, end: np.ndarray, level: np.ndarray | float) -> pd.DataFrame:
    frame = pd.DataFrame({"start": start.astype(np.int64), "end": end.astype(np.int64)})
    return frame.assign(kind=kind, level=np.broadcast_to(level, len(frame)).astype(float))


def _in_any(position: np.ndarray, intervals: pd.DataFrame, margin: int) -> np.ndarray:
    """Whether each position lies in, or within ``margin`` of, one of the intervals."""
    inside = np.zeros(len(position), dtype=bool)
    for start, end in intervals[["start", "end"]].itertuples(index=False):
        inside |= (position >= start - margin) & (position < end + margin)
    return inside


def _pool(share: float) -> tuple[float, float]:
    """Candidates per feature of one cell type, and the share of candidates that all cell types have."""
    candidates = share + 2 * (1 - share)
    return candidates, share / candidates


def _active(config_share: float, n: int, shared: np.random.Generator, own: np.random.Generator) -> np.ndarray:
    """Which of ``n`` candidates a cell type has: the constitutive ones, and half of the others."""
    return (shared.random(n) < _pool(config_share)[1]) | (own.random(n) < 0.5)


def _draw_gaps(config: SimulationConfig, rng: np.random.Generator, length: int) -> pd.DataFrame:
    centromere = int(config.centromere_share * length)
    first = int(rng.uniform(0.2, 0.8) * (length - centromere))
    n_small = rng.poisson(config.small_gap_per_mb * length / 1e6)
    start = np.sort(rng.integers(0, length, n_small))
    end = np.minimum(start + rng.integers(*config.small_gap_range_bp, size=n_small, endpoint=True), length)
    ends = config.telomere_bp
    start = np.concatenate([[0, length - ends], [first], start])
    end = np.concatenate([[ends, length], [first + centromere], end])
    keep = end > start
    return _domain_table("gap", start[keep], end[keep], 0.0)


def _draw_compartments(config: SimulationConfig, seed: int, cell_type: str, chrom: str, length: int) -> pd.DataFrame:
    shared = random_stream(seed, "compartments", chrom)
    low, high = config.compartment_range_bp
    n = length // low + 1
    lengths = 1e6 * shared.lognormal(config.compartment_log_mean, config.compartment_log_sd, n)
    borders = np.cumsum(np.clip(lengths, low, high)).astype(np.int64)
    borders = np.concatenate([[0], borders[borders < length - low // 2], [length]])
    is_a = (np.arange(len(borders) - 1) + shared.integers(2)) % 2 == 0
    size = shared.uniform(0.7, 1.0, len(is_a))
    own = random_stream(seed, "compartments", chrom, cell_type)
    redrawn = own.random(len(is_a)) >= config.compartment_share
    is_a = np.where(redrawn, own.random(len(is_a)) < 0.5, is_a)
    return _domain_table("compartment", borders[:-1], borders[1:], np.where(is_a, size, -size))


def _draw_polycomb(config: SimulationConfig, seed: int, cell_type: str, chrom: str, length: int) -> pd.DataFrame:
    shared = random_stream(seed, "polycomb", chrom)
    candidates, _ = _pool(config.polycomb_share)
    n = shared.poisson(config.polycomb_per_mb * candidates * length / 1e6)
    start = np.sort(shared.integers(0, length, n))
    log_low, log_high = np.log(config.polycomb_range_bp)
    end = np.minimum(start + np.exp(shared.uniform(log_low, log_high, n)).astype(np.int64), length)
    level = shared.uniform(0.6, 1.0, n)
    # A candidate that meets the one before it is dropped for every cell type: domains never overlap.
    apart = np.concatenate([[True], start[1:] > np.maximum.accumulate(end)[:-1] + 20_000]) if n else np.zeros(0, bool)
    keep = apart & _active(config.polycomb_share, n, shared, random_stream(seed, "polycomb", chrom, cell_type))
    return _domain_table("polycomb", start[keep], end[keep], level[keep])


def _site_table(kind: str, position: np.ndarray, strand: np.ndarray | str, strength: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"position": position.astype(np.int64), "strength": strength.astype(float)})
    return frame.assign(kind=kind, strand=np.broadcast_to(strand, len(frame)).astype(object))


@dataclass(frozen=True)
class _CtcfCandidates:
    """Where CTCF may bind, which the sequence says for all cell types: boundaries, single sites and decoys of one chromosome.

    A boundary has a reverse site ``half`` bp left of its middle, a forward one as far right, or one of the two; ``strength``
    of boundaries is (2, boundary), reverse first. ``shared_*`` says which of them every cell type has.
    """

    middle: np.ndarray
    half: np.ndarray
    has_reverse: np.ndarray
    has_forward: np.ndarray
    strength: np.ndarray
    shared: np.ndarray
    lone: np.ndarray
    lone_strand: np.ndarray
    lone_strength: np.ndarray
    lone_shared: np.ndarray
    decoy: np.ndarray
    decoy_strength: np.ndarray
    decoy_shared: np.ndarray

    def table(self, boundary: np.ndarray, lone: np.ndarray, decoy: np.ndarray) -> pd.DataFrame:
        """List the sites of the chosen candidates, one bool each."""
        reverse, forward = boundary & self.has_reverse, boundary & self.has_forward
        return pd.concat(
            [
                _site_table("ctcf", (self.middle - self.half)[reverse], "-", self.strength[0, reverse]),
                _site_table("ctcf", (self.middle + self.half)[forward], "+", self.strength[1, forward]),
                _site_table("ctcf", self.lone[lone], self.lone_strand[lone], self.lone_strength[lone]),
                _site_table("decoy", self.decoy[decoy], ".", self.decoy_strength[decoy]),
            ],
            ignore_index=True,
        )


def _ctcf_candidates(config: SimulationConfig, seed: int, chrom: str, length: int) -> _CtcfCandidates:
    shared = random_stream(seed, "ctcf", chrom)
    candidates, always = _pool(config.ctcf_share)
    # Boundaries: a reverse site, a forward site, or both a few kb apart, reverse first (divergent).
    mean = config.boundary_spacing_bp / candidates
    least = min(config.boundary_minimum_bp, 0.9 * mean)
    steps = least + shared.exponential(mean - least, int(length // least) + 1)
    middle = np.cumsum(steps).astype(np.int64)
    middle = middle[middle < length - 20_000]
    n = len(middle)
    kind = shared.random(n)
    single = (1 - config.boundary_pair_share) / 2
    strength = shared.uniform(*config.boundary_strength, size=(2, n))
    half = shared.integers(2_000, 8_000, n)
    is_shared = shared.random(n) < always
    # Single sites of either strand, and decoys.
    n_lone = shared.poisson(config.lone_ctcf_per_mb * candidates * length / 1e6)
    lone, lone_strand = shared.integers(0, length, n_lone), np.where(shared.random(n_lone) < 0.5, "+", "-")
    lone_strength = shared.uniform(*config.lone_strength, size=n_lone)
    lone_shared = shared.random(n_lone) < always
    n_decoy = shared.poisson(config.decoy_per_mb * candidates * length / 1e6)
    decoy, decoy_strength = shared.integers(0, length, n_decoy), shared.uniform(*config.boundary_strength, size=n_decoy)
    return _CtcfCandidates(
        middle=middle,
        half=half,
        has_reverse=kind >= single,
        has_forward=kind < 1 - single,
        strength=strength,
        shared=is_shared,
        lone=lone,
        lone_strand=lone_strand,
        lone_strength=lone_strength,
        lone_shared=lone_shared,
        decoy=decoy,
        decoy_strength=decoy_strength,
        decoy_shared=shared.random(n_decoy) < always,
    )


def _draw_ctcf(config: SimulationConfig, seed: int, cell_type: str, chrom: str, length: int) -> pd.DataFrame:
    """Sites of the candidates that a cell type has: those that all have, and half of the others."""
    found, own = _ctcf_candidates(config, seed, chrom, length), random_stream(seed, "ctcf", chrom, cell_type)
    return found.table(
        *(shared | (own.random(len(shared)) < 0.5) for shared in (found.shared, found.lone_shared, found.decoy_shared))
    )


def _draw_motifs(config: SimulationConfig, seed: int, chrom: str, length: int) -> pd.DataFrame:
    """Draw the instances of the CTCF motif, which all cell types share: at candidate stopping sites, and false ones.

    Decoys have none. A score grows with the barrier, ``-log(1 - strength)``, of the site, as a peak does; that of a false
    instance is as if of a single site.
    """
    rule = config.motifs
    if rule is None:
        return _motif_table(np.zeros(0, np.int64), np.zeros(0, object), np.zeros(0))
    found = _ctcf_candidates(config, seed, chrom, length)
    everyone = (np.ones(len(shared), bool) for shared in (found.shared, found.lone_shared, found.decoy_shared))
    sites = found.table(*everyone)
    sites = sites[sites["kind"] == "ctcf"]
    rng = random_stream(seed, "motifs", chrom)
    n = rng.poisson(rule.false_per_mb * length / 1e6)
    position = np.concatenate([sites["position"].to_numpy(), rng.integers(0, length, n)])
    strand = np.concatenate([sites["strand"].to_numpy(), np.where(rng.random(n) < 0.5, "+", "-")])
    strength = np.concatenate([sites["strength"].to_numpy(), rng.uniform(*config.lone_strength, size=n)])
    score = rule.score * visible_strength("ctcf", strength) * np.exp(rng.normal(0.0, rule.log_sd, len(strength)))
    return _motif_table(position, strand.astype(object), score)


def _motif_table(position: np.ndarray, strand: np.ndarray, score: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"position": position, "strand": strand, "score": score})


def _draw_scattered(
    config: SimulationConfig, seed: int, cell_type: str, chrom: str, length: int, compartments: pd.DataFrame
) -> pd.DataFrame:
    """Enhancers and promoters, denser in compartment A, and artefacts, which all cell types have."""
    tables = []
    for kind, per_mb, share in (
        ("enhancer", config.enhancer_per_mb, config.enhancer_share),
        ("promoter", config.promoter_per_mb, config.promoter_share),
    ):
        shared, own = random_stream(seed, kind, chrom), random_stream(seed, kind, chrom, cell_type)
        n = shared.poisson(per_mb * _pool(share)[0] * length / 1e6)
        position = shared.integers(0, length, n)
        strand = np.where(shared.random(n) < 0.5, "+", "-") if kind == "promoter" else np.full(n, ".")
        activity = shared.uniform(LEAST_ACTIVITY[kind], 1.0, n)
        segment = np.searchsorted(compartments["start"].to_numpy(), position, side="right") - 1
        is_a = compartments["level"].to_numpy()[segment] > 0
        keep = np.where(is_a, 1.0, config.b_density_ratio) > shared.random(n)
        keep &= _active(share, n, shared, own)
        tables.append(_site_table(kind, position[keep], strand[keep], activity[keep]))
    shared = random_stream(seed, "artefact", chrom)
    n = shared.poisson(config.artefact_per_mb * length / 1e6)
    tables.append(_site_table("artefact", shared.integers(0, length, n), ".", np.ones(n)))
    return pd.concat(tables, ignore_index=True)


def visible_strength(kind: str, strength: np.ndarray) -> np.ndarray:
    """What the heights of a site's peaks grow with.

    A CTCF peak grows with the barrier, ``-log(1 - strength)``, so that it tells strong sites from very strong ones; any other
    peak with the strength itself.
    """
    return -np.log1p(-strength) if kind in ("ctcf", "decoy") else strength


def strength_prior(config: SimulationConfig, kind: str) -> list[tuple[float, float, float]]:
    """From what the strengths of one kind of site are drawn: uniform laws, as (sites per Mb in A, lowest, highest)."""
    if kind == "ctcf":
        boundaries = 1e6 / config.boundary_spacing_bp * (1 + config.boundary_pair_share)
        return [(boundaries, *config.boundary_strength), (config.lone_ctcf_per_mb, *config.lone_strength)]
    if kind == "decoy":
        return [(config.decoy_per_mb, *config.boundary_strength)]
    per_mb = {"enhancer": config.enhancer_per_mb, "promoter": config.promoter_per_mb}
    return [(per_mb[kind], LEAST_ACTIVITY[kind], 1.0)]


def _with_heights(config: SimulationConfig, sites: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Add the summit of each site's peak in each track; the noise is independent per site and track."""
    strength = sites["strength"].to_numpy()
    is_ctcf = sites["kind"].isin(["ctcf", "decoy"]).to_numpy()
    visible = np.where(is_ctcf, visible_strength("ctcf", np.where(is_ctcf, strength, 0.0)), strength)
    heights = {f"height_{track}": np.zeros(len(sites)) for track in config.tracks}
    for rule in config.peaks:
        noise = np.exp(rng.normal(0.0, rule.log_sd, len(sites)))
        chosen = (sites["kind"] == rule.kind).to_numpy()
        heights[f"height_{rule.track}"] += np.where(chosen, rule.height * visible * noise, 0.0)
    return sites.assign(**heights)
