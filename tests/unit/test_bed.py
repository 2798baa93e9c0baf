"""Intervals from BED files."""

import gzip

import pytest

from epizarr.errors import AssemblyMismatchError, InputFileError
from epizarr.genome import Assembly, Region
from epizarr.io.bed import read_intervals, read_loops, read_peaks

TOY = Assembly("toy", ("chr2", "chr1"), (500, 1000))


def write(folder, text):
    path = folder / "black.bed"
    path.write_text(text)
    return path


def rows(frame):
    return list(frame.itertuples(index=False, name=None))


def test_read_intervals__orders_by_assembly_and_drops_other_chromosomes(tmp_path):
    path = write(tmp_path, "track name=x\nchr1\t90\t100\tname\t5\nchrUn\t0\t10\nchr1\t0\t50\nchr2\t0\t500\n")
    assert rows(read_intervals(path, TOY)) == [("chr2", 0, 500), ("chr1", 0, 50), ("chr1", 90, 100)]


def test_read_intervals__reads_gzip(tmp_path):
    path = tmp_path / "black.bed.gz"
    path.write_bytes(gzip.compress(b"chr1\t0\t50\n"))
    assert rows(read_intervals(path, TOY)) == [("chr1", 0, 50)]


def test_read_intervals__gives_integer_columns_when_empty(tmp_path):
    frame = read_intervals(write(tmp_path, "chrUn\t0\t10\n"), TOY)
    assert (len(frame), str(frame["start"].dtype)) == (0, "int64")


def test_read_intervals__refuses_an_end_past_the_chromosome(tmp_path):
    with pytest.raises(InputFileError, match=r"line 2: chr2:400-501 ends past"):
        read_intervals(write(tmp_path, "chr2\t400\t500\nchr2\t400\t501\n"), TOY)


@pytest.mark.parametrize("line", ["chr1\t5", "chr1\t-5\t9", "chr1\tx\t9", "chr1\t9\t9", "chr1\t9\t5"])
def test_read_intervals__names_a_bad_line(tmp_path, line):
    with pytest.raises(InputFileError, match="line 2"):
        read_intervals(write(tmp_path, f"chr1\t0\t1\n{line}\n"), TOY)


def test_read_intervals__does_not_drop_everything_for_a_prefix(tmp_path):
    with pytest.raises(AssemblyMismatchError, match="Only the prefix differs"):
        read_intervals(write(tmp_path, "1\t0\t50\n"), TOY)


def test_read_peaks__gives_intervals_by_name(tmp_path):
    path = tmp_path / "peaks.narrowPeak"
    path.write_text(
        "chr1\t0\t50\tp1\t900\nchr2\t10\t20\tp2\nchr2\t30\t40\tp2\nchr1\t60\t70\t.\nchr1\t80\t90\nchrUn\t0\t9\tp3\n"
    )
    assert read_peaks(path, TOY) == {
        "p1": [Region("chr1", 0, 50)],
        "p2": [Region("chr2", 10, 20), Region("chr2", 30, 40)],
    }
    path.write_text("chr1\t0\t50\n")
    with pytest.raises(InputFileError, match="fourth column"):
        read_peaks(path, TOY)


@pytest.mark.parametrize(("names", "chrom"), [(["chr1"], "1"), (["1"], "chr1")])
def test_read_loops__names_a_prefix_that_differs_either_way(tmp_path, names, chrom):
    assembly = Assembly.from_table("toy", [(name, 1_000) for name in names])
    path = tmp_path / "loops.bedpe"
    path.write_text(f"{chrom}\t0\t10\t{chrom}\t50\t60\n")
    with pytest.raises(AssemblyMismatchError, match="Only the prefix differs"):
        read_loops(path, assembly)


def test_read_loops__says_how_many_lines_are_bad(tmp_path):
    path = tmp_path / "loops.bedpe"
    path.write_text("chr1\t0\t10\tchr1\t50\t60\n" + "chr1\tx\n" * 12)
    with pytest.raises(InputFileError, match="first 10 of 12 bad lines"):
        read_loops(path, TOY)
