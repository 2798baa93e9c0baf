"""Genes for pictures: where they lie, and how they are stacked so that neither bodies nor names overlap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Gene:
    """One gene, all transcripts taken together.

    Parameters
    ----------
    chrom, start, end
        Extent, 0-based, half-open, bp.
    name
        What is written beside it.
    strand
        ``"+"``, ``"-"`` or ``"."``.
    exons
        (start, end) of the union of its exons, sorted, in bp. One that covers the gene where the file names none.
    is_coding
        Whether the file says that it makes a protein.
    """

    chrom: str
    start: int
    end: int
    name: str
    strand: str
    exons: tuple[tuple[int, int], ...]
    is_coding: bool


def merge_intervals(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Union of (start, end) intervals, sorted; those that touch become one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def stack_genes(genes: Sequence[Gene], start: int, end: int, bp_per_letter: float, n_rows: int) -> list[list[Gene]]:
    """Lay genes out in rows, coding and long ones first; what finds no room is left out.

    Parameters
    ----------
    genes
        Genes of one chromosome; those outside the picture are ignored.
    start, end
        Stretch of the picture in bp.
    bp_per_letter
        Width of one letter of a name; a name is written at the left of its gene.
    n_rows
        Most rows.

    Returns
    -------
    Genes of each row, sorted by start; rows without genes are not there.
    """
    rows: list[list[Gene]] = []
    taken: list[list[tuple[float, float]]] = []
    seen = [gene for gene in genes if gene.start < end and start < gene.end]
    for gene in sorted(seen, key=lambda g: (not g.is_coding, g.start - g.end, g.start)):
        body = max(gene.start, start)
        lo, hi = body - bp_per_letter * (len(gene.name) + 1.5), max(min(gene.end, end), body + bp_per_letter)
        for row, places in zip(rows, taken, strict=True):
            if all(hi <= left or right <= lo for left, right in places):
                row.append(gene)
                places.append((lo, hi))
                break
        else:
            if len(rows) < n_rows:
                rows.append([gene])
                taken.append([(lo, hi)])
    return [sorted(row, key=lambda g: g.start) for row in rows]
