"""FASTA files of every dialect, indexed or not, compressed or not, and what is refused."""

import gzip
import struct
import zlib

import numpy as np
import pytest

from epizarr.errors import AssemblyMismatchError, InputFileError, InputNotFoundError, RegionError
from epizarr.genome import Assembly
from epizarr.io import fasta
from epizarr.io.fasta import inspect_fasta, match_assembly, read_chromosome, read_chromosomes

TEXT = b">chr1 the first\nACGTACGTAC\nNNNNacgtac\nGGG\n>chr2\nTTTTTTTTTT\nCCCCCCCCCC\n>chr3\nA\n"
SEQUENCES = {"chr1": "ACGTACGTACNNNNACGTACGGG", "chr2": "T" * 10 + "C" * 10, "chr3": "A"}
INDEX = b"chr1\t23\t16\t10\t11\nchr2\t20\t48\t10\t11\nchr3\t1\t76\t1\t2\n"


def bgzip(data, block=17):
    """Compress as bgzip does, with blocks as small as asked for."""
    out = b""
    for part in [*(data[i : i + block] for i in range(0, len(data), block)), b""]:
        deflate = zlib.compressobj(wbits=-15)
        body = deflate.compress(part) + deflate.flush()
        size = 18 + len(body) + 8 - 1
        head = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00" + struct.pack("<H", size)
        out += head + body + struct.pack("<II", zlib.crc32(part), len(part))
    return out


@pytest.fixture(params=["plain", "gzip", "bgzip"])
def write(request, tmp_path):
    """Write a FASTA in each of three ways."""

    def write(text, index=None):
        path = tmp_path / ("genome.fa" if request.param == "plain" else "genome.fa.gz")
        path.write_bytes({"plain": bytes, "gzip": gzip.compress, "bgzip": bgzip}[request.param](text))
        if index is not None:
            path.with_name(f"{path.name}.fai").write_bytes(index)
        return path

    return write


def sequences(path):
    return {chrom: sequence.tobytes().decode() for chrom, sequence in read_chromosomes(inspect_fasta(path))}


@pytest.mark.parametrize("index", [None, INDEX])
def test_read_chromosomes__give_upper_case_in_the_order_of_the_file(write, index):
    found = sequences(write(TEXT, index))
    assert (list(found), found) == (list(SEQUENCES), SEQUENCES)


@pytest.mark.parametrize("index", [None, INDEX])
def test_inspect_fasta__lists_names_and_lengths(write, index):
    assert inspect_fasta(write(TEXT, index)).chrom_lengths == {"chr1": 23, "chr2": 20, "chr3": 1}


def test_inspect_fasta__finds_what_an_index_says(write):
    path = write(TEXT)
    records = inspect_fasta(path).records
    path.with_name(f"{path.name}.fai").write_bytes(INDEX)
    indexed = inspect_fasta(path).records
    assert {c: (r.length, r.start) for c, r in records.items()} == {c: (r.length, r.start) for c, r in indexed.items()}


@pytest.mark.parametrize("chrom", SEQUENCES)
def test_read_chromosome__goes_to_any_place(write, chrom):
    info = inspect_fasta(write(TEXT))
    assert read_chromosome(info, chrom).tobytes().decode() == SEQUENCES[chrom]


def test_read_chromosome__can_be_changed_by_its_owner(write):
    sequence = read_chromosome(inspect_fasta(write(TEXT)), "chr3")
    sequence[0] = ord("C")
    assert sequence.dtype == np.uint8


@pytest.mark.parametrize("piece", [1, 2, 3, 11, 16])
def test_read_chromosomes__do_not_depend_on_the_piece(write, monkeypatch, piece):
    monkeypatch.setattr(fasta, "_PIECE_BYTES", piece)
    assert sequences(write(TEXT)) == SEQUENCES


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace(b"\n", b"\r\n"),
        TEXT[:-1],
        b"\n\n" + TEXT,
        TEXT.replace(b">chr2", b"\n\n>chr2"),
        b">chr1\nACG\nTACGTACNNNNacgtacG\nGG\n>chr2\tx\n" + b"TTTTTTTTTTCCCCCCCCCC\n>chr3\n\nA\n\n",
    ],
    ids=["windows", "no last line end", "blank lines first", "blank lines between", "ragged"],
)
@pytest.mark.parametrize("piece", [1, 5, 1 << 22])
def test_read_chromosomes__read_each_dialect(write, monkeypatch, text, piece):
    monkeypatch.setattr(fasta, "_PIECE_BYTES", piece)
    assert sequences(write(text)) == SEQUENCES


@pytest.mark.parametrize("text", [b">a\n>b\nAC\n>c", b">a\n>b\nAC\n>c\n"])
def test_read_chromosomes__read_empty_sequences(write, text):
    assert sequences(write(text)) == {"a": "", "b": "AC", "c": ""}


def test_read_chromosomes__read_the_named_ones_only(write):
    found = dict(read_chromosomes(inspect_fasta(write(TEXT)), ["chr3", "chr1"]))
    assert list(found) == ["chr1", "chr3"]


