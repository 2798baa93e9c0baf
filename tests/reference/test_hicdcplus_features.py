"""Features of bins against HiC-DC+'s construct_features on the sequence of a real chromosome."""

import gzip

import numpy as np
import pandas as pd
import pytest

from epizarr.io.bigwig import read_chromosome_intervals
from epizarr.io.fasta import inspect_fasta, read_chromosome
from epizarr.normalize.features import bin_features, find_cut_sites

pytestmark = pytest.mark.reference

SETS = {"AAGCTT": ["HindIII"], "GATC": ["GATC"], "GATC_GANTC": ["Arima"], "REagnostic": None}
CASES = [
    *[(binsize, sites, mapped) for binsize in (5, 10) for sites in SETS if sites != "REagnostic" for mapped in (0, 1)],
    (10, "REagnostic", 1),
]


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "refs" / "hicdcplus_features"


@pytest.fixture(scope="module")
def sequence(folder):
    return read_chromosome(inspect_fasta(folder / "dmel_chr4.fa.gz"), "4")


@pytest.fixture(scope="module")
def mappability(folder):
    return read_chromosome_intervals(folder / "chr4_36mer_selfmap.bw", chrom="chr4")


@pytest.mark.parametrize(("kilobases", "sites", "mapped"), CASES)
def test_bin_features__match_construct_features(folder, sequence, mappability, kilobases, sites, mapped):
    name = f"dm6_chr4_{kilobases}kb_{sites}{'_map' if mapped else ''}_bintolen.txt.gz"
    expected = pd.read_csv(folder / name, sep="\t")
    found = bin_features(sequence, 1000 * kilobases, patterns=SETS[sites], mappability=mappability if mapped else None)
    assert list(found) == [column for column in expected if column != "bins"]
    np.testing.assert_allclose(found["gc"], expected["gc"], rtol=0, atol=1e-12)
    if mapped:
        np.testing.assert_allclose(found["map"], expected["map"], rtol=0, atol=1e-12)
    if sites != "REagnostic":
        np.testing.assert_array_equal(found["len"], expected["len"])


def test_find_cut_sites__match_every_site(folder, sequence):
    with gzip.open(folder / "dm6_chr4_cutsites_GATC_GANTC.tsv.gz", "rt") as file:
        expected = pd.read_csv(file, sep="\t")[["start", "end"]].sort_values(["start", "end"]).to_numpy()
    # The table is 1-based and closed.
    np.testing.assert_array_equal(find_cut_sites(sequence, ["GATC", "GANTC"]), expected - [1, 0])
