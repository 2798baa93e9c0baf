"""Opening stores and groups, lazily and only when they are whole. Used through :mod:`epizarr.io.store`."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from epizarr import schema
from epizarr.errors import IncompleteStoreError, StoreError, StoreNotFoundError, nearest_match
from epizarr.genome import Assembly, Region, grid_of
from epizarr.io.layout import chrom_flags, group_path, parse_path
from epizarr.io.ledger import WORK, lease_owner
from epizarr.io.places import Place, StorePath, find_files, has_file, place_of, read_bytes, zarr_store

#: Least values of a Dask block: Dask spends one to two milliseconds on each.
_BLOCK_VALUES = 1 << 20


@dataclass(frozen=True)
class GroupInfo:
    """One group of a store. ``run`` is None where the group's kind has no runs."""

    path: str
    kind: str
    cell_type: str
    binsize: int
    run: str | None
    state: str


def store_assembly(path: StorePath) -> Assembly:
    """Read the assembly of a store.

    Raises
    ------
    StoreNotFoundError
        If there is no store at ``path``.
    SchemaError
        If its format has another major version.
    StoreError
        If its metadata are damaged.
    """
    attrs = store_attrs(place_of(path))
    names = [str(name) for name in read_region(path, "", "chrom_name", {})]
    return Assembly.from_table(
        str(attrs["assembly"]), zip(names, read_region(path, "", "chrom_length", {}), strict=True)
    )


def list_groups(path: StorePath) -> list[GroupInfo]:
    """List the groups of a store, finished or not, sorted by path.

    Raises
    ------
    StoreNotFoundError
        If there is no store at ``path``.
    """
    path = place_of(path)
    store_attrs(path)
    found = []
    files = [*find_files(path, "*/*/*/zarr.json"), *find_files(path, "*/*/*/*/zarr.json")]
    for name in sorted((file.removesuffix("/zarr.json") for file in files), key=lambda name: name.split("/")):
        parsed = parse_path(name)
        if parsed and not name.startswith(WORK):
            kind, cell_type, binsize, run = parsed
            found.append(GroupInfo(name, kind, cell_type, binsize, run, str(group_attrs(path, name).get("state"))))
    return found


def cell_types(path: StorePath) -> list[str]:
    """Names of the cell types of a store, sorted."""
    return sorted({info.cell_type for info in list_groups(path)})


def has_group(path: StorePath, group: str) -> bool:
    """Whether a group is there, finished or not."""
    return has_file(place_of(path), f"{group}/zarr.json")


def group_attrs(path: StorePath, group: str) -> dict[str, Any]:
    """Attributes of a group as they are on disk, whatever its state; :class:`StoreNotFoundError` if it is not there."""
    place = place_of(path)
    try:
        return dict(json.loads(read_bytes(place, f"{group}/zarr.json")).get("attributes", {}))
    except FileNotFoundError as error:
        raise StoreNotFoundError(missing_group(place, group)) from error
    except ValueError as error:
        raise StoreError(
            f"{place}/{group}/zarr.json is damaged ({error}). Remove the group's folder and make it again."
        ) from error


def open_contacts(path: StorePath, cell_type: str, binsize: int) -> xr.Dataset:
    """Open the contacts of a cell type, lazily; see :func:`open_group`.

    Examples
    --------
    >>> ds = open_contacts("atlas.zarr", "GM12878", 10_000)  # doctest: +SKIP
    >>> select(ds["ice"], "chr21:30,000,000-31,000,000").compute()  # doctest: +SKIP
    """
    return open_group(path, group_path("contacts", cell_type, binsize), "contacts")


def open_tracks(path: StorePath, cell_type: str, binsize: int = 100) -> xr.Dataset:
    """Open the tracks of a cell type, lazily; see :func:`open_group`."""
    return open_group(path, group_path("tracks", cell_type, binsize), "tracks")


def open_prediction(path: StorePath, cell_type: str, run: str, binsize: int) -> xr.Dataset:
    """Open what a run predicted for a cell type, lazily; see :func:`open_group`."""
    return open_group(path, group_path("predictions", cell_type, binsize, run), "predictions")


def open_evaluation(path: StorePath, cell_type: str, run: str, binsize: int) -> xr.Dataset:
    """Open the scores of a run on a cell type, lazily; see :func:`open_group`."""
    return open_group(path, group_path("evaluations", cell_type, binsize, run), "evaluations")


def open_perturbation(path: StorePath, cell_type: str, run: str, binsize: int) -> xr.Dataset:
    """Open the contacts before and after a perturbation, lazily; see :func:`open_group`."""
    return open_group(path, group_path("perturbations", cell_type, binsize, run), "perturbations")


def open_attribution(path: StorePath, cell_type: str, run: str, binsize: int = 100) -> xr.Dataset:
    """Open attributions of track bins, lazily; see :func:`open_group`."""
    return open_group(path, group_path("attributions", cell_type, binsize, run), "attributions")


def open_screen(path: StorePath, cell_type: str, run: str, binsize: int) -> xr.Dataset:
    """Open the effects of a screen, lazily; see :func:`open_group`."""
    return open_group(path, group_path("screens", cell_type, binsize, run), "screens")