@pytest.mark.parametrize("read", [read_chromosome, lambda info, chrom: list(read_chromosomes(info, [chrom]))])
def test_read_chromosome__lists_what_there_is(write, read):
    with pytest.raises(RegionError, match=r"has no chromosome 'chr4'; it has \['chr1', 'chr2', 'chr3'\]"):
        read(inspect_fasta(write(TEXT)), "chr4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"ACGT\nACGT\n", "not a FASTA file: it begins with b'ACGT"),
        (b"chr1\t0\t100\n", "not a FASTA file"),
        (b">\nACGT\n", "no name"),
        (b"> chr1\nACGT\n", "no name"),
        (b">a\nAC\n>b\nAC\n>a\nGT\n", "2 sequences have the name 'a'"),
        (b"\n\n", "holds no sequence"),
        (b">chr1 " + b"x" * 70_000, "does not end within"),
    ],
)
def test_inspect_fasta__refuses_what_is_no_fasta(write, text, message):
    with pytest.raises(InputFileError, match=message):
        inspect_fasta(write(text))


def test_inspect_fasta__refuses_an_empty_file(tmp_path):
    path = tmp_path / "genome.fa"
    path.touch()
    with pytest.raises(InputFileError, match="empty file"):
        inspect_fasta(path)


def test_inspect_fasta__refuses_a_binary_file(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_bytes(b"\x43\x27\x41\x1a" + bytes(100))  # .2bit
    with pytest.raises(InputFileError, match="not a FASTA file"):
        inspect_fasta(path)


def test_inspect_fasta__refuses_a_missing_file(tmp_path):
    with pytest.raises(InputNotFoundError):
        inspect_fasta(tmp_path / "genome.fa")


@pytest.mark.parametrize("line", [b"MKV*", b"AC-GT", b"AC GT", b"AC.GT", b"1 ACGT"])
def test_read_chromosome__refuses_letters_that_are_no_base(write, line):
    info = inspect_fasta(write(b">a\nACGT\n" + line + b"\n"))
    with pytest.raises(InputFileError, match=r"a holds .* which stand for no base"):
        read_chromosome(info, "a")


@pytest.mark.parametrize(
    ("chrom", "text"),
    [
        ("chr2", TEXT.replace(b"the first", b"a")),
        ("chr1", TEXT.replace(b"GGG", b"GG")),
        ("chr1", TEXT.replace(b"GGG", b"GGGG")),
        ("chr2", TEXT.replace(b">chr2", b">chrX")),
        ("chr3", TEXT[: TEXT.index(b">chr3")]),
        ("chr3", TEXT[:-1] + b"CC\n"),
        ("chr2", TEXT[: TEXT.index(b">chr3") - 5]),
    ],
)
def test_read_chromosome__refuses_an_index_that_is_older_than_its_file(tmp_path, chrom, text):
    path = tmp_path / "genome.fa"
    path.write_bytes(text)
    (tmp_path / "genome.fa.fai").write_bytes(INDEX)
    with pytest.raises(InputFileError, match=r"genome\.fa\.fai if there is one"):
        read_chromosome(inspect_fasta(path), chrom)


@pytest.mark.parametrize(
    "index", [b"", b"chr1\t23\n", b"chr1\tx\t16\t10\t11\n", b"chr1\t23\t16\t0\t1\n", INDEX + INDEX]
)
def test_inspect_fasta__refuses_a_broken_index(tmp_path, index):
    path = tmp_path / "genome.fa"
    path.write_bytes(TEXT)
    (tmp_path / "genome.fa.fai").write_bytes(index)
    with pytest.raises(InputFileError, match=r"index .*genome.fa.fai \(renew it"):
        inspect_fasta(path)


@pytest.mark.parametrize("compress", [gzip.compress, bgzip])
@pytest.mark.parametrize("cut", [1, 9, 40])
def test_inspect_fasta__refuses_truncated_compression(tmp_path, compress, cut):
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(compress(TEXT)[:-cut])
    with pytest.raises(InputFileError, match="truncated"):
        inspect_fasta(path)


@pytest.mark.parametrize("compress", [gzip.compress, bgzip])
def test_inspect_fasta__refuses_damaged_compression(tmp_path, compress):
    data = bytearray(compress(TEXT))
    data[30] ^= 0xFF
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        inspect_fasta(path)


TOY = Assembly("toy", ("chr2", "chr1"), (20, 23))


def test_match_assembly__maps_names_in_the_order_of_the_assembly(write):
    info = inspect_fasta(write(TEXT.replace(b">chr", b">")))
    assert list(match_assembly(info, TOY, {"1": "chr1", "2": "chr2"}).items()) == [("chr2", "2"), ("chr1", "1")]


def test_match_assembly__refuses_a_file_that_lacks_a_chromosome(write):
    info = inspect_fasta(write(TEXT[TEXT.index(b">chr2") :]))
    with pytest.raises(AssemblyMismatchError, match=r"lacks \['chr1'\] of assembly 'toy'"):
        match_assembly(info, TOY)


def test_match_assembly__refuses_another_length(write):
    info = inspect_fasta(write(TEXT.replace(b"GGG", b"GG")))
    with pytest.raises(AssemblyMismatchError, match="chr1 has 22 bp, toy has 23"):
        match_assembly(info, TOY)
