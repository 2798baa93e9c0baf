"""Tracks of a simulated genome: expected signal, and what sequencing makes of it.

Signal is in units of the track's genome-wide level, as in a normalised coverage track (RPGC): background by compartment,
polycomb plateaus, and peaks at sites. A run is one interval of ``run_bp`` of the bigWig.
"""

import numpy as np

from epizarr.simulate.contacts import compartment_at
from epizarr.simulate.world import World, random_stream

SIGNAL_BLOCK_BP = 1_000_000
"""Sequence whose reads are drawn from one random stream: part of what a seed means."""

_POLYCOMB_EDGE_BP = 3_000.0
PEAK_REACH_SD = 5.0
"""Peaks are cut at so many of the larger width, where they have fallen to 4e-6 of the summit."""


def expected_tracks(world: World, chrom: str, lo: int, hi: int) -> np.ndarray:
    """Noise-free signal of a block of runs.

    The result does not depend on how a chromosome is cut into blocks. Gaps are not masked.

    Parameters
    ----------
    world
        The genome, edited or not.
    chrom
        Chromosome.
    lo, hi
        First and one-past-last run, counted from the start of the chromosome.

    Returns
    -------
    Signal at the middle of each run, dims (track, run), tracks in the order of ``world.config.tracks``, float64.
    """
    config = world.config
    middle = (np.arange(lo, hi) + 0.5) * config.run_bp
    activity = (compartment_at(world, chrom, middle) + 1) / 2
    polycomb = _polycomb_at(world, chrom, middle)
    signal = np.stack([r.b + (r.a - r.b) * activity + r.polycomb * polycomb for r in config.backgrounds])
    sites = world.sites_of(chrom, *sorted({rule.kind for rule in config.peaks}))
    position = sites["position"].to_numpy()
    for rule in config.peaks:
        reach = PEAK_REACH_SD * max(rule.upstream_bp, rule.downstream_bp)
        half = int(np.ceil(reach / config.run_bp))
        # In runs, as the peaks are drawn: in bp, a block would lack the outermost run of a peak that another block draws.
        near = (position // config.run_bp >= lo - half) & (position // config.run_bp < hi + half)
        chosen = sites[near & (sites["kind"] == rule.kind).to_numpy()]
        if chosen.empty:
            continue
        summit = chosen["position"].to_numpy()
        run = (summit // config.run_bp)[:, None] + np.arange(-half, half + 1)
        offset = (run + 0.5) * config.run_bp - summit[:, None]
        downstream = np.where((chosen["strand"] == "-").to_numpy()[:, None], -offset, offset)
        width = np.where(downstream < 0, rule.upstream_bp, rule.downstream_bp)
        shape = chosen[f"height_{rule.track}"].to_numpy()[:, None] * np.exp(-0.5 * (offset / width) ** 2)
        inside = (run >= lo) & (run < hi)
        np.add.at(signal[config.tracks.index(rule.track)], run[inside] - lo, shape[inside])
    return signal


def _polycomb_at(world: World, chrom: str, position: np.ndarray) -> np.ndarray:
    domains = world.domains_of(chrom, "polycomb")
    if domains.empty:
        return np.zeros(len(position))
    half = _POLYCOMB_EDGE_BP / 2
    start, end, level = (domains[name].to_numpy() for name in ("start", "end", "level"))
    knots = np.stack([start - half, start + half, end - half, end + half], axis=1).ravel()
    values = np.stack([0 * level, level, level, 0 * level], axis=1).ravel()
    return np.interp(position, knots, values)


def is_covered(world: World, chrom: str, lo: int, hi: int) -> np.ndarray:
    """Whether runs ``[lo, hi)`` touch no gap, bool (run)."""
    covered = np.ones(hi - lo, dtype=bool)
    run_bp = world.config.run_bp
    for start, end in world.domains_of(chrom, "gap")[["start", "end"]].itertuples(index=False):
        covered[max(0, start // run_bp - lo) : max(0, -(-end // run_bp) - lo)] = False
    return covered


def sample_tracks(world: World, chrom: str, block: int) -> tuple[int, np.ndarray]:
    """Draw the observed signal of one block of :data:`SIGNAL_BLOCK_BP`.

    Parameters
    ----------
    world, chrom
        The genome and the chromosome.
    block
        Index of the block.

    Returns
    -------
    The block's first run, counted from the start of the chromosome, and the signal, dims (track, run), float32: Poisson
    reads over their expected number at signal 1; NaN in gaps. A last run that the chromosome's end cuts short is drawn
    as if it were whole.
    """
    config = world.config
    n_runs = -(-world.assembly.length(chrom) // config.run_bp)
    per_block = SIGNAL_BLOCK_BP // config.run_bp
    lo, hi = block * per_block, min((block + 1) * per_block, n_runs)
    depth = config.reads_per_100bp * config.run_bp / 100
    rng = random_stream(world.seed, "reads", world.cell_type, chrom, block)
    signal = (rng.poisson(depth * expected_tracks(world, chrom, lo, hi)) / depth).astype(np.float32)
    signal[:, ~is_covered(world, chrom, lo, hi)] = np.nan
    return lo, signal
