"""What a track's values say about what it holds."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from scipy.stats import poisson

from epizarr.io.bigwig import read_bin_means
from epizarr.signal_kind import detect_signal_kind
from epizarr.simulate import DEFAULT, simulate_world
from epizarr.simulate.tracks import expected_tracks

TRACKS = ("CTCF", "H3K27me3")
DEPTHS = (1.0, 5.0, 20.0)


@cache
def fragments(track: str, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """Fragments of 200 bp over each 10-bp bin of 2 Mb, and what a control lets expect there, as peak callers take it."""
    world = simulate_world(DEFAULT, 3, "A")
    signal = np.repeat(expected_tracks(world, "sim1", 0, 20_000)[DEFAULT.tracks.index(track)], 10)
    rng = np.random.default_rng(0)
    begins = rng.poisson(signal * depth / 10)
    count = np.convolve(begins, np.ones(20, dtype=np.int64))[: len(begins)]
    control = rng.poisson(depth / 10, len(begins)).astype(float)
    local = [20 * uniform_filter1d(control, width) for width in (100, 1_000)]
    return count, np.maximum.reduce([*local, np.full(len(begins), 2 * depth)])


def in_100bp(per_10bp: np.ndarray) -> np.ndarray:
    return per_10bp.reshape(-1, 10).mean(axis=1).astype(np.float32)


def coverage(track: str, depth: float, scale: float = 0.0) -> np.ndarray:
    """Coverage times a factor (1x by default), as bamCoverage prints it: six digits."""
    count, _ = fragments(track, depth)
    printed = {c: float(f"{c * (scale or 1 / (2 * depth)):g}") for c in np.unique(count)}
    return in_100bp(np.vectorize(printed.__getitem__)(count))


def fold_change(track: str, depth: float) -> np.ndarray:
    count, expected = fragments(track, depth)
    return in_100bp(count / expected)


def p_value(track: str, depth: float) -> np.ndarray:
    count, expected = fragments(track, depth)
    return in_100bp(np.minimum(-poisson.logsf(count - 1, expected) / np.log(10), 3_000))


def called_peaks(seed: int, share: float, width_bp: int, outside: float) -> np.ndarray:
    """One value over each of some peaks, whose ends ask no bins."""
    rng = np.random.default_rng(seed)
    signal = np.full(4_000_000, outside, dtype=np.float32)
    for start in rng.integers(0, len(signal) - width_bp, int(-np.log(1 - share) * len(signal) / width_bp)):
        signal[start : start + width_bp] = np.round(rng.lognormal(2.0, 1.0), 4)
    bins = signal.reshape(-1, 100)
    has = ~np.isnan(bins)
    total = np.where(has, bins, 0).sum(axis=1)
    return np.divide(total, has.sum(axis=1), out=np.full(len(bins), np.nan), where=has.any(axis=1))


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 0.03713, 41.77])
def test_detect_signal_kind__coverage_in_any_units(track, depth, scale):
    found = detect_signal_kind(coverage(track, depth, scale))
    assert (found.kind, found.confidence) == ("coverage", "high")


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_detect_signal_kind__fold_change(track, depth):
    assert detect_signal_kind(fold_change(track, depth)).kind == "fold change"


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_detect_signal_kind__p_values(track, depth):
    assert detect_signal_kind(p_value(track, depth)).kind == "-log10 p"


@pytest.mark.parametrize("outside", [0.0, np.nan])
@pytest.mark.parametrize(("share", "width_bp"), [(0.01, 150), (0.03, 400), (0.06, 2_000)])
def test_detect_signal_kind__called_peaks(share, width_bp, outside):
    assert detect_signal_kind(called_peaks(1, share, width_bp, outside)).kind == "peaks"


def test_detect_signal_kind__broad_peaks_fill_half_of_the_genome():
    found = detect_signal_kind(called_peaks(2, 0.5, 3_000, 0.0))
    assert (found.kind, found.confidence) == ("peaks", "medium")


def test_detect_signal_kind__a_small_part_of_a_coverage_is_not_sure_to_be_peaks():
    part = np.full(200_000, np.nan)
    part[1_000:11_000] = np.random.default_rng(0).gamma(2.0, size=10_000)
    found = detect_signal_kind(part)
    assert found.confidence == "low"
    assert "small part of the genome" in found.evidence


def test_detect_signal_kind__negative_values_are_signed():
    found = detect_signal_kind(np.random.default_rng(0).normal(size=5_000))
    assert (found.kind, found.confidence) == ("signed", "high")
    assert "negative" in found.evidence


@pytest.mark.parametrize("values", [np.ones(999), np.full(5_000, np.nan), np.zeros(5_000), np.empty(0)])
def test_detect_signal_kind__too_little_is_unknown(values):
    assert detect_signal_kind(values).kind == "unknown"


def test_detect_signal_kind__rounded_numbers_are_no_reads():
    rounded = np.round(np.random.default_rng(0).lognormal(0.0, 0.5, 20_000), 3)
    found = detect_signal_kind(rounded)
    assert (found.kind, found.confidence) == ("fold change", "low")


@pytest.mark.parametrize("make", [coverage, fold_change, p_value])
def test_detect_signal_kind__does_not_ask_for_order_or_missing_bins(make):
    values = make("CTCF", 5.0)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(values)
    holes = np.append(values, np.full(2_000, np.nan))
    assert detect_signal_kind(shuffled) == detect_signal_kind(values)
    assert detect_signal_kind(holes).kind == detect_signal_kind(values).kind


def test_signal_kind__reads_as_a_sentence():
    text = str(detect_signal_kind(coverage("CTCF", 5.0, 0.03713)))
    assert text.startswith("coverage (high confidence): 100.0% of the bins above zero are multiples of 0.00")


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "chrom", "kind"),
    [
        *((f"{track}.peaksignal", "chr21", "peaks") for track in ("CTCF", "DNase", "H3K27ac", "H3K27me3", "RAD21")),
        ("E116_H3K27me3.pilot.chr21", "chr21", "-log10 p"),
        ("E116_H3K4me3.pilot.chr21", "chr21", "-log10 p"),
    ],
)
def test_detect_signal_kind__real_files(shared, name, chrom, kind):
    # E116's background stands at 0.063 = -log10 P(1 read or more of 2 expected), 0.226 = that of 2 or more, and so on.
    path = shared / "data" / "gm12878_chr21" / "tracks" / f"GM12878_{name}.hg19.bw"
    values = read_bin_means(path, chrom=chrom, start=9_400_000, end=48_100_000, binsize=100, uncovered="nan")
    if "pilot" in name:
        values = values[~np.isnan(values)]  # the file holds 2.2 Mb only
    assert detect_signal_kind(values).kind == kind
