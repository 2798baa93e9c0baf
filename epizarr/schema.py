"""The store format: every group, variable, dim, unit and meaning, declared once.

``stores/SCHEMA.md`` is generated from this module (:func:`schema_markdown`) and a test keeps the two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from epizarr.errors import SchemaError

#: "MAJOR.MINOR". The same major opens; another major is refused. A minor step only adds variables or attributes.
SCHEMA_VERSION = "1.4"

#: Attributes of every group, since a group opened alone does not see its parent's.
COMMON_ATTRS = ("epizarr_schema_version", "assembly", "state")

_KIND_NAMES = {"f4": "float32", "f8": "float64", "i2": "int16", "i8": "int64", "b1": "bool", "O": "string"}


@dataclass(frozen=True)
class Variable:
    """One variable of the store.

    A name that ends in ``*`` stands for a family, such as ``weight_*`` for ``weight_ice``.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    long_name: str
    units: str = "1"
    zero_means: str = ""
    nan_means: str = ""
    required: bool = False
    cell_methods: str = ""

    def matches(self, name: str) -> bool:
        """Tell whether ``name`` is this variable or a member of this family."""
        return name == self.name or (self.name.endswith("*") and name.startswith(self.name[:-1]))

    def attrs(self) -> dict[str, str]:
        """Attributes to write with the variable."""
        meaning = [f"0 means: {self.zero_means}." if self.zero_means else ""]
        meaning += [f"NaN means: {self.nan_means}." if self.nan_means else ""]
        attrs = {"long_name": self.long_name, "units": self.units, "comment": " ".join(m for m in meaning if m)}
        if self.cell_methods:
            attrs["cell_methods"] = self.cell_methods
        return {key: value for key, value in attrs.items() if value}


@dataclass(frozen=True)
class Group:
    """One kind of group: where it lies, what it holds and which attributes it adds to the common ones."""

    kind: str
    path: str
    about: str
    variables: tuple[Variable, ...]
    attrs: Mapping[str, str] = field(default_factory=dict)
    optional_attrs: Mapping[str, str] = field(default_factory=dict)

    def spec(self, name: str) -> Variable | None:
        """Return the declaration of a variable, an exact name before a family; None if there is none."""
        exact = [v for v in self.variables if v.name == name]
        family = [v for v in self.variables if v.matches(name)]
        return next(iter(exact + family), None)


_CHROM_TABLES = (
    Variable("chrom_name", ("chroms",), "O", "chromosome name", "", required=True),
    Variable("chrom_length", ("chroms",), "i8", "chromosome length", "bp", required=True),
)
_CHROM_OFFSET = Variable("chrom_offset", ("chroms",), "i8", "bin id of the chromosome's first bin", required=True)
_BIN_TABLE = (
    Variable("chrom", ("bin",), "i2", "chromosome of the bin, an index into chrom_name", required=True),
    Variable("start", ("bin",), "i8", "start of the bin, 0-based", "bp", required=True),
    Variable("end", ("bin",), "i8", "end of the bin, not included", "bp", required=True),
)
_DIAGONALS = (
    Variable("diagonal", ("diagonal",), "i8", "separation k in bins; band[i, k] is pixel (i, i + k)", required=True),
    Variable("distance", ("diagonal",), "i8", "separation of the bins' starts", "bp", required=True),
)
_BAND = ("bin", "diagonal")
_INPUT_ATTRS = {
    "epizarr_version": "version of epizarr that wrote the group",
    "manifest": "text of the manifest the group was made from (TOML)",
    "inputs": "JSON list: name (and replicate), uri, sha256, size in bytes, origin of every input file",
}

