"""Scores, thresholds and hits of a motif, against enumeration of all sequences and scoring letter by letter."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from epizarr.errors import ConfigError
from epizarr.motif_scan import (
    Hits,
    Motif,
    best_score_runs,
    find_hits,
    log_odds,
    make_scanner,
    score_distribution,
)

COUNTS = np.array([[9, 0, 1, 0], [0, 8, 0, 2], [5, 1, 4, 0], [0, 0, 10, 0], [1, 1, 1, 7.0]])
MADE_UP = Motif("M1", "made up", COUNTS)
UNEVEN = Motif("M2", "", COUNTS, (0.4, 0.15, 0.15, 0.3))


def codes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


@pytest.mark.parametrize("motif", [MADE_UP, UNEVEN])
def test_score_distribution__equals_enumeration(motif):
    scores = np.rint(10 * log_odds(motif)).astype(int)
    background = np.array([0.4, 0.15, 0.15, 0.3])
    expected = {}
    for word in product(range(4), repeat=len(scores)):
        score = sum(scores[i, base] for i, base in enumerate(word))
        expected[score] = expected.get(score, 0) + np.prod(background[list(word)])
    lowest, probability = score_distribution(scores, background)
    found = {lowest + i: p for i, p in enumerate(probability) if p}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[s] for s in sorted(found)], [expected[s] for s in sorted(found)], rtol=1e-12)


@pytest.mark.parametrize("motif", [MADE_UP, UNEVEN])
@pytest.mark.parametrize("p_value", [0.002, 0.01, 0.02])
def test_make_scanner__finds_the_lowest_score_with_that_p_value(motif, p_value):
    scanner = make_scanner(motif, p_value=p_value)
    background = (np.array(motif.background) + motif.background[::-1]) / 2
    words = list(product(range(4), repeat=motif.width))
    score = np.array([sum(scanner.scores[i, base] for i, base in enumerate(word)) for word in words])
    probability = np.array([np.prod(background[list(word)]) for word in words])
    p_of = {s: probability[score >= s].sum() for s in np.unique(score)}
    assert scanner.threshold == min(s for s, p in p_of.items() if p <= p_value)
    assert scanner.p_value == pytest.approx(p_of[scanner.threshold], rel=1e-9)


def test_log_odds__is_the_formula():
    found = log_odds(UNEVEN, pseudocount=2.0)
    # The background of both strands: A and T 0.35, C and G 0.15.
    assert found[0, 0] == pytest.approx(np.log2((9 + 2 * 0.35) / 12 / 0.35))
    assert found[0, 1] == pytest.approx(np.log2((0 + 2 * 0.15) / 12 / 0.15))


@pytest.mark.parametrize("pseudocount", [0, -1, np.inf, np.nan])
def test_log_odds__refuse_a_pseudocount_that_leaves_no_score(pseudocount):
    with pytest.raises(ConfigError, match="pseudocount"):
        log_odds(MADE_UP, pseudocount)


@pytest.mark.parametrize("p_value", [0, 1, -0.1, np.nan])
def test_make_scanner__refuses_a_p_value_that_is_none(p_value):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        make_scanner(MADE_UP, p_value=p_value)


def test_make_scanner__says_that_a_short_motif_cannot_be_so_rare():
    with pytest.raises(ConfigError, match=r"5 bp: its best match already has a p-value of 0\.00098"):
        make_scanner(MADE_UP, p_value=1e-5)


def test_make_scanner__refuses_hits_that_look_like_anything():
    with pytest.raises(ConfigError, match="no more than the background"):
        make_scanner(MADE_UP, p_value=0.6)


def test_find_hits__are_where_the_motif_is_and_on_its_strand():
    scanner = make_scanner(MADE_UP, p_value=0.001)
    plus, minus = find_hits(codes("TTACAGTTTTACTGTTT"), scanner)
    assert (plus.start.tolist(), minus.start.tolist()) == ([2], [10])
    assert plus.score[0] == minus.score[0] == scanner.scores.max(axis=1).sum() / 1000


def test_find_hits__count_soft_masked_bases():
    plus, _ = find_hits(codes("ttacagttt"), make_scanner(MADE_UP, p_value=0.001))
    assert plus.start.tolist() == [2]


@pytest.mark.parametrize("letter", "NRYn-")
def test_find_hits__never_cross_a_letter_that_is_no_base(letter):
    scanner = replace(make_scanner(MADE_UP, p_value=0.001), threshold=1)
    for at in range(5):
        text = "ACAGT"[:at] + letter + "ACAGT"[at + 1 :]
        assert [len(hits) for hits in find_hits(codes(text), scanner)] == [0, 0]


def test_find_hits__need_room():
    assert [len(hits) for hits in find_hits(codes("ACAG"), make_scanner(MADE_UP, p_value=0.01))] == [0, 0]


def test_best_score_runs__take_the_best_hit_at_each_base():
    hits = Hits(np.array([0, 3, 5, 20, 25, 40]), np.array([2.0, 5.0, 3.0, 1.0, 1.0, 4.0]))
    found = list(zip(*(part.tolist() for part in best_score_runs(hits, 5)), strict=True))
    assert found == [(0, 3, 2.0), (3, 8, 5.0), (8, 10, 3.0), (20, 30, 1.0), (40, 45, 4.0)]


def test_best_score_runs__are_none_without_hits():
    assert [len(part) for part in best_score_runs(Hits(np.zeros(0, dtype=np.int64), np.zeros(0)), 5)] == [0, 0, 0]
