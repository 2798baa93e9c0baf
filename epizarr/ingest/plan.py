"""What an ingest will do, worked out before anything is written: groups, arrays, tasks, and refusals.

:func:`plan_ingest` opens every input and reads its header only. What it cannot know is what the inputs hash to, so changed
inputs of a finished group are found by :func:`epizarr.ingest.run.ingest_manifest`, still before anything is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from epizarr.errors import EpizarrError, ManifestError, nearest_match, raise_all
from epizarr.genome import Assembly
from epizarr.ingest.groups import Action, ContactsPlan, GroupPlan, TrackInput, TracksPlan
from epizarr.ingest.manifest import CellTypeEntry, ContactsEntry, EntryFile, Manifest
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
from epizarr.io.store import check_store_path, group_attrs, group_path, has_group, open_group


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


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
