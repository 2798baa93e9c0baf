"""A map that another program predicted becomes a prediction of the store, and so everything that is done to predictions can be
done to it: it is evaluated, drawn and exported as if it came from ``predict``.

Its values are brought to a linear scale and to the store's bins (:mod:`epizarr.regrid`). What the transform of the comparison
needs to know is fitted on the regions that the map's model was trained on, if they are told; otherwise on what lies farther than
the span of a band from the regions that are kept for scores.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from epizarr import __version__
from epizarr.bands import band_from_square, mask_band
from epizarr.cluster import Progress, ProgressParts, run_tasks
from epizarr.errors import ConfigError, EpizarrError, InputFileError, SplitError, StoreError, nearest_match
from epizarr.genome import BinGrid, Region
from epizarr.io.contacts_mean import mean_by_distance
from epizarr.io.group_choice import find_contacts
from epizarr.io.group_state import group_state, make_way
from epizarr.io.ledger import Lease
from epizarr.io.map_files import MapFile, open_map_file
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import (
    BAND_ROWS,
    ArraySpec,
    create_group,
    file_sha256,
    finish_group,
    grid_coords,
    group_path,
    has_group,
    read_region,
    remove_group,
    store_assembly,
    sweep_group,
    write_region,
)
from epizarr.regrid import AreaMean
from epizarr.schema import TARGET_VARIABLES
from epizarr.transforms import (
    STEPS,
    TARGET_TRANSFORMS,
    Transform,
    default_target_transform,
    diagonal_sums,
    fit_target_transform,
    steps_of,
)

#: What values may be, and how they become linear.
VALUES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda values: values,
    "log1p": np.expm1,
    "log": np.exp,
    "log2": np.exp2,
    "log10": lambda values: np.power(10.0, values),
}
#: Bins of the file along one side of the squares that are read, unless a band needs more.
_SIDE_BINS = 2048


@dataclass(frozen=True)
class _Job:
    """What all tasks of an import share."""

    store: Place
    group: str
    contacts_group: str
    source: MapFile
    values: str
    scale: float
    grid: BinGrid
    n_diagonals: int
    min_diagonal: int


@dataclass(frozen=True)
class _Block:
    """Band rows ``[lo, hi)``: whole write units."""

    lo: int
    hi: int


def import_map(
    path: str | Path,
    store: StorePath,
    *,
    cell_type: str,
    run: str,
    variable: str = "ice",
    binsize: int | None = None,
    file_binsize: int | None = None,
    values: str = "linear",
    normalisation: str | None = None,
    match_scale: bool = False,
    chrom: str | None = None,
    start: int | None = None,
    triangle: int | None = None,
    rename: Mapping[str, str] | None = None,
    train: Sequence[str] = (),
    trained_cell_types: Sequence[str] = (),
    test: Sequence[str] = (),
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> str:
    """Write a map that another program predicted into the store, as the prediction of a run.

    Does nothing if the same map is there already, imported in the same way. Memory of a task: about six float64 squares of
    max(2048, twice the band) bins of the file, 200 MB at 2048.

    Parameters
    ----------
    path
        ``.cool``, ``.mcool``, ``.hic`` (:mod:`epizarr.io.map_contacts`), ``.npy`` or a folder of them, ``.npz``, ``.h5``
        (:mod:`epizarr.io.map_windows`).
    store, cell_type
        Store with the measured contacts that it is to be compared with.
    run
        Name that the prediction gets.
    variable
        What it is compared with; its values are taken to be in the units of this variable.
    binsize
        Bin width of the contacts in bp, where the cell type has several.
    file_binsize, normalisation, chrom, start, triangle, rename
        How the file is to be read: see :func:`~epizarr.io.map_files.open_map_file`.
    values
        Scale of the file's values, a key of :data:`VALUES`: ``"log1p"`` if they are log(1 + contacts). It is undone pixel by
        pixel, before any mean.
    match_scale
        Multiply the map by one number, for a model whose contacts are in other units than the store's: afterwards the sum over
        its pixels is what the measured contacts average at the same distances, in the regions that are fitted on.
    train, trained_cell_types
        Regions and cell types that the map's model was trained on, if known. Baselines and transform are fitted on them.
    test
        Regions kept for scores; ``evaluate`` takes them by default. Unless ``train`` is given, the transform is fitted on what
        lies farther from them than the band reaches. Default: wherever the map has values.
    client, n_threads
        Dask client, or threads of this process: see :func:`epizarr.cluster.run_tasks`.
    progress
        Told after each block; of two readings in all with ``match_scale``.
    overwrite
        Replace a run of this name, whatever it is made of.
    take_over
        Take the place of a writer that has given no sign of life for ten minutes.

    Returns
    -------
    Path of the group in the store. ``contact`` is NaN where less than half of a pixel's area has a value in the map.

    Raises
    ------
    InputNotFoundError, InputFileError, AssemblyMismatchError, RegionError
        If the map cannot be read, does not say what is needed, lies on another assembly, or has no value.
    ConfigError
        If ``values`` or ``variable`` is unknown, or the values overflow when their scale is undone.
    SplitError
        If nothing is left to fit the transform on.
    StoreError
        If the cell type has no contacts of that variable, or a run of this name is there and was made of something else.
    LeaseError
        If another process writes to this run.
    """
    if values not in VALUES:
        raise ConfigError(
            f"--values {values!r}: one of {', '.join(VALUES)} is needed.{nearest_match(values, list(VALUES))}"
        )
    place = place_of(store)
    contacts = find_contacts(place, cell_type, binsize)
    _check_variable(place, cell_type, variable, [str(name) for name in contacts.data_vars])
    grid = store_assembly(place).bins(int(contacts.attrs["binsize"]))
    group = group_path("predictions", cell_type, grid.binsize, run)
    n_stored = contacts.sizes["diagonal"]
    source = open_map_file(
        path,
        grid.assembly,
        span_bp=n_stored * grid.binsize,
        store_binsize=grid.binsize,
        binsize=file_binsize,
        normalisation=normalisation,
        chrom=chrom,
        start=start,
        triangle=triangle,
        rename=rename,
    )
    job = _Job(
        store=place,
        group=group,
        contacts_group=group_path("contacts", cell_type, grid.binsize),
        source=source,
        values=values,
        scale=1.0,
        grid=grid,
        n_diagonals=min(n_stored, -(-source.reach_bp // grid.binsize)),
        min_diagonal=int(contacts.attrs["min_diagonal"]),
    )
    fitted_on = _fitted_on(job, train, test)
    cell_types = _fitted_cell_types(place, grid, variable, trained_cell_types or [cell_type], job.n_diagonals)
    name = default_target_transform(variable)
    needs_expected = match_scale or any(STEPS[step].learns for step in steps_of(name, TARGET_TRANSFORMS))
    expected = np.full(job.n_diagonals, np.nan)
    if needs_expected:
        expected = mean_by_distance(place, cell_types, fitted_on, variable, grid, job.n_diagonals, job.min_diagonal)
        if np.isnan(expected).all():
            raise SplitError(
                f"import of {path}: {variable!r} of {', '.join(cell_types)} has no valid pixel in {_listed(fitted_on)}, where "
                "the transform is to be fitted. Say on which regions (--train), or keep fewer regions for scores (--test)."
            )
    read_as = {
        "binsize": source.binsize,
        "values": values,
        "match_scale": match_scale,
        "fitted_on": [str(region) for region in fitted_on] if needs_expected else [],
        **source.about,
    }
    trained_on = {
        "cell_types": list(trained_cell_types or ([cell_type] if train else [])),
        "splits": {"train": list(train), "validation": [], "test": list(test)},
    }
    attrs = _attrs(job, str(path), read_as, trained_on, variable, fit_target_transform(name, expected))
    blocks = _blocks(job)
    with Lease.acquire(place, group, take_over) as lease:
        # Where the file lies does not matter; the rest of `imported` is in input_id.
        same = {key: value for key, value in attrs.items() if key != "imported"}
        state = group_state(place, group, same, overwrite=overwrite, called="map", resumes=False)
        if not make_way(place, group, state):
            return group
        workers = {"client": client, "n_threads": n_threads}
        parts = ProgressParts(progress, len(blocks) * (2 if match_scale else 1))
        if match_scale:
            job = replace(job, scale=_scale(job, blocks, expected, parts, workers))
        band = ArraySpec(("bin", "diagonal"), (grid.n_bins, job.n_diagonals), "f4", chunks=(BAND_ROWS, job.n_diagonals))
        coords = grid_coords(grid, job.n_diagonals)
        create_group(place, group, "predictions", coords=coords, arrays={"contact": band}, attrs=attrs)
        sweep_group(place, group)
        try:
            shared = [job] * len(blocks)
            if not sum(run_tasks(_import_block, blocks, shared=shared, progress=parts.part(len(blocks)), **workers)):
                raise InputFileError(
                    f"map {path}: all of it is missing. No value covers half of a pixel of {grid.binsize:,} bp from diagonal "
                    f"{job.min_diagonal} on."
                )
        except EpizarrError:
            remove_group(place, group)  # the file is at fault: nothing can be gone on with
            raise
        lease.check()
        finish_group(place, group, {"scale": job.scale} if match_scale else None)
    return group


def _check_variable(store: Place, cell_type: str, variable: str, there: Sequence[str]) -> None:
    known = ("count", *TARGET_VARIABLES)
    if variable not in known:
        raise ConfigError(
            f"--variable {variable!r} is not a map of contacts. {', '.join(known)} are.{nearest_match(variable, known)}"
        )
    if variable not in there:
        raise StoreError(
            f"{store}: contacts of {cell_type!r} have no variable {variable!r} to compare a map with; they have "
            f"{', '.join(name for name in there if name in known)}. Choose one (--variable), or ingest it."
        )


def _fitted_on(job: _Job, train: Sequence[str], test: Sequence[str]) -> list[Region]:
    """Regions that the transform is fitted on."""
    assembly = job.grid.assembly
    if train:
        return [assembly.region(text) for text in train]
    kept = [assembly.region(text) for text in test] or job.source.extents()
    rest = assembly.rest(kept, job.n_diagonals * job.grid.binsize)
    if not rest:
        raise SplitError(
            f"map {job.source.path}: nothing of the genome lies outside {_listed(kept)}, where it "
            f"{'is to be scored' if test else 'has values'}, so that there is nothing to fit baselines on. Say which regions are "
            "kept for scores (--test; --region of evaluate), or what its model was trained on (--train)."
        )
    return rest


def _fitted_cell_types(store: Place, grid: BinGrid, variable: str, names: Sequence[str], n_diagonals: int) -> list[str]:
    """Those that the store has contacts of; refused if none."""
    there = [name for name in names if has_group(store, group_path("contacts", name, grid.binsize))]
    for name in there:
        contacts = find_contacts(store, name, grid.binsize)
        if variable not in contacts or contacts.sizes["diagonal"] < n_diagonals:
            raise StoreError(
                f"{store}: contacts of {name!r}, which the map's model was trained on, lack {variable!r} or have fewer than "
                f"{n_diagonals} diagonals. Ingest what is missing, or leave {name!r} out (--trained-on)."
            )
    if not there:
        raise StoreError(
            f"{store} has no contacts at {grid.binsize:,} bp of {', '.join(names)}, which the map's model was trained on. Leave "
            "--trained-on out to fit baselines on the compared cell type itself."
        )
    return there


def _attrs(
    job: _Job, path: str, read_as: dict[str, Any], trained_on: dict[str, Any], variable: str, transform: Transform
) -> dict[str, Any]:
    source = job.source
    hashes = [[file.name, file_sha256(file)] for file in source.files]
    content = hashes[0][1] if len(hashes) == 1 else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    regions = [str(region) for region in source.extents()]
    return {
        "binsize": job.grid.binsize,
        "span_bp": job.n_diagonals * job.grid.binsize,
        "target": variable,
        "transform": transform.to_json(),
        "checkpoint_sha256": content,
        # The file may be moved; what was read of it, and how, may not change.
        "input_id": hashlib.sha256(json.dumps([read_as, regions], sort_keys=True).encode()).hexdigest(),
        "tracks": "[]",
        "track_binsize": 0,
        "track_transforms": "[]",
        "min_diagonal": job.min_diagonal,
        "trained_on": json.dumps(trained_on, sort_keys=True),
        "regions": json.dumps(regions),
        "settings": "{}",
        "imported": json.dumps({"file": path, "format": source.format, **read_as}),
        "epizarr_version": __version__,
    }


def _blocks(job: _Job) -> list[_Block]:
    """Write units that hold a bin where the map has values; the others stay as they are made, NaN."""
    extents = [job.grid.region_extent(region) for region in job.source.extents()]
    blocks = []
    for lo in range(0, job.grid.n_bins, BAND_ROWS):
        hi = min(lo + BAND_ROWS, job.grid.n_bins)
        if any(first < hi and lo < end for first, end in extents):
            blocks.append(_Block(lo, hi))
    return blocks


def _scale(
    job: _Job, blocks: Sequence[_Block], expected: np.ndarray, parts: ProgressParts, workers: dict[str, Any]
) -> float:
    """Factor after which the map's pixels add up to what is expected at their distances."""
    sums = run_tasks(_block_sums, blocks, shared=[job] * len(blocks), progress=parts.part(len(blocks)), **workers)
    total, number = (np.sum([block[part] for block in sums], axis=0) for part in (0, 1))
    both = (number > 0) & ~np.isnan(expected)
    of_map, wanted = float(total[both].sum()), float((number * expected)[both].sum())
    if not (of_map > 0 and wanted > 0):
        raise ConfigError(
            f"map {job.source.path}: its values add up to {of_map:g}, the measured ones to {wanted:g}; scales can be "
            "matched of contacts only, which are positive. Leave --match-scale out."
        )
    return wanted / of_map


