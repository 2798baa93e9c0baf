"""Edits of tracks: coordinates, identities and locality, at chromosome ends as well."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epizarr.errors import PerturbationError
from epizarr.genome import Region
from epizarr.perturb import (
    ChromTracks,
    Copy,
    Delete,
    Duplicate,
    Insert,
    Invert,
    Mask,
    Scale,
    TrackFacts,
    Translocate,
    apply_edits,
    share_warnings,
    with_linked_tracks,
)

NAMES, STRANDS = ("CTCF", "motif-plus", "motif-minus", "DNase"), (".", "+", "-", ".")
BIN = 100


def draw_tracks(n_bins: int, short: int = 0, seed: int = 0, chrom: str = "chr1") -> ChromTracks:
    """Tracks of a chromosome whose last bin lacks ``short`` bp; one bin in ten is missing."""
    rng = np.random.default_rng(seed)
    signal = rng.gamma(2.0, size=(len(NAMES), n_bins)).astype(np.float32)
    signal[:, rng.random(n_bins) < 0.1] = np.nan
    signal[:, 0] = 1.0  # no track is wholly missing
    return ChromTracks(chrom, n_bins * BIN - short, BIN, NAMES, STRANDS, signal, rng.random(n_bins) < 0.05)


@st.composite
def cases(draw, max_bins: int = 40):
    """Tracks and an interval of whole bins, often at an end of the chromosome."""
    n = draw(st.integers(3, max_bins))
    short = draw(st.sampled_from([0, 1, 60]))
    tracks = draw_tracks(n, short, draw(st.integers(0, 99)))
    lo = draw(st.one_of(st.just(0), st.integers(0, n - 2)))
    hi = draw(st.one_of(st.just(n), st.integers(lo + 1, n)))
    if (lo, hi) == (0, n):
        hi = n - 1
    return tracks, Region("chr1", lo * BIN, min(hi * BIN, tracks.length)), lo, hi


def same(a: ChromTracks, b: ChromTracks) -> bool:
    return a.length == b.length and np.array_equal(a.signal, b.signal, equal_nan=True)


@given(cases())
def test_delete__shifts_coordinates_by_exactly_its_width(case):
    tracks, region, lo, hi = case
    edited = apply_edits(tracks, [Delete(region)])
    assert edited.tracks.length == tracks.length - region.length
    place = edited.coordinates.after_from_before(np.arange(tracks.n_bins))
    assert np.array_equal(place[:lo], np.arange(lo))
    assert np.isnan(place[lo:hi]).all()
    assert np.array_equal(place[hi:], np.arange(hi, tracks.n_bins) - (hi - lo))
    kept = np.delete(tracks.signal, np.s_[lo:hi], axis=1)
    assert np.array_equal(edited.tracks.signal, kept, equal_nan=True)


@given(cases())
def test_invert__twice_is_identity_and_once_swaps_strands(case):
    tracks, region, lo, hi = case
    once = apply_edits(tracks, [Invert(region)])
    inside = once.tracks.signal[:, lo:hi]
    assert np.array_equal(inside, tracks.signal[[0, 2, 1, 3], lo:hi][:, ::-1], equal_nan=True)
    twice = apply_edits(tracks, [Invert(region), Invert(region)])
    assert same(twice.tracks, tracks)
    assert twice.coordinates.is_identity
    assert not twice.coordinates.is_reversed.any()


@given(cases())
def test_duplicate_then_delete__is_identity(case):
    tracks, region, lo, hi = case
    width = (hi - lo) * BIN
    copy = Region("chr1", hi * BIN, min(hi * BIN + width, tracks.length + width))
    edited = apply_edits(tracks, [Duplicate(Region("chr1", lo * BIN, region.end)), Delete(copy)])
    assert np.array_equal(edited.tracks.signal, tracks.signal, equal_nan=True)
    assert edited.coordinates.is_identity


@given(cases(), st.data())
def test_translocate__there_and_back_is_identity(case, data):
    tracks, region, lo, hi = case
    to = data.draw(st.one_of(st.integers(0, lo), st.integers(hi, tracks.n_bins)))
    width = hi - lo
    begin = to if to <= lo else to - width
    there = Translocate(region, min(to * BIN, tracks.length))
    moved = Region("chr1", begin * BIN, (begin + width) * BIN)
    first = apply_edits(tracks, [there])
    moved = Region("chr1", moved.start, min(moved.end, first.tracks.length))
    origin = (hi if begin < lo else lo) * BIN
    edited = apply_edits(tracks, [there, Translocate(moved, min(origin, first.tracks.length))])
    assert np.array_equal(edited.tracks.signal, tracks.signal, equal_nan=True)
    assert sorted(first.coordinates.source.tolist()) == list(range(tracks.n_bins))


@given(cases(), st.integers(0, 99), st.integers(0, 99))
def test_mask__changes_exactly_the_interval_by_the_share_that_is_covered(case, cut_left, cut_right):
    tracks, region, *_ = case
    region = Region("chr1", region.start + min(cut_left, 30), max(region.end - min(cut_right, 60), region.start + 31))
    edited = apply_edits(tracks, [Mask(("CTCF",), region)], TrackFacts(means={"CTCF": 7.0}))
    before, after = tracks.signal[0].astype(float), edited.tracks.signal[0].astype(float)
    start = np.arange(tracks.n_bins) * BIN
    width = np.minimum(start + BIN, tracks.length) - start
    share = np.clip(np.minimum(start + width, region.end) - np.maximum(start, region.start), 0, None) / width
    assert np.allclose(after, before + share * (7.0 - before), rtol=1e-6, equal_nan=True)
    assert np.array_equal(after[share == 0], before[share == 0], equal_nan=True)
    assert np.array_equal(edited.tracks.signal[1:], tracks.signal[1:], equal_nan=True)
    assert np.array_equal(np.isnan(before), np.isnan(after))
    stretches = edited.changed_stretches()
    assert stretches == [(region.start // BIN, -(-region.end // BIN))]


@given(cases())
def test_masking_nothing__changes_nothing(case):
    tracks, region, *_ = case
    for edits in ([], [Scale(("CTCF",), region, 1.0)], [Insert((), region, 0.0)]):
        edited = apply_edits(tracks, edits)
        assert same(edited.tracks, tracks)
        assert edited.coordinates.is_identity
    assert apply_edits(tracks, []).changed_stretches() == []


@given(cases())
def test_changed_stretches__hold_all_that_is_new(case):
    tracks, region, *_ = case
    for edit in (Delete(region), Duplicate(region), Invert(region)):
        edited = apply_edits(tracks, [edit])
        ((a, b),) = edited.changed_stretches() or [(0, 0)]
        shift = edited.tracks.n_bins - tracks.n_bins
        assert np.array_equal(edited.tracks.signal[:, :a], tracks.signal[:, :a], equal_nan=True)
        assert np.array_equal(edited.tracks.signal[:, b:], tracks.signal[:, b - shift :], equal_nan=True)


def test_edits__read_coordinates_on_what_the_ones_before_left():
    tracks = draw_tracks(20)
    delete, mask = Delete(Region("chr1", 0, 500)), Scale((), Region("chr1", 1000, 1100), 0.0)
    first = apply_edits(tracks, [delete, mask]).tracks.signal
    second = apply_edits(tracks, [mask, delete]).tracks.signal
    assert np.array_equal(first[:, 10] == 0, ~np.isnan(tracks.signal[:, 15]))
    assert np.array_equal(second[:, 5] == 0, ~np.isnan(tracks.signal[:, 10]))


def test_copy__follows_the_sequence_through_an_inversion():
    tracks, other = draw_tracks(20), draw_tracks(20, seed=1)
    region = Region("chr1", 400, 1000)
    edited = apply_edits(tracks, [Invert(region), Copy((), region, "K562")], TrackFacts(others={"K562": other}))
    turned = apply_edits(other, [Invert(region)]).tracks
    assert np.array_equal(edited.tracks.signal[:, 4:10], turned.signal[:, 4:10], equal_nan=True)


def test_insert__adds_a_peak_of_the_height_in_the_middle():
    tracks = draw_tracks(21)
    flat = replace(tracks, signal=np.ones_like(tracks.signal))
    peak = apply_edits(flat, [Insert(("CTCF",), Region("chr1", 500, 1000), 8.0)]).tracks.signal[0]
    assert peak[7] == pytest.approx(9.0)
    assert peak[4] == peak[10] == 1.0
    assert (np.diff(peak[4:8]) > 0).all()


def test_mask__to_the_local_background_ignores_the_peak():
    tracks = draw_tracks(60)
    signal = np.ones_like(tracks.signal)
    signal[0, 30:33] = 50.0
    edited = apply_edits(replace(tracks, signal=signal), [Mask(("CTCF",), Region("chr1", 3000, 3300), "background")])
    assert (edited.tracks.signal == 1).all()


@pytest.mark.parametrize("level", ["mean", "background"])
def test_mask__of_all_tracks_leaves_an_absent_one_missing(level):
    tracks = draw_tracks(20)
    signal = tracks.signal.copy()
    signal[3] = np.nan
    facts = TrackFacts(
        means={**dict.fromkeys(NAMES, 2.0), "DNase": np.nan}, totals={**dict.fromkeys(NAMES, 40.0), "DNase": 0.0}
    )
    edited = apply_edits(replace(tracks, signal=signal), [Mask((), Region("chr1", 500, 900), level)], facts)
    assert np.isnan(edited.tracks.signal[3]).all()
    assert "DNase" not in edited.edited_share


def test_shares__are_of_the_whole_track_and_warn_above_one_percent():
    tracks = draw_tracks(40)
    total = float(np.nansum(np.abs(tracks.signal[0])))
    mask = Scale(("CTCF",), Region("chr1", 0, 2000), 0.0)
    edited = apply_edits(tracks, [mask], TrackFacts(totals={"CTCF": total}))
    assert edited.edited_share["CTCF"] == pytest.approx(float(np.nansum(tracks.signal[0, :20])) / total)
    assert "CTCF" in share_warnings(edited)[0]
    assert not share_warnings(apply_edits(tracks, [mask], TrackFacts(totals={"CTCF": total * 1000})))


def test_linked_tracks__follow_edits_of_values_only():
    region = Region("chr1", 0, 100)
    edits = with_linked_tracks([Mask(("CTCF",), region), Delete(region)], {"CTCF": ["RAD21", "DNase"]})
    assert edits[0].tracks == ("CTCF", "RAD21", "DNase")
    assert edits[1] == Delete(region)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Delete(Region("chr1", 150, 400)), "cuts a track bin"),
        (Invert(Region("chr2", 100, 400)), "one chromosome"),
        (Mask(("H3",), Region("chr1", 0, 100)), "no track H3"),
        (Copy((), Region("chr1", 0, 100), "K562"), "no track"),
        (Delete(Region("chr1", 0, 2000)), "nothing of chr1"),
        (Delete(Region("chr1", 100, 2100)), "2,000 bp"),
        (Translocate(Region("chr1", 0, 400), 200), "into itself"),
        (Translocate(Region("chr1", 0, 400), 2100), "off chr1"),
    ],
)
def test_apply_edits__refuses(edit, said):
    with pytest.raises(PerturbationError, match=said):
        apply_edits(draw_tracks(20), [edit])


def test_invert__refuses_a_stranded_track_without_a_partner():
    tracks = replace(draw_tracks(20), strands=(".", "+", ".", "."))
    with pytest.raises(PerturbationError, match="partner"):
        apply_edits(tracks, [Invert(Region("chr1", 0, 400))])
