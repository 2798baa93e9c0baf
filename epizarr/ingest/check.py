"""What is in a store, and is it whole and true to its inputs.

:func:`check_store` reads every value once, in write units, and reports; it changes nothing. ``deep`` also computes again what
was computed (balanced contacts, expected values) and, given the manifest, reads samples of the inputs again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from epizarr.bands import balance_band, band_on_chromosome
from epizarr.cluster import Progress, run_tasks
from epizarr.errors import EpizarrError
from epizarr.genome import Assembly, BinGrid
from epizarr.ingest.groups import ContactsPlan, TracksPlan
from epizarr.ingest.manifest import EntryFile, Manifest, load_manifest
from epizarr.ingest.masks import good_diagonal_sums
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.tasks import per_bin_reach, read_counts, read_track
from epizarr.io.ledger import Ledger, lease_owner, work_folder
from epizarr.io.places import Place, StorePath, place_of, tree_bytes
from epizarr.io.remote import Cache
from epizarr.io.store import (
    BAND_ROWS,
    GroupInfo,
    file_sha256,
    grid_coords,
    grid_of,
    list_groups,
    open_group,
    read_region,
    store_assembly,
    write_unit,
)
from epizarr.schema import HICDCPLUS_VARIABLES, SIGNED_VARIABLES, WEIGHTED_VARIABLES
from epizarr.transforms import mean_of_sums

Severity = Literal["error", "warning", "info"]

#: Write units of each array that a deep check reads again from the inputs, spread over the genome.
N_SAMPLES = 8

_COUNTS = ("count", "count_replicate")
_BANDS = (*_COUNTS, *WEIGHTED_VARIABLES, *HICDCPLUS_VARIABLES, "akita", "contact")


@dataclass(frozen=True)
class Finding:
    """One thing that was found. An "error" means that the store is not to be trusted there."""

    severity: Severity
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"


@dataclass(frozen=True)
class GroupDescription:
    """One line of ``epizarr info``: a group, the names of its tracks or bands, its sizes and its bytes on disk."""

    info: GroupInfo
    names: tuple[str, ...]
    sizes: Mapping[str, int]
    n_bytes: int


@dataclass(frozen=True)
class StoreDescription:
    """What is in a store; ``str()`` is what ``epizarr info`` prints."""

    path: Place
    assembly: Assembly
    groups: tuple[GroupDescription, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.path}: assembly {self.assembly.name}, {len(self.assembly)} chromosomes, {len(self.groups)} groups"
        ]
        for g in self.groups:
            sizes = " × ".join(f"{n:,} {d}" for d, n in g.sizes.items())
            state = "" if g.info.state == "complete" else f" [{g.info.state}]"
            lines.append(f"  {g.info.path}{state}: {', '.join(g.names)} ({sizes}; {g.n_bytes / 1e6:,.1f} MB on disk)")
        return "\n".join(lines)


def describe_store(path: StorePath) -> StoreDescription:
    """List what a store holds, finished or not. Reads metadata only.

    Raises
    ------
    StoreNotFoundError
        If there is no store at ``path``.
    """
    path = place_of(path)
    groups = []
    for info in list_groups(path):
        ds = open_group(path, info.path, info.kind, allow_incomplete=True)
        if info.kind == "tracks":
            names = tuple(str(name) for name in ds["track"].values) if "track" in ds.variables else ()
        else:
            names = tuple(str(n) for n in ds.data_vars if n in _BANDS) or tuple(map(str, ds.data_vars))
        sizes = {str(d): n for d, n in ds.sizes.items() if d != "chroms"}
        n_bytes = tree_bytes(path / info.path)
        groups.append(GroupDescription(info, names, sizes, n_bytes))
    return StoreDescription(path, store_assembly(path), tuple(groups))


def check_store(
    path: StorePath,
    deep: bool = False,
    *,
    manifest: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    cache: Cache | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Look whether a store is whole: structure, completeness, missing values and ranges.

    Parameters
    ----------
    path
        Store.
    deep
        Also compute again what the store computed from its own counts and weights.
    manifest, env, cache
        With ``deep``: manifest of the inputs, which are hashed and, where the hash is the recorded one, read again in
        :data:`N_SAMPLES` places of each array.
    client, n_threads, progress
        As for :func:`epizarr.cluster.run_tasks`.

    Returns
    -------
    Findings, errors first. Shares of missing values and ranges are findings of severity "info".

    Raises
    ------
    StoreNotFoundError, SchemaError
        If there is no store, or one of another major format version.
    """
    path = place_of(path)
    assembly = store_assembly(path)
    found: list[Finding] = []
    tasks: list[_UnitTask] = []
    datasets: dict[str, xr.Dataset] = {}
    for info in list_groups(path):
        found += _check_completeness(path, info)
        if info.state != "complete":
            continue
        try:
            ds = open_group(path, info.path, info.kind)
        except EpizarrError as error:
            found.append(Finding("error", info.path, str(error)))
            continue
        datasets[info.path] = ds
        found += _check_tables(ds, info, assembly)
        tasks += [t for name in ds.data_vars for t in _unit_tasks(path, info, ds, str(name))]
    summaries = run_tasks(_summarise, tasks, client=client, n_threads=n_threads, progress=progress)
    found += _check_values(tasks, summaries)
    if deep:
        for info in list_groups(path):
            if info.kind == "contacts" and info.path in datasets:
                found += _check_derived(path, info, datasets[info.path])
        if manifest is None:
            found.append(
                Finding("info", str(path), "the inputs were not read again: give their manifest to compare with them")
            )
        else:
            found += _check_inputs(path, load_manifest(manifest, env, cache=cache), datasets)
    rank = {"error": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda f: rank[f.severity])


