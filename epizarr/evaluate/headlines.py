"""The few scores that tell how good a prediction is, and the sentences that say it."""

import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from epizarr.evaluate.intervals import ADVANTAGE, score_interval
from epizarr.report.html import format_interval, format_score

#: Variable -> label, for scores that are better the higher they are. Of several windows the middle one, of several criteria the
#: first is shown.
_HEADLINES = {
    "mean_pearson": "Pearson by distance",
    "mean_spearman": "Spearman by distance",
    "skill": "skill",
    "similarity_hicrep": "HiCRep",
    "domains_insulation_pearson": "insulation, Pearson",
    "domains_insulation_f1": "boundaries, F1",
    "domains_topdom_jaccard": "TopDom domains, Jaccard",
    "interactions_auroc": "interactions, ROC",
    "interactions_aupr": "interactions, PR",
    "loops_aupr": "true loops, PR",
    "loops_recall": "loops, recall",
    "submatrices_share": "2-Mb insulation r > 0.5",
}
_CHANCE: dict[str, float | str] = {
    "interactions_auroc": 0.5,
    "interactions_aupr": "interactions_chance",
    "loops_aupr": "loops_chance",
}


@dataclass(frozen=True)
class Headline:
    """One score of every predictor.

    Parameters
    ----------
    label
        What it is, in a few words.
    values, low, high
        By predictor; ends of the 95 % interval, NaN where there is none.
    chance
        What a map that knows nothing scores; NaN where that is 0 or unknown.
    where
        Window or criterion; empty without.
    """

    label: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: float = float("nan")
    where: str = ""


def headlines(scores: xr.Dataset) -> list[Headline]:
    """Headline scores that an evaluation has, in order."""
    found = []
    for name, label in _HEADLINES.items():
        if name not in scores:
            continue
        values, where = scores[name], ""
        if "map" in values.dims:
            values = values.isel(map=slice(1, None))
        if "window" in values.dims:
            middle = values.sizes["window"] // 2
            where = f"{int(scores['window'][middle]) / 1e3:g} kb"
            values = values.isel(window=middle)
        if "criterion" in values.dims:
            where = str(scores["criterion"].values[0])
            values = values.isel(criterion=0)
        ends = [
            scores[f"{name}_{side}"].values if f"{name}_{side}" in scores else np.full(values.size, np.nan)
            for side in ("low", "high")
        ]
        unknowing = _CHANCE.get(name, float("nan"))
        chance = float(scores[unknowing].values.ravel()[0]) if isinstance(unknowing, str) else unknowing
        if not np.isnan(values.values).all():
            found.append(Headline(label, np.asarray(values.values), ends[0], ends[1], chance, where))
    return found


def run_names(scores: xr.Dataset) -> list[str]:
    """Predictors of an evaluation that are predictions of runs, the first one first."""
    return list(json.loads(scores.attrs.get("runs", "{}"))) or [str(scores["predictor"].values[0])]


def verdict(scores: xr.Dataset) -> list[str]:
    """Say in a few sentences how good the predictions are."""
    names = [str(name) for name in scores["predictor"].values]
    runs = run_names(scores)
    pearson = dict(zip(names, scores["mean_pearson"].values.tolist(), strict=True))
    sentences = []
    for run in runs:
        within = format_interval(*score_interval(scores, "mean_pearson", names.index(run)), 2)
        sentences.append(
            f"The {run} correlates with the measured map at {format_score(pearson[run], 2)}"
            f"{f' (95 % interval {within})' if within else ''} among pixels of equal distance (mean Pearson)."
        )
    ceilings = [name for name in names if "ceiling" in name and not np.isnan(pearson[name])]
    if ceilings:
        best = min(ceilings, key=pearson.__getitem__)
        sentences.append(f"The best that is possible here is {pearson[best]:.2f} ({best}).")
    baselines = [n for n in names if n not in runs and "ceiling" not in n and not np.isnan(pearson[n])]
    for other in [*runs[1:], *([max(baselines, key=pearson.__getitem__)] if baselines else [])]:
        difference = pearson[runs[0]] - pearson[other]
        within = format_interval(*score_interval(scores, ADVANTAGE, names.index(other)), 2)
        side = "better" if difference > 0 else "worse"
        what = f"the {other}" if other in runs else f"the best baseline, {other} ({pearson[other]:.2f})"
        sentences.append(
            f"The {runs[0]} is {side} than {what}, by {abs(difference):.2f}{_settled(within, scores, names.index(other))}."
        )
    index = names.index(runs[0])
    of_sections = {h.label: h for h in headlines(scores)}
    insulation = of_sections.get("insulation, Pearson")
    if insulation is not None:
        text = (
            f"Its insulation score follows the measured one with r = {format_score(float(insulation.values[index]), 2)}"
        )
        recall, precision = (
            scores[f"domains_insulation_{name}"].values[index, scores.sizes["window"] // 2]
            for name in ("recall", "precision")
        )
        text += f"; it has {_percent(recall)} of the boundaries, and {_percent(precision)} of its own are right."
        sentences.append(text)
    if "loops_recall" in scores:
        recall = float(scores["loops_recall"].values[1 + index])
        n_true = int(scores["loops_true"])
        sentences.append(
            f"It shows {_percent(recall)} of {n_true:,} loops." if n_true else "There are no loops to find."
        )
    return sentences


def _settled(within: str, scores: xr.Dataset, index: int) -> str:
    """The interval of a difference, and whether it leaves the sign open."""
    if not within:
        return ""
    low, high = score_interval(scores, ADVANTAGE, index)
    return f" (difference {within}{'; it may be chance' if low <= 0 <= high else ''})"


def _percent(value: float) -> str:
    return "none" if value == 0 else "n/a" if np.isnan(value) else f"{value:.0%}"
