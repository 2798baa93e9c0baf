"""Features of bins on sequences short enough to work out by hand."""

import numpy as np
import pytest

from epizarr.errors import ConfigError
from epizarr.normalize import features
from epizarr.normalize.features import bin_features, cut_patterns, find_cut_sites

LETTERS = {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT"}
LETTERS |= {"V": "ACG", "N": "ACGT", **{base: base for base in "ACGT"}}


def codes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


def sites_of(text, patterns):
    return [tuple(row) for row in find_cut_sites(codes(text), patterns).tolist()]


def test_bin_features__count_an_end_in_the_bin_that_holds_all_of_it():
    # The cut lies between bases 1001 and 1002: the left end is 501-1001, the right one 1001-1501, 0-based and half-open.
    text = "A" * 1000 + "GATC" + "A" * 996
    assert bin_features(codes(text), 1000, patterns=["GATC"])["len"].tolist() == [0, 500]
    assert bin_features(codes(text), 2000, patterns=["GATC"])["len"].tolist() == [1000]


def test_bin_features__merge_ends_of_adjacent_sites():
    text = "A" * 1000 + "GATCGATC" + "A" * 992
    assert bin_features(codes(text), 2000, patterns=["GATC"])["len"].tolist() == [1004]


def test_bin_features__clip_ends_for_len_and_not_for_gc():
    text = "C" * 50 + "GATC" + "A" * 946
    found = bin_features(codes(text), 1000, patterns=["GATC"])
    # gc: only the right end, ATC and 197 A, fits; the left one would begin before the chromosome.
    assert (found["gc"].tolist(), found["len"].tolist()) == ([1 / 200], [51 + 500])


def test_bin_features__end_with_a_partial_bin():
    text = "A" * 2000 + "C" * 700 + "GATC" + "A" * 96
    found = bin_features(codes(text), 1000, patterns=["GATC"])
    assert found["len"].tolist() == [0, 0, 500 + 99]


def test_bin_features__are_zero_without_a_cut():
    found = bin_features(codes("AC" * 1500), 1000, patterns=["GATC"], mappability=(np.r_[0], np.r_[3000], np.r_[1.0]))
    assert not found.to_numpy().any()
    assert (list(found), len(found)) == (["gc", "map", "len"], 3)


def test_bin_features__count_n_among_the_letters():
    assert bin_features(codes("CCNN" * 250), 500, patterns=None)["gc"].tolist() == [0.5, 0.5]


def test_bin_features__have_no_map_without_a_track():
    assert list(bin_features(codes("ACGT"), 2, patterns=None)) == ["gc"]


def test_bin_features__leave_out_intervals_that_stick_out():
    intervals = (np.r_[0, 90, 150], np.r_[90, 110, 160], np.r_[1.0, 5.0, 0.25])
    found = bin_features(codes("A" * 200), 100, patterns=None, mappability=intervals)
    assert found["map"].tolist() == [1.0, 0.25]


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        (([0, 5], [6, 9], [1, 1]), "overlap"),
        (([5, 0], [9, 3], [1, 1]), "sorted"),
        (([5], [5], [1]), "empty"),
        (([0], [201], [1]), "another assembly"),
        (([0], [9], [np.nan]), "missing"),
        (([0], [9, 10], [1]), "1 starts, 2 ends"),
    ],
)
def test_bin_features__refuse_intervals_that_are_none(intervals, message):
    arrays = tuple(np.array(part, dtype=float) for part in intervals)
    with pytest.raises(ValueError, match=message):
        bin_features(codes("A" * 200), 100, patterns=None, mappability=arrays)


@pytest.mark.parametrize("sequence", [np.zeros(4, dtype=np.int64), np.zeros((2, 2), dtype=np.uint8)])
def test_bin_features__refuse_what_is_no_sequence(sequence):
    with pytest.raises(ValueError, match="ASCII codes, uint8"):
        bin_features(sequence, 100, patterns=None)


def test_bin_features__refuse_an_empty_bin():
    with pytest.raises(ValueError, match="not 0"):
        bin_features(codes("ACGT"), 0, patterns=None)


def test_find_cut_sites__overlap():
    assert sites_of("AAAA", ["AAA"]) == [(0, 3), (1, 4)]


def test_find_cut_sites__expand_n_to_bases_only():
    assert sites_of("GAATC GANTC GACTC gatc", ["GANTC"]) == [(0, 5), (12, 17)]


def test_find_cut_sites__count_soft_masked_bases():
    assert sites_of("ttgatcGAtC", ["GATC"]) == [(2, 6), (6, 10)]


def test_find_cut_sites__pool_patterns_and_list_an_interval_once():
    assert sites_of("GATCAGATTC", ["GATC", "GANTC", "RATC"]) == [(0, 4), (5, 10)]


def test_find_cut_sites__keep_different_intervals_with_one_middle():
    assert sites_of("TGATCA", ["GATC", "TGATCA"]) == [(0, 6), (1, 5)]


def test_find_cut_sites__match_every_letter_of_the_code():
    assert [sum(letter in LETTERS[code] for letter in "ACGT") for code in LETTERS] == [
        len(sites_of("ACGTN", [code])) for code in LETTERS
    ]


def test_find_cut_sites__look_at_the_forward_strand_only():
    assert sites_of("GGATG" + "CATCC", ["GGATG"]) == [(0, 5)]


def test_find_cut_sites__accept_a_sequence_shorter_than_the_pattern():
    assert find_cut_sites(codes("GAT"), ["GATC"]).shape == (0, 2)


def test_cut_patterns__know_kits_and_drop_repeats():
    assert cut_patterns(["DpnII", "arima", "gatc", "HINDIII"]) == ("GATC", "GANTC", "AAGCTT")


def test_cut_patterns__list_what_is_known():
    with pytest.raises(ConfigError, match=r"'HindII' is not known\. Known are AluI, Arima.*Did you mean 'HindIII'"):
        cut_patterns(["HindII"])


@pytest.mark.parametrize("enzymes", [[], ["G^ATC"], [""]])
def test_cut_patterns__refuse_what_is_no_pattern(enzymes):
    with pytest.raises(ConfigError):
        cut_patterns(enzymes)


def test_enzymes__all_cut_both_strands_alike():
    pairs = str.maketrans("ACGTN", "TGCAN")
    patterns = {pattern for patterns in features.ENZYMES.values() for pattern in patterns}
    assert [p for p in patterns if p.translate(pairs)[::-1] != p] == []
