"""The group of an evaluation: scores that are always computed, their intervals, and those of each section."""

from epizarr.schema.declare import DIAGONALS, Group, Variable

_BY_WINDOW, _BY_CRITERION = ("predictor", "window"), ("predictor", "criterion")
_BY_SUBMATRIX = ("predictor", "submatrix")


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
            ("skill_over_mean", ("predictor",), "1 - MSE / MSE of the mean map of the other training cell types"),
            (
                "identified",
                ("predictor",),
                "share of 2-Mb stretches nearer to the own cell type's map than to the other's",
            ),
            ("difference", ("predictor", "diagonal"), "Pearson of predicted and observed difference of the cell types"),
            ("mean_difference", ("predictor",), "mean of difference over distances"),
            (
                "ceiling",
                ("diagonal",),
                "what the noise-free difference would score, from replicates of both cell types",
            ),
            ("mean_ceiling", (), "mean of ceiling over distances"),
            ("rank", ("submatrix",), "rank of a stretch by true_difference, 1 for the largest"),
            (
                "true_difference",
                ("submatrix",),
                "mean squared difference of the measured maps, transformed: the error of copying the other cell type's",
            ),
            ("error_of_mean", ("submatrix",), "mean squared error of the mean map of the other training cell types"),
            ("error", _BY_SUBMATRIX, "mean squared error on the pixels that both cell types have, transformed"),
            (
                "nearer_own",
                _BY_SUBMATRIX,
                "1 where nearer to the own cell type's map than to the other's, else 0; tie 0.5",
            ),
            ("true_insulation", ("submatrix",), "Pearson of the insulation of the two cell types, measured"),
            ("insulation", _BY_SUBMATRIX, "Pearson of the insulation of the two cell types, predicted"),
        )
    ),
    Variable("realism_map", ("realism_map",), "O", "replicate, predictors that are runs, and synthetic maps", ""),
    Variable("realism_about", ("realism_map",), "O", "where the replicate comes from; empty for the other maps", ""),
    Variable("power_range", ("power_range",), "O", "distances of the squares whose power is compared", ""),
    Variable("frequency", ("frequency",), "f8", "spatial frequency of detail", "cycles/bin"),
    *(
        Variable(
            f"realism_{score}", ("realism_map", *dims), "f8", what, nan_means="undefined, or no regions to train on"
        )
        for score, dims, what in (
            ("accuracy", (), "accuracy of a fresh classifier that tells the map from the measured one, 0.5 is chance"),
            ("auc", (), "area under the ROC curve of that classifier, 0.5 is chance"),
            *(
                (f"{score}_{side}", (), f"{end} end of the 95 % confidence interval of {score}")
                for score in ("accuracy", "auc")
                for side, end in (("low", "lower"), ("high", "upper"))
            ),
            ("frechet", (), "Fréchet distance of fixed features of windows"),
            ("n_windows", (), "windows of the Fréchet distance"),
            ("mse", (), "mean squared error against what the map is compared with, transformed"),
            ("mean_pearson", (), "mean Pearson by distance with what the map is compared with"),
            ("sd_ratio", ("diagonal",), "standard deviation at one distance over that of the measured map"),
            ("power", ("power_range", "frequency"), "mean power of detail, transformed"),
            ("reference_power", ("power_range", "frequency"), "the same of the measured map"),
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
        *DIAGONALS,
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
