"""What the tracks leave open: redraws of a genome given its tracks, and the contacts that are expected given the tracks.

A predictor that knew all the rules could still not tell the contacts from the tracks: the height of a peak is its site's
strength times a noise of its own, reads are counted, and a peak's shape tells a stopping site's strand, and a decoy from it, only
as far as the reads show it. :class:`TrackPosterior` draws from the law of all that, given the reads: of the strengths and peak
heights of all sites, and of the strand, or none, of each CTCF peak. The mean of the noise-free contacts over such draws is what
the best predictor would say, and its agreement with the observed contacts is the *track ceiling*.

Taken as known, though tracks show them with an error: how many sites there are, their places and which are promoters,
enhancers and CTCF peaks; compartments, polycomb domains and gaps; with motif tracks, the strands of CTCF sites too. That makes
the ceiling too high rather than too low. Not used is what neighbours tell: that boundaries keep a distance, and that a reverse
site a few kb left of a forward one is a pair. It tells little where the shapes of peaks tell strands; rules whose shapes do not,
and that have pairs, would get too low a ceiling without motifs (:data:`~epizarr.simulate.config.STRANDLESS` has no pairs).

The draws are a Markov chain (Metropolis within Gibbs) that begins at the genome itself. Given its tracks the genome is one draw
from the law, so that the chain has that law from its first step on; sweeps between two draws make them nearly independent.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from epizarr.errors import ConfigError, raise_all
from epizarr.simulate.config import SimulationConfig
from epizarr.simulate.contacts import ContactProfiles, contact_profiles, contacts_from_profiles
from epizarr.simulate.tracks import PEAK_REACH_SD, SIGNAL_BLOCK_BP, expected_tracks, sample_tracks
from epizarr.simulate.world import World, random_stream, strength_prior, visible_strength

SWEEPS_BETWEEN = 4
"""Sweeps of the chain from one redraw to the next."""

_STRENGTH_CELLS = 256  # of the proposal of strengths; the chain is exact at any number
_LOG_STEPS = (math.log(0.01), math.log(0.5))  # of the shortest and longest step of the logarithm of a height
#: What a site may be: kind and strand. The first three look alike but for their shape, and a redraw may change one for another.
_OPTIONS = (
    ("ctcf", "+"),
    ("ctcf", "-"),
    ("decoy", "."),
    ("enhancer", "."),
    ("promoter", "+"),
    ("promoter", "-"),
    ("artefact", "."),
)
_N_CTCF_OPTIONS = 3


class TrackPosterior:
    """The sites of one chromosome, redrawn given its tracks.

    Memory: 21 bytes a run and track (105 MB for 100 Mb in runs of 100 bp and five tracks), and about
    20 kB a site.

    Parameters
    ----------
    world
        The genome. The tracks are those that :func:`~epizarr.simulate.tracks.sample_tracks` draws of it, and its motifs.
    chrom
        Chromosome.
    rng
        Source of the redraws. Default: one of the genome, its cell type and the chromosome.

    Raises
    ------
    ConfigError
        If a peak rule has ``log_sd`` = 0, so that heights are no random numbers, or two rules are of one kind and track.
    """

    def __init__(self, world: World, chrom: str, rng: np.random.Generator | None = None) -> None:
        config = world.config
        raise_all(ConfigError, f"genome of seed {world.seed}", redraw_problems(config))
        self.world, self.chrom = world, chrom
        self._rng = rng or random_stream(world.seed, "redraws", world.cell_type, chrom)
        self._height, self._log_sd, self._widths, self._half = _rule_tables(config)
        self._margin = int(self._half.max())
        sites = world.sites_of(chrom, *{kind for kind, _ in _OPTIONS})
        self._index = sites.index
        self._position = sites["position"].to_numpy()
        option_of = {name: number for number, name in enumerate(_OPTIONS)}
        self._option = np.array(
            [option_of[key] for key in zip(sites["kind"], sites["strand"], strict=True)], dtype=np.int64
        )
        self._strength = sites["strength"].to_numpy(dtype=float).copy()
        self._peak = sites[[f"height_{track}" for track in config.tracks]].to_numpy(dtype=float).copy()
        self._motif_score = _motif_scores(world, chrom, sites)
        self._colours = _colours(self._position // config.run_bp, 2 * self._margin + 1)
        self._depth = config.reads_per_100bp * config.run_bp / 100
        self._reads, self._covered = _observed(world, chrom, self._margin)
        bare = replace(world, sites=world.sites.iloc[:0])
        self._signal = np.ones(self._reads.shape)  # what lies in the margin is never covered
        n_runs = self._reads.shape[1] - 2 * self._margin
        self._signal[:, self._margin : self._margin + n_runs] = expected_tracks(bare, chrom, 0, n_runs)
        self._shape = self._shapes(np.arange(len(self._option)), self._option)
        for chosen in self._colours:
            self._signal[:, self._runs(chosen)] += self._shape[:, chosen] * self._peak[chosen].T[:, :, None]

    def redraws(self, n: int) -> Iterator[World]:
        """Give ``n`` genomes whose sites on the chromosome are redrawn, and that are the same elsewhere."""
        for _ in range(n):
            for _ in range(SWEEPS_BETWEEN):
                self.sweep()
            yield self.current()

    def current(self) -> World:
        """Return the genome as the chain now has it."""
        sites = self.world.sites.copy()
        names = [_OPTIONS[option] for option in self._option]
        sites.loc[self._index, "kind"] = [kind for kind, _ in names]
        sites.loc[self._index, "strand"] = [strand for _, strand in names]
        sites.loc[self._index, "strength"] = self._strength
        sites.loc[self._index, [f"height_{track}" for track in self.world.config.tracks]] = self._peak
        return replace(self.world, sites=sites)

    def sweep(self) -> None:
        """Give each unknown of the chromosome one chance to change."""
        for chosen in self._colours:
            self._move_heights(chosen)
            if self.world.config.motifs is None:
                self._move_options(chosen[self._option[chosen] < _N_CTCF_OPTIONS])
        for kind in ("ctcf", "decoy", "enhancer", "promoter"):
            self._move_strengths(kind)

    # ------------------------------------------------------------------------------------------------------- the moves

    def _move_heights(self, chosen: np.ndarray) -> None:
        """Random steps of the logarithms of heights, each track on its own.

        Steps are of all lengths, drawn anew: fitted to the genome where the chain begins, they would depend on what is drawn.
        """
        option, old = self._option[chosen], self._peak[chosen]
        step = self._rng.normal(size=old.shape) * np.exp(self._rng.uniform(*_LOG_STEPS, size=old.shape))
        new = old * np.exp(step)
        gain, there = self._gain(chosen, self._shape[:, chosen] * (new - old).T[:, :, None])
        log_ratio = gain + self._height_prior(option, self._strength[chosen], new)
        log_ratio -= self._height_prior(option, self._strength[chosen], old)
        taken = np.log(self._rng.random(old.shape)) < log_ratio
        self._peak[chosen] = np.where(taken, new, old)
        self._signal[:, self._runs(chosen)] = np.where(taken.T[:, :, None], there[1], there[0])

    def _move_options(self, chosen: np.ndarray) -> None:
        """Make CTCF peaks another of forward site, reverse site and decoy; a peak that this adds has a height from its prior."""
        if not len(chosen):
            return
        old, strength, peak = self._option[chosen], self._strength[chosen], self._peak[chosen]
        new = (old + self._rng.integers(1, _N_CTCF_OPTIONS, len(chosen))) % _N_CTCF_OPTIONS
        has_old, has_new = self._height[old] > 0, self._height[new] > 0
        fresh = np.exp(self._rng.normal(size=peak.shape) * self._log_sd[new])
        fresh *= self._height[new] * visible_strength("ctcf", strength)[:, None]
        moved = np.where(has_new, np.where(has_old, peak, fresh), 0.0)
        shape, old_shape = self._shapes(chosen, new), self._shape[:, chosen]
        gain, there = self._gain(chosen, shape * moved.T[:, :, None] - old_shape * peak.T[:, :, None])
        both = has_old & has_new
        prior = np.where(both, self._height_prior(new, strength, moved) - self._height_prior(old, strength, peak), 0.0)
        log_ratio = (gain + prior).sum(axis=1) + self._option_prior(new, strength) - self._option_prior(old, strength)
        taken = np.log(self._rng.random(len(chosen))) < log_ratio
        self._option[chosen] = np.where(taken, new, old)
        self._peak[chosen] = np.where(taken[:, None], moved, peak)
        self._shape[:, chosen] = np.where(taken[None, :, None], shape, old_shape)
        self._signal[:, self._runs(chosen)] = np.where(taken[None, :, None], there[1], there[0])

    def _move_strengths(self, kind: str) -> None:
        """Draw strengths given the heights, from the law on a grid, and take or leave them by the exact law."""
        chosen = np.flatnonzero(np.isin(self._option, [i for i, (name, _) in enumerate(_OPTIONS) if name == kind]))
        if not len(chosen):
            return
        prior = strength_prior(self.world.config, kind)
        edges = np.linspace(min(low for _, low, _ in prior), max(high for _, _, high in prior), _STRENGTH_CELLS + 1)
        width = edges[1] - edges[0]
        if width == 0:
            return  # the rules leave one strength only
        grid = self._strength_law(chosen, kind, np.broadcast_to(edges[:-1] + width / 2, (len(chosen), _STRENGTH_CELLS)))
        weight = np.exp(grid - grid.max(axis=1, keepdims=True))
        summed = np.cumsum(weight, axis=1)
        cell = (summed < self._rng.random((len(chosen), 1)) * summed[:, -1:]).sum(axis=1)
        old, new = self._strength[chosen], edges[cell] + width * self._rng.random(len(chosen))
        old_cell = np.clip(((old - edges[0]) / width).astype(np.int64), 0, _STRENGTH_CELLS - 1)
        row = np.arange(len(chosen))
        exact = self._strength_law(chosen, kind, np.stack([old, new], axis=1))
        log_ratio = exact[:, 1] - exact[:, 0] - grid[row, cell] + grid[row, old_cell]
        self._strength[chosen] = np.where(np.log(self._rng.random(len(chosen))) < log_ratio, new, old)

    # --------------------------------------------------------------------------------------------------------- the laws

    def _strength_law(self, chosen: np.ndarray, kind: str, strength: np.ndarray) -> np.ndarray:
        """Log density of strengths (site, value) given heights and motif scores, up to a constant of the site."""
        log_visible = np.log(visible_strength(kind, strength))
        option = self._option[chosen]
        law = _log_density(strength, strength_prior(self.world.config, kind))
        for track in range(self._peak.shape[1]):
            has = self._height[option, track] > 0
            height = np.where(has, self._peak[chosen, track], 1.0)
            base = np.log(np.where(has, height / np.where(has, self._height[option, track], 1.0), 1.0))
            off = (base[:, None] - log_visible) / np.where(has, self._log_sd[option, track], np.inf)[:, None]
            law = law - 0.5 * off**2
        rule = self.world.config.motifs
        if rule is not None and kind == "ctcf":
            off = (np.log(self._motif_score[chosen] / rule.score)[:, None] - log_visible) / rule.log_sd
            law = law - 0.5 * off**2
        return law

    def _height_prior(self, option: np.ndarray, strength: np.ndarray, peak: np.ndarray) -> np.ndarray:
        """Log density of the logarithms of heights (site, track); 0 where a site has no peak."""
        visible = np.empty(len(option))
        for number, (kind, _) in enumerate(_OPTIONS):
            visible[option == number] = visible_strength(kind, strength[option == number])
        has = self._height[option] > 0
        mean = np.where(has, self._height[option] * visible[:, None], 1.0)
        sd = np.where(has, self._log_sd[option], 1.0)
        off = np.log(np.where(has, peak, 1.0) / mean) / sd
        return np.where(has, -0.5 * off**2 - np.log(sd), 0.0)

    def _option_prior(self, option: np.ndarray, strength: np.ndarray) -> np.ndarray:
        """Log density of what a CTCF peak is, and of its strength then."""
        config = self.world.config
        found = np.empty(len(option))
        for number, (kind, _) in enumerate(_OPTIONS[:_N_CTCF_OPTIONS]):
            prior = strength_prior(config, kind)
            share = 0.5 if kind == "ctcf" else 1.0
            of_kind = option == number
            with np.errstate(divide="ignore"):
                found[of_kind] = _log_density(strength[of_kind], prior) + np.log(share * sum(w for w, _, _ in prior))
        return found

    def _gain(self, chosen: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """By how much the reads become more likely (site, track) if the signal changes; and the signal before and after."""
        runs = self._runs(chosen)
        before = self._signal[:, runs]
        after = before + change
        log_ratio = self._reads[:, runs] * np.log(after / before) - self._depth * change
        return np.where(self._covered[runs], log_ratio, 0.0).sum(axis=2).T, (before, after)

    # ------------------------------------------------------------------------------------------------------- the signal

    def _runs(self, chosen: np.ndarray) -> np.ndarray:
        """Columns of the padded signal that sites reach, (site, run)."""
        first = self._position[chosen] // self.world.config.run_bp
        return first[:, None] + np.arange(2 * self._margin + 1)

    def _shapes(self, chosen: np.ndarray, option: np.ndarray) -> np.ndarray:
        """Peaks of height 1, (track, site, run); as :func:`expected_tracks` has them."""
        run_bp = self.world.config.run_bp
        away = np.arange(-self._margin, self._margin + 1)
        offset = (
            (self._position[chosen] // run_bp + 0.5)[:, None] * run_bp + away * run_bp - self._position[chosen, None]
        )
        is_left = offset < 0
        width = np.where(is_left, self._widths[0, option].T[:, :, None], self._widths[1, option].T[:, :, None])
        return np.where(np.abs(away) <= self._half[option].T[:, :, None], np.exp(-0.5 * (offset / width) ** 2), 0.0)


def redrawn_profiles(world: World, chrom: str, n: int) -> list[ContactProfiles]:
    """What the contacts of a chromosome depend on, in ``n`` redraws given the tracks; 70 bytes a bin and redraw."""
    return [contact_profiles(redrawn, chrom) for redrawn in TrackPosterior(world, chrom).redraws(n)]


def mean_contacts(
    profiles: Sequence[ContactProfiles], config: SimulationConfig, lo: int, hi: int, n_diagonals: int
) -> np.ndarray:
    """Mean over redraws of :func:`~epizarr.simulate.contacts.expected_contacts`, dims and units as there."""
    total = contacts_from_profiles(profiles[0], config, lo, hi, n_diagonals)
    for other in profiles[1:]:
        total += contacts_from_profiles(other, config, lo, hi, n_diagonals)
    return total / len(profiles)


def redraw_problems(config: SimulationConfig) -> list[str]:
    """Say why genomes of these rules cannot be redrawn given their tracks; nothing if they can."""
    keys = [(rule.kind, rule.track) for rule in config.peaks]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    still = sorted(f"{rule.kind} in {rule.track}" for rule in config.peaks if rule.log_sd <= 0)
    if config.motifs is not None and config.motifs.log_sd <= 0:
        still.append("motifs")
    problems = [f"redraws given the tracks: {key} has several peak rules, one is needed" for key in twice]
    if still:
        problems.append(
            f"redraws given the tracks: `log_sd` is 0 for {', '.join(still)}, so that nothing is left to draw; give a small "
            "positive one, such as 0.001"
        )
    return problems


def _rule_tables(config: SimulationConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Height and log_sd (option, track), 0 without a peak; widths left and right (2, option, track) in bp; reach in runs."""
    shape = (len(_OPTIONS), len(config.tracks))
    height, log_sd, half = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64)
    widths = np.ones((2, *shape))
    for rule in config.peaks:
        track = config.tracks.index(rule.track)
        for option, (kind, strand) in enumerate(_OPTIONS):
            if kind == rule.kind:
                sides = (rule.upstream_bp, rule.downstream_bp)
                height[option, track], log_sd[option, track] = rule.height, rule.log_sd
                widths[:, option, track] = sides[::-1] if strand == "-" else sides
                half[option, track] = int(np.ceil(PEAK_REACH_SD * max(sides) / config.run_bp))
    return height, log_sd, widths, half


