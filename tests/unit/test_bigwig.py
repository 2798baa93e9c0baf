"""bigWig files on which the right answer is known."""

import numpy as np
import pyBigWig
import pytest

from epizarr.errors import InputFileError, InputNotFoundError, RegionError
from epizarr.io import bigwig
from epizarr.io.bigwig import (
    inspect_bigwig,
    read_bin_means,
    read_chromosome_intervals,
    read_interval_maxima,
)

NAN = float("nan")


def write(path, intervals, chroms=(("chr1", 1050), ("chr2", 300))):
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader(list(chroms))
        if intervals:
            names, starts, ends, values = zip(*intervals, strict=True)
            handle.addEntries(list(names), list(starts), ends=list(ends), values=[float(v) for v in values])
    return path


@pytest.fixture
def track(tmp_path):
    # Bin 0 full, bin 1 half covered, bin 2 without a value, …, the last bin (50 bp) half covered.
    return write(tmp_path / "t.bw", [("chr1", 0, 100, 2), ("chr1", 100, 150, 4), ("chr1", 1000, 1025, 8)])


def means(path, uncovered, chrom="chr1", start=0, end=1050, **keywords):
    return read_bin_means(path, chrom=chrom, start=start, end=end, binsize=100, uncovered=uncovered, **keywords)


def test_read_bin_means__averages_covered_bases_only(track):
    np.testing.assert_array_equal(means(track, "nan"), np.float32([2, 4, *[NAN] * 8, 8]))


def test_read_bin_means__fills_with_zero_over_the_bins_true_length(track):
    np.testing.assert_array_equal(means(track, "zero"), np.float32([2, 2, *[0] * 8, 4]))


def test_read_bin_means__keeps_a_listed_chromosome_without_values(track):
    np.testing.assert_array_equal(means(track, "zero", "chr2", end=300), np.float32([0, 0, 0]))


@pytest.mark.parametrize("uncovered", ["nan", "zero"])
def test_read_bin_means__gives_nan_for_an_unlisted_chromosome(track, uncovered):
    np.testing.assert_array_equal(means(track, uncovered, "chr3", end=250), np.float32([NAN] * 3))


def test_read_bin_means__reads_under_the_files_own_name(track):
    assert means(track, "nan", "1", end=100, file_chrom="chr1").tolist() == [2]


def test_read_bin_means__takes_a_stored_nan_as_uncovered(tmp_path):
    path = write(tmp_path / "t.bw", [("chr1", 0, 50, NAN), ("chr1", 50, 100, 3)])
    assert (means(path, "nan", end=100).tolist(), means(path, "zero", end=100).tolist()) == ([3.0], [1.5])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_read_bin_means__refuses_an_infinite_value(tmp_path, value):
    path = write(tmp_path / "t.bw", [("chr1", 0, 50, value), ("chr1", 50, 60, NAN)])
    with pytest.raises(InputFileError, match="infinite value in chr1"):
        means(path, "nan")


def test_read_bin_means__accumulates_in_float64(tmp_path):
    # In float32 the small value would vanish beside the sum of the large ones.
    path = write(tmp_path / "t.bw", [("chr1", 0, 1000, 16_777_216), ("chr1", 1000, 1001, 1)])
    found = read_bin_means(path, chrom="chr1", start=0, end=1050, binsize=1050, uncovered="zero")
    assert found[0] == np.float32((16_777_216 * 1000 + 1) / 1050)


def test_read_bin_means__does_not_depend_on_the_piece(track, monkeypatch):
    whole = means(track, "nan")
    monkeypatch.setattr(bigwig, "PIECE_BP", 250)
    np.testing.assert_array_equal(means(track, "nan"), whole)


@pytest.mark.parametrize(("start", "end"), [(50, 200), (0, 150), (0, 1100), (200, 200), (-100, 100)])
def test_read_bin_means__refuses_a_region_off_the_bins(track, start, end):
    with pytest.raises(RegionError):
        means(track, "nan", start=start, end=end)


def test_read_bin_means__refuses_an_unknown_rule(track):
    with pytest.raises(ValueError, match="'nan' or 'zero'"):
        means(track, "mean")


def test_read_bin_means__refuses_a_damaged_block(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "t.bw"
    write(path, [("chr1", i, i + 1, v) for i, v in enumerate(rng.random(1000))])
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[16:24], "little") + 8
    data[first + 200 : first + 400] = bytes(byte ^ 0x5A for byte in data[first + 200 : first + 400])
    path.write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        means(path, "nan")


