"""What a manifest asks to be computed from raw counts: which variables, and the settings of each method.

``compute`` names the variables; the tables ``ice``, ``hicdcplus`` and ``akita`` beside it hold settings, where the defaults of
the method will not do. How they are computed is :mod:`epizarr.ingest.normalizing`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, cast

from epizarr.errors import EpizarrError, nearest_match
from epizarr.ingest.toml_table import InputFile, Table
from epizarr.io.balance import IceParameters, IceScale
from epizarr.normalize.akita import AkitaParameters
from epizarr.normalize.features import cut_patterns
from epizarr.normalize.hicdcplus import HicdcplusSettings
from epizarr.schema import HICDCPLUS_VARIABLES

#: Weights that come from one chromosome at a time; ICE's come from the whole file.
CHROM_WEIGHTS = ("kr", "vc", "vc_sqrt")
COMPUTABLE = ("ice", *CHROM_WEIGHTS, *HICDCPLUS_VARIABLES, "akita")
#: The variable whose balanced contacts Akita's transform takes: the original's are ICE's.
AKITA_FROM = "ice"

_T = TypeVar("_T")


@dataclass(frozen=True)
class IceEntry:
    """How ICE is run; see :func:`epizarr.io.balance.balance_ice`."""

    parameters: IceParameters = field(default_factory=IceParameters)
    scale: IceScale = "cooler"
    allow_unconverged: bool = False


@dataclass(frozen=True)
class HicdcplusEntry:
    """How HiC-DC+ is run.

    Parameters
    ----------
    settings
        Of the regression.
    features
        ``"fasta"``: GC, effective length and mappability are covariates; ``"none"``: distance alone.
    fasta, mappability
        Files that the features are made from. No mappability: that covariate is left out, as in Epiphany's script.
    enzymes
        Names or recognition patterns; None for protocols without one.
    rename_fasta, rename_mappability
        ``{name in the file: name in the store}``.
    seed
        Of the sample, together with the chromosome's name.
    leave_out
        Chromosomes that are not fitted: all missing there.
    """

    settings: HicdcplusSettings = field(default_factory=HicdcplusSettings)
    features: Literal["fasta", "none"] = "none"
    fasta: InputFile | None = None
    mappability: InputFile | None = None
    enzymes: tuple[str, ...] | None = None
    rename_fasta: Mapping[str, str] = field(default_factory=dict)
    rename_mappability: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComputedEntry:
    """Variables to compute, in the schema's order, and the settings of their methods."""

    variables: tuple[str, ...] = ()
    ice: IceEntry = field(default_factory=IceEntry)
    hicdcplus: HicdcplusEntry = field(default_factory=HicdcplusEntry)
    akita: AkitaParameters = field(default_factory=AkitaParameters)

    @property
    def chrom_weights(self) -> tuple[str, ...]:
        """Variables whose weights are fitted chromosome by chromosome."""
        return tuple(v for v in self.variables if v in CHROM_WEIGHTS)

    @property
    def hicdcplus_variables(self) -> tuple[str, ...]:
        """Variables of HiC-DC+."""
        return tuple(v for v in self.variables if v in HICDCPLUS_VARIABLES)

    @property
    def ignore_diags(self) -> dict[str, int]:
        """Diagonals that each variable leaves out, where that is more than none."""
        left_out = {v: 0 for v in self.chrom_weights}
        if "ice" in self.variables:
            left_out["ice"] = self.ice.parameters.ignore_diags
        if "akita" in self.variables:
            left_out["akita"] = self.akita.diagonal_offset
        return left_out

    @property
    def inputs(self) -> dict[str, InputFile]:
        """Files besides the contacts, by what they are."""
        found: dict[str, InputFile | None] = {}
        if self.hicdcplus_variables:
            found = {"fasta": self.hicdcplus.fasta, "mappability": self.hicdcplus.mappability}
        return {kind: file for kind, file in found.items() if file is not None}

    def settings(self) -> dict[str, Any]:
        """What decides the values, besides the content of files: as JSON holds it."""
        out: dict[str, Any] = {}
        if "ice" in self.variables:
            ice = self.ice
            out["ice"] = asdict(ice.parameters) | {"scale": ice.scale, "allow_unconverged": ice.allow_unconverged}
        for variable in self.chrom_weights:
            out[variable] = {}
        if self.hicdcplus_variables:
            h = self.hicdcplus
            out["hicdcplus"] = asdict(h.settings) | {
                "variables": list(self.hicdcplus_variables),
                "features": h.features,
                "enzymes": None if h.enzymes is None else list(h.enzymes),
                "rename_fasta": dict(sorted(h.rename_fasta.items())),
                "rename_mappability": dict(sorted(h.rename_mappability.items())),
                "seed": h.seed,
                "leave_out": sorted(h.leave_out),
            }
        if "akita" in self.variables:
            out["akita"] = asdict(self.akita) | {"from": AKITA_FROM}
        return out


