"""All groups together: does a dataset conform to them, and the page that describes them."""

from typing import Any

import numpy as np
import xarray as xr

from epizarr.errors import SchemaError
from epizarr.schema.declare import KIND_NAMES, Group
from epizarr.schema.evaluations import EVALUATIONS
from epizarr.schema.measured import CONTACTS, ROOT, TRACKS
from epizarr.schema.predicted import ATTRIBUTIONS, PERTURBATIONS, PREDICTIONS, SCREENS

#: "MAJOR.MINOR". The same major opens; another major is refused. A minor step only adds variables or attributes.
SCHEMA_VERSION = "1.4"

#: Attributes of every group, since a group opened alone does not see its parent's.
COMMON_ATTRS = ("epizarr_schema_version", "assembly", "state")

GROUPS: dict[str, Group] = {
    g.kind: g for g in (ROOT, TRACKS, CONTACTS, PREDICTIONS, EVALUATIONS, PERTURBATIONS, ATTRIBUTIONS, SCREENS)
}


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
            found.append(f"{name}: dtype {array.dtype}, needed {KIND_NAMES[spec.dtype]}")
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
        f"Version {SCHEMA_VERSION}. Generated from `epizarr/schema` by `make schema`; do not edit.",
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
                f"| {name} | {dims} | {KIND_NAMES[v.dtype]} | {v.units or '–'} | {v.long_name} "
                f"| {v.zero_means or '–'} | {v.nan_means or '–'} |"
            )
        if group.attrs:
            lines += ["", "| attribute | what |", "|---|---|"]
            lines += [f"| `{name}` | {about} |" for name, about in group.attrs.items()]
            lines += [f"| `{name}` (optional) | {about} |" for name, about in group.optional_attrs.items()]
    return "\n".join(lines) + "\n"
