"""What an ingest will do, worked out before anything is written: groups, arrays, tasks, and refusals.

:func:`plan_ingest` opens every input and reads its header only. What it cannot know is what the inputs hash to, so changed
inputs of a finished group are found by :func:`epizarr.ingest.run.ingest_manifest`, still before anything is written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from epizarr.errors import EpizarrError, ManifestError, nearest_match, raise_all
from epizarr.genome import Assembly, BinGrid
from epizarr.ingest.manifest import CellTypeEntry, ContactsEntry, EntryFile, Manifest, TrackEntry
from epizarr.ingest.prefetch import require_fetched
from epizarr.ingest.replicates import CountsFile, GroupCounts
from epizarr.ingest.toml_table import InputFile
from epizarr.io.balance import require_ice_extent
from epizarr.io.bed import read_intervals
from epizarr.io.bigwig import inspect_bigwig
from epizarr.io.chromsizes import check_file_assembly, open_assembly
from epizarr.io.contacts import open_contacts_file
from epizarr.io.fasta import inspect_fasta, match_assembly
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import (
    BAND_ROWS,
    TRACK_CHUNK,
    TRACK_SHARD,
    ArraySpec,
    check_store_path,
    grid_coords,
    group_attrs,
    group_path,
    has_group,
    open_group,
)
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
            block += (hi - lo + 4 * self.n_diagonals) * 2 * self.n_diagonals * (
                4 + 8 + 8 + 8
            ) + n_replicates * _MERGE_BYTES
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


@dataclass(frozen=True)
class Plan:
    """What an ingest will do. ``str(plan)`` is the table that ``--dry-run`` prints; :meth:`table` gives its rows."""

    manifest: Manifest
    store: Place
    assembly: Assembly
    groups: tuple[GroupPlan, ...]

    @property
    def n_tasks(self) -> int:
        """Number of tasks if none is done yet."""
        return sum(g.n_tasks for g in self.groups if g.action != "none")

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays before compression."""
        return sum(a.n_bytes for g in self.groups for a in g.arrays.values())

    @property
    def peak_bytes(self) -> int:
        """Most memory of one task, in bytes; as many tasks run at a time as there are threads or workers."""
        return max((g.peak_bytes for g in self.groups if g.action != "none"), default=0)

    def table(self) -> list[dict[str, Any]]:
        """One row an array: group, what will be done, array, dims, shape, dtype, chunks, shards and bytes."""
        return [
            {
                "group": g.path,
                "action": _ACTIONS[g.action],
                "array": name,
                "dims": spec.dims,
                "shape": spec.shape,
                "dtype": np.dtype(spec.dtype).name,
                "chunks": spec.chunk_shape,
                "shards": spec.shards,
                "n_bytes": spec.n_bytes,
            }
            for g in self.groups
            for name, spec in g.arrays.items()
        ]

    def __str__(self) -> str:
        n_chroms = len(self.assembly)
        lines = [f"{self.store}: assembly {self.assembly.name}, {n_chroms} chromosome{'s' * (n_chroms != 1)}"]
        for g in self.groups:
            lines.append(
                f"{g.path}: {_ACTIONS[g.action]}"
                + (f"; {g.n_tasks} tasks, at most {_size(g.peak_bytes)} each" if g.action != "none" else "")
            )
            for name, spec in g.arrays.items():
                cut = f"chunks {_shape(spec.chunk_shape)}" + (
                    f" in shards {_shape(spec.shards)}" if spec.shards else ""
                )
                lines.append(
                    f"  {name:<26} {np.dtype(spec.dtype).name:<8} {_shape(spec.shape):<16} {cut:<40} {_size(spec.n_bytes):>9}"
                )
        lines.append(
            f"{_size(self.n_bytes)} before compression, {self.n_tasks} tasks, at most {_size(self.peak_bytes)} of memory each"
        )
        return "\n".join(lines)


_ACTIONS: dict[Action, str] = {
    "new": "to be written",
    "resume": "begun, to be finished",
    "grow": "complete, tracks to be added",
    "replace": "complete, to be removed and written again",
    "none": "complete; inputs will be compared",
}


