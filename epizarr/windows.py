"""The table of examples: splits of the genome, windows over them, and the tracks they need.

A *window* is ``n_bins`` consecutive contact bins of one chromosome; the network sees a *halo* of track context on both
sides of it. Windows are counted in chromosome-local bins, because a window may hang over a chromosome's or a
region's end; what hangs over is masked, never moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from epizarr.errors import RegionError, SplitError
from epizarr.genome import Assembly, BinGrid, Region

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Regions for training, validation and test.

    Parameters
    ----------
    train, validation, test
        Regions of one assembly. ``test`` may be empty while a model is developed; the others not.
    """

    train: tuple[Region, ...]
    validation: tuple[Region, ...]
    test: tuple[Region, ...] = ()

    @classmethod
    def parse(cls, assembly: Assembly, texts: Mapping[str, Sequence[str]]) -> "Splits":
        """Read region strings (``"chr3"``, ``"chr21:15,400,000-34,000,000"``) for each split.

        Raises
        ------
        SplitError
            If a region cannot be read or is off the assembly; all problems at once.
        """
        parsed: dict[str, tuple[Region, ...]] = {}
        problems = []
        for name in SPLIT_NAMES:
            regions = []
            for text in texts.get(name, ()):
                try:
                    regions.append(assembly.region(text))
                except RegionError as error:
                    problems.append(f"{name}: {error}")
            parsed[name] = tuple(regions)
        if problems:
            raise SplitError("splits: " + " ".join(problems))
        return cls(**parsed)

    def named(self) -> list[tuple[str, Region]]:
        """All regions with the name of their split."""
        return [(name, region) for name in SPLIT_NAMES for region in getattr(self, name)]

    def check(self, grid: BinGrid, *, margin_bp: int) -> "Splits":
        """Refuse splits that leak into each other or hold no window.

        Parameters
        ----------
        grid
            Grid of the contacts.
        margin_bp
            Least distance between regions of different splits on one chromosome: halo plus half of the network's band
            (0.7 + 0.5 = 1.2 Mb for the published networks). Exactly this much is allowed.

        Raises
        ------
        SplitError
            Names both regions, their distance, and the nearest legal border.
        """
        problems = [
            f"no {name} regions are given; a run needs them"
            for name in ("train", "validation")
            if not getattr(self, name)
        ]
        for name, region in self.named():
            lo, hi = grid.region_extent(region, "contained")
            if hi <= lo:
                problems.append(f"{name} {region} holds no whole bin of {grid.binsize:,} bp")
        ordered = sorted(self.named(), key=lambda item: item[1])
        for index, (name, region) in enumerate(ordered):
            for other_name, other in ordered[index + 1 :]:
                if other.chrom != region.chrom:
                    continue
                gap = other.start - region.end
                if gap < 0:
                    problems.append(
                        f"{name} {region} and {other_name} {other} overlap by {min(-gap, other.length):,} bp"
                    )
                elif name != other_name and gap < margin_bp:
                    legal = region.end + margin_bp
                    problems.append(
                        f"{name} {region} and {other_name} {other} are {gap:,} bp apart; the network sees "
                        f"{margin_bp:,} bp past a region, so start {other_name} at {legal:,} or later, or end {name} at "
                        f"{other.start - margin_bp:,} or earlier"
                    )
        if problems:
            raise SplitError("splits: " + "; ".join(problems) + ".")
        return self


@dataclass(frozen=True)
class Segment:
    """A region in chromosome-local bins: where windows may lie.

    ``lo`` and ``hi`` bound the bins that count; ``n_chrom_bins`` is the chromosome's length in bins.
    """

    chrom: str
    lo: int
    hi: int
    n_chrom_bins: int

    @classmethod
    def from_region(cls, grid: BinGrid, region: Region) -> "Segment":
        """Keep the whole bins of a region."""
        first, last = grid.chrom_extent(region.chrom)
        lo, hi = grid.region_extent(region, "contained")
        return cls(region.chrom, lo - first, hi - first, last - first)

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.hi - self.lo


def window_starts(segment: Segment, n_bins: int, phase: int = 0) -> np.ndarray:
    """Starts of the non-overlapping windows that cover a segment, chromosome-local int64; the first may be negative.

    Parameters
    ----------
    segment
        Bins to cover.
    n_bins
        Window length.
    phase
        The first window starts ``phase`` bins before the segment, ``0 <= phase < n_bins``.
    """
    if not 0 <= phase < n_bins:
        raise ValueError(f"phase {phase} must lie in [0, {n_bins}).")
    return np.arange(segment.lo - phase, segment.hi, n_bins, dtype=np.int64)


def track_extent(start: int, n_bins: int, stride: int, halo: int) -> tuple[int, int]:
    """Track bins cut for a window: ``[stride · start - halo, stride · (start + n_bins) + halo)``, chromosome-local.

    ``n_bins · stride + 2 · halo`` bins are cut (34,000 for 200 bins of the 10-kb network); the network reads the first
    ``(n_bins - 1) · stride + 2 · halo`` of them. A window's centre is the start of its bin, so the last ``stride`` bins are
    there only to make the cut symmetric (mirror).
    """
    return stride * start - halo, stride * (start + n_bins) + halo


def cut_padded(values: np.ndarray, first: int, lo: int, hi: int) -> np.ndarray:
    """Columns ``[lo, hi)`` of an array whose last axis starts at ``first``; NaN where there are none.

    Always a new float array, shape ``(..., hi - lo)``.
    """
    out = np.full((*values.shape[:-1], hi - lo), np.nan, dtype=values.dtype)
    a, b = max(lo, first), min(hi, first + values.shape[-1])
    if a < b:
        out[..., a - lo : b - lo] = values[..., a - first : b - first]
    return out
