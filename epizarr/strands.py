"""Which stranded tracks change places when a stretch of the genome is read backwards."""

import re
from collections.abc import Sequence

from epizarr.errors import ConfigError

#: Ways to write the strand in a track's name, forward first.
_WORDS = (("plus", "minus"), ("forward", "reverse"), ("fwd", "rev"), ("pos", "neg"), ("+", "-"), ("watson", "crick"))


def strand_partners(names: Sequence[str], strands: Sequence[str]) -> tuple[int, ...]:
    """Place of the track that takes each track's place on the other strand.

    Parameters
    ----------
    names
        Names of the tracks.
    strands
        ``"+"``, ``"-"`` or ``"."`` for each; a track without a strand keeps its place.

    Returns
    -------
    For each track the index of its partner.

    Raises
    ------
    ConfigError
        If a stranded track has no partner: one of the other strand whose name differs by the word for the strand only, such as
        ``CTCF-motif.plus`` and ``CTCF-motif.minus``. Names them all.

    Examples
    --------
    >>> strand_partners(["RNA-plus", "CTCF", "RNA-minus"], ["+", ".", "-"])
    (2, 1, 0)
    """
    place = {(name.lower(), strand): index for index, (name, strand) in enumerate(zip(names, strands, strict=True))}
    partners, lonely = [], []
    for index, (name, strand) in enumerate(zip(names, strands, strict=True)):
        if strand == ".":
            partners.append(index)
            continue
        found = [
            place[twin, _OTHER[strand]] for twin in _twins(name.lower(), strand) if (twin, _OTHER[strand]) in place
        ]
        partners.append(found[0] if found else index)
        if not found:
            lonely.append(f"{name!r} ({strand})")
    if lonely:
        raise ConfigError(
            f"stranded tracks {', '.join(lonely)} have no partner on the other strand, whose place they take when a window is "
            "read backwards. Add it, with a name that differs by the word for the strand only (`X-plus`, `X-minus`), or set "
            "training.mirror = false."
        )
    return tuple(partners)


_OTHER = {"+": "-", "-": "+"}


def _twins(name: str, strand: str) -> list[str]:
    """Names that a track of the other strand may have."""
    pairs = [pair if strand == "+" else pair[::-1] for pair in _WORDS]
    return [
        name[: m.start()] + theirs + name[m.end() :]
        for ours, theirs in pairs
        for m in re.finditer(re.escape(ours), name)
    ]