def open_group(path: StorePath, group: str, kind: str, *, allow_incomplete: bool = False) -> xr.Dataset:
    """Open one group as a dataset.

    Parameters
    ----------
    path
        Store: a folder, an address that fsspec can list (``s3://``, ``gs://``), or a
        :class:`~epizarr.io.places.RemoteFolder`, which takes options such as ``{"anon": True}``.
    group
        Path of the group in it (:func:`group_path`).
    kind
        Key of :data:`epizarr.schema.GROUPS`.
    allow_incomplete
        Whether a group that is still being written may be opened, unchecked: variables may lack, chunks that are not there
        yet read as missing (as 0 and "" in tables), and there is no ``bin_grid``.

    Returns
    -------
    Dataset whose variables are Dask arrays in blocks of whole write units, so that a computation over blocks reads each
    file once and its result can be written back block by block; coordinates are in memory. Variables along ``bin`` carry the
    attribute ``bin_grid``, by which :func:`select` finds a region.

    Raises
    ------
    StoreNotFoundError
        If there is no such store or group; lists what is there.
    IncompleteStoreError
        If the group is not complete; says who writes it or how to resume.
    SchemaError
        If the store's format has another major version, or the group is not what ``kind`` declares.
    """
    path = place_of(path)
    if isinstance(path, Path):
        path = path.absolute()
    store_attrs(path)
    attrs = group_attrs(path, group)
    where = f"{path}: group {group!r}"
    schema.check_version(attrs.get("epizarr_schema_version"), where)
    if attrs.get("state") != "complete" and not allow_incomplete:
        raise IncompleteStoreError(_unfinished(path, group))
    arrays = group_arrays(path, group)
    eager = set(str(attrs.pop("coordinates", "")).split())
    sizes = _sizes(arrays, eager)
    variables = {}
    for name, array in arrays.items():
        dims = tuple(array.metadata.dimension_names or ())
        if name in eager:
            values = array[tuple(slice(0, sizes[d]) for d in dims)]
            data = values.astype(object) if values.dtype.kind in "TU" else values
        else:
            # da.from_zarr and chunks={} would take the chunks inside a shard.
            data = da.from_array(array, chunks=_block_shape(array, dims), name=False, inline_array=True)
        variables[name] = xr.Variable(dims, data, dict(array.attrs))
    ds = xr.Dataset(
        {n: v for n, v in variables.items() if n not in eager},
        coords={n: v for n, v in variables.items() if n in eager},
        attrs=_trim_inputs(attrs, variables),
    )
    if attrs.get("state") != "complete":
        return ds  # the tables of its grid may not be written yet
    return _with_grid(schema.validate(ds, kind, where))


def select(array: xr.DataArray, region: str | Region) -> xr.DataArray:
    """Take the bins of a region, with their coordinates. Lazy.

    Parameters
    ----------
    array
        Genome-wide variable along ``bin``, from an opened group.
    region
        ``"chr3:1,000,000-3,000,000"`` (0-based, half-open) or a :class:`~epizarr.genome.Region`.

    Returns
    -------
    The bins that overlap the region, with coordinates ``chrom`` (int16 code), ``start`` and ``end`` (bp).

    Raises
    ------
    RegionError
        If the region is not on the assembly.
    ValueError
        If ``array`` does not hold the whole genome: cut it once.
    """
    grid = grid_of(array)
    if "bin" not in array.dims or array.sizes["bin"] != grid.n_bins:
        raise ValueError(
            f"select: {array.name!r} has {array.sizes.get('bin', 0)} bins, the genome {grid.n_bins}; select from the whole "
            "variable, once."
        )
    where = grid.assembly.region(region) if isinstance(region, str) else grid.assembly.check(region)
    lo, hi = grid.region_extent(where)
    code, start, end = grid.locate(np.arange(lo, hi))
    coords = {
        "chrom": ("bin", code, chrom_flags(grid.assembly)),
        "start": ("bin", start, {"units": "bp"}),
        "end": ("bin", end, {"units": "bp"}),
    }
    return array.isel(bin=slice(lo, hi)).assign_coords(coords)


def read_region(path: StorePath, group: str, variable: str, region: Mapping[str, slice]) -> np.ndarray:
    """Read part of an array into memory, whatever the state of its group: for tasks that build on each other.

    Missing dims are read whole; slices are in elements along each dim.
    """
    array = open_array(place_of(path), group, variable)
    dims = array.metadata.dimension_names
    return np.asarray(array[tuple(region.get(d, slice(None)) for d in dims)])