ROOT = Group(
    "root",
    "/",
    "The assembly. Written once, when the store is made.",
    _CHROM_TABLES,
)
TRACKS = Group(
    "tracks",
    "/{cell_type}/tracks/{binsize}",
    "Epigenomic signal of one cell type. Tracks are added at the end of the `track` dim.",
    (
        *_CHROM_TABLES,
        _CHROM_OFFSET,
        Variable("track", ("track",), "O", "track name", "", required=True),
        Variable("accession", ("track",), "O", "accession of the file, or empty", ""),
        Variable("strand", ("track",), "O", "'+' or '-' for a stranded track, '.' otherwise", "", required=True),
        Variable(
            "signal",
            ("track", "bin"),
            "f4",
            "mean signal of the bin",
            "file's own",
            "no signal",
            "not measured",
            required=True,
            cell_methods="bin: mean",
        ),
        Variable("blacklisted", ("bin",), "b1", "bin overlaps the assembly's blacklist", required=True),
    ),
    {"binsize": "bin width in bp", **_INPUT_ATTRS},
)
CONTACTS = Group(
    "contacts",
    "/{cell_type}/contacts/{binsize}",
    "Hi-C contacts of one cell type within the span of the diagonal, one variable a normalisation.",
    (
        *_CHROM_TABLES,
        _CHROM_OFFSET,
        *_BIN_TABLE,
        *_DIAGONALS,
        Variable(
            "count",
            _BAND,
            "f4",
            "raw contacts",
            "1",
            "no contact seen",
            "off the chromosome, or not covered by the source",
            required=True,
        ),
        Variable("replicate", ("replicate",), "O", "name of the replicate", ""),
        Variable(
            "count_replicate",
            ("replicate", *_BAND),
            "f4",
            "raw contacts of one replicate; their sum over replicates is count",
            "1",
            "no contact seen",
            "as count",
        ),
        *(
            Variable(
                name,
                _BAND,
                "f4",
                f"contacts balanced by {method}: count · weight_i · weight_j",
                "1",
                "no contact between two good bins",
                "a bin without a weight, or k < the weights' ignored diagonals",
            )
            for name, method in (
                ("ice", "iterative correction"),
                ("kr", "Knight–Ruiz"),
                ("vc", "vanilla coverage"),
                ("vc_sqrt", "square-root vanilla coverage"),
                ("scale", "Juicer's SCALE"),
            )
        ),
        *(
            Variable(name, _BAND, "f4", long_name, "1", zero, nan)
            for name, long_name, zero, nan in (
                (
                    "hicdcplus_oe",
                    "count over the expected count of HiC-DC+'s background model",
                    "no contact seen",
                    "a bad bin, no covariates, or beyond the fit's range",
                ),
                (
                    "hicdcplus_zscore",
                    "(count − mu) / sdev of HiC-DC+'s background model",
                    "the count equals mu",
                    "a bad bin, no covariates, or beyond the fit's range",
                ),
                (
                    "akita",
                    "Akita's target: log of coarse-grained observed over expected",
                    "as expected at that distance (k = 0 and 1 are set to 0: masked)",
                    "no window, or one that could not be computed",
                ),
                (
                    "hicdcplus_mu",
                    "expected count of HiC-DC+'s background model",
                    "",
                    "a bad bin, no covariates, or beyond the fit's range",
                ),
                (
                    "hicdcplus_pvalue",
                    "probability of a count at least as large under HiC-DC+'s model",
                    "",
                    "a bad bin, no covariates, or beyond the fit's range",
                ),
                (
                    "hicdcplus_qvalue",
                    "Benjamini–Hochberg q-value of hicdcplus_pvalue, within the chromosome",
                    "",
                    "a bad bin, no covariates, or beyond the fit's range",
                ),
            )
        ),
        Variable("weight_*", ("bin",), "f8", "multiplicative balancing weight", "1", "", "a bad bin"),
        Variable("bad_bin", ("bin",), "b1", "bin masked in every target, loss and metric", required=True),
        Variable("expected_*", ("chroms", "diagonal"), "f8", "mean over valid pixels of a diagonal", "variable's own"),
        Variable("n_valid_*", ("chroms", "diagonal"), "i8", "valid pixels behind expected_*"),
    ),
    {
        "binsize": "bin width in bp",
        "span_bp": "bp covered by the stored diagonals",
        "ignore_diags": "JSON: ignored diagonals of each weight",
        "min_diagonal": "first diagonal that losses and metrics use by default",
        "bad_bin_rule": "how bad_bin was made",
        **_INPUT_ATTRS,
    },
    {
        "computed": "JSON: how each variable that epizarr computed was made, and what its fits came to",
        "thinned": "JSON: the share of the contacts that was kept, at random, in every count (fraction, seed; depth, n_contacts)",
    },
)
PREDICTIONS = Group(
    "predictions",
    "/{cell_type}/predictions/{run}/{binsize}",
    "Contacts predicted by one run, in the units of its target variable.",
    (
        *_CHROM_TABLES,
        _CHROM_OFFSET,
        *_BIN_TABLE,
        *_DIAGONALS,
        Variable(
            "contact",
            _BAND,
            "f4",
            "predicted contacts",
            "target's own",
            "no contact",
            "off the chromosome, or not asked for",
            required=True,
        ),
        Variable(
            "transformed_sd",
            _BAND,
            "f4",
            "predicted standard deviation of the TRANSFORMED target; its mean is contact, transformed by the attribute transform",
            "transformed target's own",
            "no uncertainty",
            "as contact",
        ),
        Variable(
            "transformed_sd_members",
            _BAND,
            "f4",
            "the part of transformed_sd that the members' means differ by; the squares add up, the rest is the variance head's",
            "transformed target's own",
            "the members agree",
            "as contact",
        ),
        Variable("member", ("member",), "O", "name of the member: hash of its checkpoint, and its draw of dropout", ""),
        Variable(
            "contact_member",
            ("member", *_BAND),
            "f4",
            "contacts predicted by each member",
            "target's own",
            "no contact",
            "as contact",
        ),
        Variable("coverage", ("coverage",), "f8", "share of pixels that an interval is to hold"),
        Variable(
            "interval_factor",
            ("coverage", "diagonal"),
            "f8",
            "standard deviations from the mean to the ends of the interval of that coverage; infinite: too few pixels to tell",
            "1",
            "",
            "no pixel to fit on",
        ),
    ),
    {
        "binsize": "bin width in bp",
        "span_bp": "bp covered by the predicted diagonals",
        "target": "variable that the model was trained on",
        "transform": "JSON: transform of the target and its fitted parameters (already inverted)",
        "checkpoint_sha256": "hash of the checkpoint's tensors; of an ensemble, of its members' hashes; or of an imported file",
        "input_id": "hash of the track group's inputs, or of how an imported file was read",
        "tracks": "JSON: names of the tracks used, in the model's order",
        "track_binsize": "bin width of the tracks in bp; 0 where there are none",
        "track_transforms": "JSON: transform of each track and its fitted parameters, in the same order",
        "min_diagonal": "first diagonal that the model was trained on",
        "trained_on": "JSON: cell types and regions seen in training and validation; none where it is not known",
        "regions": "JSON: regions predicted",
        "settings": "JSON: tiles, batches, threads, precision and device that the values depend on, if only by rounding",
        "epizarr_version": "version of epizarr that wrote the group",
    },
    {
        "members": "JSON: the checkpoints' hashes and the draws of dropout whose mean this is, where there are several",
        "kept_members": "number of members in contact_member",
        "calibration": "JSON: what interval_factor was fitted on, and a hash of it",
        "track_matches": "JSON: for each track matched to the training tracks, how, and a hash of its map",
        "track_sources": "JSON: for each of the model's tracks that was read from a track of another name, that name",
        "missing_tracks": "JSON: the model's tracks that were fed as missing",
        "track_shift": "JSON: Wasserstein-1 distance of each track from those of training, after its transform, in training sd",
        "imported": "JSON: of a map of another program, its file, format, bin width and scale of values, and how it was read",
        "scale": "factor that brought an imported map to the units of its target",
    },
)
_BY_WINDOW, _BY_CRITERION = ("predictor", "window"), ("predictor", "criterion")


