"""The groups that an ingest writes, each with its arrays, tasks, memory and what decides its values.

:mod:`epizarr.ingest.plan` makes them from opened inputs, :mod:`epizarr.ingest.run` writes them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from epizarr.genome import BinGrid
from epizarr.ingest.manifest import CellTypeEntry, ContactsEntry, EntryFile, TrackEntry
from epizarr.ingest.replicates import GroupCounts
from epizarr.ingest.toml_table import InputFile
from epizarr.io.store import BAND_ROWS, TRACK_CHUNK, TRACK_SHARD, ArraySpec, grid_coords, group_path
from epizarr.schema import TARGET_VARIABLES, WEIGHTED_VARIABLES

#: Memory that reading takes besides its result, as the readers state it.
_READ_TRACK_BYTES, _READ_BAND_BYTES, _READ_MARGINALS_BYTES = 30 << 20, 250 << 20, 500 << 20
#: What the mean over a track's files takes for each bin; what reading takes more for each replicate merged, and for thinning.
_MEAN_BYTES, _MERGE_BYTES, _THIN_BYTES = 30, 160 << 20, 120 << 20
#: Memory of the fits, as :mod:`epizarr.normalize` states it: a pixel being balanced, a sampled pair, a pair with a q-value.
_KR_PIXEL_BYTES, _SAMPLED_PAIR_BYTES, _QVALUE_PAIR_BYTES = 45, 100, 64
#: A block task takes up to 8 chunks of rows, and at most this many pixels.
_BLOCK_CHUNKS, _BLOCK_PIXELS = 8, 1 << 23

Action = Literal["new", "resume", "grow", "replace", "none"]


@dataclass(frozen=True)
class TrackInput:
    """A track and, for each of its files, the names it gives to the store's chromosomes, ``{store: file}``."""

    entry: TrackEntry
    chroms: tuple[Mapping[str, str], ...]

    @property
    def files(self) -> tuple[tuple[Path, Mapping[str, str]], ...]:
        """Path and chromosome names of each file."""
        return tuple((f.input.path, chroms) for f, chroms in zip(self.entry.files, self.chroms, strict=True))

    def parameters(self, file: EntryFile) -> dict[str, Any]:
        """What besides a file's content decides the stored values."""
        e = self.entry
        return {
            "uncovered": e.uncovered,
            "strand": e.strand,
            "accession": e.accession,
            "rename_chroms": dict(sorted(file.rename_chroms.items())),
        }


@dataclass(frozen=True)
class TracksPlan:
    """One group of tracks. ``tracks`` are in the store's order: those it has first, then new ones as in the manifest."""

    cell: CellTypeEntry
    grid: BinGrid
    tracks: tuple[TrackInput, ...]
    intervals: pd.DataFrame
    blacklist: InputFile | None
    action: Action
    n_old: int

    kind = "tracks"

    @property
    def path(self) -> str:
        """Path of the group in the store."""
        return group_path("tracks", self.cell.name, self.grid.binsize)

    @property
    def inputs(self) -> list[InputFile]:
        """Every file the group is made from."""
        return [*([self.blacklist] if self.blacklist else []), *(f.input for t in self.tracks for f in t.entry.files)]

    @cached_property
    def arrays(self) -> dict[str, ArraySpec]:
        """Layout of the group's arrays, with all tracks."""
        n_bins = self.grid.n_bins
        return {
            "blacklisted": ArraySpec(("bin",), (n_bins,), "b1"),
            "signal": ArraySpec(("track", "bin"), (len(self.tracks), n_bins), "f4", (1, TRACK_CHUNK), (1, TRACK_SHARD)),
        }

    def made_anew(self) -> "TracksPlan":
        """Return the plan for writing the whole group, tracks in the manifest's order."""
        order = [entry.name for entry in self.cell.tracks]
        tracks = tuple(sorted(self.tracks, key=lambda t: order.index(t.entry.name)))
        return replace(self, tracks=tracks, n_old=0, action="replace")

    def coords(self) -> dict[str, np.ndarray]:
        """Coordinates of the group, with all tracks."""
        return grid_coords(self.grid, bin_table=False) | self.track_coords()

    def track_coords(self) -> dict[str, np.ndarray]:
        """Coordinates along ``track``."""
        entries = [t.entry for t in self.tracks]
        return {
            "track": np.array([e.name for e in entries], dtype=object),
            "accession": np.array([e.accession for e in entries], dtype=object),
            "strand": np.array([e.strand for e in entries], dtype=object),
        }

    @property
    def shards(self) -> list[tuple[int, int]]:
        """Bins of each write unit."""
        return _cuts(self.grid.n_bins, TRACK_SHARD)

    @property
    def n_tasks(self) -> int:
        """Number of tasks if none is done yet."""
        return (len(self.tracks) - self.n_old) * len(self.shards) + (0 if self.action == "grow" else len(self.shards))

    @property
    def peak_bytes(self) -> int:
        """Most memory of one task, in bytes: the shard, its compressed copy, and what reading takes."""
        n = min(TRACK_SHARD, self.grid.n_bins)
        return _READ_TRACK_BYTES + n * (4 + 4 + _MEAN_BYTES) + TRACK_SHARD * 4


