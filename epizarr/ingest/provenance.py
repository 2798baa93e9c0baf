"""What groups are made from: hashes of the inputs, the entries that groups record of them, and how two records differ."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epizarr.errors import ManifestError, raise_all
from epizarr.ingest.groups import ContactsPlan, GroupPlan, TracksPlan
from epizarr.ingest.manifest import EntryFile
from epizarr.ingest.plan import Plan
from epizarr.ingest.toml_table import InputFile
from epizarr.io.files import file_sha256
from epizarr.io.ledger import WORK
from epizarr.io.places import Place, read_bytes, remove_tree, write_bytes

#: Where the inputs' hashes are remembered while an ingest lasts.
_HASHES = f"{WORK}/inputs"


@dataclass(frozen=True)
class _HashTask:
    store: Place
    path: Path


def hash_inputs(todo: Plan, run: Callable[..., list[Any]]) -> dict[Path, str]:
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


def forget_hashes(store: Place) -> None:
    """Drop what :func:`hash_inputs` remembered, once the store is whole."""
    if not isinstance(store, Path):
        remove_tree(store / _HASHES)
        return
    shutil.rmtree(store / _HASHES, ignore_errors=True)
    with suppress(OSError):  # another ingest may be at work on another group
        (store / WORK).rmdir()


def input_entries(group: GroupPlan, hashes: Mapping[Path, str]) -> list[dict[str, Any]]:
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


def inputs_content(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what decides values in entries of the ``inputs`` attribute: not where a file lay and what was said of it."""
    return [{k: v for k, v in entry.items() if k not in ("uri", "origin")} for entry in inputs]


def entries_by_name(inputs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Input entries by what a person calls them."""
    return {_said(entry): content for entry, content in zip(inputs, inputs_content(inputs), strict=True)}


def _said(entry: Mapping[str, Any]) -> str:
    whole = entry["kind"] if entry["kind"] == entry["name"] else f"{entry['kind']} {entry['name']!r}"
    return f"{whole}, replicate {entry['replicate']!r}" if "replicate" in entry else whole


def entry_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say how two entries of one input differ."""
    if before["sha256"] != now["sha256"]:
        return [f"its sha256 was {before['sha256'][:12]}…, is {now['sha256'][:12]}…"]
    old, new = before["parameters"], now["parameters"]
    return [f"`{k}` was {old.get(k)!r}, is {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
