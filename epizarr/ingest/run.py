"""Writing a store from a manifest: inspect, hash, compare, then one Dask task a few write units, and ``state`` last.

Every task leaves a mark in the group's ledger, with the hash of what it was made from. A run that was killed is finished by
the same command: tasks with a mark are left out, the rest writes what an undisturbed run would have written, to the byte.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from epizarr.cluster import run_tasks
from epizarr.errors import ManifestError, StoreError, TransformError, raise_all
from epizarr.ingest.computed import AKITA_FROM
from epizarr.ingest.groups import ContactsPlan, GroupPlan, TracksPlan
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.masks import BAD_BIN_RULE
from epizarr.ingest.normalizing import ComputedBands, computed_record, computed_weights, fit_tasks
from epizarr.ingest.plan import Plan, plan_ingest
from epizarr.ingest.prefetch import fetch_inputs
from epizarr.ingest.provenance import (
    entries_by_name,
    entry_changes,
    forget_hashes,
    hash_inputs,
    input_entries,
    inputs_content,
)
from epizarr.ingest.replicates import GroupCounts
from epizarr.ingest.tasks import (
    BlacklistTask,
    BlockTask,
    MarginalsTask,
    ShardTask,
    TotalTask,
    run_task,
    write_expected,
    write_masks,
)
from epizarr.io.ledger import Lease, Ledger, work_folder
from epizarr.io.places import Place, StorePath
from epizarr.io.remote import Cache
from epizarr.io.store import (
    create_group,
    create_store,
    finish_group,
    group_differences,
    grow_group,
    has_group,
    open_group,
    remove_group,
    sweep_group,
)
from epizarr.thinning import fraction_for_depth

#: Part of every task's hash: raised whenever the same inputs would give other bytes.
CODE_FORMAT = 1

#: Action of a group that was complete before.
_UNTOUCHED = "complete already"

#: Told what is being done, and how many of its tasks are done of how many.
IngestProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GroupReport:
    """What was done for one group: its path, the action in words, tasks run now and tasks found done."""

    path: str
    action: str
    n_run: int
    n_done_before: int


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did."""

    store: Place
    groups: tuple[GroupReport, ...] = field(default_factory=tuple)

    @property
    def written_cell_types(self) -> list[str]:
        """Cell types of which something was written."""
        return list(dict.fromkeys(g.path.split("/")[0] for g in self.groups if g.action != _UNTOUCHED))

    def __str__(self) -> str:
        lines = [f"{self.store}: {len(self.groups)} group{'s' * (len(self.groups) != 1)} complete"]
        lines += [
            f"  {g.path}: {g.action}" + (f", {g.n_run} tasks run, {g.n_done_before} found done" if g.n_run else "")
            for g in self.groups
        ]
        return "\n".join(lines)


def ingest_manifest(
    manifest_path: str | Path,
    store_path: StorePath,
    *,
    client: Any = None,
    n_threads: int | None = None,
    progress: IngestProgress | None = None,
    env: Mapping[str, str] | None = None,
    cache: Cache | None = None,
    take_over: bool = False,
    overwrite: bool = False,
) -> IngestReport:
    """Build a store from a manifest, add to it, or finish what was begun.

    The same command again resumes a run that was stopped, and does nothing to a store that is complete. New cell types,
    bin sizes and tracks are added without touching what is there.

    Parameters
    ----------
    manifest_path
        TOML file; see ``stores/template.toml``.
    store_path
        Store, made if it is not there: a folder, or an address such as ``s3://bucket/atlas.zarr``.
    client
        Dask client; None runs tasks in threads of this process. A task takes no more memory than the plan says.
    n_threads
        Threads without a client. Default: one a core.
    progress
        Called with (what is being done, tasks done, tasks in all).
    env
        Values of ``${NAME}`` in the manifest's paths.
    cache
        Where remote inputs are kept. Those that are not there yet are fetched first.
    take_over
        Whether to take over a stale lease of another host (:meth:`epizarr.io.ledger.Lease.acquire`).
    overwrite
        Whether a complete group whose inputs or parameters have changed is removed and made anew.

    Raises
    ------
    RemoteError
        If a remote input cannot be fetched.
    ManifestError
        If the manifest or one of its inputs cannot be used, or an input's sha256 is not the one stated.
    StoreError
        If a complete group was made from other inputs or parameters, and ``overwrite`` is not set.
    AssemblyMismatchError
        If the store has another assembly.
    LeaseError
        If another process writes to one of the groups.
    """
    manifest = load_manifest(manifest_path, env, cache=cache)
    if cache is not None:
        fetch_inputs(manifest, cache, progress)
    todo = plan_ingest(manifest, store_path, overwrite=overwrite)
    run = partial(_run, client=client, n_threads=n_threads, progress=progress)
    create_store(todo.store, todo.assembly)
    hashes = hash_inputs(todo, run)
    writers = [_GroupWriter(todo, group, hashes, run, take_over, overwrite) for group in todo.groups]
    if not overwrite:
        raise_all(StoreError, str(todo.store), [p for w in writers for p in w.conflicts()])
    reports = tuple(writer.write() for writer in writers)
    forget_hashes(todo.store)
    return IngestReport(todo.store, reports)


