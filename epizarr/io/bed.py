"""Intervals from BED files, for blacklists and the like, and peaks by name."""

from pathlib import Path

import numpy as np
import pandas as pd

from epizarr.errors import AssemblyMismatchError, InputFileError, raise_all
from epizarr.genome import Assembly, Region
from epizarr.io.files import file_sha256
from epizarr.io.filetype import read_lines

#: How many bad lines one message lists.
_MAX_LISTED = 10


def read_intervals(path: str | Path, assembly: Assembly) -> pd.DataFrame:
    """Read the intervals of a BED file that lie on an assembly.

    Parameters
    ----------
    path
        BED with three columns or more, plain or gzip; ``track``, ``browser`` and ``#`` lines are skipped.
    assembly
        Intervals on other chromosomes (unplaced contigs, chromosomes that the store leaves out) are dropped.

    Returns
    -------
    Table with columns ``chrom`` (str), ``start``, ``end`` (int64, bp, 0-based, half-open), in the order of the
    assembly and then by start. Empty if the file has no interval on the assembly.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is not text, a line cannot be read, an interval is empty, or it ends past its chromosome.
    AssemblyMismatchError
        If no interval is on the assembly and the names differ only by the prefix ``chr``.
    """
    return _read_bed(path, assembly).drop(columns="name")


def read_named_intervals(path: str | Path, assembly: Assembly) -> pd.DataFrame:
    """Read the intervals of a BED or narrowPeak file with their names.

    Parameters
    ----------
    path, assembly
        As for :func:`read_intervals`.

    Returns
    -------
    As :func:`read_intervals`, and ``name`` (str): the fourth column, or the place in bp where there is none (or ``.``).

    Raises
    ------
    InputNotFoundError, InputFileError, AssemblyMismatchError
        As :func:`read_intervals`.
    """
    frame = _read_bed(path, assembly)
    places = [str(Region(*row)) for row in frame[["chrom", "start", "end"]].itertuples(index=False)]
    lacking = frame["name"].isin(["", "."])
    return frame.assign(name=np.where(lacking, np.array(places, dtype=object), frame["name"]))


def read_peaks(path: str | Path, assembly: Assembly) -> dict[str, list[Region]]:
    """Read the named intervals of a BED or narrowPeak file that lie on an assembly.

    Parameters
    ----------
    path, assembly
        As for :func:`read_intervals`; the name is in the fourth column, and intervals without one (or called ``.``) are left out.

    Returns
    -------
    Intervals by name, several where a name repeats.

    Raises
    ------
    InputFileError
        Also if no interval has a name.
    InputNotFoundError, AssemblyMismatchError
        As :func:`read_intervals`.
    """
    peaks: dict[str, list[Region]] = {}
    for chrom, start, end, name in _read_bed(path, assembly).itertuples(index=False):
        if name not in ("", "."):
            peaks.setdefault(name, []).append(Region(chrom, start, end))
    if not peaks:
        raise InputFileError(
            f"BED file {path} has no names: they are the fourth column. Give the edits' regions in bp instead."
        )
    return peaks


def _read_bed(path: str | Path, assembly: Assembly) -> pd.DataFrame:
    rows: list[tuple[str, int, int, str]] = []
    problems: list[str] = []
    lengths = dict(zip(assembly.chrom_names, assembly.chrom_lengths, strict=True))
    others: set[str] = set()
    for number, line in read_lines(path, "a BED file"):
        fields = line.split("\t") if "\t" in line else line.split()
        if fields[0].split(" ")[0] in ("track", "browser"):
            continue
        if len(fields) < 3 or not all(f.strip().isascii() and f.strip().isdigit() for f in fields[1:3]):
            problems.append(f"line {number}: {line[:80]!r} is not chrom, start and end (0-based, half-open, bp)")
            continue
        chrom, start, end = fields[0].strip(), int(fields[1]), int(fields[2])
        if start >= end:
            problems.append(f"line {number}: {chrom}:{start:,}-{end:,} is empty; start must be below end")
        elif chrom not in lengths:
            others.add(chrom)
        elif end > lengths[chrom]:
            problems.append(
                f"line {number}: {chrom}:{start:,}-{end:,} ends past {chrom} of {assembly.name!r}, which has "
                f"{lengths[chrom]:,} bp; the file may belong to another assembly"
            )
        else:
            rows.append((chrom, start, end, fields[3].strip() if len(fields) > 3 else ""))
    what = f"BED file {path}"
    _raise_bad_lines(what, problems)
    # Dropping every line in silence would leave a blacklist without effect.
    if not rows:
        _refuse_other_prefix(what, others, assembly)
    frame = pd.DataFrame(
        {
            "chrom": np.array([r[0] for r in rows], dtype=object),
            "start": np.array([r[1] for r in rows], dtype=np.int64),
            "end": np.array([r[2] for r in rows], dtype=np.int64),
            "name": np.array([r[3] for r in rows], dtype=object),
        }
    )
    order = {chrom: rank for rank, chrom in enumerate(assembly.chrom_names)}
    keys = frame.assign(rank=frame["chrom"].map(order).astype(np.int64))
    return frame.loc[keys.sort_values(["rank", "start", "end"], kind="stable").index].reset_index(drop=True)