def plan_ingest(manifest: Manifest, store: StorePath, *, overwrite: bool = False) -> Plan:
    """Open every input of a manifest and work out what to write.

    Parameters
    ----------
    manifest
        From :func:`~epizarr.ingest.manifest.load_manifest`.
    store
        Store to make or to add to. Nothing is written.
    overwrite
        Whether a complete group may be made anew where it does not agree with the manifest.

    Raises
    ------
    RemoteError
        If remote inputs have not been fetched yet: planning fetches nothing.
    ManifestError
        Once, with every problem of every input: a missing or damaged file, another assembly, names that do not match, a bin
        size or normalisation that is not there, a track that the store has and the manifest has not.
    AssemblyMismatchError, StoreError
        If the store exists and has another assembly.
    """
    store = place_of(store)
    require_fetched(manifest)
    sizes = None if manifest.chrom_sizes is None else manifest.chrom_sizes.path
    chromosomes = manifest.chromosomes
    assembly = open_assembly(manifest.assembly, chrom_sizes=sizes, chromosomes=chromosomes)
    check_store_path(store, assembly)
    problems: list[str] = []
    blacklist, intervals = _blacklist(manifest, assembly, problems)
    groups: list[GroupPlan] = []
    for cell in manifest.cell_types:
        if cell.tracks:
            grid = assembly.bins(manifest.track_binsize)
            tracks = _inspect_tracks(cell, assembly, problems)
            if tracks is not None:
                path = group_path("tracks", cell.name, grid.binsize)
                action, ordered, n_old = _compare_tracks(store, path, tracks, overwrite, problems)
                groups.append(TracksPlan(cell, grid, ordered, intervals, blacklist, action, n_old))
        for entry in cell.contacts:
            counts = _inspect_contacts(cell, entry, assembly, problems)
            _inspect_feature_files(cell, entry, assembly, problems)
            if counts is not None:
                grid = assembly.bins(entry.binsize)
                action = _action(store, group_path("contacts", cell.name, grid.binsize))
                n_diagonals = manifest.span_bp // entry.binsize
                groups.append(ContactsPlan(cell, entry, grid, n_diagonals, counts, intervals, blacklist, action))
    raise_all(ManifestError, f"manifest {manifest.path}", problems)
    return Plan(manifest, store, assembly, tuple(groups))


def _blacklist(manifest: Manifest, assembly: Assembly, problems: list[str]) -> tuple[InputFile | None, pd.DataFrame]:
    empty = pd.DataFrame({"chrom": [], "start": [], "end": []})
    if manifest.blacklist is None:
        return None, empty
    try:
        return manifest.blacklist, read_intervals(manifest.blacklist.path, assembly)
    except EpizarrError as error:
        problems.append(f"blacklist: {error}")
        return manifest.blacklist, empty


def _inspect_tracks(cell: CellTypeEntry, assembly: Assembly, problems: list[str]) -> list[TrackInput] | None:
    """Open each track's file; None if one of them cannot be used."""
    tracks, before = [], len(problems)
    for entry in cell.tracks:
        chroms = []
        for file in entry.files:
            try:
                chroms.append(check_file_assembly(inspect_bigwig(file.input.path), assembly, file.rename_chroms))
            except EpizarrError as error:
                problems.append(f"cell type {cell.name!r}, track {entry.name!r}{_replicate(file)}: {error}")
        tracks.append(TrackInput(entry, tuple(chroms)))
    return tracks if len(problems) == before else None