class _GroupWriter:
    """Brings one group from where it is to complete."""

    def __init__(
        self,
        todo: Plan,
        group: GroupPlan,
        hashes: Mapping[Path, str],
        run: Callable[..., list[Any]],
        take_over: bool,
        overwrite: bool,
    ) -> None:
        self.store = todo.store
        self.manifest = todo.manifest
        self.hashes = hashes
        self.run = run
        self.take_over = take_over
        self.overwrite = overwrite
        self.ledger = Ledger(work_folder(self.store, group.path))
        self.n_run = self.n_before = 0
        self._set_plan(group)

    def _set_plan(self, group: GroupPlan) -> None:
        self.plan = group
        self.inputs = input_entries(group, self.hashes)
        self.attrs: dict[str, Any] = {
            "binsize": group.grid.binsize,
            "epizarr_version": version("epizarr"),
            "manifest": self.manifest.text,
            "inputs": json.dumps(self.inputs, sort_keys=True),
        }
        if isinstance(group, ContactsPlan):
            self.attrs |= {"span_bp": self.manifest.span_bp, "bad_bin_rule": BAD_BIN_RULE}

    # -- comparing

    def conflicts(self) -> list[str]:
        """How a complete group departs from the manifest, beyond tracks to be added."""
        if self.plan.action not in ("none", "grow"):
            return []
        found = open_group(self.store, self.plan.path, self.plan.kind).attrs
        before, now = entries_by_name(json.loads(found["inputs"])), entries_by_name(self.inputs)
        added = [t.entry.name for t in self.plan.tracks[self.plan.n_old :]] if isinstance(self.plan, TracksPlan) else []
        changes = []
        for name in sorted({*before, *now}):
            if name not in now:
                changes.append(f"{name} is no longer there")
            elif name not in before:
                # A replicate of a track that is there already changes that track.
                if now[name]["kind"] != "track" or now[name]["name"] not in added:
                    changes.append(f"{name} is new")
            else:
                changes += [f"{name}: {c}" for c in entry_changes(before[name], now[name])]
        if found.get("span_bp") != self.attrs.get("span_bp"):
            changes.append(f"span_bp was {found.get('span_bp')}, is {self.attrs.get('span_bp')}")
        if not changes:
            return []
        return [
            f"group {self.plan.path!r} is complete and was made from something else: {'; '.join(changes)}. Put the old inputs "
            "back, ingest into another store, or pass --overwrite to make this group anew"
        ]

    # -- writing

    def write(self) -> GroupReport:
        """Do what is left to do."""
        group = self.plan.path
        # Asked again: another ingest may have changed this group while the ones before it were written.
        conflicts = self.conflicts()
        if not self.overwrite:
            raise_all(StoreError, str(self.store), conflicts)
        is_changed = self.plan.action == "replace" or bool(conflicts)
        if is_changed:
            self._set_plan(self.plan.made_anew())
        if self.plan.action == "none" and not is_changed and not self.ledger.is_there:
            return GroupReport(group, _UNTOUCHED, 0, 0)
        with Lease.acquire(self.store, group, self.take_over) as lease:
            self._check_not_overtaken()
            sweep_group(self.store, group)
            self.ledger.sweep_partial()
            if is_changed or self.plan.action in ("new", "resume"):
                report = self._make(lease, is_changed)
            elif self.plan.action == "grow" and isinstance(self.plan, TracksPlan):
                report = self._grow(lease, self.plan)
            else:
                report = self._settle()
            self.ledger.clear()
        return report

    def _check_not_overtaken(self) -> None:
        """Refuse to go on if another ingest has added tracks since this one was planned: both would use the same rows."""
        if isinstance(self.plan, TracksPlan) and self.plan.action in ("grow", "none"):
            there = [str(name) for name in open_group(self.store, self.plan.path, "tracks")["track"].values]
            if there != [t.entry.name for t in self.plan.tracks[: self.plan.n_old]]:
                raise StoreError(
                    f"{self.store}: group {self.plan.path!r} has the tracks {there} now: another ingest wrote to it since this "
                    "one looked. Start this one again."
                )

    def _make(self, lease: Lease, is_changed: bool) -> GroupReport:
        group, kind = self.plan.path, self.plan.kind
        what: dict[str, Any] = {"coords": self.plan.coords(), "arrays": self.plan.arrays, "attrs": self.attrs}
        was_there = has_group(self.store, group)
        # Marks must never outlive the chunks they speak of: they go first.
        if not was_there:
            self.ledger.clear()
        elif is_changed or group_differences(self.store, group, kind, **what) not in ([], ["zarr.json"]):
            self.ledger.clear()
            remove_group(self.store, group)
        create_group(self.store, group, kind, **what, update=True)
        last = self._write_tracks(self.plan) if isinstance(self.plan, TracksPlan) else self._write_contacts(self.plan)
        lease.check()
        finish_group(self.store, group, last)
        action = "made anew" if is_changed else "resumed" if was_there else "written"
        return GroupReport(group, action, self.n_run, self.n_before)

    def _grow(self, lease: Lease, tracks: TracksPlan) -> GroupReport:
        """Add tracks to a complete group: chunks beyond its end, then coordinates, attributes and the shape."""
        self._write_tracks(tracks)
        lease.check()
        sizes = {"track": len(tracks.tracks)}
        grow_group(self.store, tracks.path, "tracks", coords=tracks.track_coords(), sizes=sizes, attrs=self.attrs)
        added = [t.entry.name for t in tracks.tracks[tracks.n_old :]]
        return GroupReport(tracks.path, f"tracks added: {', '.join(added)}", self.n_run, self.n_before)

    def _settle(self) -> GroupReport:
        """Clear up after a run that was killed when the group was complete already."""
        if isinstance(self.plan, TracksPlan):
            # It may have begun to show tracks that this manifest does not have: back to those that are there.
            sizes = {"track": len(self.plan.tracks)}
            coords = self.plan.track_coords()
            grow_group(self.store, self.plan.path, "tracks", coords=coords, sizes=sizes, attrs=self.attrs)
        return GroupReport(self.plan.path, _UNTOUCHED, 0, 0)

    def _write_tracks(self, p: TracksPlan) -> dict[str, Any]:
        blacklist = [e for e in self.inputs if e["kind"] == "blacklist"]
        tasks: list[Any] = []
        if p.n_old == 0:
            digest = self._digest(blacklist)
            tasks = [BlacklistTask(self.store, p.path, digest, p.grid, p.intervals, lo, hi) for lo, hi in p.shards]
        for i in range(p.n_old, len(p.tracks)):
            track = p.tracks[i]
            digest = self._digest([e for e in self.inputs if e["kind"] == "track" and e["name"] == track.entry.name])
            uncovered = track.entry.uncovered
            tasks += [
                ShardTask(self.store, p.path, digest, p.grid, i, len(p.tracks), track.files, uncovered, lo, hi)
                for lo, hi in p.shards
            ]
        self._run_open(tasks, p.path)
        return {}

    def _write_contacts(self, p: ContactsPlan) -> dict[str, Any]:
        digest = self._digest(self.inputs)
        numbered = [(p.grid.assembly.index(chrom), chrom) for chrom in p.chroms]
        counts, last = self._thin_counts(p, digest, numbered)
        file, chroms = counts.merged.file, dict(counts.merged.chroms)
        marginals = [MarginalsTask(self.store, p.path, digest, file, i, c, chroms[c]) for i, c in numbered]
        computed = p.entry.computed
        fits, later_fits = fit_tasks(self.store, p.path, digest, p.grid, file, chroms, computed)
        self._run_open([*marginals, *fits], f"{p.path}: marginals and weights" if fits else f"{p.path}: marginals")
        self._run_open(later_fits, f"{p.path}: fits")
        normalisations = dict(sorted(p.entry.normalisations.items()))
        weights = computed_weights(self.store, p.path, p.grid, chroms, computed)
        write_masks(self.store, p.path, p.grid, file, chroms, normalisations, p.intervals, marginals, weights)
        ignored = p.ignore_diags
        others = ComputedBands(
            self.store, p.path, p.grid, p.n_diagonals, file, chroms, computed, ignored.get(AKITA_FROM, 0)
        )
        blocks = [
            BlockTask(
                self.store,
                p.path,
                digest,
                p.grid,
                p.n_diagonals,
                counts.replicates,
                p.weighted,
                others,
                ignored,
                lo,
                hi,
            )
            for lo, hi in p.blocks
        ]
        self._run_open(blocks, p.path)
        is_diagonal_empty = write_expected(self.store, p.path, p.grid, p.n_diagonals, p.summarised, blocks)
        last |= {
            "ignore_diags": json.dumps(ignored),
            "min_diagonal": max(*ignored.values(), int(is_diagonal_empty), 0),
        }
        if computed.variables:
            record = computed_record(self.store, p.path, p.grid, chroms, computed)
            last["computed"] = json.dumps(record, sort_keys=True)
        return last

    def _thin_counts(
        self, p: ContactsPlan, digest: str, chroms: Sequence[tuple[int, str]]
    ) -> tuple[GroupCounts, dict[str, Any]]:
        """Counts as the manifest wants them, and what the group's attributes say of it; a depth needs the contacts counted."""
        thin = p.entry.thin
        if thin is None:
            return p.counts, {}
        record = {"fraction": thin.fraction, "seed": thin.seed}
        if thin.depth is not None:
            tasks = [
                TotalTask(self.store, p.path, digest, replicate, place, i, chrom)
                for place, replicate in enumerate(p.counts.replicates)
                for i, chrom in chroms
            ]
            self._run_open(tasks, f"{p.path}: contacts")
            total = sum(float(self.ledger.load(task.name)["n_contacts"]) for task in tasks)
            try:
                record |= {"fraction": fraction_for_depth(thin.depth, total), "depth": thin.depth, "n_contacts": total}
            except TransformError as error:
                raise ManifestError(f"manifest {self.manifest.path}: {p.path}: {error}") from error
        counts = p.counts.thinned(cast(float, record["fraction"]), thin.seed)
        return counts, {"thinned": json.dumps(record, sort_keys=True)}

    def _digest(self, inputs: Sequence[Mapping[str, Any]]) -> str:
        """Hash of everything that decides a task's values."""
        p = self.plan
        content = {
            "code": CODE_FORMAT,
            "inputs": inputs_content(inputs),
            "assembly": list(p.grid.assembly),
            "binsize": p.grid.binsize,
            "arrays": {name: [s.shape, s.chunk_shape, s.shards] for name, s in p.arrays.items() if name == "count"},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _run_open(self, tasks: Sequence[Any], what: str) -> None:
        """Run the tasks that have no mark."""
        left = self.ledger.left(tasks)
        self.n_run += len(left)
        self.n_before += len(tasks) - len(left)
        self.run(run_task, left, what)
        self.ledger.check_done(left)


def _run(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    what: str,
    *,
    client: Any,
    n_threads: int | None,
    progress: IngestProgress | None,
) -> list[Any]:
    told = None if progress is None else partial(progress, what)
    return run_tasks(function, tasks, client=client, n_threads=n_threads, progress=told)
