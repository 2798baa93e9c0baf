"""Which group of a store a command means: the bin width may be left out where there is one only."""

import xarray as xr

from epizarr.errors import StoreError, StoreNotFoundError
from epizarr.io.places import StorePath, place_of
from epizarr.io.store_read import list_groups, open_contacts, open_prediction


def find_prediction(store: StorePath, cell_type: str, run: str, binsize: int | None) -> xr.Dataset:
    """Open a run's prediction; the bin width may be left out if there is one only.

    Raises
    ------
    StoreNotFoundError
        If there is none; lists the runs there are.
    StoreError
        If there are several bin widths and none is named.
    """
    store = place_of(store)
    runs = [info for info in list_groups(store) if info.kind == "predictions" and info.cell_type == cell_type]
    found = [info.binsize for info in runs if info.run == run and binsize in (None, info.binsize)]
    if not found:
        listed = sorted({f"{info.run} ({info.binsize:,} bp)" for info in runs})
        raise StoreNotFoundError(
            f"{store}: cell type {cell_type!r} has no prediction of run {run!r}"
            f"{'' if binsize is None else f' at {binsize:,} bp'}; it has {', '.join(listed) or 'none'}. Make one with "
            "`epizarr predict`."
        )
    if len(found) > 1:
        raise StoreError(
            f"{store}: run {run!r} of {cell_type!r} was predicted at {sorted(found)} bp; say which (binsize)."
        )
    return open_prediction(store, cell_type, run, found[0])


def find_contacts(store: StorePath, cell_type: str, binsize: int | None) -> xr.Dataset:
    """Open a cell type's contacts; the bin width may be left out if there is one only.

    Raises
    ------
    StoreNotFoundError
        If there are none; lists what there is.
    StoreError
        If there are several bin widths and none is named.
    """
    store = place_of(store)
    groups = [info for info in list_groups(store) if info.kind == "contacts"]
    found = [info.binsize for info in groups if info.cell_type == cell_type and binsize in (None, info.binsize)]
    if not found:
        listed = sorted(f"{info.cell_type} ({info.binsize:,} bp)" for info in groups)
        raise StoreNotFoundError(
            f"{store}: cell type {cell_type!r} has no contacts{'' if binsize is None else f' at {binsize:,} bp'}; the store has "
            f"contacts of {', '.join(listed) or 'no cell type'}."
        )
    if len(found) > 1:
        raise StoreError(f"{store}: contacts of {cell_type!r} are there at {sorted(found)} bp; say which (binsize).")
    return open_contacts(store, cell_type, found[0])
