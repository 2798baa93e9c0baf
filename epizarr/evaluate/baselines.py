"""The baselines that a prediction is scored beside: what they are fitted on, and how."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from epizarr.errors import StoreError
from epizarr.evaluate.maps import Maps, Rows, lacking_tracks, missing_tracks, region_rows
from epizarr.genome import Region
from epizarr.io.places import Place
from epizarr.io.store import list_groups
from epizarr.metrics.baselines import (
    LinearFit,
    PixelMoments,
    fit_insulation,
    fit_ridge,
    fit_training_mean,
    pixel_features,
)

TRAINING_MEAN, INSULATION, RIDGE = "training mean", "CTCF insulation", "ridge"
#: The track that the insulation heuristic reads, in any case.
INSULATOR = "ctcf"


@dataclass(frozen=True)
class FitTask:
    """Rows of one cell type whose pixels are added up."""

    maps: Maps
    rows: Rows


def baseline_sources(
    store: Place, prediction: xr.Dataset, trained: Sequence[str]
) -> tuple[list[str], list[str], set[str]]:
    """Training cell types that the store has, the notes that say what is left out, and tracks that some of them lack."""
    has_group_of = {info.cell_type for info in list_groups(store) if info.kind == "contacts"}
    there = [name for name in trained if name in has_group_of]
    notes = []
    if elsewhere := [name for name in trained if name not in there]:
        notes.append(f"Baselines are not fitted on {', '.join(elsewhere)}, trained on as well: not in this store.")
    lacking = lacking_tracks(store, there, prediction)
    notes += [f"Baselines leave out {', '.join(names)}, which {name} lacks." for name, names in lacking.items()]
    if fed := missing_tracks(prediction):
        notes.append(f"Fed to the network as missing, and left out of baselines: {', '.join(fed)}.")
    if sources := json.loads(prediction.attrs.get("track_sources", "{}")):
        notes.append(
            "Read in the place of another track: " + ", ".join(f"{s} as {n}" for n, s in sources.items()) + "."
        )
    return there, notes, {track for names in lacking.values() for track in names}


def fit_tasks(sources: Sequence[Maps], regions: Sequence[Region]) -> list[FitTask]:
    """Tasks that add up the regions of all cell types."""
    return [FitTask(source, rows) for source in sources for rows in region_rows(source.grid, regions)]


def fit_sums(task: FitTask) -> PixelMoments:
    """Moments of a task's pixels."""
    maps, rows = task.maps, task.rows
    target = maps.transformed(maps.observed(rows))
    return PixelMoments.of_block(pixel_features(maps.bin_tracks(rows), *target.shape), target)


def fit_baselines(
    train: PixelMoments | None, validation: PixelMoments | None, tracks: Sequence[str]
) -> tuple[list[LinearFit], list[str]]:
    """Fit what can be fitted of the moments in training and validation regions; the notes say what cannot, and why.

    Parameters
    ----------
    train, validation
        From :func:`fit_sums`, in total; None without a region.
    tracks
        Names of the features' tracks, in order.

    Raises
    ------
    StoreError
        If no training pixel has a value.
    """
    if train is None or not train.n_target.any():
        raise StoreError(
            "the training regions of this run have no valid pixel in this store, so that neither a baseline nor the skill can "
            "be computed. Use the store that the run was trained on."
        )
    fits = [fit_training_mean(train)]
    if not tracks:
        return fits, [f"{INSULATION}, {RIDGE}: n/a, this prediction names no tracks that they could read."]
    notes = []
    insulators = [index for index, name in enumerate(tracks) if name.lower() == INSULATOR]
    if insulators and train.n.any():
        fits.append(fit_insulation(train, insulators[0], len(tracks)))
    else:
        why = "no track is named CTCF" if not insulators else "no training pixel has all tracks measured"
        notes.append(f"{INSULATION}: n/a, {why}.")
    if validation is not None and validation.n.any() and train.n.any():
        fits.append(fit_ridge(train, validation))
    else:
        notes.append(f"{RIDGE}: n/a, no training or no validation pixel has all tracks measured.")
    return fits, notes