def _of_callers(
    score: str, dim: str, what: str, *, nan: str = "undefined, or a map without structure"
) -> list[Variable]:
    """A score of each caller of domains: by window, but for that which has none."""
    callers = {"insulation": "insulation", "topdom": "TopDom", "separation": "TAD separation"}
    if score in ("jaccard", "variation"):
        callers.pop("insulation")
    return [
        Variable(
            f"domains_{caller}_{score}",
            (dim,) if caller == "separation" else (dim, "window"),
            "f8",
            f"{title}: {what}",
            "bit" if score == "variation" else "1",
            nan_means=nan,
        )
        for caller, title in callers.items()
    ]


#: Variables of the sections; a name begins with the section's.
_SECTION_VARIABLES = (
    Variable("map", ("map",), "O", "'observed', then the predictors", ""),
    Variable("window", ("window",), "i8", "window of insulation and TopDom", "bp"),
    Variable("criterion", ("criterion",), "O", "what makes a pixel a true interaction", ""),
    Variable("threshold", ("threshold",), "f8", "least value of a map that counts as an interaction (O/E or Z)"),
    Variable("submatrix", ("submatrix",), "O", "region of a submatrix", ""),
    Variable("peak_row", ("peak_row",), "i8", "first bin of a pixel less that of the loop"),
    Variable("peak_column", ("peak_column",), "i8", "second bin of a pixel less that of the loop"),
    *(
        Variable(f"published_{score}", dims, "f8", f"{what}, as published: missing contacts are 0")
        for score, dims, what in (
            ("pearson", ("predictor", "diagonal"), "Pearson correlation at one distance"),
            ("spearman", ("predictor", "diagonal"), "Spearman correlation at one distance"),
            ("mean_pearson", ("predictor",), "mean Pearson over distances"),
            ("mean_spearman", ("predictor",), "mean Spearman over distances"),
        )
    ),
    *_of_callers("pearson", "predictor", "Pearson correlation of the score along the genome"),
    *_of_callers("spearman", "predictor", "Spearman correlation of the score along the genome"),
    *_of_callers("boundaries", "map", "number of boundaries"),
    *_of_callers("precision", "predictor", "share of the map's boundaries that are observed ones"),
    *_of_callers("recall", "predictor", "share of the observed boundaries that the map has"),
    *_of_callers("f1", "predictor", "harmonic mean of precision and recall of boundaries"),
    *_of_callers("jaccard", "predictor", "pairs of bins in one domain in both maps, over those in either"),
    *_of_callers("variation", "predictor", "variation of information of the domains"),
    Variable("domains_ctcf", ("map", "window"), "f8", "share of the insulation boundaries within a bin of a CTCF peak"),
    Variable("domains_ctcf_chance", (), "f8", "share of all bins within a bin of a CTCF peak"),
    *(
        Variable(f"interactions_{score}", dims, "f8", what, nan_means="no true interaction, or none below")
        for score, dims, what in (
            ("auroc", _BY_CRITERION, "area under the ROC curve"),
            ("aupr", _BY_CRITERION, "average precision"),
            ("paper_auroc", _BY_CRITERION, "area under the ROC curve over the paper's thresholds"),
            ("paper_aupr", _BY_CRITERION, "average precision over the paper's thresholds"),
            ("chance", ("criterion",), "share of true interactions: average precision of a random map"),
            ("distance_auroc", (*_BY_CRITERION, "diagonal"), "area under the ROC curve at one distance"),
            ("distance_aupr", (*_BY_CRITERION, "diagonal"), "average precision at one distance"),
            ("recall", (*_BY_CRITERION, "threshold"), "share of the true interactions at or above a threshold"),
            ("fallout", (*_BY_CRITERION, "threshold"), "share of the other pixels at or above a threshold"),
            ("precision", (*_BY_CRITERION, "threshold"), "share of true interactions at or above a threshold"),
        )
    ),
    *(
        Variable(f"loops_{score}", dims, "f8", what, nan_means="no loops, or a map without structure")
        for score, dims, what in (
            ("true", (), "number of true loops"),
            ("called", ("map",), "number of loops called in the map"),
            ("precision", ("map",), "share of the called loops that are true ones"),
            ("recall", ("map",), "share of the true loops that are called"),
            ("aupr", ("map",), "average precision of true loops against controls at the same distances"),
            ("auroc", ("map",), "area under the ROC curve of true loops against controls"),
            ("chance", (), "share of true loops among loops and controls"),
            ("peak_score", ("map",), "middle of the aggregate peak over its corner towards the diagonal"),
            ("peak", ("map", "peak_row", "peak_column"), "mean observed / expected around true loops"),
        )
    ),
    *(
        Variable(f"similarity_{score}", ("predictor",), "f8", what)
        for score, what in (
            ("hicrep", "HiCRep's stratum-adjusted correlation"),
            ("ssim", "mean structural similarity"),
            ("ssim_shuffled", "the same of the map shuffled within each distance"),
        )
    ),
    Variable(
        "submatrices_mse", ("predictor", "submatrix"), "f8", "mean squared error of a 2-Mb submatrix, transformed"
    ),
    Variable(
        "submatrices_insulation",
        ("predictor", "submatrix"),
        "f8",
        "Pearson correlation of insulation in a 2-Mb submatrix",
    ),
    Variable(
        "submatrices_share", ("predictor",), "f8", "share of the submatrices whose insulation correlates above 0.5"
    ),
    *(
        Variable(f"specificity_{score}", dims, "f8", what)
        for score, dims, what in (
            ("skill", ("predictor",), "1 - MSE / MSE of copying the other cell type's map"),
            (
                "identified",
                ("predictor",),
                "share of 2-Mb stretches nearer to the own cell type's map than to the other's",
            ),
            ("difference", ("predictor", "diagonal"), "Pearson of predicted and observed difference of the cell types"),
            ("mean_difference", ("predictor",), "mean of difference over distances"),
        )
    ),
)
# The dim is not called "method": xarray's ``sel(method="prediction")`` would be read as a way to look up coordinates.
EVALUATIONS = Group(
    "evaluations",
    "/{cell_type}/evaluations/{run}/{binsize}",
    "Scores of one run's prediction, or of several (`RUN+RUN`), and of the baselines on held-out regions.",
    (
        Variable(
            "predictor",
            ("predictor",),
            "O",
            "'prediction' ('run NAME' of several) or the name of a baseline",
            "",
            required=True,
        ),
        *_DIAGONALS,
        Variable("n_pixels", ("diagonal",), "i8", "valid pixels of the diagonal", required=True),
        Variable("pearson", ("predictor", "diagonal"), "f8", "Pearson correlation at one distance", required=True),
        Variable("spearman", ("predictor", "diagonal"), "f8", "Spearman correlation at one distance", required=True),
        Variable("mean_pearson", ("predictor",), "f8", "mean of pearson over diagonals", required=True),
        Variable("mean_spearman", ("predictor",), "f8", "mean of spearman over diagonals", required=True),
        Variable("mse", ("predictor",), "f8", "mean squared error over valid pixels, transformed", required=True),
        Variable("skill", ("predictor",), "f8", "1 - MSE / MSE of the training mean per distance", required=True),
        *(
            Variable(
                f"{name}_{side}",
                ("predictor",),
                "f8",
                f"{end} end of the 95 % confidence interval of {about}",
                nan_means="no interval: undefined, a ceiling from replicates, or too few blocks (attribute bootstrap)",
            )
            for name, about in (
                *((score, score) for score in ("mean_pearson", "mean_spearman", "mse", "skill")),
                ("advantage", "the prediction's mean_pearson less this predictor's, on the same resamples"),
            )
            for side, end in (("low", "lower"), ("high", "upper"))
        ),
        *_SECTION_VARIABLES,
    ),
    {
        "binsize": "bin width in bp",
        "target": "variable scored",
        "transform": "JSON: transform applied to both maps before scoring",
        "min_diagonal": "first diagonal scored",
        "regions": "JSON: regions scored",
        "inputs_id": "hash of the prediction, contacts, tracks and truth that were compared",
        "checkpoint_sha256": "hash of the predicting checkpoint's tensors",
        "predictors": "JSON: how each predictor was made",
        "notes": "JSON: what a reader of the scores must know",
        "epizarr_version": "version of epizarr that wrote the group",
    },
    {
        "bootstrap": "JSON: blocks that the intervals come from (block_bp, n_blocks, n_resamples, seed, level, label)",
        "runs": "JSON: run behind each predictor that is a prediction, the first one first",
        "sections": "JSON: sections that were asked for, and their parameters",
        "not_scored": "JSON: why sections that were asked for have no values",
        "definitions": "JSON: how the values of each section are defined",
    },
)
_MODEL_ATTRS = {
    name: PREDICTIONS.attrs[name]
    for name in (
        "target",
        "transform",
        "checkpoint_sha256",
        "input_id",
        "tracks",
        "track_transforms",
        "min_diagonal",
        "trained_on",
        "epizarr_version",
    )
}
PERTURBATIONS = Group(
    "perturbations",
    "/{cell_type}/perturbations/{run}/{binsize}",
    "Contacts predicted before and after edits of the tracks, in the units of the target variable.",
    (
        *_CHROM_TABLES,
        _CHROM_OFFSET,
        *_BIN_TABLE,
        *_DIAGONALS,
        *(
            Variable(name, _BAND, "f4", long_name, "target's own", zero, nan, required=True)
            for name, long_name, zero, nan in (
                ("before", "contacts predicted from the tracks as they are", "no contact", "not asked for"),
                (
                    "after",
                    "contacts predicted from the edited tracks, at the bins BEFORE the edits whose sequence they are of",
                    "no contact",
                    "not asked for, or without a counterpart: deleted, or moved out of the band",
                ),
                ("difference", "after - before", "unchanged", "as after"),
                (
                    "rearranged",
                    "the same contacts at the bins of the edited chromosome, counted from the chromosome's start",
                    "no contact",
                    "not asked for, or past the length of the chromosome before the edits",
                ),
            )
        ),
    ),
    {
        "binsize": "bin width in bp",
        "span_bp": "bp covered by the predicted diagonals",
        "edits": "JSON: the edits in the order in which they were made, as text",
        "asked": "the region that was asked for; empty: what the edits reach",
        "regions": "JSON: the region predicted, in the coordinates before the edits",
        "edited_share": "JSON: share of each whole track's signal that was edited",
        "track_binsize": "bin width of the tracks in bp",
        "settings": "JSON: tiles, batches and threads that the values depend on, if only by rounding",
        **_MODEL_ATTRS,
    },
    PREDICTIONS.optional_attrs,
)
ATTRIBUTIONS = Group(
    "attributions",
    "/{cell_type}/attributions/{run}/{binsize}",
    "How much each track bin, in the raw signal, made each target of a prediction.",
    (
        *_CHROM_TABLES,
        _CHROM_OFFSET,
        Variable("target", ("target",), "O", "what is explained, as text", "", required=True),
        Variable("track", ("track",), "O", "track name", "", required=True),
        Variable(
            "attribution",
            ("target", "track", "bin"),
            "f4",
            "attribution of the raw signal; of a saliency, the gradient",
            "target's own",
            "no part in it, or the signal is that of the baseline",
            "not read by any tile of the target, not measured, or blacklisted",
            required=True,
        ),
        Variable("value", ("target",), "f8", "the target of these tracks", "target's own", required=True),
        Variable(
            "baseline_value", ("target",), "f8", "the target of the baseline", nan_means="no baseline", required=True
        ),
        Variable(
            "completeness_error",
            ("target",),
            "f8",
            "sum of the attributions minus (value - baseline_value)",
            nan_means="not a method that adds up",
            required=True,
        ),
    ),
    {
        "binsize": "bin width of the tracks in bp",
        "contact_binsize": "bin width of the contacts in bp",
        "method": "how signal was attributed, and its settings (JSON)",
        "baseline": "what the signal is compared with",
        "settings": "JSON: tiles, batches and threads that the values depend on, if only by rounding",
        **_MODEL_ATTRS,
    },
    {name: text for name, text in PREDICTIONS.optional_attrs.items() if name != "track_shift"},
)
SCREENS = Group(
    "screens",
    "/{cell_type}/screens/{run}/{binsize}",
    "What one edit does at each of many intervals, each on its own, and at random intervals (`null`) of the same widths.",
    (
        *_CHROM_TABLES,
        _CHROM_OFFSET,
        *_DIAGONALS,
        Variable("perturbation", ("perturbation",), "O", "name of the interval", "", required=True),
        Variable(
            "chrom", ("perturbation",), "i2", "chromosome of the interval, an index into chrom_name", required=True
        ),
        Variable("start", ("perturbation",), "i8", "start of the interval, 0-based", "bp", required=True),
        Variable("end", ("perturbation",), "i8", "end of the interval, not included", "bp", required=True),
        Variable("score", ("score",), "O", "name of the score (epizarr.screen.scores)", "", required=True),
        Variable(
            "effect",
            ("perturbation", "score"),
            "f8",
            "mean and largest |change| on the network's scale, change of log2 insulation, boundary lost (-1) or gained (1)",
            "score's own",
            "the edit changes nothing",
            "the edit cannot be made there; of insulation and boundary: no contact across the interval, or none of this target",
            required=True,
        ),
        Variable(
            "p_value",
            ("perturbation", "score"),
            "f8",
            "(1 + null effects at least as large in size) / (1 + null effects)",
            nan_means="no effect, or no null",
            required=True,
        ),
        Variable(
            "q_value",
            ("perturbation", "score"),
            "f8",
            "Benjamini–Hochberg q-value of p_value, within the screen",
            nan_means="as p_value",
            required=True,
        ),
        Variable(
            "abs_change",
            ("perturbation", "diagonal"),
            "f4",
            "mean |change| at one distance, on the network's scale",
            "transformed target's own",
            "unchanged",
            "no pixel, or the edit cannot be made there",
            required=True,
        ),
        Variable("null_of", ("null",), "i8", "index of the perturbation that the random interval is matched to"),
        Variable("null_start", ("null",), "i8", "start of the random interval, on the same chromosome", "bp"),
        Variable("null_end", ("null",), "i8", "end of the random interval, not included", "bp"),
        Variable(
            "null_effect",
            ("null", "score"),
            "f8",
            "effect of the edit at a random interval without signal",
            "score's own",
            "as effect",
            "as effect",
        ),
        Variable(
            "first_row",
            ("perturbation",),
            "i8",
            "bin id of row 0 of difference; rows off the chromosome of the interval are NaN",
        ),
        Variable(
            "difference",
            ("perturbation", "row", "diagonal"),
            "f4",
            "contacts after the edit minus before, at pixel (first_row + row, first_row + row + diagonal)",
            "target's own",
            "unchanged",
            "off the chromosome, or past the rows that are kept",
        ),
    ),
    {
        "binsize": "bin width of the contacts in bp",
        "span_bp": "bp covered by the predicted diagonals",
        "edit": "the edit, without its region",
        "null": "JSON: random intervals drawn for each perturbation, and the seed",
        "sites_id": "hash of all intervals, random ones included",
        "regions": "JSON: regions screened",
        "settings": "JSON: tiles, batches and threads that the values depend on, if only by rounding",
        **_MODEL_ATTRS,
    },
    {name: text for name, text in PREDICTIONS.optional_attrs.items() if name != "track_shift"},
)