# --------------------------------------------------------------------------------------------------------------- structure


def _check_completeness(path: Place, info: GroupInfo) -> Iterator[Finding]:
    owner = lease_owner(path, info.path)
    if owner is not None and not owner.is_dead:
        yield Finding("warning", info.path, f"is being written by {owner}")
        return
    if info.state != "complete":
        yield Finding("error", info.path, "is not complete; run the command that made it again to finish it")
    elif Ledger(work_folder(path, info.path)).is_there:
        yield Finding(
            "warning", info.path, "has a work folder left by a killed run; run the command that made it again"
        )
    if isinstance(path, Path) and any((path / info.path).rglob("*.partial")):
        yield Finding("warning", info.path, "has *.partial files left by a killed run")


def _check_tables(ds: xr.Dataset, info: GroupInfo, assembly: Assembly) -> Iterator[Finding]:
    """Whether the tables of a group are those that its assembly and bin size give."""
    if "chrom_name" not in ds.variables:
        return
    grid = grid_of(ds)
    if grid.assembly != assembly:
        yield Finding(
            "error", info.path, f"is on another assembly ({grid.assembly.name!r}) than the store ({assembly.name!r})"
        )
        return
    n_diagonals = ds.sizes.get("diagonal")
    for name, wanted in grid_coords(grid, n_diagonals, bin_table="chrom" in ds.variables).items():
        if not np.array_equal(ds[name].values, wanted):
            yield Finding("error", info.path, f"{name} is not what the assembly gives at {grid.binsize} bp")
    if ds.sizes["bin"] != grid.n_bins:
        yield Finding("error", info.path, f"has {ds.sizes['bin']} bins, the assembly {grid.n_bins}")


# ------------------------------------------------------------------------------------------------------------------ values


@dataclass(frozen=True)
class _UnitTask:
    """One write unit of one array. ``series`` names what is summed up together: a band, or one track."""

    path: Place
    info: GroupInfo
    variable: str
    series: str
    region: dict[str, slice]
    grid: BinGrid | None


