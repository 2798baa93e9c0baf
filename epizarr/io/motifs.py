"""Motifs from the text files of JASPAR and of the MEME suite.

JASPAR: ``>ID name``, then four rows of counts for A, C, G and T, with or without the letter and brackets before and around
them. MEME (minimal or full): ``MEME version``, then for each motif ``MOTIF ID name`` and a ``letter-probability matrix`` with
a row for each position; a background, where there is one, holds for all motifs of the file.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from epizarr.errors import InputFileError, nearest_match
from epizarr.io.filetype import read_lines
from epizarr.motif_scan import Motif

#: Sites behind a MEME matrix that does not say how many; the format's own default.
_MEME_N_SITES = 20.0
#: Rows of probabilities may be rounded by so much.
_SUM_TOLERANCE = 0.02

_Lines = list[tuple[int, str]]


def read_motifs(path: str | Path) -> list[Motif]:
    """Read all motifs of a JASPAR or MEME file, told apart by their content.

    Returns
    -------
    Motifs in the order of the file. Counts of a MEME file are its probabilities times its number of sites.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is neither format, holds no motif, a motif's matrix is not one (the message names the line), or the alphabet is not
        DNA.
    """
    lines = list(read_lines(path, "a file of motifs (JASPAR or MEME)"))
    if any(line.startswith("MEME version") for _, line in lines):
        motifs = _parse_meme(lines, path)
    elif lines and lines[0][1].startswith(">"):
        motifs = _parse_jaspar(lines, path)
    else:
        raise InputFileError(
            f"{path} is neither a JASPAR file, which begins with '>', nor a MEME file, which has a line 'MEME version 4'. "
            "Download the motif in one of these formats."
        )
    if not motifs:
        raise InputFileError(f"motif file {path} holds no motif.")
    return motifs


def read_motif(path: str | Path, name: str | None = None) -> Motif:
    """Read one motif of a JASPAR or MEME file.

    Parameters
    ----------
    path
        The file.
    name
        Its accession or name; may be left out where the file holds one motif.

    Raises
    ------
    InputNotFoundError, InputFileError
        As :func:`read_motifs`; also if there is no such motif, or several of that name, or no name was given for a file of
        several.
    """
    motifs = read_motifs(path)
    found = [m for m in motifs if name is None or name in (m.name, m.alt_name)]
    if len(found) == 1:
        return found[0]
    known = [f"{m.name} {m.alt_name}".strip() for m in motifs]
    shown = f"{', '.join(known[:8])}{f' … ({len(known)} in all)' if len(known) > 8 else ''}"
    if name is None:
        raise InputFileError(f"motif file {path} holds {len(motifs)} motifs: {shown}. Say which one by its name.")
    hint = nearest_match(name, [n for m in motifs for n in (m.name, m.alt_name) if n])
    number = "no motif" if not found else f"{len(found)} motifs"
    advice = "" if not found else " Give the accession."
    raise InputFileError(f"motif file {path} holds {number} {name!r}; it has {shown}.{hint}{advice}")


def _parse_jaspar(lines: _Lines, path: str | Path) -> list[Motif]:
    motifs = []
    starts = [i for i, (_, line) in enumerate(lines) if line.startswith(">")]
    for first, last in zip(starts, [*starts[1:], len(lines)], strict=True):
        number, header = lines[first]
        words = header[1:].split(maxsplit=1)
        if not words:
            raise _bad(path, number, "a motif has no name after its '>'")
        rows = lines[first + 1 : last]
        if len(rows) != 4:
            raise _bad(path, number, f"motif {words[0]!r} has {len(rows)} rows; four are needed, for A, C, G and T")
        counts: list[list[float]] = []
        for base, (row_number, text) in zip("ACGT", rows, strict=True):
            fields = re.sub(r"[\[\]]", " ", text).split()
            if fields and fields[0].isalpha():
                if fields.pop(0).upper() != base:
                    raise _bad(
                        path, row_number, f"motif {words[0]!r}: row {base} was expected, in the order A, C, G, T"
                    )
            counts.append(_numbers(fields, path, row_number))
            if len(counts[-1]) != len(counts[0]):
                raise _bad(
                    path, row_number, f"motif {words[0]!r}: {len(counts[-1])} numbers, and row A has {len(counts[0])}"
                )
        matrix = np.array(counts).T
        if not len(matrix) or (matrix.sum(axis=1) <= 0).any():
            raise _bad(path, number, f"motif {words[0]!r} is empty, or has a position without any count")
        motifs.append(Motif(words[0], words[1].strip() if len(words) > 1 else "", matrix))
    return motifs


def _parse_meme(lines: _Lines, path: str | Path) -> list[Motif]:
    motifs: list[Motif] = []
    background = np.full(4, 0.25)
    name, alt_name, has_matrix = "", "", True
    at = 0
    while at < len(lines):
        number, line = lines[at]
        at += 1
        if line.startswith("ALPHABET"):
            alphabet = line.removeprefix("ALPHABET").strip(" =\t")
            if alphabet != "ACGT" and not (alphabet.startswith('"DNA"') or alphabet.endswith("DNA-LIKE")):
                raise _bad(path, number, f"the alphabet is {alphabet!r}; motifs of DNA (ACGT) are needed")
        elif line.startswith("Background letter frequencies"):
            background, at = _meme_background(lines, at, path)
        elif line.startswith("MOTIF"):
            if not has_matrix:
                raise _bad(path, number, f"motif {name!r} before this line has no letter-probability matrix")
            words = line.split()[1:]
            if not words:
                raise _bad(path, number, "a motif has no name after 'MOTIF'")
            name, has_matrix = words[0], False
            # A full MEME file goes on with "MEME-1 width = …".
            alt_name = words[1] if len(words) > 1 and words[1] != "width" else ""
        elif line.startswith("letter-probability matrix"):
            if has_matrix:
                raise _bad(path, number, "a matrix that no line 'MOTIF' comes before")
            counts, at = _meme_matrix(lines, at, path)
            motifs.append(Motif(name, alt_name, counts))
            has_matrix = True
    if not has_matrix:
        raise _bad(path, lines[-1][0], f"motif {name!r} has no letter-probability matrix")
    shares = tuple(float(share) for share in background)
    return [Motif(m.name, m.alt_name, m.counts, (shares[0], shares[1], shares[2], shares[3])) for m in motifs]


def _meme_background(lines: _Lines, at: int, path: str | Path) -> tuple[np.ndarray, int]:
    """Frequencies after their heading, ``A 0.25 C 0.25 …``, and the line after them."""
    fields: list[str] = []
    number = lines[at - 1][0]
    while len(fields) < 8 and at < len(lines):
        fields += lines[at][1].split()
        at += 1
    if fields[0:8:2] != list("ACGT"):
        raise _bad(path, number, "the background must list A, C, G and T, each with its frequency")
    shares = np.array(_numbers(fields[1:8:2], path, number))
    if (shares <= 0).any() or abs(shares.sum() - 1) > _SUM_TOLERANCE:
        raise _bad(
            path, number, f"the background frequencies are {shares.tolist()}; they must be positive and sum to 1"
        )
    return shares / shares.sum(), at


def _meme_matrix(lines: _Lines, at: int, path: str | Path) -> tuple[np.ndarray, int]:
    """Counts of a matrix whose heading is the line before ``at``, and the line after it."""
    number, heading = lines[at - 1]
    said = {key: float(value) for key, value in re.findall(r"\b(alength|w|nsites)\s*=\s*([0-9.eE+]+)", heading)}
    if said.get("alength", 4) != 4:
        raise _bad(path, number, f"the matrix has {said['alength']:g} letters; DNA has 4")
    rows: list[list[float]] = []
    while at < len(lines) and re.match(r"\s*[-+.0-9]", lines[at][1]) and not lines[at][1].startswith("---"):
        row = _numbers(lines[at][1].split(), path, lines[at][0])
        if len(row) != 4 or abs(sum(row) - 1) > _SUM_TOLERANCE:
            raise _bad(path, lines[at][0], "a position needs four probabilities that sum to 1")
        rows.append(row)
        at += 1
    if not rows or len(rows) != said.get("w", len(rows)):
        raise _bad(
            path, number, f"the matrix has {len(rows)} rows, and w= {said.get('w', 1):g} says how many there should be"
        )
    matrix = np.array(rows)
    n_sites = said.get("nsites", _MEME_N_SITES)
    if n_sites <= 0:
        raise _bad(path, number, f"nsites= {n_sites:g}; the number of sites must be positive")
    return matrix / matrix.sum(axis=1, keepdims=True) * n_sites, at


def _numbers(fields: Sequence[str], path: str | Path, number: int) -> list[float]:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise _bad(path, number, f"{' '.join(fields)[:60]!r} are not all numbers") from None
    if not all(0 <= value < float("inf") for value in values):
        raise _bad(path, number, f"{' '.join(fields)[:60]!r}: counts and probabilities are finite and not negative")
    return values


def _bad(path: str | Path, number: int, problem: str) -> InputFileError:
    return InputFileError(f"motif file {path}, line {number}: {problem}.")