GROUPS: dict[str, Group] = {
    g.kind: g for g in (ROOT, TRACKS, CONTACTS, PREDICTIONS, EVALUATIONS, PERTURBATIONS, ATTRIBUTIONS, SCREENS)
}

#: Variables of a contacts group that are count × weight × weight.
WEIGHTED_VARIABLES = ("ice", "kr", "vc", "vc_sqrt", "scale")
#: Variables that are worked out from the raw counts by other means.
HICDCPLUS_VARIABLES = tuple(v.name for v in CONTACTS.variables if v.name.startswith("hicdcplus_"))
#: Variables that are the raw count times something that the count of one pixel does not change.
PROPORTIONAL_VARIABLES = ("count", *WEIGHTED_VARIABLES, "hicdcplus_oe")
#: What a model may be trained on, besides ``count``.
TARGET_VARIABLES = (*WEIGHTED_VARIABLES, "hicdcplus_oe", "hicdcplus_zscore", "akita")
#: Variables with values of either sign, which are not contacts.
SIGNED_VARIABLES = ("hicdcplus_zscore", "akita")


def check_version(found: str | None, where: str) -> None:
    """Refuse a store whose format has another major version.

    Raises
    ------
    SchemaError
        If the version is missing or its major part differs from :data:`SCHEMA_VERSION`.
    """
    major = SCHEMA_VERSION.split(".")[0]
    if found is None or str(found).split(".")[0] != major:
        raise SchemaError(
            f"{where}: store format {found!r}, this epizarr reads {major}.x. Ingest the store again, or use the epizarr "
            "release that wrote it."
        )


