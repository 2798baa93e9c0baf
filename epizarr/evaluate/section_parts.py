"""The parts of a report that show the sections of an evaluation: definition, table and curves of each."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from epizarr.evaluate.headlines import run_names
from epizarr.evaluate.sections import SECTION_TITLES
from epizarr.report.evaluation_figures import line_styles, lines_figure, peaks_figure
from epizarr.report.figures import figure_png
from epizarr.report.html import Picture, Section, Table, format_interval, format_score

#: Names of what is no predictor, in figures and tables of specificity.
_DIFFERENCE_CEILING, _COPIED, _MEAN_MAP = "ceiling of the difference", "copied map", "training cells' mean"
#: Panel of the correlations of two cell types' insulation.
_AGREEMENT = "Insulation of both cell types, r predicted"
#: Rows of a table of regions.
_N_REGIONS = 10
_CALLERS = {"insulation": "Insulation", "topdom": "TopDom", "separation": "TAD separation"}


def section_parts(
    scores: xr.Dataset, command: str, more: Mapping[str, Sequence[Picture]] | None = None
) -> list[Section]:
    """Parts of the sections that have values, in order, each with the ``command`` that gives its numbers again.

    ``more`` has pictures of some sections, by name, which are not drawn from the scores alone.
    """
    definitions = json.loads(scores.attrs.get("definitions", "{}"))
    parts = []
    for name, definition in definitions.items():
        if not any(str(variable).startswith(f"{name}_") for variable in scores.data_vars):
            continue
        tables, pictures = _PARTS[name](scores) if name in _PARTS else ([], [])
        pictures = [*pictures, *(more or {}).get(name, ())]
        again = f"Again: {command} --sections {name}"
        parts.append(Section(SECTION_TITLES[name], [definition], tables, pictures, note=again))
    return parts


def _predictors(scores: xr.Dataset) -> list[str]:
    return [str(name) for name in scores["predictor"].values]


def _rows(names: Sequence[str], columns: Sequence[np.ndarray], digits: Sequence[int]) -> list[list[str]]:
    """Rows of the predictors that have any of the values."""
    return [
        [name, *(_number(float(c[i]), d) for c, d in zip(columns, digits, strict=True))]
        for i, name in enumerate(names)
        if not all(np.isnan(c[i]) for c in columns)
    ]


def _number(value: float, digits: int) -> str:
    return format_score(value, digits) if digits or np.isnan(value) else f"{value:,.0f}"


def _figure(scores: xr.Dataset, panels: Any, caption: str, same: dict[str, float] | None = None) -> Picture:
    styles = line_styles(_predictors(scores), run_names(scores))
    return Picture(figure_png(lines_figure(panels, styles, same=same)), caption)


def _table(
    scores: xr.Dataset, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
) -> Table:
    """A table with a map a row, in which those of the runs are emphasised."""
    runs = run_names(scores)
    return Table(title, header, rows, note, emphasised=[i for i, row in enumerate(rows) if row[0] in runs])


def _published(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    columns = [scores[f"published_mean_{name}"].values for name in ("pearson", "spearman")]
    columns += [scores[f"mean_{name}"].values for name in ("pearson", "spearman")]
    table = _table(
        scores,
        "",
        ["predictor", "Pearson, as published", "Spearman, as published", "Pearson, ours", "Spearman, ours"],
        [row for row in _rows(_predictors(scores), columns, [3] * 4) if row[1] != "n/a" or row[2] != "n/a"],
    )
    return [table], []


def _domains(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    names = _predictors(scores)
    middle = scores.sizes["window"] // 2
    tables = []
    for caller, title in _CALLERS.items():
        if f"domains_{caller}_pearson" not in scores:
            continue
        kinds = ["pearson", "precision", "recall", "f1"] + ["jaccard", "variation"] * (caller != "insulation")
        labels = ["Pearson", "precision", "recall", "F1"] + ["Jaccard", "variation (bit)"] * (caller != "insulation")
        values = [scores[f"domains_{caller}_{kind}"].values for kind in kinds]
        found = scores[f"domains_{caller}_boundaries"].values
        if caller != "separation":
            values, found = [v[:, middle] for v in values], found[:, middle]
            title += f", {int(scores['window'][middle]) / 1e3:g}-kb window"
        tables.append(
            _table(
                scores,
                title,
                ["predictor", *labels, "boundaries"],
                _rows(names, [*values, np.where(np.isnan(values[0]), np.nan, found[1:])], [3] * len(kinds) + [0]),
                f"The measured map has {found[0]:,.0f} boundaries.",
            )
        )
    window = scores["window"].values / 1e3
    panels = {
        title: (window, dict(zip(names, scores[name].values, strict=True)), "window (kb)")
        for title, name in (
            ("Insulation, Pearson", "domains_insulation_pearson"),
            ("Boundaries, F1", "domains_insulation_f1"),
            ("TopDom domains, Jaccard", "domains_topdom_jaccard"),
        )
    }
    pictures = [_figure(scores, panels, "Agreement with the measured map by window.")] if len(window) > 1 else []
    if "domains_ctcf" in scores:
        share = scores["domains_ctcf"].values[:, middle]
        tables.append(
            _table(
                scores,
                "Insulation boundaries at CTCF",
                ["map", "share at CTCF"],
                [[str(m), f"{v:.0%}"] for m, v in zip(scores["map"].values, share, strict=True) if not np.isnan(v)],
                f"Of all bins {float(scores['domains_ctcf_chance']):.0%} are as near to a CTCF peak.",
            )
        )
    return tables, pictures


def _interactions(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    names = _predictors(scores)
    tables, panels, same = [], {}, {}
    for c, criterion in enumerate(scores["criterion"].values):
        kinds = ("auroc", "aupr", "paper_auroc", "paper_aupr")
        chance = float(scores["interactions_chance"].values[c])
        tables.append(
            _table(
                scores,
                str(criterion),
                ["predictor", "ROC", "PR", "ROC, paper's thresholds", "PR, paper's thresholds"],
                _rows(names, [scores[f"interactions_{kind}"].values[:, c] for kind in kinds], [3] * 4),
                f"Chance: ROC 0.5, PR {chance:.3f}.",
            )
        )
        rates = {
            n: np.stack([scores[f"interactions_{x}"].values[i, c] for x in ("fallout", "recall")])
            for i, n in enumerate(names)
        }
        precision = {
            n: np.stack([scores[f"interactions_{x}"].values[i, c] for x in ("recall", "precision")])
            for i, n in enumerate(names)
        }
        title = f"{criterion}: PR over the paper's thresholds"
        panels[f"{criterion}: ROC over the paper's thresholds"] = (np.zeros(0), rates, "false-positive rate")
        panels[title] = (np.zeros(0), precision, "recall")
        same[title] = chance
        by_distance = dict(zip(names, scores["interactions_distance_auroc"].values[:, c], strict=True))
        panels[f"{criterion}: ROC by distance"] = (scores["distance"].values / 1e6, by_distance, "distance (Mb)")
        same[f"{criterion}: ROC by distance"] = 0.5
    return tables, [_figure(scores, panels, "Finding the interactions of the measured map.", same)]


def _loops(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    names = [str(name) for name in scores["map"].values]
    kinds = {"called": 0, "precision": 3, "recall": 3, "aupr": 3, "auroc": 3, "peak_score": 2}
    rows = _rows(names, [scores[f"loops_{kind}"].values for kind in kinds], list(kinds.values()))
    table = _table(
        scores,
        "",
        ["map", "called", "precision", "recall", "PR at true loops", "ROC", "aggregate peak"],
        rows,
        f"{int(scores['loops_true']):,} true loops; PR of chance: {format_score(float(scores['loops_chance']))}.",
    )
    peaks = {n: p for n, p in zip(names, scores["loops_peak"].values, strict=True) if not np.isnan(p).all()}
    if not peaks:
        return [table], []
    of = dict(zip(names, scores["loops_peak_score"].values.tolist(), strict=True))
    picture = figure_png(peaks_figure(peaks, of, int(scores.attrs["binsize"])))
    return [table], [Picture(picture, "Aggregate peaks: mean observed / expected around the true loops in each map.")]


def _similarity(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    kinds = ("hicrep", "ssim", "ssim_shuffled")
    columns = [scores[f"similarity_{kind}"].values for kind in kinds]
    header = ["predictor", "HiCRep", "SSIM", "SSIM of the map shuffled"]
    return [_table(scores, "", header, _rows(_predictors(scores), columns, [3] * 3))], []


def _submatrices(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    insulation, mse = scores["submatrices_insulation"].values, scores["submatrices_mse"].values
    middle = [
        np.array([np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else np.nan for row in values])
        for values in (insulation, mse)
    ]
    number = (~np.isnan(insulation)).sum(axis=1).astype(np.float64)
    columns = [middle[1], middle[0], scores["submatrices_share"].values, np.where(number > 0, number, np.nan)]
    table = _table(
        scores,
        "",
        ["predictor", "median MSE", "median insulation r", "share with r > 0.5", "submatrices"],
        _rows(_predictors(scores), columns, [4, 3, 3, 0]),
    )
    return [table], []


def _specificity(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    names = _predictors(scores)
    kinds = ("skill", "skill_over_mean", "identified", "mean_difference")
    columns = [scores[f"specificity_{kind}"].values for kind in kinds]
    header = ["predictor", "skill over copying", "over training cells' mean", "identified", "difference, Pearson"]
    ceiling = float(scores["specificity_mean_ceiling"])
    note = f"Replicate ceiling of the difference: {format_score(ceiling)}."
    tables = [_table(scores, "", header, _rows(names, columns, [3] * 4), note)]
    panels: dict[str, Any] = {}
    by_distance = dict(zip(names, scores["specificity_difference"].values, strict=True))
    by_distance |= {_DIFFERENCE_CEILING: scores["specificity_ceiling"].values}
    if not all(np.isnan(values).all() for values in by_distance.values()):
        panels["Difference of the cell types, Pearson"] = (
            scores["distance"].values / 1e6,
            by_distance,
            "distance (Mb)",
        )
    if "specificity_rank" in scores:
        true = scores["specificity_true_difference"].values
        order = np.argsort(scores["specificity_rank"].values)[: int((~np.isnan(true)).sum())]
        by_name = dict(zip(names, scores["specificity_error"].values, strict=True))
        maps = {_COPIED: true, _MEAN_MAP: scores["specificity_error_of_mean"].values}
        maps |= {run: by_name[run] for run in run_names(scores)}
        tables.append(_ranked_regions(scores, maps, order))
        errors = {name: values[order] for name, values in maps.items()}
        panels["Squared error by region"] = (np.arange(1, len(order) + 1), errors, "rank by true difference")
        of_truth = scores["specificity_true_insulation"].values
        insulation = {
            name: np.stack([of_truth, values])
            for name, values in zip(names, scores["specificity_insulation"].values, strict=True)
            if not np.isnan(values).all()
        }
        if insulation:
            panels[_AGREEMENT] = (of_truth, insulation, "r measured")
    caption = "What sets the cell types apart: by distance, errors in each 2-Mb stretch, and the correlation of their insulation."
    extra = (_DIFFERENCE_CEILING, _COPIED, _MEAN_MAP)
    styles = line_styles([*names, *extra], run_names(scores))
    return tables, [Picture(figure_png(lines_figure(panels, styles, points=[_AGREEMENT])), caption)] if panels else []


def _ranked_regions(scores: xr.Dataset, errors: Mapping[str, np.ndarray], order: np.ndarray) -> Table:
    """The 2-Mb stretches that differ most in truth; those with the smallest difference are in the CSV file."""
    runs = run_names(scores)
    shown = {name: values for name, values in errors.items() if not np.isnan(values[order]).all()}
    nearer = dict(zip(_predictors(scores), scores["specificity_nearer_own"].values, strict=True))
    said = {1.0: "yes", 0.0: "no", 0.5: "tie"}
    places = scores["submatrix"].values
    return Table(
        "Regions by true difference",
        [
            "region",
            "true difference = error of copying",
            *(n for n in shown if n != _COPIED),
            *(f"{r}: identified" for r in runs),
        ],
        [
            [
                str(places[i]),
                *(format_score(float(v[i]), 4) for v in shown.values()),
                *(said.get(nearer[r][i], "n/a") for r in runs),
            ]
            for i in order[:_N_REGIONS]
        ],
        f"The {min(_N_REGIONS, len(order))} of {len(order):,} 2-Mb stretches that differ most in truth; all are in the "
        "CSV file. Columns: mean squared error of each map, after the target's transform. Identified: nearer to the measured map "
        "of its own cell type than to the other's.",
    )


def _realism(scores: xr.Dataset) -> tuple[list[Table], list[Picture]]:
    names = [str(name) for name in scores["realism_map"].values]
    low, high = scores["realism_auc_low"].values, scores["realism_auc_high"].values
    kinds = {"auc": 3, "accuracy": 3, "frechet": 2, "mse": 4, "mean_pearson": 3}
    rows = _rows(names, [scores[f"realism_{kind}"].values for kind in kinds], list(kinds.values()))
    within = {n: format_interval(float(a), float(b)) for n, a, b in zip(names, low, high, strict=True)}
    rows = [[name, auc + (f" ({within[name]})" if within[name] else ""), *rest] for name, auc, *rest in rows]
    about = [f"{name}: {text}." for name, text in zip(names, scores["realism_about"].values, strict=True) if text]
    header = ["map", "classifier, ROC", "accuracy", "Fréchet", "MSE", "Pearson"]
    table = _table(scores, "", header, rows, " ".join([*about, "ROC and accuracy: 0.5 cannot be told from measured."]))
    panels: dict[str, Any] = {}
    spread = dict(zip(names, scores["realism_sd_ratio"].values, strict=True))
    panels["Spread / measured"] = (scores["distance"].values / 1e6, spread, "distance (Mb)")
    if "realism_power" in scores:
        ratio = (scores["realism_power"] / scores["realism_reference_power"]).values
        for index in sorted({0, scores.sizes["power_range"] - 1}):
            reach = str(scores["power_range"].values[index])
            lines = dict(zip(names, ratio[:, index], strict=True))
            panels[f"Power / measured, {reach}"] = (scores["frequency"].values, lines, "cycles / bin")
    figure = lines_figure(
        panels, line_styles(names, run_names(scores)), same=dict.fromkeys(panels, 1.0), level="as measured"
    )
    return [table], [
        Picture(figure_png(figure), "Spread and power of detail over those of the measured map; 1 is equal.")
    ]


_PARTS: dict[str, Callable[[xr.Dataset], tuple[list[Table], list[Picture]]]] = {
    "published": _published,
    "domains": _domains,
    "interactions": _interactions,
    "loops": _loops,
    "similarity": _similarity,
    "submatrices": _submatrices,
    "specificity": _specificity,
    "realism": _realism,
}
