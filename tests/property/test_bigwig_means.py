"""Means per bin against a brute-force reading of the same intervals."""

import tempfile
from pathlib import Path

import numpy as np
import pyBigWig
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.io.bigwig import read_bin_means


@st.composite
def tracks(draw):
    """A chromosome length, non-overlapping intervals on it with values, and a bin width."""
    length = draw(st.integers(20, 400))
    cuts = sorted(draw(st.sets(st.integers(0, length), min_size=2, max_size=24)))
    value = st.floats(-1e6, 1e6, width=32)
    pairs = list(zip(cuts, cuts[1:], strict=False))
    kept = [(a, b, draw(value)) for a, b in pairs if draw(st.booleans())] or [(*pairs[0], draw(value))]
    return length, kept, draw(st.integers(1, 60))


@settings(max_examples=60, deadline=None)
@given(tracks(), st.sampled_from(["nan", "zero"]), st.data())
def test_read_bin_means__equals_brute_force(track, uncovered, data):
    length, intervals, binsize = track
    n_bins = -(-length // binsize)
    lo = data.draw(st.integers(0, n_bins - 1))
    hi = data.draw(st.integers(lo + 1, n_bins))
    bases = np.full(length, np.nan)
    for start, end, value in intervals:
        bases[start:end] = value
    expected = []
    for at in range(lo, hi):
        piece = bases[at * binsize : (at + 1) * binsize]
        covered = piece[~np.isnan(piece)]
        n = len(covered) if uncovered == "nan" else len(piece)
        expected.append(covered.sum() / n if n else np.nan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.bw"
        with pyBigWig.open(str(path), "w") as handle:
            handle.addHeader([("chr1", length)])
            starts, ends, values = zip(*intervals, strict=True)
            handle.addEntries(["chr1"] * len(starts), list(starts), ends=list(ends), values=list(values))
        found = read_bin_means(
            path, chrom="chr1", start=lo * binsize, end=min(hi * binsize, length), binsize=binsize, uncovered=uncovered
        )
    np.testing.assert_allclose(found, np.array(expected, dtype=np.float32), rtol=1e-6, atol=1e-6)
