"""Edits of raw tracks, composed in order, with the map between the coordinates before and after them.

What is edited are the stored, raw tracks of ONE chromosome, before any transform. Two families:

- edits of *values*, in named tracks, which leave every bin where it is: :class:`Mask`, :class:`Scale`, :class:`Copy`,
  :class:`Insert`. Their intervals are exact: a track bin that an interval covers in part changes by the share that is covered.
- edits of the *sequence*, in all tracks at once: :class:`Delete`, :class:`Duplicate`, :class:`Invert`, :class:`Translocate`.
  Their intervals begin and end on the grid of the tracks (100 bp): half a bin cannot be moved, and is refused. The last bin of
  a chromosome, which may be shorter, is moved as a whole one; the last place stays the short one.

Edits are applied in the order given, and each reads its coordinates on the chromosome that the edits before it have left. So
edits of values that come first are in the coordinates of the assembly. Missing bins stay missing in every edit but a copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from epizarr.errors import ConfigError, PerturbationError
from epizarr.genome import Region
from epizarr.strands import strand_partners

#: A warning is due where more of a track's signal than this is edited: the method is for local changes.
LARGEST_SHARE = 0.01
#: Flanks from which a local background is taken, on each side of the interval.
BACKGROUND_FLANK_BP = 25_000

#: What a mask puts in the place of the signal.
MaskLevel = Literal["mean", "background"]


@dataclass(frozen=True)
class CoordinateMap:
    """Where each track bin of an edited chromosome comes from.

    Parameters
    ----------
    n_before
        Track bins of the chromosome before the edits.
    source
        For each track bin after the edits, the bin before them that it shows; int64.
    is_reversed
        Whether it is read backwards; bool.
    """

    n_before: int
    source: np.ndarray
    is_reversed: np.ndarray

    @classmethod
    def identity(cls, n_bins: int) -> "CoordinateMap":
        """Map of a chromosome that nothing was moved on."""
        return cls(n_bins, np.arange(n_bins, dtype=np.int64), np.zeros(n_bins, dtype=bool))

    @property
    def n_after(self) -> int:
        """Track bins after the edits."""
        return len(self.source)

    @property
    def is_identity(self) -> bool:
        """Whether every bin is where it was."""
        return self.changed_bins() is None

    def changed_bins(self) -> tuple[int, int] | None:
        """Stretch of bins before the edits outside of which nothing is new but one shift; it may be empty, a new junction.

        None if nothing was moved. After the edits the stretch has the same first bin and as many bins behind it.
        """
        n = min(self.n_before, self.n_after)
        same_left = (self.source[:n] == np.arange(n)) & ~self.is_reversed[:n]
        right = self.source[self.n_after - n :] == np.arange(self.n_before - n, self.n_before)
        right &= ~self.is_reversed[self.n_after - n :]
        left = n if same_left.all() else int(np.argmin(same_left))
        n_right = n if right.all() else int(np.argmin(right[::-1]))
        if left == self.n_before == self.n_after:
            return None
        n_right = min(n_right, n - left)  # what both ends could claim goes to the left one
        return left, self.n_before - n_right

    def after_from_before(self, bins: np.ndarray) -> np.ndarray:
        """Bin after the edits that shows each bin before them, the first of several; float64, NaN where it is gone."""
        place = np.full(self.n_before, np.nan)
        place[self.source[::-1]] = np.arange(self.n_after)[::-1]
        bins = np.asarray(bins)
        inside = (bins >= 0) & (bins < self.n_before)
        return np.where(inside, place[np.clip(bins, 0, self.n_before - 1)], np.nan)

    def coarse_after_from_before(self, n_coarse: int, per_bin: int) -> np.ndarray:
        """Contact bin after the edits that shows the MIDDLE of each contact bin before them; float64, NaN where it is gone.

        Parameters
        ----------
        n_coarse
            Contact bins of the chromosome before the edits.
        per_bin
            Track bins in a contact bin.
        """
        middle = np.minimum(np.arange(n_coarse) * per_bin + per_bin // 2, self.n_before - 1)
        return np.floor(self.after_from_before(middle) / per_bin)


@dataclass(frozen=True, eq=False)
class ChromTracks:
    """Raw tracks of one chromosome.

    Parameters
    ----------
    chrom
        Name of the chromosome.
    length
        Its length in bp; the last track bin may be partial.
    binsize
        Width of a track bin in bp.
    names, strands
        Name of each track, and ``"+"``, ``"-"`` or ``"."``.
    signal
        (track, bin) float, NaN where not measured; a track that is not there is NaN throughout.
    blacklisted
        Bool (bin).
    """

    chrom: str
    length: int
    binsize: int
    names: tuple[str, ...]
    strands: tuple[str, ...]
    signal: np.ndarray
    blacklisted: np.ndarray

    @property
    def n_bins(self) -> int:
        """Number of track bins."""
        return int(self.signal.shape[-1])


@dataclass(frozen=True)
class TrackFacts:
    """What edits need to know beyond the chromosome.

    Parameters
    ----------
    means
        Mean of each whole track over its measured bins outside the blacklist.
    totals
        Sum of each whole track's absolute signal over the same bins.
    others
        The same chromosome of other cell types, by name, for copies.
    """

    means: Mapping[str, float] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, ChromTracks] = field(default_factory=dict)


@dataclass(frozen=True)
class ValueEdit:
    """An edit of the values of some tracks in an interval; ``tracks`` empty means all of them."""

    kind: ClassVar[str]
    tracks: tuple[str, ...]
    region: Region

    def values(self, tracks: ChromTracks, row: int, part: slice, facts: TrackFacts, moved: CoordinateMap) -> np.ndarray:
        """Values of bins that lie wholly in the interval, float64; NaN keeps a bin missing."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mask(ValueEdit):
    """Put a level in the place of the signal: the mean of the whole track, as the paper does, or the local background.

    The local background is the median of the measured bins within :data:`BACKGROUND_FLANK_BP` of the interval. A bin whose
    signal is missing stays missing.
    """

    kind = "mask"
    to: MaskLevel = "mean"

    def values(self, tracks: ChromTracks, row: int, part: slice, facts: TrackFacts, moved: CoordinateMap) -> np.ndarray:
        """See :class:`ValueEdit`."""
        signal = tracks.signal[row]
        level = np.nan
        if self.to == "mean":
            level = facts.means[tracks.names[row]]
        elif not np.isnan(signal[part]).all():
            flank = -(-BACKGROUND_FLANK_BP // tracks.binsize)
            around = np.concatenate([signal[max(0, part.start - flank) : part.start], signal[part.stop :][:flank]])
            known = around[~np.isnan(around)]
            if not len(known):
                raise PerturbationError(
                    f"{self}: no bin of {tracks.names[row]!r} was measured within {BACKGROUND_FLANK_BP:,} bp, so there is no "
                    "local background. Mask to the mean."
                )
            level = float(np.median(known))
        return np.where(np.isnan(signal[part]), np.nan, level)

    def __str__(self) -> str:
        return _text(self.kind, self.tracks, self.region, "" if self.to == "mean" else f"to={self.to}")


@dataclass(frozen=True)
class Scale(ValueEdit):
    """Multiply the signal by a factor of 0 or more."""

    kind = "scale"
    factor: float = 1.0

    def values(self, tracks: ChromTracks, row: int, part: slice, facts: TrackFacts, moved: CoordinateMap) -> np.ndarray:
        """See :class:`ValueEdit`."""
        return tracks.signal[row, part].astype(np.float64) * self.factor

    def __str__(self) -> str:
        return _text(self.kind, self.tracks, self.region, f"factor={self.factor:g}")


@dataclass(frozen=True)
class Copy(ValueEdit):
    """Take the signal of another cell type of the store at the same sequence; what it has not measured becomes missing."""

    kind = "copy"
    cell_type: str = ""

    def values(self, tracks: ChromTracks, row: int, part: slice, facts: TrackFacts, moved: CoordinateMap) -> np.ndarray:
        """See :class:`ValueEdit`."""
        other = facts.others[self.cell_type]
        rows = np.full(part.stop - part.start, other.names.index(tracks.names[row]))
        if moved.is_reversed[part].any():
            rows[moved.is_reversed[part]] = _partners(other)[rows[0]]
        return other.signal[rows, moved.source[part]].astype(np.float64)

    def __str__(self) -> str:
        return _text(self.kind, self.tracks, self.region, f"from={self.cell_type}")


@dataclass(frozen=True)
class Insert(ValueEdit):
    """Add a peak that fills the interval: a raised cosine of this height over what is there."""

    kind = "insert"
    height: float = 0.0

    def values(self, tracks: ChromTracks, row: int, part: slice, facts: TrackFacts, moved: CoordinateMap) -> np.ndarray:
        """See :class:`ValueEdit`."""
        place = (np.arange(part.start, part.stop) + 0.5) * tracks.binsize - self.region.start
        shape = 0.5 * (1 - np.cos(2 * np.pi * np.clip(place / self.region.length, 0, 1)))
        return tracks.signal[row, part].astype(np.float64) + self.height * shape

    def __str__(self) -> str:
        return _text(self.kind, self.tracks, self.region, f"height={self.height:g}")


@dataclass(frozen=True)
class SequenceEdit:
    """An edit of the sequence of an interval, in all tracks at once."""

    kind: ClassVar[str]
    region: Region

    def order(self, lo: int, hi: int, n: int, binsize: int) -> tuple[np.ndarray, np.ndarray]:
        """Present bins in their new order (int64), and which are read backwards; the interval is ``[lo, hi)`` of ``n`` bins."""
        raise NotImplementedError

    def __str__(self) -> str:
        return _text(self.kind, None, self.region, "")


@dataclass(frozen=True)
class Delete(SequenceEdit):
    """Take the interval out; what follows moves up by exactly its width."""

    kind = "delete"

    def order(self, lo: int, hi: int, n: int, binsize: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`SequenceEdit`."""
        return _joined((0, lo), (hi, n))


@dataclass(frozen=True)
class Duplicate(SequenceEdit):
    """Repeat the interval behind itself; what follows moves down by exactly its width."""

    kind = "duplicate"

    def order(self, lo: int, hi: int, n: int, binsize: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`SequenceEdit`."""
        return _joined((0, hi), (lo, n))


@dataclass(frozen=True)
class Invert(SequenceEdit):
    """Turn the interval round; stranded tracks change places in it (:func:`epizarr.strands.strand_partners`)."""

    kind = "invert"

    def order(self, lo: int, hi: int, n: int, binsize: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`SequenceEdit`."""
        order, is_reversed = _joined((0, n))
        order[lo:hi] = order[lo:hi][::-1]
        is_reversed[lo:hi] = True
        return order, is_reversed


@dataclass(frozen=True)
class Translocate(SequenceEdit):
    """Move the interval to before the base ``to`` of the same chromosome, given in coordinates from before the move."""

    kind = "translocate"
    to: int = 0

    def order(self, lo: int, hi: int, n: int, binsize: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`SequenceEdit`."""
        to = -(-self.to // binsize)
        if lo < to < hi:
            raise PerturbationError(f"{self}: an interval cannot be moved into itself. Give a position outside of it.")
        if to <= lo:
            return _joined((0, to), (lo, hi), (to, lo), (hi, n))
        return _joined((0, lo), (hi, to), (lo, hi), (to, n))

    def __str__(self) -> str:
        return _text(self.kind, None, self.region, f"to={self.to:,}")


Edit = ValueEdit | SequenceEdit


@dataclass(frozen=True, eq=False)
class EditedTracks:
    """What edits made of a chromosome.

    Parameters
    ----------
    tracks
        The edited tracks, on the edited chromosome.
    coordinates
        Where its bins come from.
    touched
        Bins AFTER the edits whose values an edit of values has set; bool.
    edited_share
        Share of each whole track's signal that was edited, by track, where the whole is known.
    """

    tracks: ChromTracks
    coordinates: CoordinateMap
    touched: np.ndarray
    edited_share: dict[str, float]

    def changed_stretches(self) -> list[tuple[int, int]]:
        """Stretches of bins AFTER the edits that hold all that is new; an empty one is a junction. Sorted, disjoint.

        Where something was moved it is one stretch, outside of which bins differ from those before by one shift at most.
        """
        edges = np.flatnonzero(np.diff(self.touched.astype(np.int8), prepend=0, append=0))
        stretches = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
        moved = self.coordinates.changed_bins()
        if moved is None:
            return stretches
        shift = self.coordinates.n_after - self.coordinates.n_before
        stretches.append((moved[0], moved[1] + shift))
        return [(min(a for a, _ in stretches), max(b for _, b in stretches))]


def apply_edits(tracks: ChromTracks, edits: Sequence[Edit], facts: TrackFacts | None = None) -> EditedTracks:
    """Apply edits one after the other.

    Holds the chromosome's tracks twice (2.5 M bins and 50 MB for five tracks of a human chromosome 1), and 18 bytes a bin.

    Parameters
    ----------
    tracks
        Raw tracks of the chromosome; left as they are.
    edits
        In order; see the module's text.
    facts
        What masks to the mean, copies and the shares need; only what the edits name must be there.

    Raises
    ------
    PerturbationError
        If an edit names a track that is not there, another chromosome, an interval off the edited chromosome, or, for an edit of
        the sequence, one off the grid of the tracks; or a stranded track has no partner to change places with.
    """
    facts = facts or TrackFacts()
    now = replace(tracks, signal=tracks.signal.copy(), blacklisted=tracks.blacklisted.copy())
    moved = CoordinateMap.identity(now.n_bins)
    touched = np.zeros(now.n_bins, dtype=bool)
    amounts = dict.fromkeys(tracks.names, 0.0)
    for edit in edits:
        _check_place(edit, now)
        if isinstance(edit, ValueEdit):
            lo, hi = edit.region.start // now.binsize, -(-edit.region.end // now.binsize)
            part, share = slice(lo, hi), _covered_share(edit.region, lo, hi, now)
            for row in _rows(edit, now, facts):
                before = now.signal[row, part].astype(np.float64)
                full = edit.values(now, row, part, facts, moved)
                amounts[now.names[row]] += float(np.nansum(np.fmax(np.abs(before), np.abs(full)) * share))
                # Where all of a bin is edited it gets the very value: share times value would round.
                now.signal[row, part] = np.where(share == 1, full, before + share * (full - before))
            touched[part] = True
            continue
        lo, hi = _grid_interval(edit, now)
        for row, name in enumerate(now.names):
            amounts[name] += float(np.nansum(np.abs(now.signal[row, lo:hi]), dtype=np.float64))
        order, is_reversed = edit.order(lo, hi, now.n_bins, now.binsize)
        signal = now.signal[:, order]
        if is_reversed.any():
            signal[:, is_reversed] = now.signal[_reversed_rows(edit, now)][:, order[is_reversed]]
        short = now.n_bins * now.binsize - now.length if order.max() == now.n_bins - 1 else 0
        now = replace(
            now,
            length=len(order) * now.binsize - short,
            signal=signal,
            blacklisted=now.blacklisted[order],
        )
        moved = CoordinateMap(moved.n_before, moved.source[order], moved.is_reversed[order] ^ is_reversed)
        touched = touched[order]
    shares = {
        name: amounts[name] / facts.totals[name] for name in tracks.names if facts.totals.get(name) and amounts[name]
    }
    return EditedTracks(now, moved, touched, shares)


def share_warnings(edited: EditedTracks) -> list[str]:
    """Sentences about tracks of whose signal more than :data:`LARGEST_SHARE` is edited."""
    return [
        f"{share:.1%} of the signal of {name!r} is edited: the method is for local changes, and the network has not seen tracks "
        "with so much moved or masked"
        for name, share in edited.edited_share.items()
        if share > LARGEST_SHARE
    ]


def with_linked_tracks(edits: Sequence[Edit], linked: Mapping[str, Sequence[str]]) -> list[Edit]:
    """Let edits of a track's values take other tracks with them.

    Parameters
    ----------
    edits
        Edits of any kind; those of the sequence and those of all tracks stay as they are.
    linked
        For a track, those that follow it: ``{"CTCF": ["RAD21", "DNase"]}``, since a CTCF site takes its cohesin and its open
        chromatin with it.
    """
    made: list[Edit] = []
    for edit in edits:
        if isinstance(edit, ValueEdit) and edit.tracks:
            names = [name for track in edit.tracks for name in (track, *linked.get(track, ()))]
            edit = replace(edit, tracks=tuple(dict.fromkeys(names)))
        made.append(edit)
    return made


def tracks_needed(edits: Sequence[Edit], names: Sequence[str]) -> tuple[str, ...]:
    """Tracks, of those there are, of whose whole signal a share can be edited: all of them if the sequence is."""
    named = [edit.tracks if isinstance(edit, ValueEdit) and edit.tracks else tuple(names) for edit in edits]
    return tuple(name for name in names if any(name in tracks for tracks in named))


def _check_place(edit: Edit, tracks: ChromTracks) -> None:
    region = edit.region
    if region.chrom != tracks.chrom:
        raise PerturbationError(
            f"{edit}: the edits before it are on {tracks.chrom}; edits of one call lie on one chromosome."
        )
    if not 0 <= region.start < region.end <= tracks.length:
        raise PerturbationError(
            f"{edit}: {tracks.chrom} has {tracks.length:,} bp at this point, and an interval needs 0 <= start < end <= that. "
            "Each edit reads its coordinates on the chromosome that the edits before it have left."
        )


def _covered_share(region: Region, lo: int, hi: int, tracks: ChromTracks) -> np.ndarray:
    """Share of each track bin ``[lo, hi)`` that the region covers, float64; a partial last bin is whole at its own end."""
    start = np.arange(lo, hi) * tracks.binsize
    end = np.minimum(start + tracks.binsize, tracks.length)
    return (np.minimum(end, region.end) - np.maximum(start, region.start)) / (end - start)


def _rows(edit: ValueEdit, tracks: ChromTracks, facts: TrackFacts) -> list[int]:
    unknown = [name for name in edit.tracks if name not in tracks.names]
    if unknown:
        raise PerturbationError(f"{edit}: there is no track {', '.join(unknown)}; there are {list(tracks.names)}.")
    absent = [name for name in edit.tracks if np.isnan(tracks.signal[tracks.names.index(name)]).all()]
    if absent:
        raise PerturbationError(
            f"{edit}: {', '.join(absent)} has no signal on {tracks.chrom}: it is missing, or fed as missing."
        )
    if isinstance(edit, Copy):
        other = facts.others.get(edit.cell_type)
        lacking = [name for name in edit.tracks or tracks.names if other is None or name not in other.names]
        if lacking:
            raise PerturbationError(f"{edit}: cell type {edit.cell_type!r} has no track {', '.join(lacking)}.")
    return [row for row, name in enumerate(tracks.names) if not edit.tracks or name in edit.tracks]


def _grid_interval(edit: SequenceEdit, tracks: ChromTracks) -> tuple[int, int]:
    """Interval in track bins; refused if it cuts one."""
    binsize, length = tracks.binsize, tracks.length
    ends = {edit.region.start, edit.region.end, *((edit.to,) if isinstance(edit, Translocate) else ())}
    off = sorted(x for x in ends if x % binsize and x != length)
    if off:
        near = ", ".join(f"{x // binsize * binsize:,} or {-(-x // binsize) * binsize:,}" for x in off)
        raise PerturbationError(
            f"{edit}: {', '.join(f'{x:,}' for x in off)} cuts a track bin of {binsize} bp, and bins are moved whole. Take {near}."
        )
    if isinstance(edit, Translocate) and not 0 <= edit.to <= length:
        raise PerturbationError(f"{edit}: {edit.to:,} is off {tracks.chrom}, which has {length:,} bp at this point.")
    lo, hi = edit.region.start // binsize, -(-edit.region.end // binsize)
    if isinstance(edit, Delete) and hi - lo == tracks.n_bins:
        raise PerturbationError(f"{edit}: nothing of {tracks.chrom} would be left.")
    return lo, hi


def _partners(tracks: ChromTracks) -> np.ndarray:
    return np.array(strand_partners(tracks.names, tracks.strands))


def _reversed_rows(edit: SequenceEdit, tracks: ChromTracks) -> np.ndarray:
    try:
        return _partners(tracks)
    except ConfigError as error:
        lonely = [f"{n!r} ({s})" for n, s in zip(tracks.names, tracks.strands, strict=True) if s != "."]
        raise PerturbationError(
            f"{edit}: stranded tracks change places where the sequence is turned, and of {', '.join(lonely)} one has no partner "
            "on the other strand. A network with one strand of a pair cannot say what an inversion does."
        ) from error


def _joined(*pieces: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    order = np.concatenate([np.arange(lo, hi, dtype=np.int64) for lo, hi in pieces])
    return order, np.zeros(len(order), dtype=bool)


def _text(kind: str, tracks: Sequence[str] | None, region: Region, option: str) -> str:
    named = [] if tracks is None else ["+".join(tracks) or "*"]
    return ":".join([kind, *named, str(region), *([option] if option else [])])
