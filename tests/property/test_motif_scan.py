"""Hits of random motifs: the same as letter by letter, for any stretch, and exchanged on the other strand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr import motif_scan
from epizarr.motif_scan import Hits, Scanner, best_score_runs, find_hits

PAIRS = np.zeros(256, dtype=np.uint8)
PAIRS[list(b"ACGTNacgtn")] = list(b"TGCANtgcan")


@st.composite
def scans(draw):
    """A sequence with soft-masked bases and N, and a scanner of a motif of up to 25 bp."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    length = draw(st.integers(0, 600))
    sequence = rng.choice(list(b"ACGTacgt" * 5 + b"N"), size=length).astype(np.uint8)
    scores = rng.integers(-9000, 2500, size=(draw(st.integers(1, 25)), 4))
    # About every fifth random word is a hit.
    words = rng.integers(0, 4, size=(200, len(scores)))
    threshold = int(np.quantile(scores[np.arange(len(scores)), words].sum(axis=1), 0.8))
    return sequence, Scanner(scores, threshold, 0.2)


def rows(hits):
    return list(zip(hits.start.tolist(), hits.score.tolist(), strict=True))


@settings(max_examples=50)
@given(scans())
def test_find_hits__are_those_found_letter_by_letter(scan):
    sequence, scanner = scan
    expected = {"+": [], "-": []}
    for strand, row in expected.items():
        for start in range(len(sequence) - scanner.width + 1):
            word = sequence[start : start + scanner.width]
            bases = [b"ACGT".find(chr(b).upper().encode()) for b in (word if strand == "+" else PAIRS[word][::-1])]
            score = sum(int(scanner.scores[i, base]) for i, base in enumerate(bases)) if -1 not in bases else None
            if score is not None and score >= scanner.threshold:
                row.append((start, score / 1000))
    plus, minus = find_hits(sequence, scanner)
    assert (rows(plus), rows(minus)) == (expected["+"], expected["-"])


@settings(max_examples=50)
@given(scans())
def test_find_hits__change_strands_on_the_reverse_complement(scan):
    sequence, scanner = scan
    plus, minus = find_hits(sequence, scanner)
    other_plus, other_minus = find_hits(PAIRS[sequence][::-1], scanner)
    end = len(sequence) - scanner.width
    assert rows(other_plus) == [(end - start, score) for start, score in reversed(rows(minus))]
    assert rows(other_minus) == [(end - start, score) for start, score in reversed(rows(plus))]


@settings(max_examples=25)
@given(scans(), st.sampled_from([1, 7, 100]))
def test_find_hits__do_not_depend_on_the_stretch(scan, stretch):
    sequence, scanner = scan
    whole = [rows(hits) for hits in find_hits(sequence, scanner)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motif_scan, "_STRETCH_BP", stretch)
        assert [rows(hits) for hits in find_hits(sequence, scanner)] == whole


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 4)), unique_by=lambda hit: hit[0]),
    st.integers(1, 12),
    st.sampled_from([1, 5, 64, 1 << 18]),
)
def test_best_score_runs__are_the_maximum_at_each_base(hits, width, stretch):
    hits = sorted(hits)
    expected = np.zeros(320)
    for start, score in hits:
        expected[start : start + width] = np.maximum(expected[start : start + width], score)
    table = Hits(np.array([h[0] for h in hits], dtype=np.int64), np.array([h[1] for h in hits], dtype=float))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motif_scan, "_STRETCH_BP", stretch)
        start, end, score = best_score_runs(table, width)
    found = np.zeros(320)
    for a, b, value in zip(start, end, score, strict=True):
        assert not found[a:b].any()
        found[a:b] = value
    np.testing.assert_array_equal(found, expected)
    # Runs are as long as they can be.
    assert not np.any((start[1:] == end[:-1]) & (score[1:] == score[:-1]))
