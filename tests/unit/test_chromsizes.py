"""Chromosome sizes and the check of a file's assembly."""

from pathlib import Path

import pytest

from epizarr.errors import AssemblyMismatchError, InputFileError, RegionError
from epizarr.genome import Assembly
from epizarr.io.bigwig import BigWigInfo
from epizarr.io.chromsizes import check_file_assembly, open_assembly, read_chrom_sizes

TOY = Assembly("toy", ("chr1", "chr2"), (1000, 500))


def info(**chrom_lengths: int) -> BigWigInfo:
    return BigWigInfo(Path("ctcf.bw"), chrom_lengths, 1)


@pytest.mark.parametrize(
    "text",
    [
        "chr1\t1000\nchr2\t500\n",
        "chr1 1000\nchr2 500\n",
        "chr1\t1000\t6\t60\t61\nchr2\t500\t1030\t60\t61\n",
        "name\tlength\trole\nchr1\t1000\tassembled\nchr2\t500\tassembled\n",
        "# made by hand\n\nchr1\t1000\r\nchr2\t500\r\n",
    ],
    ids=["sizes", "spaces", "fai", "seqinfo", "comments"],
)
def test_read_chrom_sizes__reads_each_dialect(tmp_path, text):
    path = tmp_path / "toy.chrom.sizes"
    path.write_text(text)
    assert read_chrom_sizes(path) == [("chr1", 1000), ("chr2", 500)]


def test_read_chrom_sizes__names_every_bad_line(tmp_path):
    path = tmp_path / "toy.chrom.sizes"
    path.write_text("chr1\t1000\nchr2\nchr3\t-5\nchr4\t0\nchr1\t7\nlength\tname\n")
    with pytest.raises(InputFileError) as caught:
        read_chrom_sizes(path)
    assert [f"line {n}:" in str(caught.value) for n in (1, 2, 3, 4, 5, 6)] == [False, True, True, True, True, True]


def test_read_chrom_sizes__refuses_a_file_without_chromosomes(tmp_path):
    path = tmp_path / "toy.chrom.sizes"
    path.write_text("")
    with pytest.raises(InputFileError, match="no chromosome"):
        read_chrom_sizes(path)


def test_open_assembly__gives_primary_chromosomes_by_name():
    assembly = open_assembly("hg19")
    assert (len(assembly), assembly.chrom_names[-1], assembly.length("chr21")) == (24, "chrY", 48_129_895)


def test_open_assembly__finds_a_name_with_a_dot():
    assert open_assembly("T2T-CHM13v2.0").length("chr1") == 248_387_328


def test_open_assembly__keeps_named_chromosomes_even_if_not_primary():
    assert open_assembly("hg38", chromosomes=["chrM", "chr21"]).chrom_names == ("chrM", "chr21")


def test_open_assembly__refuses_a_chromosome_it_does_not_have():
    with pytest.raises(RegionError, match="chr99"):
        open_assembly("hg38", chromosomes=["chr99"])


def test_open_assembly__suggests_the_nearest_name():
    with pytest.raises(AssemblyMismatchError, match=r"hg38.*mm10.*Did you mean 'hg19'"):
        open_assembly("hg91")


def test_open_assembly__prefers_a_sizes_file(tmp_path):
    path = tmp_path / "mine.sizes"
    path.write_text("chr2\t500\nchr1\t1000\n")
    assert open_assembly("mm9", chrom_sizes=path, chromosomes=["chr1"]).chrom_lengths == (1000,)


def test_check_file_assembly__maps_store_names_to_file_names():
    found = check_file_assembly(info(**{"2": 500, "1": 1000, "un": 3}), TOY, {"1": "chr1", "2": "chr2"})
    assert list(found.items()) == [("chr1", "1"), ("chr2", "2")]


def test_check_file_assembly__leaves_out_what_the_file_does_not_list():
    assert check_file_assembly(info(chr2=500), TOY) == {"chr2": "chr2"}


def test_check_file_assembly__asks_for_an_explicit_mapping_of_prefixes():
    with pytest.raises(AssemblyMismatchError, match=r'rename_chroms.*"1" = "chr1"'):
        check_file_assembly(info(**{"1": 1000}), TOY)


def test_check_file_assembly__does_not_blame_the_prefix_if_lengths_disagree():
    with pytest.raises(AssemblyMismatchError, match="belongs to another assembly"):
        check_file_assembly(info(**{"1": 999}), TOY)


def test_check_file_assembly__refuses_other_lengths():
    with pytest.raises(AssemblyMismatchError, match=r"chr2 has 501 bp, toy has 500"):
        check_file_assembly(info(chr1=1000, chr2=501), TOY)


def test_check_file_assembly__refuses_other_lengths_after_renaming():
    with pytest.raises(AssemblyMismatchError, match=r"chr2 has 501 bp, toy has 500"):
        check_file_assembly(info(**{"2": 501}), TOY, {"2": "chr2"})


def test_check_file_assembly__lists_all_wrong_names_of_a_mapping():
    with pytest.raises(AssemblyMismatchError, match=r"(?s)names 'x'.*sends '1' to 'chrl'"):
        check_file_assembly(info(**{"1": 1000}), TOY, {"x": "chr2", "1": "chrl"})


def test_check_file_assembly__refuses_two_chromosomes_on_one_name():
    with pytest.raises(AssemblyMismatchError, match="both 'chr1'"):
        check_file_assembly(info(**{"1": 1000, "chr1": 1000}), TOY, {"1": "chr1"})
