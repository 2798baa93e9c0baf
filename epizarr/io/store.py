"""The store: the only door through which one is opened or written.

A store is a Zarr v3 hierarchy in a folder (see ``stores/SCHEMA.md``): one assembly at its root, groups for each cell type. A
group is written metadata first and data after; its ``state`` goes from "writing" to "complete" last, and only complete groups
open. Work is split along *write units*, the shard of an array or its chunk where it has no shards: two writers inside one
unit lose each other's values, so :func:`write_region` refuses anything but whole units.

Reading is in :mod:`epizarr.io.store_read`, writing and growing in :mod:`epizarr.io.store_write`, names, chunks and codecs in
:mod:`epizarr.io.layout`.
"""

from epizarr.io.files import file_sha256
from epizarr.io.layout import BAND_ROWS, TRACK_CHUNK, TRACK_SHARD, ArraySpec, check_name, grid_coords, group_path
from epizarr.io.ledger import work_folder
from epizarr.io.store_read import (
    GroupInfo,
    cell_types,
    grid_of,
    group_arrays,
    group_attrs,
    group_id,
    has_group,
    list_groups,
    open_attribution,
    open_contacts,
    open_evaluation,
    open_group,
    open_perturbation,
    open_prediction,
    open_screen,
    open_tracks,
    read_region,
    select,
    store_assembly,
    used_inputs,
)
from epizarr.io.store_write import (
    check_store_path,
    create_group,
    create_store,
    finish_group,
    group_differences,
    grow_group,
    remove_group,
    sweep_group,
    write_region,
    write_unit,
)

__all__ = [
    "BAND_ROWS",
    "TRACK_CHUNK",
    "TRACK_SHARD",
    "ArraySpec",
    "GroupInfo",
    "cell_types",
    "check_name",
    "check_store_path",
    "create_group",
    "create_store",
    "file_sha256",
    "finish_group",
    "grid_coords",
    "grid_of",
    "group_arrays",
    "group_attrs",
    "group_differences",
    "group_id",
    "group_path",
    "grow_group",
    "has_group",
    "list_groups",
    "open_attribution",
    "open_contacts",
    "open_evaluation",
    "open_group",
    "open_perturbation",
    "open_prediction",
    "open_screen",
    "open_tracks",
    "read_region",
    "remove_group",
    "select",
    "store_assembly",
    "sweep_group",
    "used_inputs",
    "work_folder",
    "write_region",
    "write_unit",
]
