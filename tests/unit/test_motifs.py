"""Motif files of JASPAR and MEME, and what is refused."""

import gzip

import numpy as np
import pytest

from epizarr.errors import InputFileError, InputNotFoundError
from epizarr.io.motifs import read_motif, read_motifs

JASPAR = """>X1.1\tFACTOR
A  [     9      0      5 ]
C  [     0      8      1 ]
G  [     1      0      4 ]
T  [     0      2      0 ]
>X2.1 OTHER::PAIR
 1 2
 3 4
 5 6.5
 7 8
"""
COUNTS = np.array([[9, 0, 1, 0], [0, 8, 0, 2], [5, 1, 4, 0.0]])
MEME = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.3 C 0.2 G 0.2 T 0.3

MOTIF X1.1 FACTOR
letter-probability matrix: alength= 4 w= 3 nsites= 10 E= 4.1e-009
 0.9 0.0 0.1 0.0
 0.0 0.8 0.0 0.2
 0.5 0.1 0.4 0.0
URL https://example.org

MOTIF X2.1
letter-probability matrix:
0.25 0.25 0.25 0.25
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "motifs.txt"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("text", [JASPAR, MEME], ids=["jaspar", "meme"])
def test_read_motif__gives_the_counts(write, text):
    motif = read_motif(write(text), "X1.1")
    np.testing.assert_allclose(motif.counts, COUNTS, rtol=1e-12)
    assert (motif.name, motif.alt_name, motif.width) == ("X1.1", "FACTOR", 3)


def test_read_motif__reads_rows_without_letters(write):
    motif = read_motif(write(JASPAR), "OTHER::PAIR")
    assert motif.counts.tolist() == [[1, 3, 5, 7], [2, 4, 6.5, 8]]


def test_read_motif__takes_the_background_of_the_file(write):
    assert read_motif(write(MEME), "X2.1").background == pytest.approx((0.3, 0.2, 0.2, 0.3))


@pytest.mark.parametrize("text", [JASPAR, MEME.replace("Background letter frequencies\nA 0.3 C 0.2 G 0.2 T 0.3\n", "")])
def test_read_motif__has_an_even_background_otherwise(write, text):
    assert read_motif(write(text), "X1.1").background == (0.25,) * 4


def test_read_motif__counts_twenty_sites_where_meme_does_not_say(write):
    assert read_motif(write(MEME), "X2.1").counts.tolist() == [[5, 5, 5, 5]]


def test_read_motifs__read_a_full_meme_file(write):
    rule = "*" * 80
    text = f"""{rule}
MEME - Motif discovery tool
{rule}
MEME version 5.5.5 (Release date: …)
{rule}
ALPHABET= ACGT
Background letter frequencies (from file):
A 0.25 C 0.25
G 0.25 T 0.25
{rule}
MOTIF ACG MEME-1\twidth =   2  sites =  12
{rule}
\tMotif ACG MEME-1 position-specific scoring matrix
{"-" * 80}
log-odds matrix: alength= 4 w= 2 n= 1000 bayes= 6.6 E= 1.1e-002
  -116    150   -200    1
  -116    150   -200    1
{"-" * 80}
letter-probability matrix: alength= 4 w= 2 nsites= 12 E= 1.1e-002
 0.500000  0.500000  0.000000  0.000000
 1.000000  0.000000  0.000000  0.000000
{"-" * 80}
"""
    (motif,) = read_motifs(write(text))
    assert (motif.name, motif.alt_name, motif.counts.tolist()) == ("ACG", "MEME-1", [[6, 6, 0, 0], [12, 0, 0, 0]])


def test_read_motif__needs_no_name_for_a_single_motif(write):
    assert read_motif(write(JASPAR[: JASPAR.index(">X2")])).name == "X1.1"


def test_read_motif__reads_gzip(tmp_path):
    path = tmp_path / "motifs.jaspar.gz"
    path.write_bytes(gzip.compress(JASPAR.encode()))
    assert len(read_motifs(path)) == 2


