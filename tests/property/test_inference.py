"""Tiles cover a chromosome once, however it is cut into ranges."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.nn import Epiphany, Moments, NetworkConfig, predict_stripes
from epizarr.tiles import bins_needed, blend_weights, reached_bins, replaced_tiles, tile_starts

CONFIG = NetworkConfig(
    n_tracks=1, n_offsets=3, stride=2, window=8, conv_channels=(2,), conv_kernels=(3,), adaptive_pool=2,
    hidden=2, n_layers=1, head_hidden=2,
)  # fmt: skip


@st.composite
def tilings(draw):
    """Arguments of ``tile_starts``."""
    tile_bins = draw(st.integers(1, 40))
    overlap_bins = draw(st.integers(0, tile_bins // 2))
    return draw(st.integers(1, 300)), tile_bins, overlap_bins, draw(st.integers(0, tile_bins - overlap_bins - 1))


@st.composite
def ranges(draw):
    """A tiling and a range of its chromosome."""
    n_chrom_bins, *tiling = draw(tilings())
    lo = draw(st.integers(0, n_chrom_bins - 1))
    return n_chrom_bins, lo, draw(st.integers(lo + 1, n_chrom_bins)), *tiling


@given(tilings())
def test_tile_starts__reaches_from_end_to_end_with_the_overlap(tiling):
    n_chrom_bins, tile_bins, overlap_bins, _ = tiling
    starts = tile_starts(*tiling)
    length = min(tile_bins, n_chrom_bins)
    assert starts[0] == 0
    assert starts[-1] + length == n_chrom_bins
    assert (np.diff(starts) > 0).all()
    assert (starts[:-1] + length - starts[1:] >= overlap_bins).all()


@given(tilings())
def test_blend_weights__sum_to_one(tiling):
    starts, weights = tile_starts(*tiling), blend_weights(*tiling)
    total = np.zeros(tiling[0])
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + len(weight)] += weight
    np.testing.assert_allclose(total, 1.0, rtol=1e-14)


@given(tilings())
def test_blend_weights__are_mirrored_where_the_tiling_is(tiling):
    n_chrom_bins, tile_bins, overlap_bins, _ = tiling
    step = tile_bins - overlap_bins
    n_chrom_bins = tile_bins + step * (n_chrom_bins // step)
    weights = blend_weights(n_chrom_bins, tile_bins, overlap_bins)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=1e-14)


@given(ranges())
def test_bins_needed__holds_every_tile_of_every_bin(selection):
    n_chrom_bins, lo, hi, *tiling = selection
    starts = tile_starts(n_chrom_bins, *tiling)
    ends = starts + min(tiling[0], n_chrom_bins)
    touching = [(start, end) for start, end in zip(starts, ends, strict=True) if start < hi and end > lo]
    needed = (min(start for start, _ in touching), max(end for _, end in touching))
    assert bins_needed(*selection) == needed


@given(tilings())
def test_tile_starts__a_phase_moves_all_but_the_first_and_the_last(tiling):
    _, tile_bins, overlap_bins, phase_bins = tiling
    assert ((tile_starts(*tiling)[1:-1] + phase_bins) % (tile_bins - overlap_bins) == 0).all()


class _Constant(Epiphany):
    """A network whose core gives 1 + offset everywhere."""

    def moments(self, features):
        return Moments((1.0 + torch.arange(3.0)).expand(*features.shape[:2], 3), None)


@settings(max_examples=30, deadline=None)
@given(ranges(), st.integers(1, 9))
def test_predict_stripes__of_a_constant_core_is_constant(selection, batch_size):
    n_chrom_bins, lo, hi, tile_bins, overlap_bins, phase_bins = selection
    stripes = predict_stripes(
        _Constant(CONFIG),
        torch.zeros(1, CONFIG.input_length(n_chrom_bins)),
        first_bin=0,
        n_chrom_bins=n_chrom_bins,
        lo=lo,
        hi=hi,
        tile_bins=tile_bins,
        overlap_bins=overlap_bins,
        batch_size=batch_size,
        phase_bins=phase_bins,
    )
    torch.testing.assert_close(stripes, (1.0 + torch.arange(3.0)).expand(hi - lo, 3), rtol=1e-6, atol=0)


@given(st.integers(5, 300), st.integers(2, 60), st.data())
def test_replaced_tiles__keep_what_the_others_see(n_bins, tile_bins, data):
    overlap = data.draw(st.integers(0, tile_bins // 2))
    starts = tile_starts(n_bins, tile_bins, overlap)
    length = min(tile_bins, n_bins)
    first = data.draw(st.integers(0, len(starts) - 1))
    last = data.draw(st.integers(first, len(starts) - 1))
    shift = data.draw(st.integers(1 - min(n_bins, length), 40))
    after, after_length, lo, hi = replaced_tiles(n_bins, np.array([first, last]), shift, tile_bins, overlap)
    assert after[0] == 0
    assert after[-1] + after_length == n_bins + shift
    assert (np.diff(after) > 0).all()
    assert (np.diff(after) <= after_length).all()
    assert lo <= starts[first]
    assert hi >= starts[last] + length
    # Every tile outside of what is laid anew is there, at its place or moved with the sequence.
    kept = {int(s) for s in starts if s + length <= lo} | {int(s) + shift for s in starts if s >= hi}
    assert kept <= set(after.tolist())


@given(st.integers(0, 5000), st.integers(0, 300), st.integers(1, 12), st.integers(1, 80), st.integers(1, 12))
def test_reached_bins__are_those_that_read_or_span_the_stretch(lo, width, stride, window, n_offsets):
    first, last = reached_bins(lo, lo + width, stride=stride, window=window, n_offsets=n_offsets)
    bins = np.arange(lo // stride - 200, (lo + width) // stride + 200)
    start = bins * stride - window // 2
    reads = (start < lo + width) & (start + window > lo)
    assert ((bins >= first) & (bins < last))[reads].all()
    span = n_offsets // 2
    beside = ((bins - span) * stride < lo) & ((bins + span) * stride > lo + width)
    assert ((bins >= first) & (bins < last))[beside].all()