def _block_sums(block: _Block, job: _Job) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of a block's pixels between good bins, by diagonal."""
    last = min(block.hi + job.n_diagonals - 1, job.grid.n_bins)
    bad = read_region(job.store, job.contacts_group, "bad_bin", {"bin": slice(block.lo, last)})
    n_beyond = block.hi - block.lo + job.n_diagonals - 1 - len(bad)
    good = np.append(~bad, np.zeros(n_beyond, dtype=bool))
    return diagonal_sums(mask_band(_read_rows(block, job), good, job.min_diagonal))


def _import_block(block: _Block, job: _Job) -> int:
    """Read one block and write it; returns the number of its values. Safe to run again, anywhere."""
    values = _read_rows(block, job)
    write_region(job.store, job.group, "contact", {"bin": slice(block.lo, block.hi)}, values)
    return int(np.isfinite(values[:, job.min_diagonal :]).sum())


def _read_rows(block: _Block, job: _Job) -> np.ndarray:
    """Band rows of a block on the store's grid, linear and scaled, float32; NaN where the map has no value."""
    grid = job.grid
    values = np.full((block.hi - block.lo, job.n_diagonals), np.nan, dtype=np.float32)
    n_rows = max(_SIDE_BINS * job.source.binsize // grid.binsize - job.n_diagonals, job.n_diagonals)
    for chrom, first, last in grid.extents(block.lo, block.hi):
        end = grid.chrom_extent(chrom)[1]
        for lo in range(first, last, n_rows):
            hi = min(lo + n_rows, last)
            stop = min(hi + job.n_diagonals - 1, end)
            _, starts, ends = grid.locate(np.arange(lo, stop))
            mean = AreaMean(np.append(starts, ends[-1]))
            for square, edges in job.source.iter_squares(chrom, int(starts[0]), int(ends[-1])):
                mean.add(_linear(square, job), edges)
            part = band_from_square(mean.values(), job.n_diagonals)[: hi - lo]
            values[lo - block.lo : hi - block.lo] = job.scale * part
    return values


def _linear(square: np.ndarray, job: _Job) -> np.ndarray:
    with np.errstate(over="ignore"):
        linear = VALUES[job.values](square.astype(np.float64))
    if np.isinf(linear).any() or (np.abs(linear) > np.finfo(np.float32).max).any():
        raise ConfigError(
            f"map {job.source.path}: values up to {np.nanmax(square):g} are not {job.values} of contacts: undone, they are "
            "too large for any number. Say what they are (--values)."
        )
    return linear


def _listed(regions: Sequence[Region], n: int = 4) -> str:
    return ", ".join(map(str, regions[:n])) + (f" … ({len(regions)} in all)" if len(regions) > n else "")