def problems(ds: xr.Dataset, kind: str) -> list[str]:
    """List every way in which a dataset departs from the declared group; an empty list means it conforms.

    Parameters
    ----------
    ds
        Dataset of one group.
    kind
        Key of :data:`GROUPS`.
    """
    group = GROUPS[kind]
    found: list[str] = []
    for attr in (*COMMON_ATTRS, *group.attrs):
        if attr not in ds.attrs:
            found.append(f"attribute {attr!r} is missing")
    for variable in group.variables:
        if variable.required and variable.name not in ds.variables:
            found.append(f"variable {variable.name!r} is missing")
    for name, array in ds.variables.items():
        spec = group.spec(str(name))
        if spec is None:
            found.append(f"variable {name!r} is not part of a {kind} group")
            continue
        if array.dims != spec.dims:
            found.append(f"{name}: dims {array.dims}, needed {spec.dims}")
        if not _same_kind(array.dtype, spec.dtype):
            found.append(f"{name}: dtype {array.dtype}, needed {_KIND_NAMES[spec.dtype]}")
    return found


def validate(ds: xr.Dataset, kind: str, where: str = "dataset") -> xr.Dataset:
    """Return ``ds`` if it conforms to the declared group, else raise with all problems at once.

    Raises
    ------
    SchemaError
        Lists missing or unknown variables, wrong dims or dtypes, and missing attributes.
    """
    check_version(ds.attrs.get("epizarr_schema_version"), where)
    found = problems(ds, kind)
    if found:
        raise SchemaError(f"{where} is not a valid {kind} group: " + "; ".join(found) + ".")
    return ds


