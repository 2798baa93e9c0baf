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


def name_is_left(gene: Gene, start: int, bp_per_letter: float) -> bool:
    """Whether there is room for a gene's name at its left in a picture that begins at ``start``; else it stands at its right."""
    return gene.start - bp_per_letter * _letters(gene) >= start


def _letters(gene: Gene) -> float:
    """Width of a name in letters, with its arrow and a space."""
    return len(gene.name) + 3


def stack_genes(genes: Sequence[Gene], start: int, end: int, bp_per_letter: float, n_rows: int) -> list[list[Gene]]:
    """Lay genes out in rows, coding and long ones first; what finds no room is left out.

    Parameters
    ----------
    genes
        Genes of one chromosome; those outside the picture are ignored.
    start, end
        Stretch of the picture in bp.
    bp_per_letter
        Width of one letter of a name, which is written beside its gene (:func:`name_is_left`).
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
        name = bp_per_letter * _letters(gene)
        is_left = name_is_left(gene, start, bp_per_letter)
        lo = max(gene.start, start) - (name if is_left else 0)
        hi = min(gene.end, end) + (bp_per_letter if is_left else name)
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
