"""Predicted standard deviations against measured contacts: factors from validation regions, honesty on test regions."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from epizarr.calibration import COVERAGES, Calibration, error_scores, fit_calibration, predictor_id
from epizarr.errors import CalibrationError, SplitError
from epizarr.evaluate.maps import Maps, open_maps, region_rows
from epizarr.genome import Region
from epizarr.io.group_choice import find_prediction
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import group_path
from epizarr.metrics.uncertainty import coverage_by_distance, gaussian_factor, gaussian_nll, reliability_curve


class _RegionMaps(NamedTuple):
    """Transformed truth, mean and standard deviation of one region, (row, diagonal), NaN where a pixel does not count."""

    truth: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def calibrate_run(
    store: StorePath,
    run: str,
    *,
    cell_type: str,
    regions: Sequence[str] | None = None,
    coverages: Sequence[float] = COVERAGES,
    predictions: StorePath | None = None,
    binsize: int | None = None,
) -> Calibration:
    """Fit the factors that make a run's predicted standard deviations hold what they promise; writes nothing.

    See :mod:`epizarr.calibration` for what they promise. Memory: 12 bytes a pixel of the regions, and as much again.

    Parameters
    ----------
    store
        Store with the measured contacts.
    run, cell_type
        Prediction with ``transformed_sd`` of the regions.
    regions
        Regions to fit on. Default: the validation regions of the run.
    coverages
        Shares of pixels that intervals are to hold.
    predictions
        Store that holds the prediction, where it is another one.
    binsize
        Bin width of the prediction, where the run has several.

    Raises
    ------
    SplitError
        If a region overlaps a training or test region of the run, or there is none: factors of training regions would be too
        small, and coverage measured on test regions would prove nothing.
    CalibrationError
        If the prediction has no standard deviation, or no pixel can be compared.
    StoreNotFoundError, StoreError
        If the prediction or the contacts are missing.
    """
    prediction, maps, home = _open(place_of(store), run, cell_type, predictions, binsize)
    splits = json.loads(str(prediction.attrs["trained_on"]))["splits"]
    texts = list(regions or splits.get("validation", ()))
    if not texts:
        raise SplitError(f"run {run!r} has no validation regions; say which regions to calibrate on (--region).")
    chosen = maps.assembly.disjoint(texts)
    for split in ("train", "test"):
        seen = [str(r) for r in chosen if any(r.overlaps(maps.assembly.region(t)) for t in splits.get(split, ()))]
        if seen:
            raise SplitError(
                f"calibration on {', '.join(seen)}: that overlaps the {split} regions of run {run!r}. Give regions that were "
                "neither trained on nor are to be tested on; the validation regions are the default."
            )
    scores = [error_scores(*region) for region in _regions(maps, chosen, home, prediction, run)]
    where = f"{cell_type}, {', '.join(map(str, chosen))}, run {run}"
    return fit_calibration(
        scores, predictor=predictor_id(prediction.attrs), fitted_on=where, coverages=tuple(coverages)
    )


def assess_uncertainty(
    store: StorePath,
    run: str,
    *,
    cell_type: str,
    calibration: Calibration,
    regions: Sequence[str] | None = None,
    predictions: StorePath | None = None,
    binsize: int | None = None,
) -> xr.Dataset:
    """Measure how honest a run's standard deviations and intervals are; writes nothing.

    Parameters
    ----------
    store, run, cell_type, predictions, binsize
        As for :func:`calibrate_run`.
    calibration
        Factors of this run's predictor.
    regions
        Regions to measure on. Default: the test regions of the run.

    Returns
    -------
    In units of the transformed target:

    - ``coverage`` (kind, wanted, diagonal): share of the pixels that lie in the interval; kind "normal" takes the predicted
      standard deviation for that of a normal distribution, "conformal" multiplies it by the factors. NaN without a pixel;
    - ``mean_coverage`` (kind, wanted): the same over all pixels;
    - ``half_width`` (kind, wanted): mean half-width of the intervals;
    - ``n_pixels`` (diagonal);
    - ``predicted_sd``, ``error`` (sd_bin): reliability curve of the standard deviations as predicted;
    - ``rmse``, ``nll``: root of the mean squared error, and mean negative log-likelihood in nats without log(2π)/2.

    Raises
    ------
    SplitError
        If the run has no test regions and none are given.
    CalibrationError
        If the calibration is of another predictor, the prediction has no standard deviation, or no pixel can be compared.
    StoreNotFoundError, StoreError
        If the prediction or the contacts are missing.
    """
    prediction, maps, home = _open(place_of(store), run, cell_type, predictions, binsize)
    if calibration.predictor != predictor_id(prediction.attrs):
        raise CalibrationError(
            f"calibration ({calibration.fitted_on}): it is of another predictor than run {run!r}. Calibrate this run."
        )
    texts = list(regions or json.loads(str(prediction.attrs["trained_on"]))["splits"].get("test", ()))
    if not texts:
        raise SplitError(f"run {run!r} has no test regions; say which regions to measure on (--region).")
    wanted = calibration.coverages
    flat = np.repeat([[gaussian_factor(c)] for c in wanted], maps.n_diagonals, axis=1)
    factors = {"normal": flat, "conformal": calibration.factors}
    found = list(_regions(maps, maps.assembly.disjoint(texts), home, prediction, run))
    scores = np.concatenate([error_scores(*region) for region in found])
    counts = {kind: coverage_by_distance(scores, of_kind) for kind, of_kind in factors.items()}
    n_pixels = counts["normal"][1]
    if not n_pixels.any():
        raise CalibrationError(
            f"run {run!r} of {cell_type!r}: no pixel of {', '.join(texts)} is both observed and predicted, so coverage cannot be "
            "measured there. Predict these regions, or name others."
        )
    inside = np.stack([counts[kind][0] for kind in factors])
    sd_sums = np.sum([np.nansum(np.where(np.isnan(r.truth), np.nan, r.sd), axis=0) for r in found], axis=0)
    widths = np.stack([np.where(n_pixels > 0, of_kind * sd_sums, 0.0).sum(axis=1) for of_kind in factors.values()])
    curve = reliability_curve([r.truth for r in found], [r.mean for r in found], [r.sd for r in found])
    likelihoods = [gaussian_nll(*region) for region in found]
    squared = sum(float(np.nansum(np.square(r.truth - r.mean, dtype=np.float64))) for r in found)
    total = int(n_pixels.sum())
    diagonal = np.arange(maps.n_diagonals)
    return xr.Dataset(
        {
            "coverage": (
                ("kind", "wanted", "diagonal"),
                np.where(n_pixels > 0, inside / np.maximum(n_pixels, 1), np.nan),
            ),
            "mean_coverage": (("kind", "wanted"), inside.sum(axis=2) / total),
            "half_width": (("kind", "wanted"), widths / total),
            "n_pixels": ("diagonal", n_pixels),
            "predicted_sd": ("sd_bin", curve.predicted_sd),
            "error": ("sd_bin", curve.error),
            "rmse": ((), float(np.sqrt(squared / total))),
            "nll": ((), sum(nll for nll, _ in likelihoods) / total),
        },
        coords={
            "kind": list(factors),
            "wanted": list(wanted),
            "diagonal": diagonal,
            "distance": ("diagonal", diagonal * maps.binsize),
        },
        attrs={"run": run, "cell_type": cell_type, "regions": json.dumps(texts), "fitted_on": calibration.fitted_on},
    )


def _open(
    store: Place, run: str, cell_type: str, predictions: StorePath | None, binsize: int | None
) -> tuple[xr.Dataset, Maps, Place]:
    home = place_of(predictions or store)
    prediction = find_prediction(home, cell_type, run, binsize)
    if "transformed_sd" not in prediction:
        raise CalibrationError(
            f"{home}: run {run!r} of {cell_type!r} has no standard deviation. Predict with --mc-dropout N, with --ensemble, or "
            "by a network with network.head = 'variance'."
        )
    return prediction, open_maps(store, cell_type, prediction, is_predicted=True), home


def _regions(
    maps: Maps, regions: Sequence[Region], home: Place, prediction: xr.Dataset, run: str
) -> Iterator[_RegionMaps]:
    """Maps of one region after the other."""
    group = group_path("predictions", maps.cell_type, int(prediction.attrs["binsize"]), run)
    for region in regions:
        blocks = []
        for rows in region_rows(maps.grid, [region]):
            sd = maps.predicted(home, group, rows, "transformed_sd")
            truth, mean = (maps.transformed(b) for b in (maps.observed(rows), maps.predicted(home, group, rows)))
            counts = np.isfinite(truth) & np.isfinite(mean) & np.isfinite(sd)
            blocks.append([np.where(counts, band, np.nan) for band in (truth, mean, sd)])
        if blocks:
            yield _RegionMaps(*(np.concatenate(bands) for bands in zip(*blocks, strict=True)))
