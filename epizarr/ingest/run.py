"""Writing a store from a manifest: inspect, hash, compare, then one Dask task a few write units, and ``state`` last.

Every task leaves a mark in the group's ledger, with the hash of what it was made from. A run that was killed is finished by
the same command: tasks with a mark are left out, the rest writes what an undisturbed run would have written, to the byte.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from epizarr.cluster import run_tasks
from epizarr.errors import ManifestError, StoreError, TransformError, raise_all
from epizarr.ingest.computed import AKITA_FROM
from epizarr.ingest.manifest import EntryFile, load_manifest
from epizarr.ingest.masks import BAD_BIN_RULE
from epizarr.ingest.normalizing import ComputedBands, computed_record, computed_weights, fit_tasks
from epizarr.ingest.plan import ContactsPlan, GroupPlan, Plan, TracksPlan, plan_ingest
from epizarr.ingest.prefetch import fetch_inputs
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
from epizarr.ingest.toml_table import InputFile
from epizarr.io.files import file_sha256
from epizarr.io.ledger import WORK, Lease, Ledger, work_folder
from epizarr.io.places import Place, StorePath, read_bytes, remove_tree, write_bytes
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
#: Where the inputs' hashes are remembered while an ingest lasts.
_HASHES = f"{WORK}/inputs"

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
    hashes = _hash_inputs(todo, run)
    writers = [_GroupWriter(todo, group, hashes, run, take_over, overwrite) for group in todo.groups]
    if not overwrite:
        raise_all(StoreError, str(todo.store), [p for w in writers for p in w.conflicts()])
    reports = tuple(writer.write() for writer in writers)
    _forget_hashes(todo.store)
    return IngestReport(todo.store, reports)


# ------------------------------------------------------------------------------------------------------------------ inputs


@dataclass(frozen=True)
class _HashTask:
    store: Place
    path: Path


def _hash_inputs(todo: Plan, run: Callable[..., list[Any]]) -> dict[Path, str]:
    """SHA-256 of every input, checked against the manifest's."""
    inputs = list({i.path: i for g in todo.groups for i in g.inputs}.values())
    hashes = dict(
        zip(
            [i.path for i in inputs],
            run(_hash_input, [_HashTask(todo.store, i.path) for i in inputs], "sha256"),
            strict=True,
        )
    )
    stated = [i for g in todo.groups for i in g.inputs if i.sha256 is not None]
    wrong = [
        f"{i.uri} has sha256 {hashes[i.path]}, the manifest says {i.sha256}. The file is damaged or another one; fetch it again, "
        "or correct the manifest"
        for i in dict.fromkeys(stated)
        if hashes[i.path] != i.sha256
    ]
    for group in todo.groups:
        entries = [group.entry] if isinstance(group, ContactsPlan) else [t.entry for t in group.tracks]
        wrong += [p for entry in entries for p in _same_replicates(group.path, entry.files, hashes)]
    raise_all(ManifestError, f"manifest {todo.manifest.path}", wrong)
    return hashes


def _same_replicates(group: str, files: Sequence[EntryFile], hashes: Mapping[Path, str]) -> list[str]:
    """Replicates that are one file under two names: their noise would be the same, and their sum no merged experiment."""
    by_content: dict[tuple[str, str], list[EntryFile]] = {}
    for file in files:
        by_content.setdefault((hashes[file.input.path], file.input.group), []).append(file)
    return [
        f"{group}: replicates {', '.join(repr(f.name) for f in same)} have the same content ({same[0].input.uri}); list each "
        "experiment once"
        for same in by_content.values()
        if len(same) > 1
    ]


def _hash_input(task: _HashTask) -> str:
    """Hash of a file, remembered in the store's work folder until the ingest is over."""
    stat = task.path.stat()
    known_as = hashlib.sha256(str(task.path.resolve()).encode()).hexdigest()[:16]
    memo = f"{_HASHES}/{known_as}.json"
    key = [str(task.path.resolve()), stat.st_size, stat.st_mtime_ns]
    with suppress(OSError, ValueError):
        found = json.loads(read_bytes(task.store, memo))
        if found["key"] == key:
            return str(found["sha256"])
    sha256 = file_sha256(task.path)
    with suppress(OSError):  # the folder goes when another ingest into this store ends
        write_bytes(task.store, memo, json.dumps({"key": key, "sha256": sha256}).encode())
    return sha256


def _forget_hashes(store: Place) -> None:
    if not isinstance(store, Path):
        remove_tree(store / _HASHES)
        return
    shutil.rmtree(store / _HASHES, ignore_errors=True)
    with suppress(OSError):  # another ingest may be at work on another group
        (store / WORK).rmdir()


# ------------------------------------------------------------------------------------------------------------------ groups


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
        self.inputs = _input_entries(group, self.hashes)
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
        before, now = _by_name(json.loads(found["inputs"])), _by_name(self.inputs)
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
                changes += [f"{name}: {c}" for c in _changes(before[name], now[name])]
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
            "inputs": _content(inputs),
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


def _input_entries(group: GroupPlan, hashes: Mapping[Path, str]) -> list[dict[str, Any]]:
    """Entries of the ``inputs`` attribute: nothing in them depends on where this machine keeps its files."""

    def entry(kind: str, name: str, file: InputFile, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "kind": kind,
            "name": name,
            "uri": file.uri,
            "sha256": hashes[file.path],
            "size": file.path.stat().st_size,
            "origin": file.origin,
            "parameters": dict(parameters),
        }

    def of_replicate(made: dict[str, Any], file: EntryFile) -> dict[str, Any]:
        # Only where there are several, so that groups of before there were replicates compare as equal.
        return made | ({"replicate": file.name} if file.name else {})

    entries = [] if group.blacklist is None else [entry("blacklist", "blacklist", group.blacklist, {})]
    if isinstance(group, TracksPlan):
        return entries + [
            of_replicate(entry("track", t.entry.name, f.input, t.parameters(f)), f)
            for t in group.tracks
            for f in t.entry.files
        ]
    for file in group.entry.files:
        entries.append(of_replicate(entry("contacts", "contacts", file.input, group.parameters(file)), file))
        if file.bins_file is not None:
            entries.append(of_replicate(entry("bins", "bins", file.bins_file, {}), file))
    return entries + [entry(kind, kind, file, {}) for kind, file in group.entry.computed.inputs.items()]


def _content(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k not in ("uri", "origin")} for entry in inputs]


def _by_name(inputs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Input entries by what a person calls them."""
    return {_said(entry): content for entry, content in zip(inputs, _content(inputs), strict=True)}


def _said(entry: Mapping[str, Any]) -> str:
    whole = entry["kind"] if entry["kind"] == entry["name"] else f"{entry['kind']} {entry['name']!r}"
    return f"{whole}, replicate {entry['replicate']!r}" if "replicate" in entry else whole


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if before["sha256"] != now["sha256"]:
        return [f"its sha256 was {before['sha256'][:12]}…, is {now['sha256'][:12]}…"]
    old, new = before["parameters"], now["parameters"]
    return [f"`{k}` was {old.get(k)!r}, is {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
