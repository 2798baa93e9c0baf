"""Making, filling, growing and removing groups. Used through :mod:`epizarr.io.store`.

**How a group grows** (:func:`grow_group`). New chunks are written first, beyond the array's shape, where no reader looks;
then the longer coordinates; then the group's attributes; the array's shape last. Each of these is one atomic replacement of
one file that keeps the old entries, and all can be done again. Readers go by the array's shape:
:func:`~epizarr.io.store.open_group` drops entries of coordinates and of ``inputs`` that lie beyond it, so that the group is
whole at every moment in between.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from epizarr import schema
from epizarr.errors import AssemblyMismatchError, StoreError
from epizarr.genome import Assembly
from epizarr.io.files import is_partial, refuse_links, sweep_partial
from epizarr.io.layout import ArraySpec, array_files, check_name, chrom_flags, coordinate_spec, group_json
from epizarr.io.ledger import WORK
from epizarr.io.places import (
    Place,
    StorePath,
    find_files,
    has_file,
    local_path,
    names_in,
    place_of,
    read_bytes,
    read_existing,
    remove_tree,
    write_bytes,
)
from epizarr.io.store_read import group_arrays, group_attrs, has_group, open_array, store_assembly, unit_of


def create_store(path: StorePath, assembly: Assembly) -> None:
    """Write the root of a store: chromosome names and lengths. Does nothing if it is there already.

    Raises
    ------
    AssemblyMismatchError
        If the store exists and has another assembly.
    StoreError
        If ``path`` is something else than a store or an empty folder, or an address that is not written to.
    """
    path = place_of(path)
    if check_store_path(path, assembly):
        return
    coords = {
        "chrom_name": np.array(assembly.chrom_names, dtype=object),
        "chrom_length": np.array(assembly.chrom_lengths, dtype=np.int64),
    }
    for name, values in coords.items():
        for key, data in array_files("root", name, coordinate_spec("root", name, values), values).items():
            write_bytes(path, key, data)
    attrs = {"epizarr_schema_version": schema.SCHEMA_VERSION, "assembly": assembly.name, "state": "complete"}
    write_bytes(path, "zarr.json", group_json(attrs | {"coordinates": " ".join(coords)}))
    check_store_path(path, assembly)  # another process may have made a store here in the same moment


def check_store_path(path: StorePath, assembly: Assembly) -> bool:
    """Tell whether there is a store of this assembly at ``path``; refuse what is neither that nor free. Writes nothing.

    Raises
    ------
    AssemblyMismatchError, StoreError
        As :func:`create_store`.
    """
    path = place_of(path)
    begun = ("chrom_name", "chrom_length", WORK)  # what a killed create_store may have left
    if isinstance(path, Path):
        local_path(path)
        for name in begun:
            refuse_links(path, path / name)
    else:
        path.check_writable()
    if not has_file(path, "zarr.json"):
        strangers = [name for name in names_in(path) if name not in begun and not is_partial(name, "zarr.json")]
        if strangers or (isinstance(path, Path) and path.exists() and not path.is_dir()):
            raise StoreError(
                f"{path} is there and is not a store (it holds {strangers[:3] or 'a file'}). Give another path."
            )
        return False
    there = store_assembly(path)
    if there != assembly:
        raise AssemblyMismatchError(
            f"{path} holds assembly {there.name!r} with {len(there)} chromosomes ({', '.join(there.chrom_names[:3])} …), not "
            f"{assembly.name!r} with {len(assembly)} ({', '.join(assembly.chrom_names[:3])} …) of these lengths. A store has one "
            "assembly: use another store."
        )
    return True


def create_group(
    path: StorePath,
    group: str,
    kind: str,
    *,
    coords: Mapping[str, np.ndarray],
    arrays: Mapping[str, ArraySpec],
    attrs: Mapping[str, Any],
    update: bool = False,
) -> None:
    """Write the metadata and coordinates of a group, with ``state = "writing"``. The same call again does nothing more.

    Parameters
    ----------
    path, group
        Store, which must exist, and path of the group in it.
    kind
        Key of :data:`epizarr.schema.GROUPS`; variable attributes come from there.
    coords
        Values of the coordinates, written at once.
    arrays
        Layout of the arrays whose values follow.
    attrs
        Attributes of the group besides the schema version, ``assembly`` and ``state``. Text and numbers only.
    update
        Whether a group that was begun with the same arrays and other attributes may be given these. The ledger's hashes
        must then tell which of its tasks hold.

    Raises
    ------
    StoreError
        If the group is there and complete, or was begun with other coordinates or arrays (without ``update``, other
        attributes too): remove it first.
    SchemaError
        If a variable is not part of such a group.
    """
    path = place_of(path)
    for part in group.split("/"):
        check_name(part, "group")
    files = _metadata_files(path, kind, coords, arrays, attrs)
    if has_group(path, group):
        different = _differences(path / group, files)
        state = group_attrs(path, group).get("state")
        if different and not (update and state == "writing" and different == ["zarr.json"]):
            raise StoreError(
                f"{path}: group {group!r} is there ({state}) and differs from what is to be written in {different}. "
                "Remove it first (--overwrite), or write under another name."
            )
    elif not isinstance(path, Path):
        remove_tree(path / group)  # what a removal that was killed has left
    parents = Path(group).parents
    for parent in [p for p in reversed(parents) if p != Path(".")]:
        if not has_file(path, f"{parent}/zarr.json"):
            write_bytes(path, f"{parent}/zarr.json", group_json({}))
    # The group's own metadata first: from here on readers see a group that is being written.
    there = read_existing(path / group, list(files))
    for key, data in files.items():
        if there.get(key) != data:
            write_bytes(path, f"{group}/{key}", data)


def group_differences(
    path: StorePath,
    group: str,
    kind: str,
    *,
    coords: Mapping[str, np.ndarray],
    arrays: Mapping[str, ArraySpec],
    attrs: Mapping[str, Any],
) -> list[str]:
    """Which metadata files of a group differ from those that :func:`create_group` would write, or are of arrays it would not.

    ``"zarr.json"`` alone means: the same arrays, other attributes. Empty if the group is not there.
    """
    path = place_of(path)
    return _differences(path / group, _metadata_files(path, kind, coords, arrays, attrs))


def write_unit(path: StorePath, group: str, variable: str) -> dict[str, int]:
    """Shape of an array's write unit by dim: the shard, or the chunk where there are no shards."""
    array = open_array(place_of(path), group, variable)
    return dict(zip(array.metadata.dimension_names, unit_of(array), strict=True))


