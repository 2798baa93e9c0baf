"""Genes from files, and how they are stacked in a picture."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epizarr.errors import AssemblyMismatchError, InputFileError, InputNotFoundError, RegionError
from epizarr.genes import Gene, merge_intervals, name_is_left, stack_genes
from epizarr.genome import Assembly
from epizarr.io.genes import read_genes

TOY = Assembly("toy", ("chr1", "chr2"), (10_000, 5_000))
GTF = """#!genome-build toy
chr1\tx\tgene\t101\t900\t.\t+\t.\tgene_id "g1"; gene_name "ALPHA"; gene_type "protein_coding";
chr1\tx\ttranscript\t101\t900\t.\t+\t.\tgene_id "g1"; transcript_id "t1"; gene_name "ALPHA";
chr1\tx\texon\t101\t200\t.\t+\t.\tgene_id "g1"; transcript_id "t1"; gene_name "ALPHA"; gene_type "protein_coding";
chr1\tx\texon\t151\t300\t.\t+\t.\tgene_id "g1"; transcript_id "t2"; gene_name "ALPHA"; gene_type "protein_coding";
chr1\tx\texon\t801\t900\t.\t+\t.\tgene_id "g1"; transcript_id "t2"; gene_name "ALPHA"; gene_type "protein_coding";
chr2\tx\texon\t1\t4999999\t.\t+\t.\tgene_id "far"; gene_name "OTHER";
chr1\tx\texon\t2001\t2100\t.\t-\t.\tgene_id "g2";
chr1\tx\texon\t2501\t2600\t.\t-\t.\tgene_id "g2";
"""


def write(folder, text, name="genes.gtf"):
    path = folder / name
    path.write_text(text)
    return path


def test_read_genes__gtf_becomes_half_open_with_the_union_of_exons(tmp_path):
    alpha, nameless = read_genes(write(tmp_path, GTF), TOY, "chr1")
    assert alpha == Gene("chr1", 100, 900, "ALPHA", "+", ((100, 300), (800, 900)), True)
    # Exons with a gap are one gene where no line of the gene itself says so.
    assert nameless == Gene("chr1", 2000, 2600, "g2", "-", ((2000, 2100), (2500, 2600)), False)


def test_read_genes__gzip_gives_the_same(tmp_path):
    packed = tmp_path / "genes.gtf.gz"
    packed.write_bytes(gzip.compress(GTF.encode()))
    assert read_genes(packed, TOY, "chr1") == read_genes(write(tmp_path, GTF), TOY, "chr1")


def test_read_genes__bed12_has_blocks_and_merges_transcripts(tmp_path):
    text = (
        "track name=x\n"
        "chr1\t100\t900\tA\t0\t+\t150\t800\t0\t2\t100,200,\t0,600,\n"
        "chr1\t150\t950\tA\t0\t+\t150\t150\t0\t1\t800,\t0,\n"
        "chr1\t4000\t4100\tA\t0\t+\t4000\t4000\t0\t1\t100,\t0,\n"
    )
    first, second = read_genes(write(tmp_path, text, "g.bed"), TOY, "chr1")
    assert first == Gene("chr1", 100, 950, "A", "+", ((100, 950),), True)
    assert (second.start, second.is_coding) == (4000, False)


def test_read_genes__bed6_is_one_block(tmp_path):
    (gene,) = read_genes(write(tmp_path, "chr2\t5\t50\tB\t0\t-\n", "g.bed"), TOY, "chr2")
    assert gene == Gene("chr2", 5, 50, "B", "-", ((5, 50),), False)


def test_read_genes__a_chromosome_without_genes_is_empty(tmp_path):
    assert read_genes(write(tmp_path, "chr2\t5\t50\tB\t0\t-\n", "g.bed"), TOY, "chr1") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("chr1\t5\tx\tB", "not a position"),
        ("chr1\t9\t5\tB", "start must be below end"),
        ("chr1\t9\t50", "needs chrom, start, end and name"),
        ("chr1\t5\t10001\tB", "may belong to another assembly"),
        ("chr1 5 50 B", "no tabs"),
        ("chr1\t0\t900\tA\t0\t+\t0\t0\t0\t2\t100,\t0,600,", "do not agree"),
        ("chr1\t0\t900\tA\t0\t+\t0\t0\t0\t1\t1000,\t0,", "ends past its line's end"),
        ("chr1\tx\texon\t1\t900\t.\t+\t.\tID=exon1;gene_id=g1", "GFF3"),
    ],
)
def test_read_genes__names_a_bad_line(tmp_path, line, said):
    with pytest.raises(InputFileError, match=f"line 2: .*{said}"):
        read_genes(write(tmp_path, f"chr1\t0\t1\tok\n{line}\n", "g.bed"), TOY, "chr1")


def test_read_genes__refuses_what_is_not_there(tmp_path):
    with pytest.raises(InputNotFoundError):
        read_genes(tmp_path / "none.gtf", TOY, "chr1")
    with pytest.raises(RegionError):
        read_genes(write(tmp_path, GTF), TOY, "chr9")
    with pytest.raises(AssemblyMismatchError, match="names its chromosomes"):
        read_genes(write(tmp_path, GTF.replace("chr", "")), TOY, "chr1")


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30))))
def test_merge_intervals__covers_the_same_and_leaves_gaps(pairs):
    intervals = [(start, start + length) for start, length in pairs]
    merged = merge_intervals(intervals)
    covered = {p for s, e in intervals for p in range(s, e)}
    assert {p for s, e in merged for p in range(s, e)} == covered
    assert all(left[1] < right[0] for left, right in zip(merged, merged[1:], strict=False))


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 200), st.booleans()), max_size=30), st.integers(1, 4))
def test_stack_genes__bodies_and_names_of_a_row_never_overlap(drawn, n_rows):
    genes = [Gene("c", s, s + n, "NAME", "+", ((s, s + n),), coding) for s, n, coding in drawn]
    rows = stack_genes(genes, 100, 800, 5.0, n_rows)
    assert len(rows) <= n_rows
    for row in rows:
        name = 5 * 7  # four letters, an arrow and a space
        left = [name_is_left(g, 100, 5.0) for g in row]
        places = sorted(
            (max(g.start, 100) - name * at_left, min(g.end, 800) + name * (not at_left))
            for g, at_left in zip(row, left, strict=True)
        )
        assert all(places[0][0] >= 100 for _ in row)
        assert all(a[1] <= b[0] for a, b in zip(places, places[1:], strict=False))
        assert all(g.start < 800 and g.end > 100 for g in row)


def test_stack_genes__coding_genes_come_first():
    genes = [Gene("c", 0, 90, "long", "+", ((0, 90),), False), Gene("c", 10, 20, "codes", "+", ((10, 20),), True)]
    assert [[g.name for g in row] for row in stack_genes(genes, 0, 100, 1.0, 1)] == [["codes"]]
