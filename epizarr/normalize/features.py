"""HiC-DC+'s features of a bin from the genome sequence: GC content, mappability, effective length.

A restriction enzyme cuts the genome into fragments, and ligation joins fragment ends. The features of a bin are therefore
taken near the cut sites in it; for protocols without such an enzyme (Micro-C, intact Hi-C) the bin itself is looked at. The
functions see one chromosome at a time, as an array of ASCII codes (upper or lower case; lower case is only a masked repeat),
and hold a few MB besides it and its table of cut sites.

Source: ``construct_features`` of HiC-DC+ (Sahin et al., *Nature Communications* 12:3366, 2021), "Bins-uniform", as
ALGORITHMS, section 1, states it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from epizarr.errors import ConfigError, nearest_match

#: Width in bp of the fragment ends on which ``len`` and ``map``, and ``gc``, are taken.
END_BP = 500
GC_END_BP = 200

#: Recognition patterns of enzymes and kits, 5' to 3', IUPAC letters. All are palindromes: one strand shows every site.
ENZYMES: dict[str, tuple[str, ...]] = {
    "AluI": ("AGCT",),
    "Arima": ("GATC", "GANTC"),
    "Arima2": ("GATC", "GANTC", "CTNAG", "TTAA"),
    "BamHI": ("GGATCC",),
    "BglII": ("AGATCT",),
    "Csp6I": ("GTAC",),
    "CviQI": ("GTAC",),
    "DdeI": ("CTNAG",),
    "DpnII": ("GATC",),
    "EcoRI": ("GAATTC",),
    "HaeIII": ("GGCC",),
    "HindIII": ("AAGCTT",),
    "HinfI": ("GANTC",),
    "MboI": ("GATC",),
    "MseI": ("TTAA",),
    "NcoI": ("CCATGG",),
    "NlaIII": ("CATG",),
    "Sau3AI": ("GATC",),
}

#: Start, end (bp) and value of the intervals of one chromosome, sorted, without overlap.
Intervals = tuple[np.ndarray, np.ndarray, np.ndarray]

#: The bases that each letter of a pattern stands for.
_IUPAC = {
    **{"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}

#: Sequence and mappability are looked at in stretches of this length.
_STRETCH_BP = 2_000_000


def cut_patterns(enzymes: Sequence[str]) -> tuple[str, ...]:
    """Recognition patterns of enzymes, given by name or as the pattern itself.

    Parameters
    ----------
    enzymes
        Names out of :data:`ENZYMES` (in any case of letters) and patterns in IUPAC letters, 5' to 3'.

    Returns
    -------
    Patterns in upper case, each once, in the order given.

    Raises
    ------
    ConfigError
        If none is given, or one is neither a known name nor a pattern; the message lists the known names.

    Examples
    --------
    >>> cut_patterns(["arima", "AAGCTT"])
    ('GATC', 'GANTC', 'AAGCTT')
    """
    by_name = {name.upper(): patterns for name, patterns in ENZYMES.items()}
    found: list[str] = []
    for enzyme in enzymes:
        upper = enzyme.strip().upper()
        if upper in by_name:
            found.extend(by_name[upper])
        elif upper and set(upper) <= set(_IUPAC):
            found.append(upper)
        else:
            raise ConfigError(
                f"enzyme {enzyme!r} is not known. Known are {', '.join(ENZYMES)}.{nearest_match(enzyme, list(ENZYMES))} "
                "For another one give its recognition pattern in IUPAC letters without a mark for the cut, such as 'GANTC'."
            )
    if not found:
        raise ConfigError(
            "no enzyme was given; name at least one, or ask for features without cut sites (patterns=None)."
        )
    return tuple(dict.fromkeys(found))


def find_cut_sites(sequence: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    """Where enzymes recognise a chromosome: every match of each pattern on the forward strand, overlapping ones too.

    Parameters
    ----------
    sequence
        Chromosome as ASCII codes, uint8 (base). Letters other than A, C, G and T match nothing, not even an N of a pattern.
    patterns
        What :func:`cut_patterns` returns.

    Returns
    -------
    Start and end (bp) of each site, int64 (site, 2), sorted. Sites of all patterns are pooled and each interval is listed
    once. Empty where no enzyme cuts.

    Raises
    ------
    ConfigError
        If a pattern holds a letter that is not of the IUPAC code.
    """
    _check_sequence(sequence)
    patterns = cut_patterns(patterns)
    # One number per interval sorts and compares many times faster than rows.
    longest = max(len(pattern) for pattern in patterns)
    keys = [np.zeros(0, dtype=np.int64)]
    for lo in range(0, len(sequence), _STRETCH_BP):
        stretch = sequence[lo : lo + _STRETCH_BP + longest - 1]
        is_base = {base: _is_base(stretch, base) for base in "ACGT"}
        is_letter = {
            letter: np.logical_or.reduce([is_base[base] for base in _IUPAC[letter]])
            for letter in set("".join(patterns))
        }
        for pattern in patterns:
            n = min(_STRETCH_BP, len(stretch) - len(pattern) + 1)
            if n < 1:
                continue
            matches = is_letter[pattern[0]][:n].copy()
            for offset, letter in enumerate(pattern[1:], start=1):
                matches &= is_letter[letter][offset : offset + n]
            keys.append((lo + np.flatnonzero(matches)) * (longest + 1) + len(pattern))
    key = np.sort(np.concatenate(keys), kind="stable")
    key = key[np.concatenate([[True], key[1:] != key[:-1]])] if len(key) else key
    start, width = np.divmod(key, longest + 1)
    return np.stack([start, start + width], axis=1)


def bin_features(
    sequence: np.ndarray,
    binsize: int,
    *,
    patterns: Sequence[str] | None,
    mappability: Intervals | None = None,
) -> pd.DataFrame:
    """Features of the bins of one chromosome.

    Each cut site has two fragment ends, left and right of the middle of its recognition pattern. An end counts for a bin
    that it lies in wholly, else for none.

    - ``gc``: share of C and G (of all letters, N included) in ends of 200 bp, mean over the bin's ends.
    - ``map``: mappability of an end of 500 bp (clipped at the chromosome's ends) is the mean, weighted by width, of the
      intervals that lie wholly inside it, 0 if there are none; mean over the bin's ends.
    - ``len``: number of bases that the bin's ends of 500 bp cover.

    A bin without such an end has 0, as HiC-DC+ has it: on a chromosome that is never cut all features are 0. Pairs with such
    a bin take no part in the regression. Without enzymes (``patterns=None``) the bin itself is the one end, and there is no
    ``len``.

    Holds about 50 MB besides the arguments (150 MB with a mappability of one value a base), and 130 bytes a cut site.

    Parameters
    ----------
    sequence
        Chromosome as ASCII codes, uint8 (base).
    binsize
        Bin width in bp; the last bin ends with the chromosome.
    patterns
        Recognition patterns (:func:`cut_patterns`); None for protocols without a restriction enzyme.
    mappability
        Start, end (bp) and value of a mappability track's intervals on this chromosome; None without one.

    Returns
    -------
    Table with a row for each bin and columns ``gc``; ``map``, if there is a mappability; ``len`` (int64, bp), if there are
    enzymes. No value is missing.

    Raises
    ------
    ValueError
        If ``binsize`` is not positive, or the intervals are not sorted, overlap, are off the chromosome or have values that
        are missing or infinite.
    ConfigError
        If a pattern holds a letter that is not of the IUPAC code.

    Examples
    --------
    >>> sequence = np.frombuffer(b"TG" * 300 + b"GATC" + b"AC" * 300, dtype=np.uint8)
    >>> bin_features(sequence, 1204, patterns=["GATC"])
          gc   len
    0  0.5  1000
    """
    _check_sequence(sequence)
    if binsize < 1:
        raise ValueError(f"binsize must be a positive number of bp, not {binsize}.")
    length = len(sequence)
    if mappability is not None:
        _check_intervals(mappability, length)
    n_bins = -(-length // binsize)
    features: dict[str, np.ndarray] = {}
    if patterns is None:
        start = np.arange(n_bins, dtype=np.int64) * binsize
        end = np.minimum(start + binsize, length)
        features["gc"] = _gc_share(sequence, start, end)
        if mappability is not None:
            features["map"] = _mean_inside(mappability, start, end)
        return pd.DataFrame(features)

    sites = find_cut_sites(sequence, patterns)
    start, end = _fragment_ends(sites, GC_END_BP)
    start, end = _within_a_bin(start, end, binsize, length)
    features["gc"] = _mean_per_bin(_gc_share(sequence, start, end), start // binsize, n_bins)
    start, end = _fragment_ends(sites, END_BP)
    start, end = _within_a_bin(np.maximum(start, 0), np.minimum(end, length), binsize, length)
    if mappability is not None:
        features["map"] = _mean_per_bin(_mean_inside(mappability, start, end), start // binsize, n_bins)
    features["len"] = _covered_per_bin(start, end, binsize, n_bins)
    return pd.DataFrame(features)


def _is_base(sequence: np.ndarray, base: str) -> np.ndarray:
    """Whether each letter is this base; the bit that makes a letter lower case is ignored."""
    return (sequence & 0xDF) == ord(base)


def _fragment_ends(sites: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of both ends at each site, by start; may reach past the chromosome.

    The original computes with 1-based closed positions: with m the middle of a site, the left end stops at trunc(m − 1) and
    the right end starts at trunc(m). That is the base here.
    """
    cut = (sites[:, 0] + sites[:, 1] - 1) // 2
    start = np.sort(np.concatenate([cut - width, cut]))
    return start, start + width


def _within_a_bin(start: np.ndarray, end: np.ndarray, binsize: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep intervals that are not empty and lie wholly in one bin of the chromosome."""
    keep = (start >= 0) & (end <= length) & (start < end) & (start // binsize == (end - 1) // binsize)
    return start[keep], end[keep]


def _mean_per_bin(values: np.ndarray, bin_id: np.ndarray, n_bins: int) -> np.ndarray:
    """Mean of the values of each bin, 0 where there are none."""
    total = np.bincount(bin_id, weights=values, minlength=n_bins)
    n = np.bincount(bin_id, minlength=n_bins)
    return np.divide(total, n, out=np.zeros(n_bins), where=n > 0)


def _covered_per_bin(start: np.ndarray, end: np.ndarray, binsize: int, n_bins: int) -> np.ndarray:
    """Number of bases of each bin that some interval covers; each interval lies in one bin, and starts ascend.

    The original sums the widths of merged ends over (group, bin); as no end leaves its bin, that is this number.
    """
    if not len(start):
        return np.zeros(n_bins, dtype=np.int64)
    reached = np.concatenate([[0], np.maximum.accumulate(end)[:-1]])
    new = np.maximum(end - np.maximum(start, reached), 0)
    return np.bincount(start // binsize, weights=new, minlength=n_bins).astype(np.int64)


def _stretches(start: np.ndarray) -> Iterator[slice]:
    """Cut ascending starts into slices that each span at most a stretch."""
    if len(start):
        borders = np.searchsorted(start, np.arange(start[0], start[-1] + 1 + _STRETCH_BP, _STRETCH_BP))
        yield from (slice(a, b) for a, b in zip(borders, borders[1:], strict=False) if b > a)


def _gc_share(sequence: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Share of C and G in each interval, float64; starts and ends ascend."""
    share = np.empty(len(start))
    for part in _stretches(start):
        lo, hi = start[part][0], end[part][-1]
        before = np.zeros(hi - lo + 1, dtype=np.int32)
        np.cumsum(_is_base(sequence[lo:hi], "C") | _is_base(sequence[lo:hi], "G"), out=before[1:])
        share[part] = (before[end[part] - lo] - before[start[part] - lo]) / (end[part] - start[part])
    return share


def _mean_inside(intervals: Intervals, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Mean, weighted by width, of the track's intervals wholly inside each interval, 0 if there are none."""
    track_start, track_end, value = intervals
    mean = np.zeros(len(start))
    for part in _stretches(start):
        first = np.searchsorted(track_start, start[part], side="left")
        last = np.searchsorted(track_end, end[part], side="right")
        some = np.flatnonzero(last > first)
        if not len(some):
            continue
        first, last = first[some], last[some]
        lo, hi = int(first[0]), int(last[-1])
        width = (track_end[lo:hi] - track_start[lo:hi]).astype(np.float64)
        # Sums of their own, and no differences of running sums: those would lose digits along the chromosome. The zero at
        # the end lets a sum stop with the last interval.
        pairs = np.stack([first - lo, last - lo], axis=1).ravel()
        weights = np.add.reduceat(np.append(width, 0.0), pairs)[::2]
        total = np.add.reduceat(np.append(width * value[lo:hi], 0.0), pairs)[::2]
        mean[part.start + some] = total / weights
    return mean


def _check_sequence(sequence: np.ndarray) -> None:
    if sequence.dtype != np.uint8 or sequence.ndim != 1:
        raise ValueError(
            f"a sequence is one axis of ASCII codes, uint8, not {sequence.dtype} of shape {sequence.shape}; "
            "read it with io.fasta, or make it with np.frombuffer(text, dtype=np.uint8)."
        )


def _check_intervals(intervals: Intervals, length: int) -> None:
    start, end, value = intervals
    if not len(start) == len(end) == len(value):
        raise ValueError(f"mappability has {len(start)} starts, {len(end)} ends and {len(value)} values.")
    if not len(start):
        return
    if (end <= start).any() or (start[1:] < end[:-1]).any():
        raise ValueError("the intervals of a mappability track must be sorted by start, not empty and without overlap.")
    if start[0] < 0 or end[-1] > length:
        raise ValueError(
            f"mappability reaches from {start[0]:,} to {end[-1]:,} bp and the chromosome has {length:,} bp; "
            "the track belongs to another assembly."
        )
    if not np.isfinite(value).all():
        raise ValueError("mappability has missing or infinite values; leave out those intervals.")