def read_loops(path: str | Path, assembly: Assembly) -> tuple[pd.DataFrame, str]:
    """Read the loops of a BEDPE file, and what identifies the file.

    Parameters
    ----------
    path
        BEDPE with six columns or more, plain or gzip; lines that begin with ``#`` or ``chrom1`` or ``chr1 x1`` are headers.
    assembly
        Loops with an end on another chromosome, or between two, are dropped.

    Returns
    -------
    Table with columns ``chrom1``, ``start1``, ``end1``, ``chrom2``, ``start2``, ``end2``; and ``"NAME (sha256 …)"``.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If a line cannot be read, or no loop is on the assembly.
    AssemblyMismatchError
        If no loop is on the assembly and the names differ only by the prefix ``chr``.
    """
    rows: list[tuple[str, int, int, str, int, int]] = []
    problems: list[str] = []
    for number, line in read_lines(path, "a BEDPE file"):
        fields = [f.strip() for f in (line.split("\t") if "\t" in line else line.split())]
        is_header = not rows and len(fields) >= 6 and not fields[1].isdigit() and not fields[4].isdigit()
        if is_header or fields[0] in ("track", "browser"):
            continue
        if len(fields) < 6 or not all(fields[i].isascii() and fields[i].isdigit() for i in (1, 2, 4, 5)):
            problems.append(f"line {number}: {line[:80]!r} is not chrom1, start1, end1, chrom2, start2, end2 (bp)")
            continue
        rows.append((fields[0], int(fields[1]), int(fields[2]), fields[3], int(fields[4]), int(fields[5])))
    what = f"BEDPE file {path}"
    _raise_bad_lines(what, problems)
    table = pd.DataFrame(rows, columns=["chrom1", "start1", "end1", "chrom2", "start2", "end2"])
    on_assembly = table[(table["chrom1"] == table["chrom2"]) & table["chrom1"].isin(assembly.chrom_names)]
    if on_assembly.empty:
        _refuse_other_prefix(what, set(table["chrom1"]) - set(assembly.chrom_names), assembly)
        raise InputFileError(
            f"{what}: none of its {len(rows):,} loops lies on a chromosome of {assembly.name!r}. Give loops of this assembly."
        )
    return on_assembly.reset_index(drop=True), f"{Path(path).name} (sha256 {file_sha256(path)[:16]})"


def _raise_bad_lines(what: str, problems: list[str]) -> None:
    more = f" (the first {_MAX_LISTED} of {len(problems)} bad lines)" if len(problems) > _MAX_LISTED else ""
    raise_all(InputFileError, f"{what}{more}", problems[:_MAX_LISTED])


def _refuse_other_prefix(what: str, others: set[str], assembly: Assembly) -> None:
    """Refuse a file of which nothing is on the assembly, if one of its ``others`` is a chromosome but for the prefix."""
    bare = {_without_prefix(c) for c in assembly.chrom_names}
    if any(_without_prefix(c) in bare for c in others):
        raise AssemblyMismatchError(
            f"{what} names its chromosomes {sorted(others)[:4]}, assembly {assembly.name!r} names them "
            f"{list(assembly.chrom_names[:4])}. Only the prefix differs: rewrite the file with the assembly's names."
        )


def _without_prefix(chrom: str) -> str:
    return chrom[3:] if chrom.lower().startswith("chr") else chrom
