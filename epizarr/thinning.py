"""Binomial thinning: what a map would have looked like, had it been sequenced less deeply.

Each contact of a pixel is kept or not by a number of its own, the hash of (seed, chromosome, bin1, bin2, which contact). A
pixel of n contacts so becomes a draw of Binomial(n, fraction), the same one whatever pieces the map is read in, in any order,
by any process, and on any machine: marginals, band and fits all see one thinned map. Of two fractions with one seed, what the
smaller one keeps the larger one keeps too.

The hash is the output function of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195), run from a state that
the same function makes of seed, chromosome and bins.
"""

import hashlib

import numpy as np

from epizarr.errors import TransformError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

#: Contacts that are hashed at a time; three arrays of this length stay in the processor's cache.
_MAX_CONTACTS = 2**16


def fraction_for_depth(depth: float, n_contacts: float) -> float:
    """Fraction of the contacts to keep so that ``depth`` are left on average.

    The number left is Binomial(n_contacts, fraction): for a depth of 10 million the standard deviation is at most 3,200.

    Parameters
    ----------
    depth
        Contacts wanted.
    n_contacts
        Contacts there are (:meth:`~epizarr.io.contacts.ContactsFile.n_contacts`, over the chromosomes that count).

    Raises
    ------
    TransformError
        If ``depth`` is not positive, or more than there is.

    Examples
    --------
    >>> fraction_for_depth(25, 100)
    0.25
    """
    if not depth > 0:
        raise TransformError(f"thinning to a depth of {depth:,} contacts: a positive number is needed.")
    if not depth <= n_contacts:
        raise TransformError(
            f"thinning to a depth of {depth:,.0f} contacts: the map has {n_contacts:,.0f}, and thinning adds none. Ask for "
            "fewer, or merge more replicates."
        )
    return float(depth / n_contacts)


def named_seed(seed: int, name: str) -> int:
    """Seed of one of several maps that are to be thinned independently from one seed: a replicate of that name.

    Another seed or another name gives another one; the same, the same. A map without a name (the only one) has ``seed`` itself.

    Examples
    --------
    >>> named_seed(5, "")
    5
    >>> named_seed(5, "rep1") != named_seed(5, "rep2")
    True
    """
    if not name:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed}\t{name}".encode(), digest_size=8).digest(), "little")


def check_fraction(fraction: float) -> None:
    """Refuse a fraction of contacts that is not in (0, 1].

    Raises
    ------
    TransformError
        If it is not.
    """
    if not 0 < fraction <= 1:
        raise TransformError(f"thinning keeps a fraction in (0, 1] of the contacts, not {fraction}.")


def thin_counts(
    bin1: np.ndarray, bin2: np.ndarray, count: np.ndarray, *, fraction: float, seed: int, chrom: str
) -> np.ndarray:
    """Thin the counts of some pixels of one chromosome, each contact kept with probability ``fraction``.

    Holds about 40 bytes a pixel, the result included, and 3 MB, however large the counts.

    Parameters
    ----------
    bin1, bin2
        Bins of each pixel, counted from the chromosome's first one, whole numbers (pixel).
    count
        Raw counts (pixel): whole numbers, of any dtype. None may be missing.
    fraction
        In (0, 1]. 1 changes nothing.
    seed
        Any whole number. Maps that are to be independent (halves that stand for replicates) need different seeds.
    chrom
        Name of the chromosome; equal bins of different chromosomes are thinned independently.

    Returns
    -------
    Counts, int64 (pixel); 0 where no contact was kept.

    Raises
    ------
    TransformError
        If the fraction is not in (0, 1], or a count is NaN, infinite, negative or not whole.

    Examples
    --------
    >>> thin_counts(np.array([0, 0]), np.array([0, 1]), np.array([1000, 0]), fraction=1.0, seed=1, chrom="chr1")
    array([1000,    0])
    """
    check_fraction(fraction)
    bin1, bin2, count = np.asarray(bin1), np.asarray(bin2), np.asarray(count)
    _check_counts(bin1, bin2, count, chrom)
    n = count.astype(np.int64)
    # Kept is what hashes to less than this, of 2^64; the product is exact, a float scaled by a power of 2.
    threshold = int(fraction * 2.0**64)
    if threshold == 2**64:
        return n
    kept = np.zeros(len(n), dtype=np.int64)
    key = np.uint64(int.from_bytes(hashlib.blake2b(f"{seed}\t{chrom}".encode(), digest_size=8).digest(), "little"))
    ends = np.cumsum(n)
    n_contacts = int(ends[-1]) if len(ends) else 0
    # Cut by contacts and not by pixels, so that one pixel of millions is no different from many of one.
    for lo in range(0, n_contacts, _MAX_CONTACTS):
        hi = min(lo + _MAX_CONTACTS, n_contacts)
        first, last = np.searchsorted(ends, (lo, hi - 1), side="right")
        some = slice(int(first), int(last) + 1)
        starts = ends[some] - n[some]
        lengths = np.minimum(ends[some], hi) - np.maximum(starts, lo)
        # Contact j of a pixel hashes its state + (j + 1) * golden, and j is the place in the chunk less the pixel's start.
        with np.errstate(over="ignore"):
            origins = _pixel_states(bin1[some], bin2[some], key) + (lo + 1 - starts).astype(np.uint64) * _GOLDEN
            hashes = np.repeat(origins, lengths)
            hashes += np.arange(hi - lo, dtype=np.uint64) * _GOLDEN
        _mix(hashes)
        n_kept = np.cumsum(hashes < np.uint64(threshold))
        # How many of the kept contacts lie before each pixel's end, and so in each pixel.
        before = np.concatenate([[0], n_kept])[np.cumsum(lengths)]
        kept[some] += np.diff(before, prepend=0)
    return kept


def _pixel_states(bin1: np.ndarray, bin2: np.ndarray, key: np.uint64) -> np.ndarray:
    """Make a starting state of each pixel's place, uint64."""
    states = (bin1.astype(np.uint64) << np.uint64(32)) | bin2.astype(np.uint64)
    states ^= key
    # Twice: the hashes of a pixel's contacts must not be those of a neighbour, shifted.
    for _ in range(2):
        states += _GOLDEN
        _mix(states)
    return states


def _mix(state: np.ndarray) -> None:
    """Mix the bits of 64-bit states, in place: the output function of SplitMix64."""
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)


def _check_counts(bin1: np.ndarray, bin2: np.ndarray, count: np.ndarray, chrom: str) -> None:
    # NaN and infinity fail the comparisons, too.
    is_whole = np.True_ if count.dtype.kind in "iu" else (count < 2**53) & (count == np.floor(count))
    bad = np.flatnonzero(~((count >= 0) & is_whole))
    if len(bad):
        at = bad[0]
        raise TransformError(
            f"{chrom}: pixel ({bin1[at]}, {bin2[at]}) holds {count[at]}; only whole, raw counts can be thinned, and "
            f"{len(bad):,} pixels here hold something else. Give the file of raw counts."
        )
