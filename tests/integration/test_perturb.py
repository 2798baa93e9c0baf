"""Perturbations of a small store: what is computed anew, what stays to the bit, and the files that come of it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from epizarr.errors import MemoryBoundError, PerturbationError, StoreError
from epizarr.genome import Region
from epizarr.io.store import grid_of, open_perturbation, open_prediction, open_tracks, write_region
from epizarr.perturb import Delete, Duplicate, Invert, Mask, TrackFacts, Translocate, apply_edits
from epizarr.perturbed import perturb_contacts, perturbed_bands
from epizarr.predict import predict_contacts
from tests._runs import BINSIZE, N_DIAGONALS, locus_of, write_checkpoint, write_store

RUN = {"cell_type": "B", "tile_bins": 60, "overlap_bins": 15}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("perturb")
    store = write_store(folder / "s.zarr", with_contacts=())
    return store, write_checkpoint(folder / "run")


def test_facts__of_a_track_that_the_cell_type_lacks_are_missing(made):
    locus = locus_of(*made, "chr1")
    lacking = replace(locus, job=replace(locus.job, track_rows=(None, *locus.job.track_rows[1:])))
    name = locus.tracks.names[0]
    facts = lacking.facts([Mask((), Region("chr1", 0, 1000))], use={})
    assert np.isnan(facts.means[name])
    assert facts.totals[name] == 0
    assert all(facts.totals[other] > 0 for other in locus.tracks.names[1:])


def test_perturb__equals_predicting_the_edited_store_and_leaves_the_rest_to_the_bit(made, tmp_path):
    store, checkpoint = made
    edit = "scale:CTCF:chr1:1,000,000-1,003,000:factor=0"
    group = perturb_contacts(store, checkpoint, edits=[edit], region="chr1", run="x", out=tmp_path / "o.zarr", **RUN)
    ds = open_perturbation(tmp_path / "o.zarr", "B", "x", BINSIZE).load()
    assert group == f"B/perturbations/x/{BINSIZE}"
    edited = write_store(tmp_path / "edited.zarr", with_contacts=())
    values = open_tracks(edited, "B")["signal"].isel(track=0).values
    values[10_000:10_030] *= 0
    write_region(edited, "B/tracks/100", "signal", {"track": slice(0, 1)}, values[None])
    for name, where in (("before", store), ("after", edited)):
        predict_contacts(where, checkpoint, run=name, regions=["chr1"], out=tmp_path / f"{name}.zarr", **RUN)
        whole = open_prediction(tmp_path / f"{name}.zarr", "B", name, BINSIZE)["contact"].values
        np.testing.assert_allclose(ds[name].values, whole, rtol=1e-5, atol=1e-6)
    changed = (np.nan_to_num(ds["difference"].values) != 0).any(axis=1)
    assert changed[1000]
    # 60-bin tiles in steps of 45: those with a bin within 20 of bins 1000-1003 begin at 945 and 990.
    reached = np.flatnonzero(changed)
    assert reached.min() >= 945 - N_DIAGONALS
    assert reached.max() < 1050
    outside = np.r_[0 : 945 - N_DIAGONALS, 1050 : grid_of(ds).chrom_extent("chr1")[1]]
    assert np.array_equal(ds["after"].values[outside], ds["before"].values[outside], equal_nan=True)


@pytest.mark.parametrize(
    "edit",
    [
        Delete(Region("chr1", 1_000_000, 1_020_000)),
        Delete(Region("chr1", 0, 10_000)),
        Delete(Region("chr1", 4_690_000, 4_700_450)),
        Duplicate(Region("chr1", 2_000_000, 2_010_000)),
        Invert(Region("chr1", 1_000_000, 1_030_000)),
        Translocate(Region("chr1", 1_000_000, 1_010_000), 1_100_000),
        Delete(Region("chr3", 10_000, 12_000)),
        Duplicate(Region("chr3", 10_000, 30_000)),
    ],
    ids=str,
)
def test_perturbed_bands__align_with_the_rearranged_sequence(made, edit):
    locus = locus_of(*made, edit.region.chrom)
    edited = apply_edits(locus.tracks, [edit])
    bands = perturbed_bands(locus, edited, (0, locus.n_bins))
    place = edited.coordinates.coarse_after_from_before(locus.n_bins, 10)
    assert bands.lo == 0
    assert len(bands.rearranged) == -(-edited.tracks.n_bins // 10)
    for i, k in ((5, 3), (995, 9), (1015, 2), (1200, 4), (2004, 4), (locus.n_bins - 8, 5)):
        if i + k >= locus.n_bins:
            continue
        a, b = sorted((place[i], place[i + k]))
        expected = np.nan if np.isnan(a + b) or b - a >= N_DIAGONALS else bands.rearranged[int(a), int(b - a)]
        assert np.array_equal(bands.after[i, k], np.float32(expected), equal_nan=True)
    # Left of what is reached nothing is new; right of it the same contacts stand at moved places.
    lo, hi = bands.reached
    assert np.array_equal(
        bands.after[: max(lo - N_DIAGONALS, 0)], bands.before[: max(lo - N_DIAGONALS, 0)], equal_nan=True
    )
    assert np.array_equal(bands.after[hi:], bands.before[hi:], equal_nan=True)


def test_perturbed_bands__of_a_deletion_are_those_of_the_shorter_sequence(made):
    """The rearranged map inside the reached stretch agrees with a prediction of the shorter chromosome, up to its tiles."""
    locus = locus_of(*made, "chr3")
    edited = apply_edits(locus.tracks, [Delete(Region("chr3", 10_000, 12_000))])
    bands = perturbed_bands(locus, edited)
    n = -(-edited.tracks.n_bins // 10)
    alone = locus.rows(locus.stripes(edited.tracks, np.array([0]), n, 0, n))
    np.testing.assert_allclose(bands.rearranged, alone, rtol=1e-5)


def test_perturbed_bands__of_two_distant_sites_skip_what_lies_between(made):
    locus = locus_of(*made, "chr1")
    sites = [Region("chr1", 500_000, 501_000), Region("chr1", 3_500_000, 3_501_000)]
    facts = TrackFacts(means={"CTCF": 0.1})
    edited = apply_edits(locus.tracks, [Mask(("CTCF",), site) for site in sites], facts)
    both = perturbed_bands(locus, edited)
    between = slice(1000 - both.lo, 3000 - both.lo)
    assert np.array_equal(both.after[between], both.before[between], equal_nan=True)
    one = perturbed_bands(locus, apply_edits(locus.tracks, [Mask(("CTCF",), sites[1])], facts))
    offset = one.lo - both.lo
    np.testing.assert_allclose(both.after[offset : offset + len(one.after)], one.after, rtol=1e-5)


def test_perturb__writes_figure_tables_and_group_once(made, tmp_path, caplog):
    store, checkpoint = made
    peaks = tmp_path / "peaks.bed"
    peaks.write_text("chr1\t1000000\t1002000\tpeak_1\n")
    call = {
        "edits": ["mask:CTCF:@peak_1", "delete:chr1:1,040,000-1,045,050"],
        "peaks": peaks,
        "linked": {"CTCF": ["DNase"]},
        "out": tmp_path / "o.zarr",
        "report": tmp_path / "report",
        **RUN,
    }
    with pytest.raises(PerturbationError, match="cuts a track bin"):
        perturb_contacts(store, checkpoint, **call)
    call["edits"][1] = "delete:chr1:1,040,000-1,045,500"
    group = perturb_contacts(store, checkpoint, **call)
    assert group == f"B/perturbations/mask-chr1-1000000/{BINSIZE}"
    assert "no multiple of the contact bins" in caplog.text
    ds = open_perturbation(tmp_path / "o.zarr", "B", "mask-chr1-1000000", BINSIZE)
    assert json.loads(ds.attrs["edits"])[0] == "mask:CTCF+DNase:chr1:1,000,000-1,002,000"
    assert set(json.loads(ds.attrs["edited_share"])) == {"CTCF", "DNase"}
    contacts = pd.read_csv(tmp_path / "report/contacts.tsv", sep="\t")
    assert contacts["scaled_difference"].abs().is_monotonic_decreasing
    assert {"kept", "lost", "gained"} >= set(pd.read_csv(tmp_path / "report/boundaries.tsv", sep="\t")["status"])
    assert (tmp_path / "report/perturbation.png").stat().st_size > 10_000
    assert perturb_contacts(store, checkpoint, **call) == group  # the same again changes nothing
    with pytest.raises(StoreError, match="another name"):
        perturb_contacts(store, checkpoint, **call | {"edits": ["mask:CTCF:@peak_1"]})


def test_perturb__refuses_before_it_writes(made, tmp_path):
    store, checkpoint = made
    call = {"out": tmp_path / "o.zarr", **RUN}
    for edits, said, error in (
        ([], "at least one edit", PerturbationError),
        (["delete:chr1:0-100,000", "delete:chr2:0-100"], "one chromosome", PerturbationError),
        (["mask:H3K27ac:chr1:0-100"], "no track H3K27ac", PerturbationError),
    ):
        with pytest.raises(error, match=said):
            perturb_contacts(store, checkpoint, edits=edits, **call)
    with pytest.raises(MemoryBoundError):
        perturb_contacts(store, checkpoint, edits=["delete:chr1:0-10,000"], max_bytes=1 << 20, **call)
    assert not (tmp_path / "o.zarr/B").exists()