def write_region(
    path: StorePath,
    group: str,
    variable: str,
    region: Mapping[str, slice],
    values: np.ndarray,
    *,
    grown: Mapping[str, int] | None = None,
) -> None:
    """Write part of an array: whole write units only.

    Parameters
    ----------
    path, group, variable
        Array to write to. Its group must exist.
    region
        Slice in elements along each dim; a missing dim means all of it. Each begins at a multiple of the write unit and ends
        at one, or at the array's end.
    values
        Values of the region's shape and the array's dtype.
    grown
        Sizes that dims will have once :func:`grow_group` has run: chunks beyond the array's present shape may then be
        written, and are seen by nobody before.

    Raises
    ------
    ValueError
        If the region cuts a write unit, or shape or dtype differ.
    """
    array = open_array(place_of(path), group, variable, mode="r+", grown=grown)
    dims = array.metadata.dimension_names or ()
    where = f"{path}: {group}/{variable}"
    selection = []
    for dim, size, unit in zip(dims, array.shape, unit_of(array), strict=True):
        part = region.get(dim, slice(0, size))
        lo, hi = part.start or 0, size if part.stop is None else part.stop
        if part.step not in (None, 1) or not 0 <= lo < hi <= size:
            raise StoreError(f"{where}: {dim} [{lo}, {hi}) does not lie on the array, which has {size}.")
        if lo % unit or (hi % unit and hi != size):
            raise StoreError(
                f"{where}: writing {dim} [{lo}, {hi}) cuts a write unit of {unit}. A unit is written whole, as one file: a "
                "second writer of the same unit would undo this one's values without an error. Split the work at multiples "
                f"of {unit}."
            )
        selection.append(slice(lo, hi))
    unknown = set(region) - set(dims)
    shape = tuple(s.stop - s.start for s in selection)
    if unknown or values.shape != shape or values.dtype != array.dtype:
        raise StoreError(
            f"{where}: values {values.dtype}{values.shape} do not fit the region, {array.dtype}{shape} along {dims}"
            + (f"; it has no dim {sorted(unknown)}." if unknown else ".")
        )
    array[tuple(selection)] = values


