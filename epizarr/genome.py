"""Assemblies, genome-wide bins and regions: the one place that knows where a chromosome begins.

A *bin grid* cuts every chromosome of an assembly into bins of ``binsize`` bp and concatenates them in
chromosome order. The last bin of a chromosome is partial, so the offset of a chromosome on a 100-bp grid
is *not* 100 times its offset on a 10-kb grid. All coordinates are 0-based and half-open.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.errors import AssemblyMismatchError, RegionError, SchemaError, nearest_match

#: Digits, or groups of three with one kind of separator: "1.5" is no number of bp.
_NUMBER = r"\d+|\d{{1,3}}(?:(?P<{0}>[,._])\d{{3}})(?:(?P={0})\d{{3}})*"
_REGION = re.compile(
    rf"^\s*(?P<chrom>[^\s:]+)\s*(?::\s*(?P<start>{_NUMBER.format('a')})?\s*-\s*(?P<end>{_NUMBER.format('b')})?\s*)?$"
)

#: Chromosomes of bins are kept as int16 codes.
_MAX_CHROMS = 2**15 - 1


class Region(NamedTuple):
    """One interval of a chromosome, 0-based and half-open, in bp."""

    chrom: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.chrom}:{self.start:,}-{self.end:,}"

    @property
    def length(self) -> int:
        """Length in bp."""
        return self.end - self.start

    def overlaps(self, other: "Region") -> bool:
        """Whether the two share a base."""
        return self.chrom == other.chrom and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Assembly:
    """Names and lengths of the chromosomes of one genome build, in the order of the store.

    Parameters
    ----------
    name
        Name of the build, such as ``"hg38"``.
    chrom_names
        Chromosome names, in order, without repeats.
    chrom_lengths
        Their lengths in bp, all positive.

    Raises
    ------
    AssemblyMismatchError
        If names repeat, a length is not positive, or the two tables differ in length.
    """

    name: str
    chrom_names: tuple[str, ...]
    chrom_lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.chrom_names) != len(self.chrom_lengths) or not self.chrom_names:
            raise AssemblyMismatchError(
                f"assembly {self.name!r}: {len(self.chrom_names)} names and {len(self.chrom_lengths)} lengths; "
                "one length per chromosome and at least one chromosome are needed."
            )
        repeated = sorted(c for c, n in Counter(self.chrom_names).items() if n > 1)
        if repeated:
            raise AssemblyMismatchError(f"assembly {self.name!r} lists {repeated} more than once.")
        short = [c for c, n in self if n <= 0]
        if short:
            raise AssemblyMismatchError(f"assembly {self.name!r}: the lengths of {short} are not positive.")

    @classmethod
    def from_table(cls, name: str, table: Iterable[tuple[str, int]]) -> "Assembly":
        """Build an assembly from (name, length in bp) pairs, in the order given."""
        rows = [(str(chrom), int(length)) for chrom, length in table]
        return cls(name, tuple(c for c, _ in rows), tuple(n for _, n in rows))

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> "Assembly":
        """Read the assembly of a store's group from its ``chrom_name`` and ``chrom_length`` tables."""
        return cls.from_table(
            str(ds.attrs["assembly"]), zip(ds["chrom_name"].values, ds["chrom_length"].values, strict=True)
        )

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(zip(self.chrom_names, self.chrom_lengths, strict=True))

    def __len__(self) -> int:
        return len(self.chrom_names)

    def __contains__(self, chrom: object) -> bool:
        return chrom in self.chrom_names

    def index(self, chrom: str) -> int:
        """Position of a chromosome in the assembly; an unknown name raises :class:`RegionError`."""
        try:
            return self.chrom_names.index(chrom)
        except ValueError:
            raise RegionError(
                f"chromosome {chrom!r} is not in assembly {self.name!r}, which has "
                f"{_shorten(self.chrom_names)}.{nearest_match(chrom, self.chrom_names)}"
            ) from None

    def length(self, chrom: str) -> int:
        """Length of a chromosome in bp."""
        return self.chrom_lengths[self.index(chrom)]

    def restrict(self, chroms: Sequence[str]) -> "Assembly":
        """Keep only the named chromosomes, in the order given here."""
        return Assembly.from_table(self.name, [(c, self.length(c)) for c in chroms])

    def region(self, text: str) -> Region:
        """Read ``"chr3"`` or ``"chr3:1,000,000-3,000,000"`` as a region of this assembly.

        A missing start is 0, a missing end the chromosome's length. An end past the chromosome is an error.
        """
        match = _REGION.match(text)
        if match is None:
            raise RegionError(
                f"region {text!r} cannot be read; write 'chr3' or 'chr3:1,000,000-3,000,000' (0-based, half-open, bp)."
            )
        chrom = match["chrom"]
        start, end = (re.sub(r"[,._]", "", match[side] or "") for side in ("start", "end"))
        region = Region(chrom, int(start or 0), int(end) if end else self.length(chrom))
        return self.check(region)

    def check(self, region: Region) -> Region:
        """Return ``region`` if it lies on the assembly and is not empty, else raise :class:`RegionError`."""
        length = self.length(region.chrom)
        if not 0 <= region.start < region.end <= length:
            raise RegionError(
                f"region {region}: {region.chrom} of {self.name!r} has {length:,} bp, and a region needs "
                f"0 <= start < end <= {length:,}."
            )
        return region

    def view(self, regions: Iterable[str | Region] | pd.DataFrame | None = None) -> pd.DataFrame:
        """Make a viewframe: a table of named, non-overlapping regions (bioframe's ``chrom, start, end, name``).

        Parameters
        ----------
        regions
            Region strings, :class:`Region` tuples, or a frame with columns ``chrom, start, end`` and,
            optionally, ``name``. Default: every whole chromosome.

        Returns
        -------
        Table with columns ``chrom``, ``start``, ``end``, ``name``, in the order given.

        Raises
        ------
        RegionError
            If a region is off the assembly, a name repeats, or two regions overlap.
        """
        names: list[str]
        if regions is None:
            parsed = [Region(c, 0, n) for c, n in self]
            names = list(self.chrom_names)
        elif isinstance(regions, pd.DataFrame):
            columns = regions[["chrom", "start", "end"]]
            parsed = [self.check(Region(str(c), int(s), int(e))) for c, s, e in columns.itertuples(index=False)]
            names = [str(n) for n in regions["name"]] if "name" in regions else [str(r) for r in parsed]
        else:
            parsed = [self.region(r) if isinstance(r, str) else self.check(r) for r in regions]
            names = [str(r) for r in parsed]
        if len(set(names)) < len(names):
            raise RegionError(f"view: region names repeat in {names}; give each region its own name.")
        ordered = sorted(parsed)
        for left, right in zip(ordered, ordered[1:], strict=False):
            if left.chrom == right.chrom and right.start < left.end:
                raise RegionError(f"view: {left} and {right} overlap; a view's regions must not.")
        return pd.DataFrame(parsed, columns=["chrom", "start", "end"]).assign(name=names)

    def disjoint(self, regions: Iterable[str | Region] | pd.DataFrame | None = None) -> list[Region]:
        """Regions that do not overlap, in the order given: the rows of :meth:`view`, which says what may be given and raises."""
        rows = self.view(regions)[["chrom", "start", "end"]].itertuples(index=False)
        return [Region(str(chrom), int(start), int(end)) for chrom, start, end in rows]

    def rest(self, regions: Iterable[Region], margin_bp: int = 0) -> list[Region]:
        """What is left of the chromosomes at least ``margin_bp`` away from regions, in order.

        Examples
        --------
        >>> Assembly("toy", ("a", "b"), (100, 50)).rest([Region("a", 40, 60)], margin_bp=10)
        [Region(chrom='a', start=0, end=30), Region(chrom='a', start=70, end=100), Region(chrom='b', start=0, end=50)]
        """
        taken = sorted(regions)
        left = []
        for chrom, length in self:
            start = 0
            for region in taken:
                if region.chrom == chrom:
                    if region.start - margin_bp > start:
                        left.append(Region(chrom, start, region.start - margin_bp))
                    start = max(start, region.end + margin_bp)
            if start < length:
                left.append(Region(chrom, start, length))
        return left

    def bins(self, binsize: int) -> "BinGrid":
        """Return the genome-wide grid of bins of ``binsize`` bp."""
        return BinGrid(self, binsize)


