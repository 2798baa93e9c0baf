"""All values of an evaluation as one tidy table, which is also its CSV file."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.evaluate.intervals import ADVANTAGE
from epizarr.evaluate.sections import SECTION_TITLES
from epizarr.io.files import replace_file

#: Column of each dim besides the predictors.
_DIM_COLUMNS = {
    "diagonal": "distance",
    "window": "window",
    "threshold": "threshold",
    "criterion": "criterion",
    "submatrix": "place",
    "peak_row": "peak_row",
    "peak_column": "peak_column",
    "power_range": "power_range",
    "frequency": "frequency",
}
COLUMNS = ("section", "metric", "predictor", *_DIM_COLUMNS.values(), "value", "low", "high")


def tidy_table(scores: xr.Dataset) -> pd.DataFrame:
    """Values of an evaluation, one a row.

    Parameters
    ----------
    scores
        From :func:`epizarr.open_evaluation`.

    Returns
    -------
    Table with columns ``section`` (``correlation`` for what is always computed), ``metric``, ``predictor`` (empty where a value
    is of none), ``distance`` and ``window`` (bp), ``threshold``, ``criterion``, ``place`` (a region), ``peak_row`` and
    ``peak_column`` (bins), ``power_range``, ``frequency`` (cycles/bin), each empty where it does not apply; ``value``, NaN where
    undefined; ``low`` and ``high``, the ends of its 95 % interval, NaN where it has none.
    """
    scores = scores.load()
    names = [str(name) for name in scores.data_vars]
    ends = {name for name in names if name.rpartition("_")[2] in ("low", "high")}
    parts = []
    for name in names:
        if name in ends:
            continue
        head, _, rest = name.partition("_")
        section, metric = (head, rest) if head in SECTION_TITLES else ("correlation", name)
        parts.append(_melted(section, metric, scores[name], scores, name))
    if f"{ADVANTAGE}_low" in ends:
        pearson = scores["mean_pearson"]
        value = (pearson[0] - pearson).where(np.arange(len(pearson)) > 0)
        parts.append(_melted("correlation", ADVANTAGE, value, scores, ADVANTAGE))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def write_csv(scores: xr.Dataset, path: str | Path) -> Path:
    """Write :func:`tidy_table` as a CSV file with all digits; undefined values are empty."""
    target = Path(path)
    replace_file(target, tidy_table(scores).to_csv(index=False, lineterminator="\n").encode())
    return target


def _melted(section: str, metric: str, values: xr.DataArray, scores: xr.Dataset, name: str) -> pd.DataFrame:
    """Rows of one variable."""
    n = values.size
    index = np.indices(values.shape).reshape(values.ndim, n)
    table = pd.DataFrame({"section": [section] * n, "metric": [metric] * n})
    places = dict(zip(values.dims, index, strict=True))
    named = next((dim for dim in ("predictor", "map", "realism_map") if dim in places), None)
    table["predictor"] = "" if named is None else scores[named].values[places[named]].astype(str)
    for dim, column in _DIM_COLUMNS.items():
        coordinate = "distance" if dim == "diagonal" else dim
        table[column] = scores[coordinate].values[places[dim]].astype(str) if dim in places else ""
    table["value"] = values.values.ravel().astype(np.float64)
    for side in ("low", "high"):
        end = f"{name}_{side}"
        table[side] = scores[end].values.ravel() if end in scores else np.nan
    return table