def used_inputs(ds: xr.Dataset, tracks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Entries of a group's inputs; given ``tracks``, without the tracks that are not among them."""
    inputs = json.loads(ds.attrs["inputs"])
    return [e for e in inputs if tracks is None or e.get("kind") != "track" or e["name"] in tracks]


def group_id(ds: xr.Dataset, tracks: Sequence[str] | None = None) -> str:
    """Identity of a group's content: a hash of its inputs' sha256 and of how they were read.

    Where the files lay and where they came from do not enter, nor do tracks that are not among ``tracks`` (all by default):
    the identity of what is used stays when another track is added.
    """
    content = [{k: v for k, v in e.items() if k not in ("uri", "origin")} for e in used_inputs(ds, tracks)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def group_arrays(path: Place, group: str) -> dict[str, zarr.Array]:
    """Open every array of a group for reading, sorted by name.

    Zarr's own listing warns of everything else in the folder, such as the temporary file of a writer at work.
    """
    names = sorted(file.split("/")[-2] for file in find_files(path, f"{group}/*/zarr.json"))
    return {name: open_array(path, group, name) for name in names}


def unit_of(array: zarr.Array) -> tuple[int, ...]:
    """Shape of an array's write unit."""
    return tuple(array.shards or array.chunks)


def _block_shape(array: zarr.Array, dims: Sequence[str]) -> tuple[int, ...]:
    """Shape of a Dask block: so many write units along ``bin`` as make a block worth a task's overhead."""
    unit = dict(zip(dims, unit_of(array), strict=True))
    if "bin" in unit:
        unit["bin"] *= max(1, _BLOCK_VALUES // math.prod(unit.values()))
    return tuple(unit.values())


def _sizes(arrays: Mapping[str, zarr.Array], eager: Iterable[str]) -> dict[str, int]:
    """Size of each dim. A data array decides over coordinates, which are longer while a group is growing."""
    sizes: dict[str, int] = {}
    eager = set(eager)
    for name in sorted(arrays, key=lambda n: n not in eager):
        dims = arrays[name].metadata.dimension_names or ()
        sizes |= dict(zip(dims, arrays[name].shape, strict=True))
    return sizes


def _trim_inputs(attrs: dict[str, Any], variables: Mapping[str, xr.Variable]) -> dict[str, Any]:
    """Leave out the inputs of tracks that are being added and cannot be seen yet."""
    if "inputs" not in attrs or "track" not in variables:
        return attrs
    seen = set(variables["track"].values)
    inputs = [e for e in json.loads(attrs["inputs"]) if e.get("kind") != "track" or e["name"] in seen]
    return attrs | {"inputs": json.dumps(inputs)}


def _with_grid(ds: xr.Dataset) -> xr.Dataset:
    if "chrom_name" not in ds.variables or "binsize" not in ds.attrs:
        return ds
    assembly = Assembly.from_dataset(ds)
    text = json.dumps({"assembly": assembly.name, "binsize": int(ds.attrs["binsize"]), "chroms": dict(assembly)})
    for variable in ds.data_vars.values():
        if "bin" in variable.dims:
            variable.attrs["bin_grid"] = text
    return ds


def store_attrs(path: Place) -> dict[str, Any]:
    """Attributes of the root, its version checked."""
    try:
        attrs = dict(json.loads(read_bytes(path, "zarr.json")).get("attributes", {}))
    except (FileNotFoundError, NotADirectoryError) as error:
        folder = path.parent if isinstance(path, Path) else None
        beside = sorted(p.name for p in folder.glob("*.zarr")) if folder is not None and folder.is_dir() else []
        raise StoreNotFoundError(
            f"{path}: no store there. {f'Stores beside it: {beside}.' if beside else 'Make one with epizarr ingest.'}"
        ) from error
    except ValueError as error:
        raise StoreError(f"{path}/zarr.json is damaged ({error}). Ingest into a new store.") from error
    schema.check_version(attrs.get("epizarr_schema_version"), str(path))
    return attrs


def missing_group(path: Place, group: str) -> str:
    """Message for a group that is not there: the nearest name, and what is there."""
    there = [info.path for info in list_groups(path)]
    listed: Sequence[str] = there if len(there) <= 12 else [*there[:12], f"… ({len(there)} in all)"]
    return f"{path}: there is no group {group!r}.{nearest_match(group, there)} The store has {list(listed) or 'no groups yet'}."


def _unfinished(path: Place, group: str) -> str:
    owner = lease_owner(path, group)
    if owner is not None and not owner.is_dead:
        return f"{path}: group {group!r} is being written by {owner}. Wait until it has finished."
    return (
        f"{path}: group {group!r} is not complete: its writer was stopped. Run the command that made it again; it does what is "
        "left and declares the group complete."
    )


def open_array(
    path: Place, group: str, variable: str, *, mode: Literal["r", "r+"] = "r", grown: Mapping[str, int] | None = None
) -> zarr.Array:
    """Open one array of a group (of the root: ``group = ""``); with ``grown``, as if it had the size that it will have."""
    store = zarr_store(path, read_only=mode == "r")
    try:
        array = zarr.open_array(store, path=f"{group}/{variable}".strip("/"), mode=mode, zarr_format=3)
    except FileNotFoundError as error:
        raise StoreNotFoundError(
            f"{path}: group {group!r} has no variable {variable!r}. {missing_group(path, group)}"
        ) from error
    if not grown:
        return array
    shape = tuple(grown.get(d, n) for d, n in zip(array.metadata.dimension_names, array.shape, strict=True))
    return zarr.Array(zarr.AsyncArray(metadata=array.metadata.update_shape(shape), store_path=array.store_path))