@dataclass(frozen=True)
class _Summary:
    """Of the values of a unit that lie on a chromosome: how many there are, how they are, and which rows are lost."""

    n: int
    n_nan: int
    n_inf: int
    low: float
    high: float
    #: Chromosome codes of rows with missing and of rows with present values, where rows should be one or the other.
    with_nan: frozenset[int]
    with_value: frozenset[int]
    #: Why the unit could not be read, or empty.
    damage: str = ""


def _unit_tasks(path: Place, info: GroupInfo, ds: xr.Dataset, name: str) -> Iterator[_UnitTask]:
    variable = ds[name]
    if variable.dtype.kind != "f":
        return
    unit = write_unit(path, info.path, name)
    grid = grid_of(ds) if "diagonal" in variable.dims and "bin" in variable.dims else None
    first = str(variable.dims[0])
    rows = range(0, variable.sizes[first], unit[first])
    is_named = first in ("track", "replicate")
    along = "bin" if is_named else first
    for start in rows:
        series = f"{name} {ds[first].values[start]!r}" if is_named else name
        outer = {first: slice(start, min(start + unit[first], variable.sizes[first]))}
        if along == first:
            yield _UnitTask(path, info, name, series, outer, grid)
            continue
        for lo in range(0, variable.sizes[along], unit[along]):
            yield _UnitTask(path, info, name, series, outer | {along: slice(lo, lo + unit[along])}, grid)


def _summarise(task: _UnitTask) -> _Summary:
    try:
        values = read_region(task.path, task.info.path, task.variable, task.region)
    except (RuntimeError, ValueError, OSError) as error:  # what the codecs and the file system raise
        return _Summary(0, 0, 0, np.inf, -np.inf, frozenset(), frozenset(), f"{task.region}: {error}")
    with_nan: frozenset[int] = frozenset()
    with_value: frozenset[int] = frozenset()
    if task.grid is not None:
        values = values.reshape(-1, values.shape[-1])  # of one replicate
        lo = task.region["bin"].start
        inside = band_on_chromosome(task.grid, lo, lo + len(values), values.shape[1])
        code = np.broadcast_to(task.grid.chrom_code(np.arange(lo, lo + len(values)))[:, None], values.shape)[inside]
        values = values[inside]
        missing = np.isnan(values)
        with_nan, with_value = frozenset(code[missing].tolist()), frozenset(code[~missing].tolist())
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)
    return _Summary(
        values.size, int(np.isnan(values).sum()), int(np.isinf(values).sum()), low, high, with_nan, with_value
    )


def _check_values(tasks: list[_UnitTask], summaries: list[_Summary]) -> Iterator[Finding]:
    series: dict[tuple[GroupInfo, str], list[int]] = {}
    for i, task in enumerate(tasks):
        series.setdefault((task.info, task.series), []).append(i)
    for (info, name), members in series.items():
        parts = [summaries[i] for i in members]
        task = tasks[members[0]]
        n, n_nan, n_inf = (sum(getattr(p, key) for p in parts) for key in ("n", "n_nan", "n_inf"))
        low, high = min(p.low for p in parts), max(p.high for p in parts)
        where = f"{info.path}/{name}"
        for damage in (p.damage for p in parts if p.damage):
            yield Finding("error", where, f"cannot be read at {damage}")
        if n_inf:
            yield Finding("error", where, f"{n_inf} values are infinite")
        if task.variable in _BANDS and task.variable not in SIGNED_VARIABLES and info.kind == "contacts" and low < 0:
            yield Finding("error", where, f"contacts are negative, down to {low:g}")
        if task.variable in _COUNTS and task.grid is not None:
            # Counts are missing on chromosomes that the input does not list, and nowhere else.
            lost = frozenset().union(*(p.with_nan for p in parts)) & frozenset().union(*(p.with_value for p in parts))
            names = [task.grid.assembly.chrom_names[c] for c in sorted(lost)]
            if lost:
                yield Finding("error", where, f"values are missing on part of {', '.join(names)}: chunks were lost")
        if n and n_nan == n and not name.startswith("expected_"):
            yield Finding("warning", where, "every value is missing")
        elif n and (task.variable in _BANDS or task.variable == "signal"):
            yield Finding("info", where, f"{n_nan / n:.1%} missing, {low:g} to {high:g}")