def _same_kind(dtype: Any, wanted: str) -> bool:
    dtype = np.dtype(dtype) if not isinstance(dtype, np.dtype) else dtype
    if wanted == "O":
        return dtype.kind in "OTU"
    return dtype == np.dtype(wanted)


def schema_markdown() -> str:
    """Return the text of ``stores/SCHEMA.md``."""
    lines = [
        "# The store format",
        "",
        f"Version {SCHEMA_VERSION}. Generated from `epizarr/schema.py` by `make schema`; do not edit.",
        "",
        "A store is one Zarr v3 hierarchy: one assembly, any number of cell types. Every group opens alone with",
        "`xarray.open_zarr(store, group=..., consolidated=False)`. Coordinates are 0-based and half-open. Bins of all",
        "chromosomes are concatenated in the order of `chrom_name`; the last bin of a chromosome may be partial.",
        "Missing is NaN. Every group has the attributes " + ", ".join(f"`{a}`" for a in COMMON_ATTRS) + ";",
        '`state` is "writing" until the group is whole, then "complete": readers refuse the first.',
    ]
    for group in GROUPS.values():
        lines += ["", f"## `{group.path}`", "", group.about, ""]
        lines += ["| variable | dims | dtype | units | what | 0 means | NaN means |", "|---|---|---|---|---|---|---|"]
        for v in group.variables:
            name = f"`{v.name}`" + ("" if v.required else " (optional)")
            dims = ", ".join(v.dims)
            lines.append(
                f"| {name} | {dims} | {_KIND_NAMES[v.dtype]} | {v.units or '–'} | {v.long_name} "
                f"| {v.zero_means or '–'} | {v.nan_means or '–'} |"
            )
        if group.attrs:
            lines += ["", "| attribute | what |", "|---|---|"]
            lines += [f"| `{name}` | {about} |" for name, about in group.attrs.items()]
            lines += [f"| `{name}` (optional) | {about} |" for name, about in group.optional_attrs.items()]
    return "\n".join(lines) + "\n"
