"""The report of an evaluation: a table, correlation by distance, and maps of windows nobody picked."""

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from epizarr.bands import mask_band, stripe_margins
from epizarr.errors import StoreError
from epizarr.evaluate.headlines import headlines, run_names, verdict
from epizarr.evaluate.intervals import SCORES, advantage_notes, interval_note, score_interval
from epizarr.evaluate.maps import (
    Maps,
    Rows,
    check_truth,
    compared_inputs,
    open_maps,
    read_truth,
)
from epizarr.evaluate.notes import PREDICTION
from epizarr.evaluate.outcome_maps import outcome_pictures
from epizarr.evaluate.score import group_name
from epizarr.evaluate.section_parts import section_parts
from epizarr.evaluate.windows import N_WINDOWS, WINDOW_BP, Window, pick_windows
from epizarr.genome import Region
from epizarr.io.files import replace_file
from epizarr.io.group_choice import find_prediction
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import group_path, open_evaluation
from epizarr.metrics.correlation import MIN_PIXELS, score_by_distance
from epizarr.report.evaluation_figures import headline_figure
from epizarr.report.figures import (
    MapWindow,
    TrackPanel,
    contact_figure,
    distance_figure,
    figure_png,
    value_label,
)
from epizarr.report.html import Page, Picture, Section, Table, format_interval, format_score, render_page
from epizarr.transforms import Transform

#: Rows of the table of scores by distance.
_N_DISTANCES = 10


def write_report(
    store: StorePath,
    run: str | Sequence[str],
    *,
    cell_type: str,
    path: str | Path,
    truth: str | Path | None = None,
    predictions: StorePath | None = None,
    binsize: int | None = None,
    n_windows: int = N_WINDOWS,
    window_bp: int = WINDOW_BP,
) -> Path:
    """Write one self-contained HTML file about an evaluation that :func:`evaluate_run` has made.

    Parameters
    ----------
    store, run, cell_type, truth, predictions, binsize
        As given to :func:`evaluate_run`. With ``truth`` the noise-free map is drawn too.
    path
        HTML file to write, replaced if it is there.
    n_windows, window_bp
        Maps to draw, see :func:`epizarr.evaluate.windows.pick_windows`.

    Returns
    -------
    ``path``.

    Raises
    ------
    StoreNotFoundError
        If the run has not been evaluated.
    StoreError
        If the prediction was replaced by another checkpoint's after it was evaluated.
    """
    store, home = place_of(store), place_of(predictions or store)
    runs = [run] if isinstance(run, str) else list(run)
    predicted = [find_prediction(home, cell_type, each, binsize) for each in runs]
    prediction = predicted[0]
    maps = open_maps(store, cell_type, prediction, is_predicted=True)
    if truth is not None:
        check_truth(Path(truth), maps)
    scores = open_evaluation(home, cell_type, group_name(runs), maps.binsize).load()
    checkpoints = " ".join(str(each.attrs["checkpoint_sha256"]) for each in predicted)
    if scores.attrs["checkpoint_sha256"] != checkpoints or scores.attrs["transform"] != prediction.attrs["transform"]:
        raise StoreError(
            f"{home}: run {group_name(runs)!r} of {cell_type!r} was predicted again with another checkpoint after it was "
            "evaluated. Evaluate it again (--overwrite)."
        )
    regions = [maps.assembly.region(text) for text in json.loads(scores.attrs["regions"])]
    windows = pick_windows(maps, regions, n_windows, window_bp)
    label = value_label(maps.transform, maps.variable)
    groups = {
        _map_title(name): group_path("predictions", cell_type, maps.binsize, each)
        for name, each in zip(run_names(scores), runs, strict=True)
    }
    pictures = [
        _map_picture(maps, window, home, groups, None if truth is None else str(truth), label) for window in windows
    ]
    command = _command(store, home, runs, maps, scores, truth)
    sections = [
        _score_section(scores, regions),
        _distance_section(scores),
        *section_parts(scores, command, {"interactions": outcome_pictures(maps, windows, home, groups, scores)}),
        *_absent_section(scores),
        Section(
            "Maps",
            [
                f"Windows of up to {window_bp / 1e6:g} Mb, evenly spaced over the good bins of the scored regions: nobody "
                "picked them. All maps of a figure share one colour scale, set by the observed map; grey is missing or outside "
                "the scored regions."
                + (" Tracks are drawn untransformed and cut where the model's clip limit is." if maps.tracks else "")
            ],
            pictures=pictures,
        ),
        _provenance_section(store, home, group_name(runs), maps, prediction, scores, command),
    ]
    page = Page(
        title=f"{cell_type}: run {' beside '.join(runs)}",
        subtitle=f"Predicted {maps.variable} at {maps.binsize:,} bp against measured contacts, assembly {maps.assembly.name}",
        banners=json.loads(scores.attrs["notes"]),
        sections=sections,
        lead=verdict(scores),
        lead_picture=_lead_picture(scores),
    )
    target = Path(path)
    replace_file(target, render_page(page).encode())
    return target