def finish_group(path: StorePath, group: str, attrs: Mapping[str, Any] | None = None) -> None:
    """Declare a group complete, in one step, adding the attributes that are known only now. Call last."""
    now = group_attrs(path, group) | dict(attrs or {})
    write_bytes(place_of(path), f"{group}/zarr.json", group_json(now | {"state": "complete"}))


def grow_group(
    path: StorePath,
    group: str,
    kind: str,
    *,
    coords: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    attrs: Mapping[str, Any],
) -> None:
    """Let readers see what was written beyond the end of a group's arrays; see the module's text. May be done again.

    Parameters
    ----------
    path, group, kind
        Group to grow; it stays complete.
    coords
        All values, old ones first, of each coordinate along the growing dim.
    sizes
        New size of each growing dim.
    attrs
        Attributes to change.
    """
    path = place_of(path)
    for name, values in coords.items():
        files = array_files(kind, name, coordinate_spec(kind, name, values), values)
        for key in sorted(files, key=lambda k: k.endswith("zarr.json")):  # values before the shape that shows them
            write_bytes(path, f"{group}/{key}", files[key])
    write_bytes(path, f"{group}/zarr.json", group_json(group_attrs(path, group) | dict(attrs)))
    for name, array in group_arrays(path, group).items():
        dims = array.metadata.dimension_names
        if name not in coords and set(dims) & set(sizes):
            file = f"{group}/{name}/zarr.json"
            metadata = json.loads(read_bytes(path, file))
            metadata["shape"] = [sizes.get(d, n) for d, n in zip(dims, metadata["shape"], strict=True)]
            write_bytes(path, file, json.dumps(metadata, indent=2).encode())


def sweep_group(path: StorePath, group: str) -> None:
    """Remove what killed writers left: temporary files, removed groups. Only for the holder of the group's lease.

    In an object store nothing is ever left.
    """
    path = place_of(path)
    if not isinstance(path, Path):
        return
    sweep_partial(path / group)
    # What lies above the group is written by replace_file alone, by any process.
    for above in [
        *Path(group).parents,
        Path("chrom_name/c"),
        Path("chrom_length/c"),
        Path("chrom_name"),
        Path("chrom_length"),
    ]:
        sweep_partial(path / above, deep=False)
    shutil.rmtree(path / WORK / "removed", ignore_errors=True)


def remove_group(path: StorePath, group: str) -> None:
    """Remove a group; it is gone for readers at once. Does nothing if it is not there.

    Call while holding the group's lease, and clear its ledger first. A folder is renamed, then removed. In an object store the
    group's own metadata go first; should the removal be killed behind that, :func:`create_group` ends it.
    """
    path = place_of(path)
    if not isinstance(path, Path):
        path.remove(f"{group}/zarr.json")
        remove_tree(path / group)
        return
    aside = path / WORK / "removed"
    if has_group(path, group):
        aside.mkdir(parents=True, exist_ok=True)
        os.rename(path / group, aside / uuid.uuid4().hex)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)  # another group's removal may be at work here too


def _metadata_files(
    path: Place, kind: str, coords: Mapping[str, np.ndarray], arrays: Mapping[str, ArraySpec], attrs: Mapping[str, Any]
) -> dict[str, bytes]:
    """Files that a group begins with, its own metadata first."""
    assembly = store_assembly(path)
    head = {"epizarr_schema_version": schema.SCHEMA_VERSION, "assembly": assembly.name, "state": "writing"}
    files = {"zarr.json": group_json({**attrs, **head, "coordinates": " ".join(sorted(coords))})}
    for name, values in coords.items():
        extra = chrom_flags(assembly) if name == "chrom" else {}
        files |= array_files(kind, name, coordinate_spec(kind, name, values, extra), values)
    for name, spec in arrays.items():
        files |= array_files(kind, name, spec)
    return files


def _differences(folder: Place, files: Mapping[str, bytes]) -> list[str]:
    """Which metadata files on disk differ from those to be written, or are of no array of theirs.

    Files that are not there yet do not differ.
    """
    wanted = {key: data for key, data in files.items() if key.endswith("zarr.json")}
    there = read_existing(folder, list(wanted))
    different = [key for key, data in wanted.items() if key in there and json.loads(there[key]) != json.loads(data)]
    return different + [key for key in find_files(folder, "*/zarr.json") if key not in files]
