"""Where a transcription factor's motif matches a sequence, strand by strand.

The score of a place is the sum over the motif's positions of log2(frequency of the base there / its background), in bits,
each term rounded to 1/1000 bit. On whole numbers the distribution of scores under the background can be computed exactly,
position by position, and with it the p-value of a score: the probability that a random sequence of the motif's length scores
as much or more. Both strands are scored with the same numbers, so a reverse-complemented sequence has the same hits with
strands exchanged.

Source of the distribution: Staden, *CABIOS* 5:89, 1989. Pseudocounts are shared out by background, as FIMO does (Grant, Bailey
and Noble, *Bioinformatics* 27:1017, 2011).
"""

from dataclasses import dataclass

import numpy as np

from epizarr.errors import ConfigError

#: Scores are whole numbers of this many to the bit.
SCORES_PER_BIT = 1000
DEFAULT_PSEUDOCOUNT = 0.1
DEFAULT_P_VALUE = 1e-5

#: A, C, G, T in either case are 0 to 3, everything else 4.
_CODES = bytes("ACGT".find(chr(byte).upper()) if chr(byte) in "ACGTacgt" else 4 for byte in range(256))
#: Sequences are scored in stretches that fit into a processor's cache, several positions of the motif at a time.
_STRETCH_BP = 1 << 17
_WORD_LENGTH = 6


@dataclass(frozen=True)
class Motif:
    """What is known of a factor's binding sites.

    Parameters
    ----------
    name
        Accession or name, as the file gives it.
    alt_name
        Second name, or the empty string.
    counts
        How often each base was seen at each position, float64 (position, base in the order A, C, G, T).
    background
        Frequencies of A, C, G and T in the genome at large; they sum to 1.
    """

    name: str
    alt_name: str
    counts: np.ndarray
    background: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25)

    @property
    def width(self) -> int:
        """Length in bp."""
        return len(self.counts)


@dataclass(frozen=True)
class Scanner:
    """A motif that is ready to be looked for.

    Parameters
    ----------
    scores
        Score of each base at each position, int64 (position, base), in 1/1000 bit.
    threshold
        Lowest score of a hit, in 1/1000 bit.
    p_value
        p-value of that score; at most what was asked for.
    """

    scores: np.ndarray
    threshold: int
    p_value: float

    @property
    def width(self) -> int:
        """Length of a hit in bp."""
        return len(self.scores)

    @property
    def threshold_bits(self) -> float:
        """Lowest score of a hit in bits."""
        return self.threshold / SCORES_PER_BIT


@dataclass(frozen=True)
class Hits:
    """Hits of a motif on one strand of one chromosome.

    Parameters
    ----------
    start
        First base of each hit on the forward strand, whatever the strand of the hit; int64, ascending.
    score
        Score in bits, float64.
    """

    start: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    def keep(self, which: np.ndarray) -> "Hits":
        """Keep some of the hits (bool for each)."""
        return Hits(self.start[which], self.score[which])


def log_odds(motif: Motif, pseudocount: float = DEFAULT_PSEUDOCOUNT) -> np.ndarray:
    """Score of each base at each position.

    Parameters
    ----------
    motif
        The motif. Its background is averaged over both strands (A with T, C with G), as both are scanned.
    pseudocount
        Added to the counts of each position, shared out by background: a base that was never seen has a score too.

    Returns
    -------
    log2(frequency / background) in bits, float64 (position, base).

    Raises
    ------
    ConfigError
        If ``pseudocount`` is not positive.
    """
    if not 0 < pseudocount < np.inf:
        raise ConfigError(
            f"pseudocount is {pseudocount}; it must be positive, or a base never seen would score -infinity."
        )
    background = _both_strands(motif)
    total = motif.counts.sum(axis=1, keepdims=True) + pseudocount
    return np.log2((motif.counts + pseudocount * background) / total / background)


