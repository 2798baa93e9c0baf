"""What a prediction's model was trained on, as far as it is told, and so on which regions the baselines are fitted."""

import json
from collections.abc import Sequence
from typing import Any

import xarray as xr

from epizarr.errors import SplitError
from epizarr.genome import Assembly


def baseline_training(
    prediction: xr.Dataset, cell_type: str, regions: Sequence[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """Cell types and regions for the baselines, in the form of the attribute ``trained_on``, and what a reader must know.

    They are those that the model was trained on. Of an imported map these may not be known, and of a network that was trained on
    another assembly they are not here: then the baselines are fitted on the predicted cell type itself, on all that lies farther
    from the scored regions than the band reaches.

    Parameters
    ----------
    prediction
        Opened prediction.
    cell_type
        Predicted cell type.
    regions
        Regions to score; by default those that ``trained_on`` keeps for tests.

    Raises
    ------
    SplitError
        If nothing is known of the training and there is nothing outside the scored regions.
    """
    told = json.loads(str(prediction.attrs["trained_on"]))
    notes = imported_notes(prediction)
    if told["splits"]["train"]:
        return told, notes
    assembly = Assembly.from_dataset(prediction)
    texts = list(regions or told["splits"].get("test", ()))
    if not texts:
        return told, notes
    rest = assembly.rest([assembly.region(text) for text in texts], int(prediction.attrs["span_bp"]))
    if not rest:
        raise SplitError(
            "this map names no training regions, and the regions to score leave nothing to fit the baselines on. Score fewer "
            "regions (--region), or import the map of another program with what it was trained on (--train)."
        )
    notes += [
        f"Its network was trained on another assembly, {told['assembly']}; it has seen nothing of this one."
        if "assembly" in told
        else "What its model was trained on is not stated: it may have seen the scored regions.",
        f"Baselines are fitted on {cell_type} itself, outside the scored regions and a band's reach around them.",
    ]
    seen = json.loads(str(prediction.attrs.get("imported", "{}"))).get("fitted_on", [])
    if any(assembly.region(a).overlaps(assembly.region(b)) for a in seen for b in texts):
        notes.append(
            "The transform's expected contacts were fitted on regions that are scored here; import the map with these regions "
            "kept for scores (--test) to leave them out."
        )
    return {"cell_types": [cell_type], "splits": {**told["splits"], "train": [str(r) for r in rest]}}, notes


def imported_notes(prediction: xr.Dataset) -> list[str]:
    """Say that a map was made by another program, and how it was read; nothing for a prediction of this one."""
    if "imported" not in prediction.attrs:
        return []
    imported = json.loads(str(prediction.attrs["imported"]))
    binsize = int(prediction.attrs["binsize"])
    parts = [f"Imported map: {imported['file']}, {imported['format']} of {imported['binsize']:,}-bp bins"]
    if imported["binsize"] != binsize:
        parts.append(f"averaged by area over bins of {binsize:,} bp")
    if imported["values"] != "linear":
        parts.append(f"{imported['values']} undone")
    if "scale" in prediction.attrs:
        parts.append(
            f"multiplied by {float(prediction.attrs['scale']):.4g} to match the scale of the measured contacts"
        )
    return [", ".join(parts) + "."]
