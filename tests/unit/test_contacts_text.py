"""Contacts in text, made small by the tests themselves: every layout gives the map that was written, or names the line."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from epizarr.errors import AssemblyMismatchError, InputFileError, InputNotFoundError
from epizarr.genome import Assembly
from epizarr.io import contacts_text, text_pixels
from epizarr.io.chromsizes import check_file_assembly
from epizarr.io.contacts import ContactsFile, open_contacts_file

BINSIZE = 10_000
CHROMS = {"chr1": 405_000, "chr2": 200_000}  # 41 bins, the last partial, and 20
N1, N2 = 41, 20
BINS = Assembly.from_table("toy", CHROMS.items()).bins(BINSIZE).table()


def make_square(seed: int = 0, density: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.integers(1, 50, (N1 + N2, N1 + N2)) * (rng.random((N1 + N2, N1 + N2)) < density))
    return np.maximum(upper, upper.T)


SQUARE = make_square()
BIN1, BIN2 = (ids[np.random.default_rng(1).permutation(len(ids))] for ids in np.nonzero(np.triu(SQUARE)))
COUNT = SQUARE[BIN1, BIN2]


PLACES = list(BINS.itertuples(index=False, name=None))


def place(bin_id: int) -> tuple[str, int, int]:
    return PLACES[bin_id]


def write(path: Path, rows) -> Path:
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_bins(path: Path, first_id: int = 1) -> Path:
    return write(path, [(*place(i), i + first_id) for i in range(N1 + N2)])


def write_hicpro(folder: Path, suffix: str = "") -> Path:
    write_bins(folder / f"a_10000_abs.bed{suffix}")
    return write(folder / f"a_10000.matrix{suffix}", zip(BIN1 + 1, BIN2 + 1, COUNT, strict=True))


def write_5(folder: Path, suffix: str = "") -> Path:
    rows = [(*place(i)[:2], *place(j)[:2], n) for i, j, n in zip(BIN1, BIN2, COUNT, strict=True)]
    return write(folder / f"a.txt{suffix}", rows)


def write_7(folder: Path, suffix: str = "") -> Path:
    rows = [(*place(i), *place(j), n) for i, j, n in zip(BIN1, BIN2, COUNT, strict=True)]
    return write(folder / f"a.bg2{suffix}", rows)


def read(path: Path, folder: Path, **arguments) -> ContactsFile:
    arguments = {"chrom_lengths": CHROMS, "cache_folder": folder / "cache"} | arguments
    return open_contacts_file(path, BINSIZE, **arguments)


def line_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


WRITERS = {"hicpro": write_hicpro, "5 columns": write_5, "7 columns": write_7}


@pytest.fixture(scope="module", params=[(w, s) for w in WRITERS for s in ("", ".gz")], ids="".join)
def file(request, tmp_path_factory) -> ContactsFile:
    name, suffix = request.param
    folder = tmp_path_factory.mktemp("text")
    return read(WRITERS[name](folder, suffix), folder)


# Every layout


@pytest.mark.parametrize(("chrom", "first", "n_bins"), [("chr1", 0, N1), ("chr2", N1, N2)])
def test_text_band_and_marginals__are_those_of_the_map_that_was_written(file, chrom, first, n_bins):
    matrix = SQUARE[first : first + n_bins, first : first + n_bins]
    expected = np.full((n_bins, 7), np.nan, dtype=np.float32)
    for k in range(7):
        expected[: n_bins - k, k] = np.diag(matrix, k)
    np.testing.assert_array_equal(file.band(chrom, 0, n_bins, 7), expected)
    np.testing.assert_array_equal(file.marginals(chrom), matrix.sum(axis=1))


def test_text_info__has_chromosomes_and_no_normalisation(file):
    assert (file.info.chrom_lengths, file.info.normalisations, file.info.binsizes) == (CHROMS, {}, (BINSIZE,))
    assert file.info.format == ("hicpro" if ".matrix" in file.info.path.name else "text")
    assert (file.info.bins_path is not None) == (file.info.format == "hicpro")
    with pytest.raises(InputFileError, match="none at this bin size"):
        file.require_normalisations(["KR"])


def test_text__survives_pickling_to_where_the_converted_file_is_not(tmp_path):
    path = write_hicpro(tmp_path)
    file = read(path, tmp_path)
    band = file.band("chr1", 3, 9, 4)
    stored = pickle.dumps(file)
    for cached in (tmp_path / "cache").iterdir():
        cached.unlink()
    np.testing.assert_array_equal(pickle.loads(stored).band("chr1", 3, 9, 4), band)


def test_text__does_not_depend_on_the_piece_or_the_run(tmp_path, monkeypatch):
    path = write_5(tmp_path)
    whole = read(path, tmp_path).band("chr1", 0, N1, N1)
    monkeypatch.setattr(text_pixels, "PIECE_BYTES", 100)
    monkeypatch.setattr(contacts_text, "_MAX_RUNS", 7)
    again = read(path, tmp_path, cache_folder=tmp_path / "other").band("chr1", 0, N1, N1)
    np.testing.assert_array_equal(again, whole)


def test_text__is_converted_once(tmp_path, monkeypatch):
    path = write_5(tmp_path)
    read(path, tmp_path)
    monkeypatch.setattr(contacts_text, "_convert", lambda *_: pytest.fail("converted a second time"))
    read(path, tmp_path).band("chr1", 0, 5, 3)


def test_text__that_changed_is_converted_again(tmp_path):
    path = line_file(tmp_path, "chr1 0 chr1 10000 5")
    assert read(path, tmp_path).band("chr1", 0, 1, 2)[0, 1] == 5
    line_file(tmp_path, "chr1 0 chr1 10000 66")
    assert read(path, tmp_path).band("chr1", 0, 1, 2)[0, 1] == 66


def test_text__that_changed_under_an_open_file_is_refused(tmp_path):
    file = read(line_file(tmp_path, "chr1 0 chr1 10000 5"), tmp_path)
    line_file(tmp_path, "chr1 0 chr1 10000 66")
    for cached in (tmp_path / "cache").iterdir():
        cached.unlink()
    with pytest.raises(InputFileError, match="changed while"):
        file.band("chr1", 0, 1, 2)


def test_text__leaves_nothing_but_the_converted_file(tmp_path):
    read(write_5(tmp_path), tmp_path)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".cool"]
    with pytest.raises(InputFileError):
        read(line_file(tmp_path, "chr1 0 chr1 10000 5", "chr1 0 chr1 10000 5"), tmp_path, cache_folder=tmp_path / "bad")
    assert not list((tmp_path / "bad").iterdir())


def test_text__default_cache_is_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(contacts_text.tempfile, "tempdir", str(tmp_path))
    read(write_5(tmp_path), tmp_path, cache_folder=None)
    folder = next(tmp_path.glob("epizarr-contacts-*"))
    assert folder.stat().st_mode & 0o777 == 0o700
    os.chmod(folder, 0o777)
    with pytest.raises(InputFileError, match="not this user's own"):
        read(tmp_path / "a.txt", tmp_path, cache_folder=None)


def test_text__keeps_fractional_counts_to_the_bit(tmp_path):
    file = read(line_file(tmp_path, "chr1 0 chr1 10000 0.1", "chr1 0 chr1 0 1e-3", "chr1 0 chr1 20000 .3"), tmp_path)
    assert file.info.count_dtype == "float64"
    piece = next(file.source.iter_pixels("chr1", 0, N1, None))
    assert piece.count.tolist() == [1e-3, 0.1, 0.3]


def test_text__reads_whole_counts_written_with_a_point(tmp_path):
    file = read(line_file(tmp_path, "chr1 0 chr1 10000 12.0"), tmp_path)
    assert (file.info.count_dtype, file.band("chr1", 0, 1, 2)[0, 1]) == ("int32", 12)


def test_text__skips_comments_empty_lines_and_a_header(tmp_path):
    lines = [
        "# made by hand",
        "chrom1 start1 chrom2 start2 count",
        "",
        "chr1 0 chr1 10000 5\r",
        "# middle",
        "chr1 0 chr1 0 3",
    ]
    assert read(line_file(tmp_path, *lines), tmp_path).band("chr1", 0, 1, 2).tolist() == [[3, 5]]


def test_text__without_an_end_of_line_keeps_its_last_pixel(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("chr1 0 chr1 0 3\nchr1 0 chr1 10000 5")
    assert read(path, tmp_path).band("chr1", 0, 1, 2).tolist() == [[3, 5]]


# Sparse text


def test_one_chromosome__is_read_under_its_name(tmp_path):
    path = line_file(tmp_path, "0\t0\t7", "0\t10000\t5.0", "190000\t190000\t2")
    file = read(path, tmp_path, chrom="chr2")
    assert file.info.chrom_lengths == {"chr2": 200_000}
    assert file.band("chr2", 0, 1, 2).tolist() == [[7, 5]]
    assert file.marginals("chr2")[-1] == 2


def test_sparse__chromosome_without_a_line_is_not_covered(tmp_path):
    file = read(line_file(tmp_path, "chr1 0 chr1 10000 5"), tmp_path)
    assert np.isnan(file.band("chr2", 0, N2, 3)).all()


def test_sparse__takes_the_order_of_the_assembly_and_either_order_of_a_trans_pixel(tmp_path):
    lengths = dict(reversed(CHROMS.items()))
    file = read(
        line_file(tmp_path, "chr1 0 chr2 0 9", "chr2 0 chr1 10000 9", "chr1 0 chr1 10000 5"),
        tmp_path,
        chrom_lengths=lengths,
    )
    assert list(file.info.chrom_lengths) == ["chr2", "chr1"]
    assert file.marginals("chr1")[:2].tolist() == [5, 5]
    assert file.marginals("chr2").sum() == 0


def test_sparse__leaves_out_chromosomes_that_the_assembly_has_not(tmp_path):
    file = read(line_file(tmp_path, "chrUn 0 chrUn 10000 5", "chr1 0 chrUn 0 8", "chr1 0 chr1 10000 5"), tmp_path)
    assert file.marginals("chr1").sum() == 10


@pytest.mark.parametrize("lines", [["1 0 1 10000 5"], ["chr1 0 chr1 10000 5", "2 0 2 10000 5"]])
def test_sparse__does_not_drop_chromosomes_for_a_prefix(tmp_path, lines):
    with pytest.raises(AssemblyMismatchError, match="Only the prefix differs"):
        read(line_file(tmp_path, *lines), tmp_path)


def test_sparse__of_another_assembly_is_refused(tmp_path):
    with pytest.raises(AssemblyMismatchError, match=r"\['X'\], the assembly has \['chr1', 'chr2'\]"):
        read(line_file(tmp_path, "X 0 X 10000 5"), tmp_path)


def test_sparse__needs_chromosome_lengths(tmp_path):
    with pytest.raises(InputFileError, match="give `chrom_lengths`"):
        read(write_5(tmp_path), tmp_path, chrom_lengths=None)


@pytest.mark.parametrize("n_lines", [25, 5])
def test_sparse__with_wider_bins_is_refused_once_that_is_no_chance(tmp_path, n_lines):
    path = line_file(tmp_path, *(f"{start} {start} 4" for start in range(0, 20_000 * n_lines, 20_000)))
    lengths = {"chr1": 1_000_000}
    if n_lines == 5:
        assert read(path, tmp_path, chrom="chr1", chrom_lengths=lengths).marginals("chr1").sum() == 20
        return
    with pytest.raises(InputFileError, match=r"multiples of 20,000 bp.*10,000 bp were asked for"):
        read(path, tmp_path, chrom="chr1", chrom_lengths=lengths)


GOOD = "chr1 0 chr1 10000 5"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("chr1 0 chr1 20000 x", "count 'x' is not a number"),
        ("chr1 0 chr1 20000 nan", "count 'nan' is not a number"),
        ("chr1 0 chr1 20000 inf", "count 'inf' is not a number"),
        ("chr1 0 chr1 20000 1e999", "count inf; a count must be finite"),
        ("chr1 0 chr1 20000 -2", "count -2; a count must be finite and not negative"),
        ("chr1 0 chr1 2e4 5", "start2 '2e4' is not a whole number"),
        ("chr1 -10000 chr1 20000 5", "start1 '-10000' is not a whole number"),
        ("chr1 True chr1 20000 5", "start1 'True' is not a whole number"),
        ("chr1 0 chr1 20000", "has 4 columns; 5 were needed"),
        ("chr1 0 chr1 20000 5 6", "has 6 columns; 5 were needed"),
        ("chr1 1 chr1 20000 5", "start1 1 of 'chr1' is not the start of a bin of 10,000 bp"),
        ("chr1 0 chr1 15000 5", "start2 15,000 of 'chr1' is not the start"),
        ("chr1 0 chr1 410000 5", "start2 410,000 of 'chr1' is past the chromosome's end"),
        ("chr2 30000 chr2 20000 5", "30,000 comes after 20,000: the pixel lies below the diagonal"),
        ("chr1 99999999999999999999 chr1 0 5", "start1 '99999999999999999999' is not a whole number"),
    ],
)
@pytest.mark.parametrize("before", [1, 9])
def test_sparse__names_a_bad_line(tmp_path, monkeypatch, line, problem, before):
    monkeypatch.setattr(text_pixels, "PIECE_BYTES", 60)  # the bad line lies in another piece than the first
    good = [f"chr1 {10_000 * i} chr1 {10_000 * i} 5" for i in range(before)]
    with pytest.raises(InputFileError, match=f"line {before + 2}: .*") as caught:
        read(line_file(tmp_path, "# comment", *good, line, GOOD), tmp_path)
    assert problem in str(caught.value)


def test_sparse__lists_several_bad_lines_at_once(tmp_path):
    with pytest.raises(InputFileError, match=r"(?s)2 problems.*line 2: .*line 4: "):
        read(line_file(tmp_path, GOOD, "chr1 0 x", "chr1 0 chr1 0 1", "chr1 0 chr1 y 1"), tmp_path)


def test_sparse__lists_the_first_ten_of_many_bad_lines(tmp_path):
    with pytest.raises(InputFileError, match=r"the first 10 bad lines") as caught:
        read(line_file(tmp_path, *(f"chr1 0 chr1 {i} 1" for i in range(1, 40))), tmp_path)
    assert str(caught.value).count("line ") == 10


@pytest.mark.parametrize(
    "line", ["chr1 0 10001 chr1 0 10000 5", "chr1 0 10000 chr1 0 20000 5", "chr1 400000 410000 chr1 400000 405000 5"]
)
def test_sparse__with_ends_of_other_bins_or_another_assembly_is_refused(tmp_path, line):
    with pytest.raises(
        InputFileError, match=r"line 2: start\d .* does not end 10,000 bp on or at the chromosome's end"
    ):
        read(line_file(tmp_path, "chr1 0 10000 chr1 10000 20000 5", line), tmp_path)


@pytest.mark.parametrize("piece", [1 << 20, 40])
def test_text__refuses_a_repeated_pixel_with_both_lines(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(text_pixels, "PIECE_BYTES", piece)
    others = [f"chr1 {10_000 * i} chr1 {10_000 * i} 5" for i in range(1, 9)]
    with pytest.raises(InputFileError, match="line 11 repeats the pixel of line 2"):
        read(line_file(tmp_path, "# c", GOOD, *others, GOOD), tmp_path)


def test_text__refuses_a_trans_pixel_listed_in_both_orders(tmp_path):
    with pytest.raises(InputFileError, match="line 2 repeats the pixel of line 1"):
        read(line_file(tmp_path, "chr1 0 chr2 0 5", "chr2 0 chr1 0 5", GOOD), tmp_path)


# HiC-Pro


def test_hicpro__takes_a_bin_table_of_another_name(tmp_path):
    path = write_hicpro(tmp_path).rename(tmp_path / "counts")
    bins = (tmp_path / "a_10000_abs.bed").rename(tmp_path / "bins.txt")
    assert read(path, tmp_path, bins_path=bins).info.bins_path == bins


def test_hicpro__keeps_the_chromosome_order_of_its_bins(tmp_path):
    bins = write(tmp_path / "x_abs.bed", [("chr2", 0, 9_000, 1), ("chr10", 0, 10_000, 2), ("chr10", 10_000, 15_000, 3)])
    file = read(write(tmp_path / "x.matrix", [(2, 3, 4), (1, 1, 6)]), tmp_path)
    assert file.info.bins_path == bins
    assert list(file.info.chrom_lengths.items()) == [("chr2", 9_000), ("chr10", 15_000)]
    assert file.band("chr10", 0, 2, 2)[0].tolist() == [0, 4]


def test_hicpro__chromosome_of_the_bin_table_without_a_contact_is_zero(tmp_path):
    write_bins(tmp_path / "x_abs.bed")
    file = read(write(tmp_path / "x.matrix", [(1, 2, 4)]), tmp_path)
    assert file.marginals("chr2").sum() == 0


def test_hicpro__of_another_assembly_is_refused_under_this_one(tmp_path):
    info = read(write_hicpro(tmp_path), tmp_path).info
    with pytest.raises(AssemblyMismatchError, match=r"chr1 has 405,000 bp, other has 405,001"):
        check_file_assembly(info, Assembly("other", ("chr1", "chr2"), (405_001, 200_000)))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((0, 3, 5), r"bins 0 and 3; the bin table numbers 1 to 61"),
        ((3, 62, 5), r"bins 3 and 62; the bin table numbers 1 to 61"),
        ((9, 3, 5), r"bin 9 comes after bin 3: the pixel lies below the diagonal"),
        ((9, 60, -5), "count -5"),
        ((9, "x", 5), "bin2 'x' is not a whole number"),
        ((1, 2, 5), "repeats the pixel of line 1"),
    ],
)
def test_hicpro__names_a_bad_line(tmp_path, row, problem):
    write_bins(tmp_path / "x_abs.bed")
    with pytest.raises(InputFileError, match=f"line 2:? .*{problem}|line 2 {problem}"):
        read(write(tmp_path / "x.matrix", [(1, 2, 5), row]), tmp_path)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("chr1", 0, 10_000, 0)], r"line 1: bin id 0; ids must run from 1, and this is bin 1"),
        ([("chr1", 0, 10_000, 1), ("chr1", 10_000, 20_000, 3)], r"line 2: bin id 3; .* this is bin 2"),
        ([("chr1", 0, 10_000)], r"line 1: .* is not chrom, start, end and id"),
        ([("chr1", 0, 10_000, 1), ("chr1", "b", 20_000, 2)], r"line 2: .* is not chrom, start, end and id"),
        ([("chr1", 30_000, 40_000, 1), ("chr1", 40_000, 50_000, 2)], r"'chr1' start at 30,000 and not at 0"),
        ([("chr1", 0, 7_000, 1), ("chr1", 7_000, 17_000, 2)], r"not all 10,000 bp wide.*variable width"),
        ([("chr1", 0, 10_000, 1), ("chr1", 20_000, 30_000, 2)], r"not all 10,000 bp wide"),
        ([("chr1", 0, 10_000, 1), ("chr1", 10_000, 10_000, 2)], r"not all 10,000 bp wide"),
        ([("a", 0, 10_000, 1), ("b", 0, 10_000, 2), ("a", 0, 10_000, 3)], r"'a' comes in two places"),
        ([("a", 5, 5, 1)], "no width"),
        ([], "is an empty file|it lists no bin"),
    ],
)
def test_hicpro__refuses_bins_that_cannot_be_used(tmp_path, rows, problem):
    write(tmp_path / "x_abs.bed", rows)
    with pytest.raises(InputFileError, match=problem):
        read(write(tmp_path / "x.matrix", [(1, 1, 5)]), tmp_path)


def test_hicpro__of_other_bins_says_which(tmp_path):
    with pytest.raises(InputFileError, match=r"no contacts at 5,000 bp; it has 10,000 bp"):
        open_contacts_file(write_hicpro(tmp_path), 5_000, cache_folder=tmp_path)


def test_hicpro__without_its_bin_table_asks_for_it(tmp_path):
    path = write_hicpro(tmp_path)
    (tmp_path / "a_10000_abs.bed").unlink()
    with pytest.raises(InputFileError, match=r"three columns.*X_abs\.bed.*`chrom`"):
        read(path, tmp_path)
    with pytest.raises(InputNotFoundError):
        read(path, tmp_path, bins_path=tmp_path / "gone.bed")


# What else may be given


@pytest.mark.parametrize("arguments", [{"bins_path": "x"}, {"chrom": "chr1"}], ids=["a bin table", "a chromosome"])
def test_text__refuses_an_argument_that_it_does_not_need(tmp_path, arguments):
    with pytest.raises(InputFileError, match="5 columns and name chromosomes themselves"):
        read(write_5(tmp_path), tmp_path, **arguments)


def test_text__refuses_two_meanings_of_three_columns(tmp_path):
    with pytest.raises(InputFileError, match="not both"):
        read(write_hicpro(tmp_path), tmp_path, chrom="chr1", bins_path=tmp_path / "a_10000_abs.bed")


def test_text__refuses_a_chromosome_that_is_not_there(tmp_path):
    with pytest.raises(InputFileError, match=r"`chrom` is 'chr11', and the chromosomes are chr1, chr2.*mean 'chr1'"):
        read(line_file(tmp_path, "0 0 1"), tmp_path, chrom="chr11")


def test_text__refuses_weights_conventions_and_groups(tmp_path):
    with pytest.raises(InputFileError, match="text stores no weights"):
        read(write_5(tmp_path), tmp_path, convention="divisive")
    with pytest.raises(InputFileError, match="text has no groups"):
        read(f"{tmp_path / 'a.txt'}::10000", tmp_path)


def test_open_contacts_file__refuses_arguments_of_text_for_hdf5(tmp_path):
    import cooler

    cooler.create_cooler(str(tmp_path / "a.cool"), BINS, pd.DataFrame({"bin1_id": [0], "bin2_id": [1], "count": [1]}))
    with pytest.raises(InputFileError, match="Leave out `bins_path` and `chrom`"):
        open_contacts_file(tmp_path / "a.cool", BINSIZE, bins_path="x", chrom="chr1")


@pytest.mark.parametrize("line", ["chr1 0 5", "chr1 0 100 peak", "a b c d e f"])
def test_text__of_no_known_layout_is_refused(tmp_path, line):
    with pytest.raises(InputFileError, match=r"has \d columns; epizarr reads HiC-Pro's|have three columns"):
        read(line_file(tmp_path, line), tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_text__of_pairs_is_sent_to_cooler(tmp_path, suffix):
    path = write(tmp_path / f"a.pairs{suffix}", [("## pairs format v1.0",), ("r1", "chr1", 5, "chr1", 9, "+", "-")])
    with pytest.raises(InputFileError, match="cooler cload pairs"):
        read(path, tmp_path)


@pytest.mark.parametrize("lines", [[""], ["# nothing"]])
def test_text__without_a_line_is_refused(tmp_path, lines):
    with pytest.raises(InputFileError, match="holds no line"):
        read(line_file(tmp_path, *lines), tmp_path)


def test_text__with_a_header_only_is_refused(tmp_path):
    with pytest.raises(InputFileError, match="no contact in it"):
        read(line_file(tmp_path, "chrom1 start1 chrom2 start2 count"), tmp_path)


@pytest.mark.parametrize("cut", [9, 40, -6])
def test_text__refuses_truncated_gzip(tmp_path, cut):
    path = write_5(tmp_path, ".gz")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputFileError, match=r"decompressed|cannot be read as text"):
        read(path, tmp_path)


def test_text__that_is_not_a_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_pixels, "PIECE_BYTES", 100)
    path = tmp_path / "a.txt"
    path.write_bytes(b"chr1 0 chr1 10000 5\n" + b"x" * (2**20 + 500))
    with pytest.raises(InputFileError, match="a line is longer"):
        read(path, tmp_path)
