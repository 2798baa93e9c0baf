"""Groups of what is read from files: the assembly, tracks and contacts; and which variables of contacts are of one kind."""

from epizarr.schema.declare import BAND, BIN_TABLE, CHROM_OFFSET, CHROM_TABLES, DIAGONALS, Group, Variable

_INPUT_ATTRS = {
    "epizarr_version": "version of epizarr that wrote the group",
    "manifest": "text of the manifest the group was made from (TOML)",
    "inputs": "JSON list: name (and replicate), uri, sha256, size in bytes, origin of every input file",
}

ROOT = Group(
    "root",
    "/",
    "The assembly. Written once, when the store is made.",
    CHROM_TABLES,
)
TRACKS = Group(
    "tracks",
    "/{cell_type}/tracks/{binsize}",
    "Epigenomic signal of one cell type. Tracks are added at the end of the `track` dim.",
    (
        *CHROM_TABLES,
        CHROM_OFFSET,
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
        *CHROM_TABLES,
        CHROM_OFFSET,
        *BIN_TABLE,
        *DIAGONALS,
        Variable(
            "count",
            BAND,
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
            ("replicate", *BAND),
            "f4",
            "raw contacts of one replicate; their sum over replicates is count",
            "1",
            "no contact seen",
            "as count",
        ),
        *(
            Variable(
                name,
                BAND,
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
            Variable(name, BAND, "f4", long_name, "1", zero, nan)
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
