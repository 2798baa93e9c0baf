"""Tables of a report's sections, from scores made by hand."""

import json

import numpy as np
import xarray as xr

from epizarr.evaluate.section_parts import section_parts


def test_section_parts__emphasise_the_runs_wherever_their_rows_are():
    """Run "a" has no value and no row; in a table of maps the measured one comes first."""
    runs = ["run a", "run b"]
    values = np.array([np.nan, 0.5, 0.4, 0.3])
    own = {f"similarity_{name}": ("predictor", values) for name in ("hicrep", "ssim", "ssim_shuffled")}
    of_maps = {
        f"loops_{name}": ("map", np.append(0.9, values))
        for name in ("called", "precision", "recall", "aupr", "auroc", "peak_score")
    }
    peak = {"loops_peak": (("map", "peak_row", "peak_column"), np.full((5, 3, 3), np.nan))}
    scores = xr.Dataset(
        {**own, **of_maps, **peak, "loops_true": 4.0, "loops_chance": 0.1},
        coords={"predictor": [*runs, "run c", "ridge"], "map": ["observed", *runs, "run c", "ridge"]},
        attrs={
            "runs": json.dumps(dict.fromkeys([*runs, "run c"], "")),
            "definitions": json.dumps({"similarity": "S.", "loops": "L."}),
        },
    )
    similarity, loops = (part.tables[0] for part in section_parts(scores, "epizarr evaluate"))
    for table in (similarity, loops):
        assert [table.rows[index][0] for index in table.emphasised] == ["run b", "run c"]
