"""Genes from GTF, BED12 and BED6 files, for pictures."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from epizarr.errors import AssemblyMismatchError, InputFileError, raise_all
from epizarr.genes import Gene, merge_intervals
from epizarr.genome import Assembly
from epizarr.io.filetype import read_lines

#: How many bad lines one message lists.
_MAX_LISTED = 10
_ATTRIBUTE = re.compile(r'(\w+) "([^"]*)"')
_CODING = "protein_coding"


def read_genes(path: str | Path, assembly: Assembly, chrom: str) -> list[Gene]:
    """Read the genes of one chromosome.

    Parameters
    ----------
    path
        GTF (lines of ``exon`` and ``gene``, grouped by ``gene_id``, named by ``gene_name``), BED12 or BED6 with a name, plain or
        gzip. GTF's coordinates, 1-based and closed, become 0-based and half-open. Lines of other chromosomes are passed over
        unread, so memory is that of one chromosome's genes.
    assembly
        For the length of the chromosome, and to tell a file with other names.
    chrom
        Chromosome, by the assembly's name.

    Returns
    -------
    Genes, sorted by start. Lines of BED with the same name that overlap (transcripts) are one gene. Empty if the
    chromosome has none.

    Raises
    ------
    InputNotFoundError, InputFileError
        If the file is missing, is not text, a line of this chromosome cannot be read or ends past it.
    AssemblyMismatchError
        If the file's chromosomes differ from the assembly's by the prefix ``chr`` only.
    RegionError
        If the assembly has no such chromosome.
    """
    length = assembly.length(chrom)
    parts: dict[tuple[str, str], list[_Part]] = defaultdict(list)
    problems: list[str] = []
    others: set[str] = set()
    for number, line in read_lines(path, "a gene annotation (GTF or BED)"):
        name, tab, _ = line.partition("\t")
        if not tab:
            if line.split(" ")[0] in ("track", "browser"):
                continue
            problems.append(f"line {number}: {line[:80]!r} has no tabs; columns of GTF and BED are parted by tabs")
        elif name != chrom:
            others.add(name)
            continue
        else:
            try:
                found = _read_line(line.split("\t"))
            except ValueError as error:
                problems.append(f"line {number}: {line[:80]!r}: {error}")
                continue
            if found is not None and found.end > length:
                problems.append(
                    f"line {number}: {chrom}:{found.start:,}-{found.end:,} ends past {chrom} of {assembly.name!r}, which has "
                    f"{length:,} bp; the file may belong to another assembly"
                )
            elif found is not None:
                parts[found.key].append(found)
        if len(problems) > _MAX_LISTED:
            break  # a file of another kind has as many as it has lines
    raise_all(InputFileError, f"gene annotation {path}", problems[:_MAX_LISTED])
    if not parts:
        _check_names(path, others, assembly)
    genes = [gene for (kind, _), pieces in parts.items() for gene in _assemble(chrom, kind, pieces)]
    return sorted(genes, key=lambda gene: (gene.start, gene.end, gene.name))


class _Part:
    """One line: a gene, a transcript or an exon."""

    __slots__ = ("end", "exons", "is_coding", "key", "name", "start", "strand")

    def __init__(
        self,
        key: tuple[str, str],
        name: str,
        start: int,
        end: int,
        strand: str,
        exons: list[tuple[int, int]],
        is_coding: bool,
    ) -> None:
        if start >= end or start < 0:
            raise ValueError("start must be below end")
        self.key, self.name, self.start, self.end = key, name, start, end
        self.strand, self.exons, self.is_coding = strand, exons, is_coding


def _read_line(fields: list[str]) -> _Part | None:
    """One line of GTF or BED; None for lines of GTF that say nothing about a gene's exons or extent."""
    if len(fields) == 9 and not fields[1].strip().isdigit():
        return _read_gtf(fields)
    if len(fields) < 4:
        raise ValueError("a gene in BED needs chrom, start, end and name; in GTF nine columns")
    start, end = _number(fields[1]), _number(fields[2])
    exons, is_coding = [(start, end)], False
    if len(fields) >= 12:
        sizes, starts = ([_number(x) for x in f.strip().rstrip(",").split(",")] for f in (fields[10], fields[11]))
        if not len(sizes) == len(starts) == _number(fields[9]):
            raise ValueError("blockCount, blockSizes and blockStarts of BED12 do not agree")
        exons = [(start + offset, start + offset + size) for size, offset in zip(sizes, starts, strict=True)]
        if exons[-1][1] > end:
            raise ValueError("a block of BED12 ends past its line's end")
        is_coding = _number(fields[6]) < _number(fields[7])
    name = fields[3].strip()
    return _Part(("bed", name), name, start, end, _strand(fields[5] if len(fields) > 5 else "."), exons, is_coding)


def _read_gtf(fields: list[str]) -> _Part | None:
    if fields[2] not in ("exon", "gene"):
        return None
    said: dict[str, str] = dict(_ATTRIBUTE.findall(fields[8]))
    if "gene_id" not in said:
        raise ValueError('the ninth column has no gene_id "…"; GFF3 is not read, convert it to GTF')
    start, end = _number(fields[3]) - 1, _number(fields[4])
    is_coding = said.get("gene_type", said.get("gene_biotype", "")) == _CODING
    exons = [(start, end)] if fields[2] == "exon" else []
    name = said.get("gene_name", said["gene_id"])
    return _Part(("gtf", said["gene_id"]), name, start, end, _strand(fields[6]), exons, is_coding)


def _number(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a position in bp")
    return int(text)


def _strand(text: str) -> str:
    return text if text in ("+", "-") else "."


def _assemble(chrom: str, kind: str, parts: list[_Part]) -> list[Gene]:
    """Genes of the lines under one key; in BED, lines that do not overlap are separate places of one name."""
    spans = [(part.start, part.end) for part in parts]
    whole = ((min(s for s, _ in spans), max(e for _, e in spans)),)
    genes = []
    for start, end in whole if kind == "gtf" else merge_intervals(spans):
        inside = [part for part in parts if start <= part.start and part.end <= end]
        exons = merge_intervals(exon for part in inside for exon in part.exons) or ((start, end),)
        is_coding = any(part.is_coding for part in inside)
        genes.append(Gene(chrom, start, end, inside[0].name, inside[0].strand, exons, is_coding))
    return genes


def _check_names(path: str | Path, others: set[str], assembly: Assembly) -> None:
    """Refuse a file none of whose chromosomes is the assembly's."""
    if others and not others & set(assembly.chrom_names):
        raise AssemblyMismatchError(
            f"gene annotation {path} names its chromosomes {sorted(others)[:4]}, assembly {assembly.name!r} names them "
            f"{list(assembly.chrom_names[:4])}. Rewrite the file with the assembly's names, or take one of that assembly."
        )