@dataclass(frozen=True)
class BinGrid:
    """All bins of one size, chromosomes concatenated; the last bin of each chromosome may be partial.

    Parameters
    ----------
    assembly
        Chromosomes and lengths.
    binsize
        Bin width in bp.

    Raises
    ------
    ValueError
        If ``binsize`` is not positive.
    AssemblyMismatchError
        If the assembly has more chromosomes than the codes of :meth:`chrom_code` can number.
    """

    assembly: Assembly
    binsize: int

    def __post_init__(self) -> None:
        if self.binsize < 1:
            raise ValueError(f"binsize must be a positive number of bp, not {self.binsize}.")
        if len(self.assembly) > _MAX_CHROMS:
            raise AssemblyMismatchError(
                f"assembly {self.assembly.name!r} has {len(self.assembly):,} chromosomes, and a store can number "
                f"{_MAX_CHROMS:,}. Keep those that matter (`chromosomes` in the manifest)."
            )

    @cached_property
    def chrom_n_bins(self) -> np.ndarray:
        """Number of bins of each chromosome, int64 (chroms)."""
        lengths = np.asarray(self.assembly.chrom_lengths, dtype=np.int64)
        return -(-lengths // self.binsize)

    @cached_property
    def chrom_offset(self) -> np.ndarray:
        """Bin id of each chromosome's first bin, int64 (chroms)."""
        return np.concatenate([[0], np.cumsum(self.chrom_n_bins)[:-1]]).astype(np.int64)

    @cached_property
    def n_bins(self) -> int:
        """Number of bins of the genome."""
        return int(self.chrom_n_bins.sum())

    def chrom_extent(self, chrom: str) -> tuple[int, int]:
        """First and one-past-last bin id of a chromosome."""
        index = self.assembly.index(chrom)
        first = int(self.chrom_offset[index])
        return first, first + int(self.chrom_n_bins[index])

    def chrom_code(self, bin_id: np.ndarray) -> np.ndarray:
        """Index of the chromosome that holds each bin, int16, same shape as ``bin_id``."""
        return (np.searchsorted(self.chrom_offset, np.asarray(bin_id), side="right") - 1).astype(np.int16)

    def extents(self, lo: int = 0, hi: int | None = None) -> list[tuple[str, int, int]]:
        """Cut the bins ``[lo, hi)`` at chromosome ends: a list of (chrom, first bin id, one past the last)."""
        hi = self.n_bins if hi is None else hi
        pieces = []
        for chrom in self.assembly.chrom_names:
            first, last = self.chrom_extent(chrom)
            if max(first, lo) < min(last, hi):
                pieces.append((chrom, max(first, lo), min(last, hi)))
        return pieces

    def locate(self, bin_id: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates of bins.

        Returns
        -------
        Chromosome code (int16), start and end in bp (int64), each of the shape of ``bin_id``. The end of a
        chromosome's last bin is the chromosome's length.
        """
        bin_id = np.asarray(bin_id, dtype=np.int64)
        code = self.chrom_code(bin_id)
        start = (bin_id - self.chrom_offset[code]) * self.binsize
        lengths = np.asarray(self.assembly.chrom_lengths, dtype=np.int64)
        return code, start, np.minimum(start + self.binsize, lengths[code])

    def region_extent(
        self, region: Region, keep: Literal["overlapping", "contained"] = "overlapping"
    ) -> tuple[int, int]:
        """Bins of a region as a half-open range of bin ids.

        Parameters
        ----------
        region
            Checked region (see :meth:`Assembly.region`).
        keep
            ``"overlapping"``: every bin that shares a base with the region (what one wants to look at).
            ``"contained"``: only bins that lie wholly inside (what may be trained or scored on). A partial
            last bin counts as inside if the region reaches the chromosome's end.
        """
        self.assembly.check(region)
        first, last = self.chrom_extent(region.chrom)
        if keep == "overlapping":
            return first + region.start // self.binsize, first - (-region.end // self.binsize)
        lo = first - (-region.start // self.binsize)
        at_end = region.end == self.assembly.length(region.chrom)
        hi = last if at_end else first + region.end // self.binsize
        return lo, max(lo, hi)

    def extent_region(self, lo: int, hi: int) -> Region:
        """Return the interval covered by bins ``[lo, hi)`` of one chromosome (inverse of :meth:`region_extent`)."""
        code, start, _ = self.locate(np.array(lo))
        last_code, _, end = self.locate(np.array(hi - 1))
        if code != last_code or hi <= lo:
            raise RegionError(f"bins [{lo}, {hi}) do not lie on one chromosome.")
        return Region(self.assembly.chrom_names[int(code)], int(start), int(end))

    def n_valid_diagonals(self, bin_id: np.ndarray) -> np.ndarray:
        """How many bins, from each bin on and itself included, are left on its chromosome, int64.

        Pixel (i, i + k) lies on the chromosome if and only if ``k < n_valid_diagonals(i)``.
        """
        bin_id = np.asarray(bin_id, dtype=np.int64)
        code = self.chrom_code(bin_id)
        return self.chrom_offset[code] + self.chrom_n_bins[code] - bin_id

    def finer_start(self, bin_id: int, finer: "BinGrid") -> tuple[int, int, int]:
        """Place of a bin's start on a finer grid whose bin width divides this one's.

        Returns
        -------
        The bin id on ``finer`` that begins where ``bin_id`` begins, and the first and one-past-last bin ids of its
        chromosome on ``finer``.

        Raises
        ------
        ValueError
            If the finer width does not divide this grid's.
        """
        if self.binsize % finer.binsize:
            raise ValueError(f"a grid of {finer.binsize} bp does not divide bins of {self.binsize} bp.")
        code, start, _ = self.locate(np.array(bin_id))
        chrom = self.assembly.chrom_names[int(code)]
        first, last = finer.chrom_extent(chrom)
        return first + int(start) // finer.binsize, first, last

    def table(self, lo: int = 0, hi: int | None = None) -> pd.DataFrame:
        """Bin table: ``chrom`` (categorical), ``start``, ``end`` of bins ``[lo, hi)``, indexed by bin id."""
        ids = np.arange(lo, self.n_bins if hi is None else hi)
        code, start, end = self.locate(ids)
        chrom = pd.Categorical.from_codes(code, categories=pd.Index(self.assembly.chrom_names))
        return pd.DataFrame({"chrom": chrom, "start": start, "end": end}, index=pd.Index(ids, name="bin_id"))


def grid_of(data: xr.Dataset | xr.DataArray) -> BinGrid:
    """Return the bin grid of an opened group, or of one of its variables along ``bin``.

    Raises
    ------
    SchemaError
        If ``data`` does not say: it was not opened with :func:`open_group`, or its attributes were dropped.
    """
    if isinstance(data, xr.Dataset) and "chrom_name" in data.variables and "binsize" in data.attrs:
        return Assembly.from_dataset(data).bins(int(data.attrs["binsize"]))
    text = data.attrs.get("bin_grid") if isinstance(data, xr.DataArray) else None
    if text is None:
        raise SchemaError(
            "this object does not say which bins it has. Use a dataset from open_contacts, open_tracks or open_prediction, or "
            "a variable of one with its attributes kept (xr.set_options(keep_attrs=True))."
        )
    said = json.loads(text)
    return Assembly.from_table(said["assembly"], said["chroms"].items()).bins(said["binsize"])


def check_same_assembly(what: str, found: dict[str, int], assembly: Assembly, *, rename_chroms: bool = False) -> None:
    """Refuse a file whose chromosomes are not those of the assembly.

    Parameters
    ----------
    what
        How to name the file in the message, for instance ``"track 'CTCF': ctcf.bw"``.
    found
        Names and lengths (bp) that the file gives, after any renaming.
    assembly
        What the store has. Chromosomes that only the file has are ignored (unplaced contigs); chromosomes that only
        the assembly has are allowed as long as one is shared and the file does not have them under another prefix.
    rename_chroms
        Whether a renaming was already applied; changes the advice only.

    Raises
    ------
    AssemblyMismatchError
        If no name is shared, a shared chromosome has another length, or some chromosomes differ by the prefix only.
    """
    shared = [c for c in assembly.chrom_names if c in found]
    if not shared:
        twins = _prefix_twins(found, assembly)
        example = ", ".join(f'"{theirs}" = "{ours}"' for theirs, ours in twins[:2])
        advice = (
            "Only the prefix differs: say so with `rename_chroms` for this file in the manifest, for example "
            f"{{ {example} }}."
            if twins and not rename_chroms
            else "The file belongs to another assembly, or `rename_chroms` maps the wrong way."
        )
        raise AssemblyMismatchError(
            f"{what} names its chromosomes {_shorten(list(found))}, assembly {assembly.name!r} names them "
            f"{_shorten(assembly.chrom_names)}. {advice}"
        )
    wrong = [(c, found[c], assembly.length(c)) for c in shared if found[c] != assembly.length(c)]
    if wrong:
        listed = "; ".join(f"{c} has {a:,} bp, {assembly.name} has {b:,}" for c, a, b in wrong[:4])
        raise AssemblyMismatchError(
            f"{what} was made on another assembly than {assembly.name!r}: {listed}"
            f"{' …' if len(wrong) > 4 else ''}. Use a file of {assembly.name!r}, or give the store the chromosome sizes "
            "of the file's own assembly."
        )
    # Left alone, these would read as not measured.
    twins = [(a, b) for a, b in _prefix_twins(found, assembly) if b not in found and a not in assembly]
    if twins:
        example = ", ".join(f'"{theirs}" = "{ours}"' for theirs, ours in twins[:2])
        raise AssemblyMismatchError(
            f"{what} shares {_shorten(shared)} with assembly {assembly.name!r}, and names {len(twins)} more with another prefix: "
            f"map them with `rename_chroms` for this file in the manifest, for example {{ {example} }}."
        )


def _strip_prefix(chrom: str) -> str:
    return chrom[3:] if chrom.lower().startswith("chr") else chrom


def _prefix_twins(found: dict[str, int], assembly: Assembly) -> list[tuple[str, str]]:
    """Chromosomes that have the same length and the same name but for its prefix: (file's name, assembly's name)."""
    return [(a, b) for b, n in assembly for a in found if _strip_prefix(a) == _strip_prefix(b) and found[a] == n]


def _shorten(names: Sequence[str], n: int = 4) -> str:
    return str(list(names[:n])) if len(names) <= n else f"{list(names[:n])[:-1]} … ({len(names)} in all)"