def test_inspect_bigwig__lists_chromosomes_and_coverage(track):
    info = inspect_bigwig(track)
    assert (info.chrom_lengths, info.n_covered) == ({"chr1": 1050, "chr2": 300}, 175)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.8, 0.99, 0.9999])
def test_inspect_bigwig__refuses_a_truncated_file(tmp_path, keep):
    path = write(tmp_path / "t.bw", [("chr1", i, i + 1, i % 7) for i in range(1000)])
    data = path.read_bytes()
    path.write_bytes(data[: min(int(len(data) * keep), len(data) - 1)])
    with pytest.raises(InputFileError, match="truncated"):
        inspect_bigwig(path)


def test_inspect_bigwig__refuses_a_file_without_values(tmp_path):
    with pytest.raises(InputFileError, match="no value at all"):
        inspect_bigwig(write(tmp_path / "t.bw", []))


def test_inspect_bigwig__refuses_text(tmp_path):
    path = tmp_path / "t.bw"
    path.write_text("chr1\t0\t100\t1.5\n")
    with pytest.raises(InputFileError, match="text file"):
        inspect_bigwig(path)


def test_inspect_bigwig__refuses_a_bigbed(tmp_path):
    path = tmp_path / "t.bw"
    path.write_bytes(b"\xeb\xf2\x89\x87" + bytes(100))
    with pytest.raises(InputFileError, match="bigBed"):
        inspect_bigwig(path)


def test_inspect_bigwig__refuses_a_missing_file(tmp_path):
    with pytest.raises(InputNotFoundError):
        inspect_bigwig(tmp_path / "t.bw")


def intervals_of(path, **keywords):
    return [part.tolist() for part in read_chromosome_intervals(path, chrom="chr1", **keywords)]


def test_read_chromosome_intervals__keep_neighbours_of_equal_value_apart(tmp_path):
    path = write(tmp_path / "t.bw", [("chr1", 0, 10, 2), ("chr1", 10, 20, 2), ("chr1", 30, 1050, 0)])
    assert intervals_of(path) == [[0, 10, 30], [10, 20, 1050], [2, 2, 0]]


@pytest.mark.parametrize("piece", [1, 7, 100, 1050])
def test_read_chromosome_intervals__do_not_depend_on_the_piece(track, monkeypatch, piece):
    monkeypatch.setattr(bigwig, "_INTERVALS_BP", piece)
    assert intervals_of(track) == [[0, 100, 1000], [100, 150, 1025], [2, 4, 8]]


def test_read_chromosome_intervals__leave_out_a_stored_nan(tmp_path):
    path = write(tmp_path / "t.bw", [("chr1", 0, 50, NAN), ("chr1", 50, 100, 3)])
    assert intervals_of(path) == [[50], [100], [3]]


def test_read_chromosome_intervals__are_empty_for_an_unlisted_chromosome(track):
    assert intervals_of(track, file_chrom="chr9") == [[], [], []]


def test_read_chromosome_intervals__are_empty_for_a_chromosome_without_values(track):
    assert intervals_of(track, file_chrom="chr2") == [[], [], []]


def test_read_chromosome_intervals__are_small(track):
    assert [part.dtype for part in read_chromosome_intervals(track, chrom="chr1")] == [np.int32, np.int32, np.float32]


def test_read_chromosome_intervals__refuse_an_infinite_value(tmp_path):
    path = write(tmp_path / "t.bw", [("chr1", 0, 50, 1), ("chr1", 50, 60, np.inf)])
    with pytest.raises(InputFileError, match="infinite value in chr1 at 50 bp"):
        intervals_of(path)


def maxima(path, intervals, **keywords):
    start, end = np.array(intervals).T
    return read_interval_maxima(path, chrom="chr1", start=start, end=end, **keywords)


@pytest.mark.parametrize("piece", [1, 90, 2_000_000])
def test_read_interval_maxima__look_at_bases_with_a_value(track, monkeypatch, piece):
    monkeypatch.setattr(bigwig, "PIECE_BP", piece)
    found = maxima(track, [(0, 1050), (99, 101), (99, 100), (140, 160), (150, 200), (1024, 1050), (1025, 1050)])
    np.testing.assert_array_equal(found, np.float32([8, 4, 2, 4, NAN, 8, NAN]))


def test_read_interval_maxima__are_missing_on_an_unlisted_chromosome(track):
    np.testing.assert_array_equal(maxima(track, [(0, 5)], file_chrom="chr9"), np.float32([NAN]))