def _lead_picture(scores: xr.Dataset) -> Picture:
    """Headline scores of all predictors in one figure."""
    found = headlines(scores)
    figure = headline_figure(
        [str(name) for name in scores["predictor"].values],
        run_names(scores),
        [h.label + (f" ({h.where})" if h.where else "") for h in found],
        np.stack([h.values for h in found]),
        np.stack([h.low for h in found]),
        np.stack([h.high for h in found]),
        [h.chance for h in found],
    )
    caption = "Farther right is better, 1 is perfect; bars are 95 % intervals, grey marks are chance, an arrow lies farther left."
    return Picture(figure_png(figure), caption)


def _absent_section(scores: xr.Dataset) -> list[Section]:
    """What was not scored, and why."""
    absent = json.loads(scores.attrs.get("not_scored", "{}"))
    return (
        [Section("Not scored", tables=[Table("", ["section", "why"], list(absent.items()), is_text=True)])]
        if absent
        else []
    )


def _command(
    store: Place, home: Place, runs: Sequence[str], maps: Maps, scores: xr.Dataset, truth: str | Path | None
) -> str:
    """Command that makes this evaluation again."""
    words = ["epizarr", "evaluate", str(store), *(word for run in runs for word in ("--run", run))]
    words += ["--cell-type", maps.cell_type, "--binsize", str(maps.binsize)]
    words += [word for region in json.loads(scores.attrs["regions"]) for word in ("--region", region)]
    words += ["--truth", str(truth)] if truth is not None else []
    words += ["--predictions", str(home)] if home != store else []
    parameters = json.loads(scores.attrs.get("sections", "{}"))
    words += ["--other-cell-type", parameters["specificity"]["other"]] if "specificity" in parameters else []
    given = parameters.get("loops", {}).get("given", "")
    words += ["--loops", given.partition(" (sha256")[0]] if given else []
    return f"{shlex.join(words)} --overwrite"


def _map_title(name: str) -> str:
    return "Predicted" if name == PREDICTION else f"Predicted, {name}"


def _map_picture(
    maps: Maps, window: Window, home: Place, groups: Mapping[str, str], truth: str | None, label: str
) -> Picture:
    lo, hi = window.lo, window.hi
    margin = stripe_margins(maps.n_diagonals)[0]
    # Rows around the window fill its corners, as far as the region goes.
    rows = Rows(max(lo - margin, window.first), min(hi + margin, window.end), window.end)
    in_region = np.arange(rows.lo, rows.hi + maps.n_diagonals - 1) < window.end
    observed = maps.observed(rows)
    bands = {"Observed": observed}
    bands |= {title: mask_band(maps.predicted(home, group, rows), in_region) for title, group in groups.items()}
    if truth is not None:
        noise_free = mask_band(read_truth(truth, rows, maps.n_diagonals), in_region)
        both = np.isfinite(observed) & np.isfinite(noise_free)
        bands["Noise-free truth"] = noise_free * _ratio(observed[both], noise_free[both])
    drawn = {title: maps.transformed(band) for title, band in bands.items()}
    first = lo - rows.lo
    shown = slice(first, first + hi - lo)
    pearson = ", ".join(
        format_score(score_by_distance(drawn[title][shown], drawn["Observed"][shown]).mean_pearson) for title in groups
    )
    region = maps.grid.extent_region(lo, hi)
    signal = maps.signal(lo, hi, transformed=False)
    figure = contact_figure(
        MapWindow(
            region=str(region),
            start=region.start,
            end=region.start + (hi - lo) * maps.binsize,
            binsize=maps.binsize,
            margin_bins=first,
            maps=tuple(drawn.items()),
            tracks=tuple(
                TrackPanel(name, values, _upper(transform, values))
                for name, values, transform in zip(maps.tracks, signal, maps.track_transforms, strict=True)
            ),
            value_label=label,
        )
    )
    return Picture(figure_png(figure), f"{region}: {label}. Mean Pearson by distance here: {pearson}.")


def _ratio(observed: np.ndarray, noise_free: np.ndarray) -> np.float32:
    """Factor that brings the noise-free contacts to the observed scale."""
    total = float(noise_free.sum(dtype=np.float64))
    return np.float32(float(observed.sum(dtype=np.float64)) / total if total > 0 else 1.0)


def _upper(transform: Transform, values: np.ndarray) -> float:
    """Top of a track's axis: the model's clip limit, or the window's own where it has none."""
    fitted = transform.params.get("clip", {}).get("upper")
    known = values[~np.isnan(values)]
    return float(fitted if fitted is not None else np.percentile(known, 99.9) if len(known) else 1.0)