def score_distribution(scores: np.ndarray, background: np.ndarray) -> tuple[int, np.ndarray]:
    """Probability of each score for a random sequence, exact but for rounding in the last digits.

    Parameters
    ----------
    scores
        Whole-number score of each base at each position (position, base).
    background
        Probability of each base, independent of its neighbours.

    Returns
    -------
    The lowest score, and the probabilities of it and the scores that follow, one by one, to the highest; float64.
    """
    lowest = scores.min(axis=1)
    probability = np.ones(1)
    for row, low in zip(scores, lowest, strict=True):
        rise = row - low
        longer = np.zeros(len(probability) + int(rise.max()))
        for step, share in zip(rise, background, strict=True):
            longer[step : step + len(probability)] += share * probability
        probability = longer
    return int(lowest.sum()), probability


def make_scanner(
    motif: Motif, *, p_value: float = DEFAULT_P_VALUE, pseudocount: float = DEFAULT_PSEUDOCOUNT
) -> Scanner:
    """Find the score that random sequence reaches with a probability of at most ``p_value``.

    Parameters
    ----------
    motif
        The motif.
    p_value
        Largest p-value of a hit, for one place on one strand: a random genome of 3.1 Gb has 62,000 hits at 1e-5.
    pseudocount
        See :func:`log_odds`.

    Returns
    -------
    Scores and the lowest one of a hit.

    Raises
    ------
    ConfigError
        If ``p_value`` or ``pseudocount`` is out of range; if even the best match is more probable than ``p_value``; or if hits
        would score 0 or less, which means that they look like the motif no more than like anything else.
    """
    if not 0 < p_value < 1:
        raise ConfigError(f"p-value is {p_value}; it must lie between 0 and 1, for instance {DEFAULT_P_VALUE:g}.")
    scores = np.rint(log_odds(motif, pseudocount) * SCORES_PER_BIT).astype(np.int64)
    lowest, probability = score_distribution(scores, _both_strands(motif))
    tail = np.cumsum(probability[::-1])[::-1]
    reached = np.flatnonzero(probability)
    allowed = reached[tail[reached] <= p_value]
    if not len(allowed):
        raise ConfigError(
            f"motif {motif.name!r} of {motif.width} bp: its best match already has a p-value of {tail[reached[-1]]:.2g}, and "
            f"{p_value:g} was asked for. Give a larger p-value."
        )
    threshold = lowest + int(allowed[0])
    if threshold <= 0:
        raise ConfigError(
            f"motif {motif.name!r}: with a p-value of {p_value:g} a hit may score {threshold / SCORES_PER_BIT:.3f} bits, no more "
            "than the background. Give a smaller p-value."
        )
    return Scanner(scores, threshold, float(tail[allowed[0]]))


def find_hits(sequence: np.ndarray, scanner: Scanner) -> tuple[Hits, Hits]:
    """Find all hits on the forward and on the reverse strand of one chromosome, overlapping ones too.

    A place that holds anything but A, C, G and T (in either case) is no hit. Holds 10 MB besides the hits, 32 bytes each.

    Parameters
    ----------
    sequence
        Chromosome as ASCII codes, uint8 (base).
    scanner
        What :func:`make_scanner` returned.

    Returns
    -------
    Hits whose sequence is the motif as it was given, and hits whose reverse complement is.
    """
    width = scanner.width
    found = [[Hits(np.zeros(0, dtype=np.int64), np.zeros(0))] for _ in "+-"]
    # Reading the matrix backwards with A, C, G, T for T, G, C, A scores the reverse complement.
    tables = [_word_tables(scores) for scores in (scanner.scores, scanner.scores[::-1, ::-1])]
    lengths = {length for _, length, _ in tables[0]}
    for lo in range(0, len(sequence) - width + 1, _STRETCH_BP):
        n = min(_STRETCH_BP, len(sequence) - width + 1 - lo)
        codes = np.frombuffer(sequence[lo : lo + n + width - 1].tobytes().translate(_CODES), dtype=np.uint8)
        words = _words(codes, lengths)
        total, part = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
        for strand, strand_tables in enumerate(tables):
            total[:] = 0
            for offset, length, table in strand_tables:
                # Words are always inside the table; "clip" only saves the check.
                np.take(table, words[length][offset : offset + n], out=part, mode="clip")
                total += part
            start = np.flatnonzero(total >= scanner.threshold)
            found[strand].append(Hits(lo + start, total[start] / SCORES_PER_BIT))
    plus, minus = (
        Hits(np.concatenate([h.start for h in hits]), np.concatenate([h.score for h in hits])) for hits in found
    )
    return plus, minus


