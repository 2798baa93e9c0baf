"""Mean over replicates of a track, where each is measured."""

import numpy as np
import pyBigWig
import pytest

from epizarr.errors import InputNotFoundError, RegionError
from epizarr.io.bigwig import read_bin_means
from epizarr.io.bigwig_merged import read_merged_bin_means

NAN = float("nan")


def write(path, intervals, chroms=(("chr1", 450), ("chr2", 300))):
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader(list(chroms))
        names, starts, ends, values = zip(*intervals, strict=True)
        handle.addEntries(list(names), list(starts), ends=list(ends), values=[float(v) for v in values])
    return path


@pytest.fixture
def replicates(tmp_path):
    return [
        write(tmp_path / "1.bw", [("chr1", 0, 100, 2), ("chr1", 100, 150, 4), ("chr1", 400, 425, 8)]),
        write(tmp_path / "2.bw", [("chr1", 0, 100, 5), ("chr1", 300, 400, 1), ("chr1", 425, 450, 4)]),
    ]


def merged(paths, uncovered, **keywords):
    where = {"chrom": "chr1", "start": 0, "end": 450, "binsize": 100} | keywords
    return read_merged_bin_means(paths, uncovered=uncovered, **where)


def test_read_merged_bin_means__averages_those_measured(replicates):
    np.testing.assert_array_equal(merged(replicates, "nan"), np.float32([3.5, 4, NAN, 1, 6]))


def test_read_merged_bin_means__averages_all_where_uncovered_is_zero(replicates):
    np.testing.assert_array_equal(merged(replicates, "zero"), np.float32([3.5, 1, 0, 0.5, 3]))


@pytest.mark.parametrize("uncovered", ["nan", "zero"])
def test_read_merged_bin_means__leaves_out_a_replicate_that_lacks_the_chromosome(tmp_path, replicates, uncovered):
    other = write(tmp_path / "3.bw", [("chr2", 0, 100, 7)], chroms=[("chr2", 300)])
    np.testing.assert_array_equal(merged([*replicates, other], uncovered), merged(replicates, uncovered))
    assert np.isnan(merged([other], uncovered)).all()


def test_read_merged_bin_means__reads_each_file_under_its_own_name(tmp_path, replicates):
    other = write(tmp_path / "3.bw", [("1", 0, 450, 8)], chroms=[("1", 450)])
    found = merged([*replicates, other], "nan", file_chroms=[None, "chr1", "1"])
    np.testing.assert_array_equal(found, np.float32([5, 6, 8, 4.5, 20 / 3]))


@pytest.mark.parametrize("uncovered", ["nan", "zero"])
def test_read_merged_bin_means__of_one_file_are_its_means(replicates, uncovered):
    where = {"chrom": "chr1", "start": 100, "end": 450, "binsize": 50, "uncovered": uncovered}
    np.testing.assert_array_equal(
        read_merged_bin_means(replicates[:1], **where), read_bin_means(replicates[0], **where)
    )


def test_read_merged_bin_means__is_float32_of_the_bins_asked_for(replicates):
    found = merged(replicates, "nan", start=100, end=300)
    assert (found.dtype, found.shape) == (np.float32, (2,))


def test_read_merged_bin_means__refuses_what_the_reader_refuses(tmp_path, replicates):
    with pytest.raises(RegionError):
        merged(replicates, "nan", start=50)
    with pytest.raises(InputNotFoundError):
        merged([*replicates, tmp_path / "none.bw"], "nan")


def test_read_merged_bin_means__refuses_no_file_and_unequal_lists(replicates):
    with pytest.raises(ValueError, match="at least one"):
        merged([], "nan")
    with pytest.raises(ValueError, match="1 chromosome names"):
        merged(replicates, "nan", file_chroms=["chr1"])
