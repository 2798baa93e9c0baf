"""The declared format: what conforms, what is refused, and the page generated from it."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from epizarr import schema
from epizarr.errors import SchemaError


def root() -> xr.Dataset:
    return xr.Dataset(
        {"chrom_name": ("chroms", np.array(["chr1"], dtype=object)), "chrom_length": ("chroms", np.array([10]))},
        attrs={"epizarr_schema_version": schema.SCHEMA_VERSION, "assembly": "x", "state": "complete"},
    )


def test_validate__accepts_a_conforming_group():
    assert schema.validate(root(), "root").identical(root())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.drop_vars("chrom_length"), "'chrom_length' is missing"),
        (lambda ds: ds.assign(extra=1), "'extra' is not part"),
        (lambda ds: ds.assign(chrom_length=ds["chrom_length"].astype("f4")), "dtype float32, needed int64"),
        (lambda ds: ds.rename(chroms="chromosomes"), r"dims \('chromosomes',\), needed \('chroms',\)"),
        (lambda ds: ds.drop_attrs(), "None"),
    ],
)
def test_validate__refuses_departures(change, message):
    with pytest.raises(SchemaError, match=message):
        schema.validate(change(root()), "root")


def test_validate__names_all_problems_at_once():
    bad = root().drop_vars(["chrom_length", "chrom_name"])
    with pytest.raises(SchemaError, match=r"chrom_name.*chrom_length"):
        schema.validate(bad, "root")


@pytest.mark.parametrize(("version", "opens"), [("1.0", True), ("1.9", True), ("2.0", False), (None, False)])
def test_check_version__same_major_opens(version, opens):
    if opens:
        schema.check_version(version, "x")
    else:
        with pytest.raises(SchemaError, match=r"reads 1\.x"):
            schema.check_version(version, "x")


def test_schema_markdown__is_the_page_in_stores():
    page = Path(__file__).resolve().parents[2] / "stores" / "SCHEMA.md"
    assert page.read_text() == schema.schema_markdown(), "run `make schema`"


def test_target_variables__are_declared_bands_other_than_count():
    for name in (*schema.TARGET_VARIABLES, *schema.WEIGHTED_VARIABLES, *schema.HICDCPLUS_VARIABLES):
        spec = schema.CONTACTS.spec(name)
        assert spec is not None
        assert spec.dims == ("bin", "diagonal")
    assert "count" not in schema.TARGET_VARIABLES
    assert {"hicdcplus_oe", "hicdcplus_qvalue"} <= set(schema.HICDCPLUS_VARIABLES)