# -------------------------------------------------------------------------------------------------------------------- deep


def _check_derived(path: Place, info: GroupInfo, ds: xr.Dataset) -> Iterator[Finding]:
    """Whether balanced contacts and expected values follow from the stored counts and weights."""
    grid, n_diagonals = grid_of(ds), ds.sizes["diagonal"]
    ignored = json.loads(ds.attrs["ignore_diags"])
    reach = partial(per_bin_reach, path, info.path, grid=grid, n_diagonals=n_diagonals)
    variables = [name for name in _BANDS if f"expected_{name}" in ds]
    shape = (len(grid.assembly), n_diagonals)
    sums = {name: np.zeros(shape) for name in variables}
    numbers = {name: np.zeros(shape, dtype=np.int64) for name in variables}
    wrong = dict.fromkeys(variables, 0)
    n_other_sums = 0
    for lo in range(0, grid.n_bins, BAND_ROWS):
        for _, first, last in grid.extents(lo, min(lo + BAND_ROWS, grid.n_bins)):
            rows, chrom = {"bin": slice(first, last)}, int(grid.chrom_code(np.array(first)))
            count = read_region(path, info.path, "count", rows)
            if "count_replicate" in ds:
                total = read_region(path, info.path, "count_replicate", rows).sum(axis=0)
                n_other_sums += int(np.count_nonzero((total != count) & ~(np.isnan(total) & np.isnan(count))))
            good = ~reach("bad_bin", first=first, last=last, beyond=True)
            for name in variables:
                band = count
                if name != "count":
                    band = read_region(path, info.path, name, rows)
                if name in WEIGHTED_VARIABLES:
                    weight = reach(f"weight_{name}", first=first, last=last, beyond=np.nan)
                    again = balance_band(count, weight, ignored[name]).astype(np.float32)
                    wrong[name] += int(np.count_nonzero((band != again) & ~(np.isnan(band) & np.isnan(again))))
                part, number = good_diagonal_sums(band, good, ignored.get(name, 0))
                sums[name][chrom] += part
                numbers[name][chrom] += number
    if n_other_sums:
        yield Finding("error", f"{info.path}/count", f"{n_other_sums} pixels are not the sum over replicates")
    for name in variables:
        where = f"{info.path}/{name}"
        if wrong[name]:
            yield Finding("error", where, f"{wrong[name]} pixels are not count × weight × weight")
        if not np.array_equal(ds[f"n_valid_{name}"].values, numbers[name]):
            yield Finding("error", where, f"n_valid_{name} is not the number of valid pixels")
        elif not np.allclose(
            ds[f"expected_{name}"].values, mean_of_sums(sums[name], numbers[name]), rtol=1e-9, equal_nan=True
        ):
            yield Finding("error", where, f"expected_{name} is not the mean over valid pixels")


def _check_inputs(path: Place, manifest: Manifest, datasets: Mapping[str, xr.Dataset]) -> Iterator[Finding]:
    """Whether samples of the store are what its inputs say."""
    for group in plan_ingest(manifest, path, overwrite=True).groups:
        ds = datasets.get(group.path)
        if ds is None:
            continue
        recorded = {(e["kind"], e["name"], e.get("replicate", "")): e for e in json.loads(ds.attrs["inputs"])}
        if isinstance(group, ContactsPlan):
            if (yield from _are_recorded(group.path, recorded, ("contacts", "contacts"), group.entry.files)):
                yield from _check_counts(path, group, ds)
            continue
        names = [str(name) for name in ds["track"].values]
        for track in group.tracks:
            name = track.entry.name
            if name in names:
                where = f"{group.path}/signal {name!r}"
                if (yield from _are_recorded(where, recorded, ("track", name), track.entry.files)):
                    yield from _check_track(path, group, names.index(name), where, track)