def best_score_runs(hits: Hits, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the bases that hits cover into runs of equal value: at each base the score of the best hit over it.

    Holds a few MB besides the hits and the runs.

    Parameters
    ----------
    hits
        Hits on one strand; scores are positive, as those of :func:`make_scanner`'s hits are.
    width
        Length of a hit in bp.

    Returns
    -------
    Start, end (bp, int64) and score (bits, float64) of runs, sorted, without overlap; bases without a hit are in none.
    """
    if not len(hits):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    # Hits are few and far between: the empty stretches between them are shortened to a single base.
    at = np.cumsum(np.minimum(np.diff(hits.start, prepend=hits.start[0]), width + 1))
    pieces = []
    for lo in range(0, int(at[-1]) + width, _STRETCH_BP):
        inside = slice(np.searchsorted(at, lo - width, side="right"), np.searchsorted(at, lo + _STRETCH_BP))
        best = np.zeros(_STRETCH_BP)
        for offset in range(width):
            base = at[inside] + offset - lo
            here = (base >= 0) & (base < _STRETCH_BP)
            # No two hits start at one base, so that no index repeats.
            best[base[here]] = np.maximum(best[base[here]], hits.score[inside][here])
        border = np.flatnonzero(np.diff(best, prepend=0.0, append=0.0))
        covered = best[border[:-1]] > 0
        pieces.append((lo + border[:-1][covered], lo + border[1:][covered], best[border[:-1][covered]]))
    start, end, score = (np.concatenate(part) for part in zip(*pieces, strict=True))
    # A run that reaches over the border of stretches was cut there.
    is_new = np.concatenate([[True], (start[1:] != end[:-1]) | (score[1:] != score[:-1])])
    start, end, score = start[is_new], end[np.append(is_new[1:], True)], score[is_new]
    hit = np.searchsorted(at, start, side="right") - 1
    return start - at[hit] + hits.start[hit], end - at[hit] + hits.start[hit], score


def _both_strands(motif: Motif) -> np.ndarray:
    """Background frequencies that are the same on both strands."""
    background = np.asarray(motif.background, dtype=np.float64)
    return (background + background[::-1]) / 2


def _word_tables(scores: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Cut a motif into words: offset and length of each, and the score of each word by its number.

    A word's number has its codes as digits, base 5. A word with a code of 4 (no base) scores less than all the rest of the
    motif can make up for.
    """
    n_words = -(-len(scores) // _WORD_LENGTH)
    tables, offset = [], 0
    for part in np.array_split(scores, n_words):
        padded = np.concatenate([part, np.full((len(part), 1), np.iinfo(np.int32).min // 2)], axis=1)
        table = np.zeros(1, dtype=np.int64)
        for row in padded:
            table = (table[:, None] + row).ravel()
        never = -(2**30) // n_words
        tables.append((offset, len(part), np.maximum(table, never).astype(np.int32)))
        offset += len(part)
    return tables


def _words(codes: np.ndarray, lengths: set[int]) -> dict[int, np.ndarray]:
    """Number of the word of each length that begins at each base, as indices."""
    words = {}
    word = np.zeros(len(codes), dtype=np.intp)
    for length in range(1, max(lengths) + 1):
        # The word that begins here and is longer by one base; at the end there is no room for it.
        word = word[: len(codes) - length + 1] * 5
        word += codes[length - 1 :]
        if length in lengths:
            words[length] = word
    return words
