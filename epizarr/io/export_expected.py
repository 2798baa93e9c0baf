"""Expected contacts by distance, which make contacts of a map of observed over expected."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from epizarr.errors import ConfigError, InputFileError, StoreError
from epizarr.genome import BinGrid
from epizarr.io.contacts_mean import mean_by_distance
from epizarr.io.layout import group_path
from epizarr.io.places import Place
from epizarr.io.store_read import has_group, list_groups, open_contacts
from epizarr.schema import WEIGHTED_VARIABLES
from epizarr.transforms import mean_of_sums

#: ``expected`` that means: of the regions that the model was trained on.
TRAINING = "training"


def read_expected(
    store: Place, text: str, grid: BinGrid, n_diagonals: int, trained_on: dict[str, Any] | None
) -> tuple[np.ndarray, str]:
    """Read the expected contacts of each diagonal.

    Parameters
    ----------
    store
        Store with the contacts that the expected is of.
    text
        ``"training"``: mean raw count in the regions and cell types that the prediction's model was trained on, without bad
        bins. ``"GM12878"`` or ``"GM12878:ice"``: mean over all valid pixels of a cell type, as the store keeps it
        (``expected_count`` where no variable is named). Or a file: a table with the columns ``distance`` (bp) and ``expected``.
    grid, n_diagonals
        Bins and diagonals that it is for.
    trained_on
        As in the prediction's attributes; None where there is no prediction.

    Returns
    -------
    float64 (diagonal), NaN where nothing is known; and the variable whose units it has (``"count"`` for a table).

    Raises
    ------
    ConfigError
        If there is no prediction to take the training regions of, or ``text`` is neither a cell type nor a file.
    StoreError
        If the contacts that are needed are not in the store.
    InputFileError
        If the table cannot be used.
    """
    if text == TRAINING:
        if trained_on is None:
            raise ConfigError(
                "export: measured contacts have no training regions; name a cell type or a table as the expected."
            )
        return _of_training(store, grid, n_diagonals, trained_on), "count"
    cell_type, _, variable = text.partition(":")
    unit = {"": "count", "hicdcplus_mu": "count"}.get(variable, variable)
    if any(i.kind == "contacts" and (i.cell_type, i.binsize) == (cell_type, grid.binsize) for i in list_groups(store)):
        if unit not in ("count", *WEIGHTED_VARIABLES):
            raise ConfigError(
                f"export: the expected {text!r} is not of contacts; "
                f"{', '.join(('count', 'hicdcplus_mu', *WEIGHTED_VARIABLES))} are."
            )
        return _of_cell_type(store, cell_type, variable or "count", grid.binsize, n_diagonals), unit
    if not Path(text).is_file():
        raise ConfigError(
            f"export: the expected {text!r} is neither 'training', nor a cell type that has contacts at {grid.binsize:,} bp in "
            f"{store}, nor a file."
        )
    return _of_table(Path(text), grid.binsize, n_diagonals), "count"


def _of_training(store: Place, grid: BinGrid, n_diagonals: int, trained_on: dict[str, Any]) -> np.ndarray:
    if not trained_on["cell_types"] or "assembly" in trained_on:
        why = f"on {trained_on['assembly']}, another assembly" if "assembly" in trained_on else "on what is not stated"
        raise ConfigError(
            f"export: this map's model was trained {why}; name a cell type or a table as the expected (--expected)."
        )
    for cell_type in trained_on["cell_types"]:
        if not has_group(store, group_path("contacts", cell_type, grid.binsize)):
            raise StoreError(
                f"{store}: the model was trained on {cell_type!r}, whose contacts at {grid.binsize:,} bp are not here. Name "
                "another cell type or a table as the expected."
            )
        stored = open_contacts(store, cell_type, grid.binsize).sizes["diagonal"]
        _check_reach(f"contacts of {cell_type!r}", stored, n_diagonals)
    regions = [grid.assembly.region(text) for text in trained_on["splits"]["train"]]
    return mean_by_distance(store, trained_on["cell_types"], regions, "count", grid, n_diagonals)


def _of_cell_type(store: Place, cell_type: str, variable: str, binsize: int, n_diagonals: int) -> np.ndarray:
    ds = open_contacts(store, cell_type, binsize)
    there = [str(name).removeprefix("expected_") for name in ds.variables if str(name).startswith("expected_")]
    if variable not in there:
        raise StoreError(
            f"{store}: contacts of {cell_type!r} keep no expected of {variable!r}; they keep those of "
            f"{', '.join(there) or 'no variable'}."
        )
    _check_reach(f"contacts of {cell_type!r}", ds.sizes["diagonal"], n_diagonals)
    number = ds[f"n_valid_{variable}"].values[:, :n_diagonals]
    mean = ds[f"expected_{variable}"].values[:, :n_diagonals]
    return mean_of_sums(np.where(number > 0, mean * number, 0.0).sum(axis=0), number.sum(axis=0))


def _of_table(path: Path, binsize: int, n_diagonals: int) -> np.ndarray:
    try:
        table = pd.read_csv(path, sep=None, engine="python", comment="#")
        distance, value = table["distance"].to_numpy(np.int64), table["expected"].to_numpy(np.float64)
    except (KeyError, ValueError) as error:
        raise InputFileError(
            f"expected {path}: a table with columns 'distance' (bp) and 'expected' is needed ({error})."
        ) from error
    wanted = np.arange(n_diagonals) * binsize
    lacking = np.setdiff1d(wanted, distance)
    if len(lacking) or len(np.unique(distance)) < len(distance):
        raise InputFileError(
            f"expected {path}: one row for each distance from 0 to {wanted[-1]:,} bp in steps of {binsize:,} is needed; "
            f"{len(lacking)} are not there{f', {lacking[0]:,} bp the first' if len(lacking) else ', and some are listed twice'}."
        )
    return value[np.argsort(distance)][np.searchsorted(np.sort(distance), wanted)]


def _check_reach(what: str, stored: int, needed: int) -> None:
    if stored < needed:
        raise StoreError(
            f"export: {what} have {stored} diagonals and the prediction {needed}; name an expected that reaches as far."
        )