def _score_section(scores: xr.Dataset, regions: Sequence[Region]) -> Section:
    total = int(scores["n_pixels"].sum())
    rows = []
    for index, predictor in enumerate(scores["predictor"].values):
        cells = []
        for name in SCORES:
            digits = 4 if name == "mse" else 3
            # A line may end before an interval, not in it.
            within = format_interval(*score_interval(scores, name, index), digits).replace(" ", "\N{NO-BREAK SPACE}")
            cells.append(format_score(float(scores[name][index]), digits) + (f" ({within})" if within else ""))
        rows.append([str(predictor), *cells, f"{total:,}"])
    bp = sum(region.length for region in regions)
    table = Table(
        "",
        ["predictor", "Pearson", "Spearman", "MSE", "skill", "pixels"],
        rows,
        f"{interval_note(scores)} Pearson and Spearman: computed at each distance over the pixels of all regions, where at "
        f"least {MIN_PIXELS} count, then averaged over distances. Skill: 1 − MSE / MSE of the training mean. All are scored "
        "on the same pixels, after the target's transform. n/a: undefined.",
        emphasised=range(len(run_names(scores))),
    )
    listed = ", ".join(str(region) for region in regions[:8]) + (" …" if len(regions) > 8 else "")
    scored_on = f"Scored on {bp / 1e6:,.1f} Mb: {listed}."
    return Section("Scores", [scored_on, *advantage_notes(scores)], [table])


def _distance_section(scores: xr.Dataset) -> Section:
    predictors = [str(m) for m in scores["predictor"].values]
    known = np.flatnonzero(scores["n_pixels"].values)
    chosen = np.unique(known[np.linspace(0, len(known) - 1, _N_DISTANCES).round().astype(int)]) if len(known) else known
    rows = [
        [
            f"{scores['distance'].values[k] / 1e3:,.0f} kb",
            *(format_score(float(scores["pearson"].values[m, k])) for m in range(len(predictors))),
            f"{int(scores['n_pixels'].values[k]):,}",
        ]
        for k in chosen
    ]
    table = Table("Pearson at some distances", ["distance", *predictors, "pixels"], rows)
    return Section(
        "By distance",
        [],
        [table],
        [Picture(figure_png(distance_figure(scores)), "Correlation with the observed map by distance.")],
    )


def _provenance_section(
    store: Place, home: Place, run: str, maps: Maps, prediction: xr.Dataset, scores: xr.Dataset, command: str
) -> Section:
    trained_on = json.loads(prediction.attrs["trained_on"])
    settings = json.loads(prediction.attrs["settings"])
    imported = json.loads(prediction.attrs.get("imported", "{}"))
    tracks = ", ".join(f"{n} ({_title(t)})" for n, t in zip(maps.tracks, maps.track_transforms, strict=True))
    facts = [
        ["store", str(store) if home == store else f"{store}; prediction in {home}"],
        ["cell type, run", f"{maps.cell_type}, {run}"],
        ["command", command],
        [f"{'file' if imported else 'checkpoint'} (sha256)", str(scores.attrs["checkpoint_sha256"])],
        ["target, transform", f"{maps.variable}, {maps.transform.name}"],
        ["bins, diagonals", f"{maps.binsize:,} bp; diagonals {maps.min_diagonal} to {maps.n_diagonals - 1} are scored"],
        ["tracks", tracks or "none named"],
        ["trained on cell types", ", ".join(trained_on["cell_types"]) or "not stated"],
        *([["trained on assembly", trained_on["assembly"]]] if "assembly" in trained_on else []),
        *([f"{name} regions", ", ".join(regions) or "none named"] for name, regions in trained_on["splits"].items()),
        *([f"imported: {key}", _text(value)] for key, value in imported.items()),
        *([["prediction settings", ", ".join(f"{k} {v}" for k, v in settings.items())]] if settings else []),
        *([f"predictor: {name}", str(text)] for name, text in json.loads(scores.attrs["predictors"]).items()),
        ["versions", ", ".join(f"{p} {version(p)}" for p in ("epizarr", "numpy", "scipy", "xarray", "zarr"))],
    ]
    files = [
        [
            " ".join(str(e[k]) for k in ("name", "replicate") if k in e),
            str(e.get("uri", "")),
            str(e.get("sha256", ""))[:16],
            str(e.get("origin", "")),
        ]
        for e in compared_inputs(maps)
    ]
    return Section(
        "Provenance",
        tables=[
            Table("", ["what", "value"], facts, is_text=True),
            Table("Input files", ["name", "file", "sha256 (first 16)", "origin"], files, is_text=True),
        ],
    )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _title(transform: Transform) -> str:
    """Name of a track's transform, and how its file was matched."""
    return transform.name + (f", {transform.params['match']['match']} matched" if transform.is_matched else "")
