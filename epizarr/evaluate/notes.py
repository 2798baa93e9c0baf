"""What a reader of the scores must know, in sentences: what was seen in training, what was left out, what kind of data it is."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from epizarr.evaluate.maps import Maps, compared_inputs
from epizarr.genome import Region
from epizarr.metrics.correlation import DistanceScores

#: The predictor, where there is one run.
PREDICTION = "prediction"
_PEAK_DERIVED = "Peak-derived signal, not coverage"


def data_notes(maps: Maps) -> list[str]:
    """What kind of data was compared, where a reader must know it first."""
    origins = [str(entry.get("origin", "")) for entry in compared_inputs(maps)]
    notes = []
    if "simulated" in maps.assembly.name.lower() or any("SIMULATED" in origin for origin in origins):
        notes.append("SIMULATED data: genome, tracks and contacts were drawn by epizarr's simulator, not measured.")
    if any(_PEAK_DERIVED.lower() in origin.lower() for origin in origins):
        notes.append(f"{_PEAK_DERIVED}: tracks were made from peak files, with zero outside the peaks.")
    return notes


def seen_notes(maps: Maps, name: str, scored: Sequence[Region], trained_on: dict[str, Any]) -> list[str]:
    """Say what of the scored regions a run has seen, or that it has not seen the cell type."""
    of = "" if name == PREDICTION else f" ({name})"
    notes = []
    if maps.cell_type in trained_on.get("held_out_cell_types", ()):
        notes.append(
            f"Cell type {maps.cell_type} was held out: it neither trained the network nor chose the checkpoint{of}."
        )
    for split, what in (("train", "training"), ("validation", "the choice of the checkpoint")):
        regions = [maps.assembly.region(text) for text in trained_on["splits"][split]]
        for region in scored:
            seen = [other for other in regions if region.overlaps(other)]
            if seen:
                notes.append(
                    f"SEEN in {what}{of}: {region} overlaps {', '.join(map(str, seen))} (cell types "
                    f"{', '.join(trained_on['cell_types'])}). These scores do not say how the model does on new data."
                )
    return notes


def pixel_notes(name: str, scores: DistanceScores, n_observed: int) -> list[str]:
    """Say how many observed pixels are not scored, and where the correlation of a predictor is undefined."""
    notes = []
    n_scored = int(scores.n_pixels.sum())
    if n_scored < n_observed:
        notes.append(
            f"{n_observed - n_scored:,} of {n_observed:,} observed pixels have no value in the prediction or in a baseline "
            "and are left out of all scores."
        )
    undefined = int((np.isnan(scores.pearson) & (scores.n_pixels > 0)).sum())
    if undefined:
        notes.append(f"The correlation of the {name} is undefined on {undefined} diagonals; the means leave them out.")
    return notes


def run_notes(names: Sequence[str], predicted: Sequence[xr.Dataset]) -> list[str]:
    """Say where runs were transformed or trained otherwise than the first, whose transform and baselines are used."""
    first = predicted[0].attrs
    notes = []
    for name, each in zip(names[1:], predicted[1:], strict=True):
        if each.attrs["transform"] != first["transform"]:
            notes.append(f"All maps are transformed as the target of {names[0]}; that of {name} has another transform.")
        seen = [json.loads(str(attrs["trained_on"])) for attrs in (first, each.attrs)]
        if seen[0]["cell_types"] != seen[1]["cell_types"] or seen[0]["splits"] != seen[1]["splits"]:
            notes.append(
                f"{name} was trained on other cell types or regions than {names[0]}; baselines are those of {names[0]}."
            )
    return notes