def _motif_scores(world: World, chrom: str, sites: pd.DataFrame) -> np.ndarray:
    """Score of the motif at each stopping site, NaN elsewhere."""
    if world.config.motifs is None:
        return np.full(len(sites), np.nan)
    found = world.motifs[world.motifs["chrom"] == chrom].drop_duplicates(["position", "strand"])
    keys = sites.reset_index()[["position", "strand"]].astype({"strand": object})
    return keys.merge(found, on=["position", "strand"], how="left")["score"].to_numpy(dtype=float)


def _colours(run: np.ndarray, width: int) -> list[np.ndarray]:
    """Groups of sites, sorted by position, such that no two of a group reach one run."""
    free_from: list[int] = []
    colour = np.empty(len(run), dtype=np.int64)
    for site, first in enumerate(run.tolist()):
        number = next((i for i, free in enumerate(free_from) if free <= first), len(free_from))
        free_from[number : number + 1] = [first + width]
        colour[site] = number
    return [np.flatnonzero(colour == number) for number in range(len(free_from))]


def _observed(world: World, chrom: str, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads (track, run) and whether a run is covered (run), with ``margin`` uncovered runs on either side."""
    config = world.config
    depth = config.reads_per_100bp * config.run_bp / 100
    n_blocks = -(-world.assembly.length(chrom) // (SIGNAL_BLOCK_BP // config.run_bp * config.run_bp))
    signal = np.concatenate([sample_tracks(world, chrom, block)[1] for block in range(n_blocks)], axis=1)
    padded = np.pad(signal, ((0, 0), (margin, margin)), constant_values=np.nan)
    covered = ~np.isnan(padded).any(axis=0)
    return np.rint(np.where(covered, padded, 0.0) * depth).astype(np.float32), covered


def _log_density(strength: np.ndarray, prior: list[tuple[float, float, float]]) -> np.ndarray:
    """Log density of a mixture of uniform laws, given as (weight, low, high); −inf outside."""
    total = sum(weight for weight, _, _ in prior)
    density = np.zeros(np.shape(strength))
    for weight, low, high in prior:
        if high > low:
            density += np.where((strength >= low) & (strength <= high), weight / total / (high - low), 0.0)
    with np.errstate(divide="ignore"):
        return np.log(density)
