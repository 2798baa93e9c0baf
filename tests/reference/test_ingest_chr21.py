"""The real chr21 data through the manifest that we ship."""

from pathlib import Path

import cooler
import numpy as np
import pytest

from epizarr.ingest.check import check_store
from epizarr.ingest.run import ingest_manifest
from epizarr.io.store import open_contacts, open_tracks, select

pytestmark = pytest.mark.reference

MANIFEST = Path(__file__).resolve().parents[2] / "stores/gm12878-chr21.toml"


@pytest.fixture(scope="module")
def store(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("chr21") / "chr21.zarr"
    ingest_manifest(MANIFEST, path, env={"EPIZARR_SHARED": str(shared)})
    return path


def test_ingest_chr21__balanced_contacts_are_coolers(store, shared):
    clr = cooler.Cooler(f"{shared}/data/gm12878_chr21/GM12878-MboI.hg19.cool::10000")
    lo, hi = 3000, 3300
    square = clr.matrix(balance=True).fetch(f"21:{lo * 10_000}-{hi * 10_000}")
    ice = select(open_contacts(store, "GM12878", 10_000)["ice"], f"chr21:{lo * 10_000}-{hi * 10_000}").values
    for k in range(1, 100):
        np.testing.assert_allclose(ice[: hi - lo - k, k], np.diagonal(square, k), rtol=1e-6)


def test_ingest_chr21__knows_that_the_main_diagonal_is_empty(store):
    ds = open_contacts(store, "GM12878", 10_000)
    assert (ds.attrs["min_diagonal"], int(ds["weight_ice"].notnull().sum())) == (1, 3248)


def test_ingest_chr21__has_the_five_tracks_of_the_paper_and_smc3(store):
    names = ["DNase", "H3K27ac", "H3K4me3", "H3K27me3", "CTCF", "SMC3"]
    assert open_tracks(store, "GM12878")["track"].values.tolist() == names


def test_ingest_chr21__is_whole_and_true_to_its_inputs(store, shared):
    found = check_store(store, deep=True, manifest=MANIFEST, env={"EPIZARR_SHARED": str(shared)})
    assert [str(f) for f in found if f.severity != "info"] == []
