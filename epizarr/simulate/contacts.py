"""Contacts of a simulated genome: the rules of chromosome folding, and what sequencing makes of them.

The expected contact of a pair of bins i <= j is a product of separable rules.

Loop extrusion. A loop is loaded at a random bin x between i and j. Its left arm reaches i if no forward (``+``) site
stops it on the way, its right arm reaches j if no reverse (``-``) site does, so that the share of loops that pass is::

    open(i, j) = mean over x in [i, j] of  prod_{i < m <= x} (1 - s+[m])  *  prod_{x <= m < j} (1 - s-[m])

This insulates domains, strongly where a reverse site lies left of a forward one. Arms rest at the sites that stop
them, so rows of forward and columns of reverse sites are enriched (architectural stripes), most where the two meet, at
convergent pairs (corner peaks), as long as the path between them is open.

Compartments, polycomb domains, and enhancers with promoters multiply this by factors of the two bins, and everything
by the decay with distance. The one-dimensional, mean-field view of extrusion follows Sanborn et al., PNAS 2015, and Fudenberg
et al., Cell Reports 2016.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from epizarr.simulate.config import SimulationConfig
from epizarr.simulate.world import World, random_stream

COUNT_BLOCK_BINS = 512
"""Rows of the contact map that are drawn from one random stream: part of what a seed means."""

_IGNORED_DIAGONALS = 2  # cooler's default when it balances
_FAR_ROUNDS = 60
_STALL_KERNEL = (0.25, 0.5, 0.25)  # an arm rests near its site, not on one bin of it


@dataclass(frozen=True)
class ContactProfiles:
    """What the rules need to know of each bin of one chromosome; arrays of float64, dims (bin).

    Parameters
    ----------
    left_barrier, right_barrier
        −log of the probability that the left (right) arm of a loop passes the bin.
    left_stall, right_stall
        How much longer the left (right) arm rests at the bin.
    compartment
        From −1 (B) to 1 (A).
    polycomb
        Level of polycomb domains times the share of the bin they cover.
    enhancer, promoter
        Summed activity, at most 1.
    mappable
        Share of the bin that lies on the chromosome and in no gap; bins with less than one half are unmappable.
    """

    left_barrier: np.ndarray
    right_barrier: np.ndarray
    left_stall: np.ndarray
    right_stall: np.ndarray
    compartment: np.ndarray
    polycomb: np.ndarray
    enhancer: np.ndarray
    promoter: np.ndarray
    mappable: np.ndarray

    @property
    def is_mappable(self) -> np.ndarray:
        """Whether a bin can have contacts, bool (bin)."""
        return self.mappable >= 0.5


def contact_profiles(world: World, chrom: str) -> ContactProfiles:
    """Summarise the features of a chromosome per bin.

    Parameters
    ----------
    world
        The genome.
    chrom
        Chromosome.

    Returns
    -------
    Profiles over all bins of the chromosome.
    """
    config = world.config
    first, last = world.assembly.bins(config.binsize).chrom_extent(chrom)
    n = last - first

    def per_bin(sites: pd.DataFrame, values: np.ndarray) -> np.ndarray:
        return np.bincount(sites["position"].to_numpy() // config.binsize, values, minlength=n)

    ctcf = world.sites_of(chrom, "ctcf")
    arms = []
    for strand in ("+", "-"):
        chosen = ctcf[ctcf["strand"] == strand]
        barrier = per_bin(chosen, -np.log1p(-chosen["strength"].to_numpy()))
        arms.append((barrier, config.stall_gain * _spread(1 - np.exp(-barrier))))
    active = {kind: world.sites_of(chrom, kind) for kind in ("enhancer", "promoter")}
    activity = {
        kind: np.minimum(_spread(2 * per_bin(sites, sites["strength"].to_numpy())), 1.0)
        for kind, sites in active.items()
    }
    length = world.assembly.length(chrom)
    gaps = covered_share(world.domains_of(chrom, "gap").assign(level=1.0), n, config.binsize, merge=True)
    width = np.minimum(config.binsize, length - np.arange(n) * config.binsize)
    middle = (np.arange(n) + 0.5) * config.binsize
    return ContactProfiles(
        left_barrier=arms[0][0],
        right_barrier=arms[1][0],
        left_stall=arms[0][1],
        right_stall=arms[1][1],
        compartment=compartment_at(world, chrom, middle),
        polycomb=covered_share(world.domains_of(chrom, "polycomb"), n, config.binsize),
        enhancer=activity["enhancer"],
        promoter=activity["promoter"],
        mappable=np.clip(width / config.binsize - gaps, 0.0, 1.0),
    )


def _spread(profile: np.ndarray) -> np.ndarray:
    padded = np.pad(profile, 1)
    a, b, c = _STALL_KERNEL
    return a * padded[:-2] + b * padded[1:-1] + c * padded[2:]


def covered_share(domains: pd.DataFrame, n_bins: int, binsize: int, *, merge: bool = False) -> np.ndarray:
    """Sum of ``level`` times the share of each bin that a domain covers, float64 (bin).

    Parameters
    ----------
    domains
        Columns ``start``, ``end`` (bp) and ``level``, sorted by start.
    n_bins, binsize
        The grid, from position 0.
    merge
        Count bases under several domains once (all levels must then be equal).
    """
    share = np.zeros(n_bins)
    reached = 0
    for start, end, level in domains[["start", "end", "level"]].itertuples(index=False):
        start = max(start, reached) if merge else start
        reached = max(reached, end)
        if end <= start:
            continue
        lo, hi = start // binsize, min(-(-end // binsize), n_bins)
        edges = np.arange(lo, hi + 1) * binsize
        share[lo:hi] += level * (np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)) / binsize
    return share


def compartment_at(world: World, chrom: str, position: np.ndarray) -> np.ndarray:
    """Compartment level at positions (bp), −1 (B) to 1 (A), linear across each border; shape of ``position``."""
    segments = world.domains_of(chrom, "compartment")
    half = world.config.compartment_edge_bp / 2
    level, border = segments["level"].to_numpy(), segments["end"].to_numpy()[:-1]
    knots = np.stack([border - half, border + half], axis=1).ravel()
    values = np.stack([level[:-1], level[1:]], axis=1).ravel()
    if not len(knots):
        return np.full(np.shape(position), level[0])
    return np.interp(position, knots, values)


def expected_decay(config: SimulationConfig, n_diagonals: int) -> np.ndarray:
    """Contacts by distance that no rule touches, float64 (diagonal), in balanced contacts."""
    distance = np.arange(n_diagonals) * float(config.binsize)
    knots, values = np.array(config.decay_distance_bp), np.log(config.decay_contacts)
    # The knot at 0 stands for pairs within one bin; log-log needs a positive distance for it.
    knots[0] = knots[1] / 4
    slope = (values[-1] - values[-2]) / np.log(knots[-1] / knots[-2])
    log_distance = np.log(np.maximum(distance, knots[0]))
    beyond = values[-1] + slope * (log_distance - np.log(knots[-1]))
    decay = np.exp(np.where(distance > knots[-1], beyond, np.interp(log_distance, np.log(knots), values)))
    return decay * config.bin_scale


def expected_contacts(world: World, chrom: str, lo: int, hi: int, n_diagonals: int) -> np.ndarray:
    """Noise-free contacts of a block of rows of the band, without bias.

    The result does not depend on how a chromosome is cut into blocks. Gaps are not masked: the rules know what is
    there. Memory: about 8 arrays of the result's size.

    Parameters
    ----------
    world
        The genome, edited or not.
    chrom
        Chromosome.
    lo, hi
        First and one-past-last bin, counted from the start of the chromosome.
    n_diagonals
        Number of diagonals K.

    Returns
    -------
    Expected balanced contacts (rows sum to about 1), dims (bin, diagonal), shape (hi − lo, K), float64; element [i, k] is
    the pixel (lo + i, lo + i + k), NaN where that is off the chromosome.

    Raises
    ------
    IndexError
        If the rows are not bins of the chromosome.
    """
    return contacts_from_profiles(contact_profiles(world, chrom), world.config, lo, hi, n_diagonals)


def contacts_from_profiles(
    profiles: ContactProfiles, config: SimulationConfig, lo: int, hi: int, n_diagonals: int
) -> np.ndarray:
    """Do the work of :func:`expected_contacts` on profiles that were computed once."""
    n_bins = len(profiles.mappable)
    if not 0 <= lo <= hi <= n_bins:
        raise IndexError(f"rows [{lo}, {hi}) are not bins of a chromosome of {n_bins} bins.")
    rows = hi - lo

    def right_end(profile: np.ndarray, k: int) -> np.ndarray:
        return _padded(profile, lo + k, hi + k)

    p = profiles
    here = slice(lo, hi)
    decay = expected_decay(config, n_diagonals)
    pass_left = np.exp(-p.left_barrier)
    pass_right = np.exp(-p.right_barrier)
    contacts = np.empty((n_diagonals, rows))
    passed = np.ones(rows)  # probability that the left arm comes from i + k to i
    total = np.ones(rows)  # sum over loading sites of the probability that a loop reaches both i and i + k
    for k in range(n_diagonals):
        if k:
            passed *= right_end(pass_left, k)
            total = total * right_end(pass_right, k - 1) + passed
        is_open = total / (k + 1)
        stalled = (1 + p.left_stall[here]) * (1 + right_end(p.right_stall, k)) - 1
        loop = (config.loop_floor + (1 - config.loop_floor) * is_open) * (
            1 + is_open * np.exp(-k * config.binsize / config.processivity_bp) * stalled
        )
        pair = p.enhancer[here] * right_end(p.promoter, k) + p.promoter[here] * right_end(p.enhancer, k)
        contacts[k] = (
            decay[k]
            * loop
            * np.exp(config.compartment_effect * p.compartment[here] * right_end(p.compartment, k))
            * (1 + config.polycomb_effect * p.polycomb[here] * right_end(p.polycomb, k))
            * (1 + config.enhancer_promoter_effect * is_open * pair)
        )
        contacts[k, max(0, min(rows, n_bins - k - lo)) :] = np.nan
    return np.ascontiguousarray(contacts.T)


@dataclass(frozen=True)
class CountModel:
    """What the counts of one chromosome are drawn from, besides the expected contacts; float64, dims (bin).

    Parameters
    ----------
    profiles
        The chromosome's features.
    bias
        Multiplicative bias of each bin, 0 where it is unmappable.
    far
        Contacts beyond the span are expected to be ``far[i] * far[j]`` for any pair of bins, whatever their distance.
    """

    profiles: ContactProfiles
    bias: np.ndarray
    far: np.ndarray


def count_model(world: World, chrom: str) -> CountModel:
    """Draw the biases of a chromosome, and find the far contacts that give all its bins the same total.

    Balancing assumes that unbiased bins have equal totals. The band alone does not have them: bins at chromosome ends, gaps
    and boundaries have fewer near contacts. Here as in a cell they have more far ones.
    """
    config = world.config
    profiles = contact_profiles(world, chrom)
    n_bins, n_diagonals = len(profiles.mappable), config.n_diagonals
    rng = random_stream(world.seed, "bias", world.cell_type, chrom)
    bias = np.exp(rng.normal(0.0, config.bias_log_sd, n_bins)) * profiles.mappable * profiles.is_mappable
    # Near contacts of each bin on either side, from mappable partners, as balancing counts them.
    good = profiles.is_mappable.astype(float)
    near = np.zeros(n_bins + n_diagonals)
    for lo in range(0, n_bins, COUNT_BLOCK_BINS):
        hi = min(lo + COUNT_BLOCK_BINS, n_bins)
        band = np.nan_to_num(contacts_from_profiles(profiles, config, lo, hi, n_diagonals))
        for k in range(_IGNORED_DIAGONALS, n_diagonals):
            pixels = band[:, k] * good[lo:hi] * _padded(good, lo + k, hi + k)
            near[lo:hi] += pixels
            near[lo + k : hi + k] += pixels
    near = near[:n_bins]
    total = near[profiles.is_mappable].mean() / (1 - config.far_share) if profiles.is_mappable.any() else 0.0
    wanted = np.maximum(total - near, 0.0) * good
    far = np.sqrt(wanted / max(wanted.sum(), 1e-300)) * good
    for _ in range(_FAR_ROUNDS):
        summed = np.concatenate([[0.0], np.cumsum(far)])
        i = np.arange(n_bins)
        beyond = summed[np.maximum(i - n_diagonals + 1, 0)] + summed[-1] - summed[np.minimum(i + n_diagonals, n_bins)]
        # Half a step, in logarithms: a full one swings between two solutions.
        far = np.sqrt(far * np.divide(wanted, beyond, out=np.zeros(n_bins), where=beyond > 1e-12))
    return CountModel(profiles, bias, far)


def _padded(values: np.ndarray, lo: int, hi: int) -> np.ndarray:
    """Elements ``[lo, hi)``, 0 past the end."""
    piece = values[lo:hi]
    return np.pad(piece, (0, hi - lo - len(piece)))


def sample_pixels(world: World, chrom: str, block: int, model: CountModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the observed contacts of one block of :data:`COUNT_BLOCK_BINS` rows.

    Each pixel is a Poisson count of depth × bias × bias × expected; beyond ``span_bp`` what is expected is the
    model's ``far``, and counts come in bundles of ``far_bundle``.

    Parameters
    ----------
    world, chrom
        The genome and the chromosome.
    block
        Index of the block.
    model
        From :func:`count_model`.

    Returns
    -------
    Left bin, right bin (int64, counted from the start of the chromosome) and count (int32) of the pixels that are not
    zero, in order of left, then right bin.
    """
    config = world.config
    bias, n_bins, n_diagonals = model.bias, len(model.bias), config.n_diagonals
    lo, hi = block * COUNT_BLOCK_BINS, min((block + 1) * COUNT_BLOCK_BINS, n_bins)
    rng = random_stream(world.seed, "counts", world.cell_type, chrom, block)
    expected = np.nan_to_num(contacts_from_profiles(model.profiles, config, lo, hi, n_diagonals))
    right_bias = np.lib.stride_tricks.sliding_window_view(_padded(bias, lo, hi + n_diagonals - 1), n_diagonals)
    near = rng.poisson(config.contacts_per_unit * config.bin_scale * bias[lo:hi, None] * right_bias * expected)
    row, k = np.nonzero(near)
    # Far pixels are too many to draw one by one: draw how many contacts a row has, then the partner of each.
    rate = bias * model.far
    summed = np.concatenate([[0.0], np.cumsum(rate)])
    rows = np.arange(lo, hi)
    before = summed[np.minimum(rows + n_diagonals, n_bins)]
    mean_far = config.contacts_per_unit * config.bin_scale * rate[lo:hi] * (summed[-1] - before)
    left = np.repeat(rows, rng.poisson(mean_far / config.far_bundle))
    from_ = before[left - lo]
    right = np.searchsorted(summed, from_ + rng.random(len(left)) * (summed[-1] - from_), side="right") - 1
    far_keys, far_counts = np.unique(left * n_bins + np.minimum(right, n_bins - 1), return_counts=True)
    key = np.concatenate([(row + lo) * n_bins + row + lo + k, far_keys])
    count = np.concatenate([near[row, k], far_counts * config.far_bundle])
    order = np.argsort(key, kind="stable")
    return key[order] // n_bins, key[order] % n_bins, count[order].astype(np.int32)