def _are_recorded(
    where: str, recorded: Mapping[tuple[str, str, str], Any], what: tuple[str, str], files: Sequence[EntryFile]
) -> Any:
    """Whether the files of an entry are those the store was made from; a finding for each that is not."""
    other = [
        file.input.path.name
        for file in files
        if recorded.get((*what, file.name), {}).get("sha256") != file_sha256(file.input.path)
    ]
    for name in other:
        yield Finding(
            "warning", where, f"{name} is not the file that this was made from (its sha256 differs): not compared"
        )
    n_made_from = sum(key[:2] == what for key in recorded)
    if n_made_from > len(files):
        yield Finding(
            "warning", where, f"was made from {n_made_from} files, the manifest lists {len(files)}: not compared"
        )
    return not other and n_made_from <= len(files)


def _check_counts(path: Place, group: ContactsPlan, ds: xr.Dataset) -> Iterator[Finding]:
    counts = group.counts
    if "thinned" in ds.attrs:
        record = json.loads(ds.attrs["thinned"])
        counts = counts.thinned(record["fraction"], record["seed"])
    files = {replicate.name: replicate for replicate in counts.replicates}
    # As the store has them, whatever the manifest's order.
    names = [str(name) for name in ds["replicate"].values] if "replicate" in ds.variables else list(files)
    uris = ", ".join(file.input.uri for file in group.entry.files)
    starts = _samples(group.grid.n_bins, BAND_ROWS)
    for lo in starts:
        rows = slice(lo, min(lo + BAND_ROWS, group.grid.n_bins))
        parts = [read_counts(group.grid, files[name], group.n_diagonals, rows.start, rows.stop) for name in names]
        stored = {"count": read_region(path, group.path, "count", {"bin": rows})}
        again = {"count": np.sum(parts, axis=0, dtype=np.float32)}
        if "replicate" in ds.variables:
            of_each = read_region(path, group.path, "count_replicate", {"bin": rows})
            stored |= {f"count_replicate {name!r}": part for name, part in zip(names, of_each, strict=True)}
            again |= {f"count_replicate {name!r}": part for name, part in zip(names, parts, strict=True)}
        for name, values in again.items():
            if not np.array_equal(stored[name], values, equal_nan=True):
                yield Finding(
                    "error", f"{group.path}/{name}", f"bins [{rows.start}, {rows.stop}) are not what {uris} holds"
                )
    yield Finding("info", f"{group.path}/count", f"{len(starts)} blocks compared with {uris}")


def _check_track(path: Place, group: TracksPlan, index: int, where: str, track: Any) -> Iterator[Finding]:
    step = 1 << 14
    uris = ", ".join(file.input.uri for file in track.entry.files)
    starts = _samples(group.grid.n_bins, step)
    for lo in starts:
        hi = min(lo + step, group.grid.n_bins)
        again = read_track(group.grid, track.files, track.entry.uncovered, lo, hi)
        region = {"track": slice(index, index + 1), "bin": slice(lo, hi)}
        if not np.array_equal(read_region(path, group.path, "signal", region)[0], again, equal_nan=True):
            yield Finding("error", where, f"bins [{lo}, {hi}) are not what {uris} holds")
    yield Finding("info", where, f"{len(starts)} blocks compared with {uris}")


def _samples(n_bins: int, step: int) -> list[int]:
    """Starts of up to :data:`N_SAMPLES` blocks, first and last included."""
    n_blocks = -(-n_bins // step)
    picked = np.unique(np.linspace(0, n_blocks - 1, min(N_SAMPLES, n_blocks)).round().astype(int))
    return [int(i) * step for i in picked]