def read_computed(
    table: Table, normalisations: Mapping[str, str], read_input: Callable[[Table, str], InputFile], *, has_extent: bool
) -> ComputedEntry:
    """Read ``compute`` and the tables of settings from one ``[[cell_type.contacts]]``; problems are noted in the table.

    Parameters
    ----------
    table
        The entry.
    normalisations
        What is taken from the file as it is stored: nothing is both.
    read_input
        Reads a file's path from a table.
    has_extent
        Whether the contacts cover one locus only.
    """
    wanted = table.names("compute")
    for name in wanted:
        if name not in COMPUTABLE:
            table.problem(
                f"'compute' names {name!r}, which epizarr does not compute.{nearest_match(name, COMPUTABLE)} "
                f"It computes {', '.join(COMPUTABLE)}"
            )
        elif name in normalisations:
            table.problem(f"{name!r} is in 'compute' and in 'normalisations'; a variable is one or the other")
    variables = tuple(v for v in COMPUTABLE if v in wanted)
    if "akita" in variables and AKITA_FROM not in (*variables, *normalisations):
        table.problem(
            "'compute' names 'akita', which starts from ICE-balanced contacts: add \"ice\" to 'compute', or take a stored "
            "ICE with 'normalisations'"
        )
    weighted = [v for v in variables if v == "ice" or v in CHROM_WEIGHTS]
    if has_extent and weighted:
        table.problem(
            f"'compute' names {', '.join(weighted)} and 'extent' says that one locus is covered: balancing assumes that every "
            "bin sees the whole chromosome. Leave them out; HiC-DC+ can be computed"
        )
    out = ComputedEntry(variables)
    for key, of in (("ice", ("ice",)), ("hicdcplus", HICDCPLUS_VARIABLES), ("akita", ("akita",))):
        if key in table.content and not set(of) & set(variables):
            table.problem(f"has a table {key!r}, but 'compute' names none of {', '.join(of)}")
    if "ice" in variables:
        out = replace(out, ice=_read_ice(table))
    if out.hicdcplus_variables:
        out = replace(out, hicdcplus=_read_hicdcplus(table, read_input))
    if "akita" in variables:
        settings = Table(
            table.content.get("akita", {}), f"{table.where} akita", _names(AkitaParameters), table.problems
        )
        out = replace(out, akita=_settings(settings, AkitaParameters))
    return out


def _names(of: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(of))


def _settings(table: Table, of: type[_T]) -> _T:
    """Make a dataclass of settings from a table's keys, with its own defaults and checks."""
    values = {}
    for f in fields(cast(Any, of)):
        if f.name not in table.content:
            continue
        value, default = table.content[f.name], f.default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = is_number if isinstance(default, float) else type(value) is type(default)
        if fits:
            values[f.name] = float(value) if isinstance(default, float) else value
        else:
            table.problem(f"{f.name!r} is {value!r}, a value like {default!r} is needed")
    try:
        return of(**values)
    except (EpizarrError, ValueError) as error:
        table.problem(f"cannot be used: {str(error).rstrip('.')}")
        return of()


def _read_ice(table: Table) -> IceEntry:
    known = (*_names(IceParameters), "scale", "allow_unconverged")
    own = Table(table.content.get("ice", {}), f"{table.where} ice", known, table.problems)
    return IceEntry(
        parameters=_settings(own, IceParameters),
        scale=cast(IceScale, own.choice("scale", ("cooler", "hicexplorer"), "cooler")),
        allow_unconverged=own.flag("allow_unconverged"),
    )


def _read_hicdcplus(table: Table, read_input: Callable[[Table, str], InputFile]) -> HicdcplusEntry:
    files = ("fasta", "mappability")
    others = ("features", "enzymes", "rename_fasta", "rename_mappability", "seed", "leave_out")
    known = (*_names(HicdcplusSettings), *files, *others)
    own = Table(table.content.get("hicdcplus", {}), f"{table.where} hicdcplus", known, table.problems)
    features = own.choice("features", ("fasta", "none"))
    given = [key for key in (*files, "enzymes", "rename_fasta", "rename_mappability") if key in own.content]
    if features == "none" and given:
        own.problem(
            f'has features = "none" and {", ".join(map(repr, given))}: write features = "fasta", or leave them out'
        )
    if features == "fasta" and "fasta" not in own.content:
        own.problem("has features = \"fasta\" and needs 'fasta', the genome's sequence")
    if features == "fasta" and "enzymes" not in own.content:
        own.problem(
            "has features = \"fasta\" and needs 'enzymes': names or recognition patterns, or [] for a protocol without a "
            "restriction enzyme (Micro-C, intact Hi-C)"
        )
    enzymes = own.names("enzymes")
    try:
        if enzymes:
            cut_patterns(enzymes)
    except EpizarrError as error:
        own.problem(f"'enzymes': {str(error).rstrip('.')}")
    return HicdcplusEntry(
        settings=_settings(own, HicdcplusSettings),
        features=cast(Literal["fasta", "none"], features or "none"),
        fasta=read_input(own, "fasta") if "fasta" in own.content else None,
        mappability=read_input(own, "mappability") if "mappability" in own.content else None,
        enzymes=enzymes or None,
        rename_fasta=own.texts("rename_fasta"),
        rename_mappability=own.texts("rename_mappability"),
        seed=own.whole("seed", 0),
        leave_out=own.names("leave_out"),
    )