@dataclass(frozen=True)
class ContactsPlan:
    """One group of contacts. ``counts`` are those of its files, before they are thinned."""

    cell: CellTypeEntry
    entry: ContactsEntry
    grid: BinGrid
    n_diagonals: int
    counts: GroupCounts
    intervals: pd.DataFrame
    blacklist: InputFile | None
    action: Action

    kind = "contacts"

    @property
    def path(self) -> str:
        """Path of the group in the store."""
        return group_path("contacts", self.cell.name, self.grid.binsize)

    @property
    def inputs(self) -> list[InputFile]:
        """Every file the group is made from."""
        files = [i for f in self.entry.files for i in (f.input, f.bins_file) if i is not None]
        return [*([self.blacklist] if self.blacklist else []), *files, *self.entry.computed.inputs.values()]

    @property
    def chroms(self) -> tuple[str, ...]:
        """Chromosomes of the store that the files list, in the store's order."""
        return tuple(self.counts.merged.chroms)

    @property
    def weighted(self) -> tuple[str, ...]:
        """Variables that are products of counts and weights."""
        computed = set(self.entry.computed.variables) & set(WEIGHTED_VARIABLES)
        return tuple(sorted(computed | set(self.entry.normalisations)))

    @property
    def bands(self) -> tuple[str, ...]:
        """All variables but ``count``."""
        return (*self.weighted, *(v for v in self.entry.computed.variables if v not in WEIGHTED_VARIABLES))

    @property
    def summarised(self) -> tuple[str, ...]:
        """Variables that get an ``expected_*``: counts, and what a model may be trained on."""
        return ("count", *(v for v in self.bands if v in TARGET_VARIABLES))

    @property
    def ignore_diags(self) -> dict[str, int]:
        """Diagonals that each variable leaves out; only variables that may leave some."""
        found = self.counts.merged.file.info.normalisations
        stored = {variable: found[name].ignore_diags for variable, name in self.entry.normalisations.items()}
        return dict(sorted((stored | self.entry.computed.ignore_diags).items()))

    def parameters(self, file: EntryFile) -> dict[str, Any]:
        """What besides a file's content decides the stored values."""
        e = self.entry
        optional = {"chrom": file.chrom, "extent": e.extent, "thin": None if e.thin is None else asdict(e.thin)}
        found = self.counts.merged.file.info.normalisations
        return {
            "group": file.input.group,
            "normalisations": {v: [n, found[n].convention] for v, n in sorted(e.normalisations.items())},
            "rename_chroms": dict(sorted(file.rename_chroms.items())),
            # Not there where not used, so that groups of before these keys compare as equal.
            **({"computed": e.computed.settings()} if e.computed.variables else {}),
            **{key: value for key, value in optional.items() if value is not None},
        }

    @cached_property
    def arrays(self) -> dict[str, ArraySpec]:
        """Layout of the group's arrays."""
        n, k, n_chroms = self.grid.n_bins, self.n_diagonals, len(self.grid.assembly)
        arrays = {"bad_bin": ArraySpec(("bin",), (n,), "b1")}
        stored_as = self.entry.normalisations
        n_replicates = len(self.counts.replicate_names)
        if n_replicates:
            shape = (n_replicates, n, k)
            arrays["count_replicate"] = ArraySpec(("replicate", "bin", "diagonal"), shape, "f4", (1, BAND_ROWS, k))
        for name in ("count", *self.bands):
            arrays[name] = ArraySpec(("bin", "diagonal"), (n, k), "f4", (BAND_ROWS, k))
            if name in self.summarised:
                arrays[f"expected_{name}"] = ArraySpec(("chroms", "diagonal"), (n_chroms, k), "f8", attrs={"of": name})
                arrays[f"n_valid_{name}"] = ArraySpec(("chroms", "diagonal"), (n_chroms, k), "i8", attrs={"of": name})
            if name in self.weighted:
                origin = {"stored_as": stored_as[name]} if name in stored_as else {"computed_by": "epizarr"}
                attrs = origin | {"ignore_diags": self.ignore_diags[name]}
                arrays[f"weight_{name}"] = ArraySpec(("bin",), (n,), "f8", attrs=attrs)
        return arrays

    def coords(self) -> dict[str, np.ndarray]:
        """Coordinates of the group."""
        names = self.counts.replicate_names
        own = {"replicate": np.array(names, dtype=object)} if names else {}
        return grid_coords(self.grid, self.n_diagonals) | own

    def made_anew(self) -> "ContactsPlan":
        """Return the plan for writing the whole group again."""
        return replace(self, action="replace")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Bins of each task: several chunks of rows."""
        n_chunks = max(1, min(_BLOCK_CHUNKS, _BLOCK_PIXELS // (BAND_ROWS * self.n_diagonals)))
        return _cuts(self.grid.n_bins, n_chunks * BAND_ROWS)

    @property
    def n_tasks(self) -> int:
        """Number of tasks if none is done yet: totals, marginals and fits by chromosome, blocks, masks and expected values."""
        computed = self.entry.computed
        n_fits = ("ice" in computed.variables) + (computed.hicdcplus.features == "fasta")
        n_fits += len(self.chroms) * (bool(computed.chrom_weights) + bool(computed.hicdcplus_variables))
        n_totals = len(self.chroms) * len(self.entry.files) * self.has_depth
        return n_totals + len(self.chroms) + n_fits + len(self.blocks) + 2

    @property
    def has_depth(self) -> bool:
        """Whether the counts are thinned to a depth, so that there must be a total first."""
        return self.entry.thin is not None and self.entry.thin.depth is not None

    @property
    def peak_bytes(self) -> int:
        """Most memory of one task, in bytes."""
        lo, hi = self.blocks[0]
        computed = self.entry.computed
        longest = int(self.grid.chrom_n_bins.max())
        n_replicates = len(self.counts.replicate_names)
        thinning = _THIN_BYTES if self.entry.thin is not None else 0
        merging = thinning + n_replicates * _MERGE_BYTES
        # Counts and one balanced band at a time, in both widths, and the masks; float64 bands are temporary.
        a_pixel = 4 + 8 + 8 + 4 + 4 + 2
        if computed.hicdcplus_variables:
            a_pixel += 5 * 8 + 4 * len(computed.hicdcplus_variables)
        if n_replicates:
            a_pixel += 4  # replicates are read one after another, beside their sum
        block = _READ_BAND_BYTES + thinning + (hi - lo) * self.n_diagonals * a_pixel
        if "akita" in computed.variables:
            windows = (hi - lo + 4 * self.n_diagonals) * 2 * self.n_diagonals
            block += n_replicates * _MERGE_BYTES + windows * (4 + 8 + 8 + 8)
        peaks = [block, _READ_MARGINALS_BYTES + merging + 3 * 8 * longest]
        if computed.chrom_weights:
            # How many pixels a chromosome has is not known before it is read. A pixel takes a byte of the file at least.
            share = sum(f.input.path.stat().st_size for f in self.entry.files) * longest / self.grid.n_bins
            peaks.append(merging + int(min(longest**2 / 2, share) * _KR_PIXEL_BYTES))
        if computed.hicdcplus_variables:
            pairs = longest * (computed.hicdcplus.settings.max_distance // self.grid.binsize + 1)
            q_bytes = _QVALUE_PAIR_BYTES if "hicdcplus_qvalue" in computed.variables else 0
            sampled = computed.hicdcplus.settings.sample_fraction * _SAMPLED_PAIR_BYTES
            peaks.append(_READ_BAND_BYTES + merging + int(pairs * (4 + 2 + sampled + q_bytes)))
        if computed.hicdcplus.features == "fasta":
            peaks.append(150_000_000 + int(2.2 * max(self.grid.assembly.chrom_lengths)))
        return max(peaks)


GroupPlan = TracksPlan | ContactsPlan


def _cuts(n: int, step: int) -> list[tuple[int, int]]:
    return [(lo, min(lo + step, n)) for lo in range(0, n, step)]