def _inspect_contacts(
    cell: CellTypeEntry, entry: ContactsEntry, assembly: Assembly, problems: list[str]
) -> GroupCounts | None:
    """Open the files of contacts, and see that they can be read as one; None if they cannot."""
    where = f"cell type {cell.name!r}, contacts at {entry.binsize} bp"
    files, before = [], len(problems)
    for file in entry.files:
        try:
            files.append(_open_counts(entry, file, assembly))
        except EpizarrError as error:
            problems.append(f"{where}{_replicate(file)}: {error}")
    if len(problems) > before:
        return None
    try:
        counts = GroupCounts(tuple(files), None if entry.extent is None else assembly.region(entry.extent))
        merged = counts.merged
        if "ice" in entry.computed.variables:
            # What is not the file's own counts holds no contacts between chromosomes. The fraction may not be known yet.
            derived = merged.file.info.derived if entry.thin is None else "thinned"
            require_ice_extent(replace(merged.file.info, derived=derived), entry.computed.ice.parameters.extent)
        merged.file.require_normalisations(sorted(set(entry.normalisations.values())), list(merged.chroms.values()))
    except EpizarrError as error:
        problems.append(f"{where}: {error}")
        return None
    return counts


def _open_counts(entry: ContactsEntry, file: EntryFile, assembly: Assembly) -> CountsFile:
    old_names = {new: old for old, new in file.rename_chroms.items()}
    opened = open_contacts_file(
        str(file.input.path) + (f"::{file.input.group}" if file.input.group else ""),
        entry.binsize,
        convention=entry.weights_are,
        bins_path=None if file.bins_file is None else file.bins_file.path,
        chrom=file.chrom,
        # Sparse text does not tell how long its chromosomes are.
        chrom_lengths={old_names.get(chrom, chrom): length for chrom, length in assembly},
    )
    return CountsFile(file.name, opened, check_file_assembly(opened.info, assembly, file.rename_chroms))


def _replicate(file: EntryFile) -> str:
    """How a message names a file of an entry, after the entry."""
    return f", replicate {file.name!r}" if file.name else ""


def _inspect_feature_files(cell: CellTypeEntry, entry: ContactsEntry, assembly: Assembly, problems: list[str]) -> None:
    """Refuse a sequence or a mappability that does not belong to the assembly."""
    h, inputs = entry.computed.hicdcplus, entry.computed.inputs
    checks: dict[str, Callable[[Path], object]] = {
        "fasta": lambda path: match_assembly(inspect_fasta(path), assembly, h.rename_fasta),
        "mappability": lambda path: check_file_assembly(inspect_bigwig(path), assembly, h.rename_mappability),
    }
    for kind, file in inputs.items():
        try:
            checks[kind](file.path)
        except EpizarrError as error:
            problems.append(f"cell type {cell.name!r}, contacts at {entry.binsize} bp, {kind}: {error}")
    problems += [
        f"cell type {cell.name!r}, contacts at {entry.binsize} bp: 'leave_out' names {chrom!r}, which is not in assembly "
        f"{assembly.name!r}.{nearest_match(chrom, assembly.chrom_names)}"
        for chrom in h.leave_out
        if chrom not in assembly
    ]


def _action(store: Place, group: str) -> Action:
    if not has_group(store, group):
        return "new"
    return "none" if group_attrs(store, group).get("state") == "complete" else "resume"


def _compare_tracks(
    store: Place, group: str, tracks: Sequence[TrackInput], overwrite: bool, problems: list[str]
) -> tuple[Action, tuple[TrackInput, ...], int]:
    """What to do with a group of tracks, its tracks in the store's order, and how many of them it has already."""
    action = _action(store, group)
    if action != "none":
        return action, tuple(tracks), 0
    there = [str(name) for name in open_group(store, group, "tracks")["track"].values]
    by_name = {t.entry.name: t for t in tracks}
    missing = [name for name in there if name not in by_name]
    if missing and overwrite:
        return "replace", tuple(tracks), 0
    if missing:
        problems.append(
            f"the store's group {group!r} has tracks {missing} that the manifest does not list. Put them back, or pass "
            "--overwrite to make the group anew without them"
        )
    known = [by_name[name] for name in there if name in by_name]
    new = [t for t in tracks if t.entry.name not in there]
    return "grow" if new else "none", (*known, *new), len(known)


def _cuts(n: int, step: int) -> list[tuple[int, int]]:
    return [(lo, min(lo + step, n)) for lo in range(0, n, step)]


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
