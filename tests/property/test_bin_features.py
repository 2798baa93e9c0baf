"""Features of bins against a slow, literal reading of HiC-DC+'s rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.normalize import features
from epizarr.normalize.features import bin_features

LETTERS = {"A": "A", "C": "C", "G": "G", "T": "T", "S": "CG", "W": "AT", "Y": "CT", "R": "AG", "N": "ACGT"}


def codes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


def naive_features(text, binsize, patterns, intervals):
    """ALGORITHMS, section 1, word by word: 1-based closed positions, one bin and one end at a time."""
    text, length = text.upper(), len(text)
    sites = {
        (i + 1, i + len(p))
        for p in patterns or ()
        for i in range(length - len(p) + 1)
        if all(text[i + j] in LETTERS[letter] for j, letter in enumerate(p))
    }
    rows = []
    for k in range(-(-length // binsize)):
        low, high = k * binsize + 1, min((k + 1) * binsize, length)

        def ends(width, clipped, low=low, high=high):
            if patterns is None:
                return [(low, high)]
            found = []
            for s, e in sites:
                m = (s + e) / 2
                left, right = (int(m - 1) - width + 1, int(m - 1)), (int(m), int(m) + width - 1)
                found += [(max(a, 1), min(b, length)) if clipped else (a, b) for a, b in (left, right)]
            return [(a, b) for a, b in found if low <= a <= b <= high]

        def mappability(a, b):
            inside = [(e - s, v) for s, e, v in zip(*intervals, strict=True) if s + 1 >= a and e <= b]
            return sum(w * v for w, v in inside) / sum(w for w, _ in inside) if inside else 0.0

        gc = [sum(base in "CG" for base in text[a - 1 : b]) / (b - a + 1) for a, b in ends(200, False)]
        maps = [mappability(a, b) for a, b in ends(500, True)]
        covered = {base for a, b in ends(500, True) for base in range(a, b + 1)}
        rows.append((np.mean(gc) if gc else 0.0, np.mean(maps) if maps else 0.0, len(covered)))
    return np.array(rows)


@st.composite
def genomes(draw):
    """A sequence with N runs and lower case, intervals of a track on it, and a bin size that fragment ends can fit in."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    length = draw(st.integers(1, 4000))
    sequence = rng.choice(list("ACGTacgt"), size=length)
    for _ in range(draw(st.integers(0, 3))):
        at = rng.integers(length)
        sequence[at : at + rng.integers(1, 400)] = "N"
    borders = np.unique(rng.integers(0, length + 1, size=draw(st.integers(0, 300))))
    keep = rng.random(max(len(borders) - 1, 0)) < 0.8
    intervals = (borders[:-1][keep], borders[1:][keep], rng.random(keep.sum()).astype(np.float32))
    return "".join(sequence), intervals, draw(st.integers(450, 2500))


@settings(max_examples=40)
@given(genomes(), st.sampled_from([("GATC",), ("GATC", "GANTC"), ("AAGCTT",), ("SW", "TTAA"), ("YNR",), ("A",), None]))
def test_bin_features__agree_with_a_slow_reading_of_the_text(genome, patterns):
    text, intervals, binsize = genome
    found = bin_features(codes(text), binsize, patterns=patterns, mappability=intervals)
    expected = naive_features(text, binsize, patterns, intervals)
    np.testing.assert_allclose(found["gc"], expected[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["map"], expected[:, 1], rtol=0, atol=1e-12)
    if patterns is not None:
        np.testing.assert_array_equal(found["len"], expected[:, 2])


@settings(max_examples=25)
@given(genomes(), st.sampled_from([1, 7, 333]))
def test_bin_features__do_not_depend_on_the_stretch(genome, stretch):
    text, intervals, binsize = genome
    whole = bin_features(codes(text), binsize, patterns=["GATC", "TTAA"], mappability=intervals)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_STRETCH_BP", stretch)
        again = bin_features(codes(text), binsize, patterns=["GATC", "TTAA"], mappability=intervals)
    assert again.equals(whole)
