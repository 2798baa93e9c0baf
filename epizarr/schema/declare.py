"""What a declaration of the store format is made of, and the tables that most groups have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

KIND_NAMES = {"f4": "float32", "f8": "float64", "i2": "int16", "i8": "int64", "b1": "bool", "O": "string"}


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


CHROM_TABLES = (
    Variable("chrom_name", ("chroms",), "O", "chromosome name", "", required=True),
    Variable("chrom_length", ("chroms",), "i8", "chromosome length", "bp", required=True),
)
CHROM_OFFSET = Variable("chrom_offset", ("chroms",), "i8", "bin id of the chromosome's first bin", required=True)
BIN_TABLE = (
    Variable("chrom", ("bin",), "i2", "chromosome of the bin, an index into chrom_name", required=True),
    Variable("start", ("bin",), "i8", "start of the bin, 0-based", "bp", required=True),
    Variable("end", ("bin",), "i8", "end of the bin, not included", "bp", required=True),
)
DIAGONALS = (
    Variable("diagonal", ("diagonal",), "i8", "separation k in bins; band[i, k] is pixel (i, i + k)", required=True),
    Variable("distance", ("diagonal",), "i8", "separation of the bins' starts", "bp", required=True),
)
BAND = ("bin", "diagonal")