def test_read_motif__asks_for_a_name_among_several(write):
    with pytest.raises(InputFileError, match=r"holds 2 motifs: X1\.1 FACTOR, X2\.1 OTHER::PAIR"):
        read_motif(write(JASPAR))


def test_read_motif__suggests_the_nearest_name(write):
    with pytest.raises(InputFileError, match=r"no motif 'FACTR'.*Did you mean 'FACTOR'"):
        read_motif(write(JASPAR), "FACTR")


def test_read_motif__asks_for_the_accession_of_a_name_that_repeats(write):
    with pytest.raises(InputFileError, match=r"2 motifs 'FACTOR'.*Give the accession"):
        read_motif(write(JASPAR.replace("OTHER::PAIR", "FACTOR")), "FACTOR")


def test_read_motifs__refuse_a_missing_file(tmp_path):
    with pytest.raises(InputNotFoundError):
        read_motifs(tmp_path / "absent.jaspar")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither a JASPAR file"),
        ("A 1 2 3\n", "neither a JASPAR file"),
        (">\nA 1\nC 1\nG 1\nT 1\n", "line 1: a motif has no name"),
        (">X\nA 1\nC 1\nG 1\n", "line 1: motif 'X' has 3 rows"),
        (">X\nA 1\nG 1\nC 1\nT 1\n", "line 3: motif 'X': row C was expected"),
        (">X\nA 1 2\nC 1\nG 1 2\nT 1 2\n", "line 3: motif 'X': 1 numbers, and row A has 2"),
        (">X\nA 1 x\nC 1 2\nG 1 2\nT 1 2\n", "line 2: '1 x' are not all numbers"),
        (">X\nA 1 -2\nC 1 2\nG 1 2\nT 1 2\n", "line 2: .* not negative"),
        (">X\nA 1 nan\nC 1 2\nG 1 2\nT 1 2\n", "line 2: .* finite"),
        (">X\nA 1 0\nC 1 0\nG 1 0\nT 1 0\n", "line 1: motif 'X' is empty, or has a position without any count"),
        (">X\nA [ ]\nC [ ]\nG [ ]\nT [ ]\n", "line 1: motif 'X' is empty"),
        ("MEME version 4\n", "holds no motif"),
        (MEME.replace("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY"), "line 3: the alphabet is 'ACDEF"),
        (MEME.replace("alength= 4", "alength= 20"), "line 11: the matrix has 20 letters"),
        (MEME.replace("w= 3", "w= 4"), "line 11: the matrix has 3 rows, and w= 4"),
        (MEME.replace("nsites= 10", "nsites= 0"), "line 11: nsites= 0"),
        (MEME.replace("0.9 0.0 0.1", "0.9 0.0 0.3"), "line 12: a position needs four probabilities"),
        (MEME.replace(" 0.9 0.0 0.1 0.0", " 0.9 0.1"), "line 12: a position needs four probabilities"),
        (MEME.replace("MOTIF X1.1 FACTOR", "MOTIF"), "line 10: a motif has no name"),
        (MEME.replace("MOTIF X1.1 FACTOR\n", ""), "line 10: a matrix that no line 'MOTIF' comes before"),
        (MEME.replace("letter-probability matrix: a", "matrix: a"), "line 17: motif 'X1.1' before this line has no"),
        (MEME[: MEME.rindex("letter")], "motif 'X2.1' has no letter-probability matrix"),
        (MEME.replace("G 0.2 T 0.3", "G 0.2 T 0.5"), "line 7: the background frequencies"),
        (MEME.replace("A 0.3 C 0.2", "C 0.3 A 0.2"), "line 7: the background must list"),
    ],
)
def test_read_motifs__say_what_is_wrong_and_where(write, text, message):
    with pytest.raises(InputFileError, match=message):
        read_motifs(write(text))
