"""What the assembly refuses, and how it says so."""

import pandas as pd
import pytest

from epizarr.errors import AssemblyMismatchError, RegionError
from epizarr.genome import Assembly, Region, check_same_assembly

HG = Assembly.from_table("hg", [("chr1", 1050), ("chr2", 330), ("chr10", 100)])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("chr1", Region("chr1", 0, 1050)),
        ("chr1:100-200", Region("chr1", 100, 200)),
        ("chr1: 1,000 - 1,050", Region("chr1", 1000, 1050)),
        ("chr1:1.000-1.050", Region("chr1", 1000, 1050)),
        ("chr1:0-1_050", Region("chr1", 0, 1050)),
        ("chr2:-30", Region("chr2", 0, 30)),
        ("chr2:300-", Region("chr2", 300, 330)),
    ],
)
def test_region__reads_what_people_write(text, wanted):
    assert HG.region(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["chr1:200-100", "chr1:0-1051", "chr1:5", "chr1:1-2-3", "", "chr1:5-5", "chr1:1.5-30", "chr1:0-1,00", "chr1:,-"],
)
def test_region__refuses_what_is_not_on_the_assembly(text):
    with pytest.raises(RegionError):
        HG.region(text)


def test_region__unknown_chromosome_names_the_nearest():
    with pytest.raises(RegionError, match="Did you mean 'chr1'"):
        HG.region("Chr1:1-2")


def test_view__defaults_to_whole_chromosomes():
    assert HG.view()["name"].tolist() == ["chr1", "chr2", "chr10"]


def test_view__reads_a_viewframe_back():
    view = HG.view(["chr1:0-500", "chr2"])
    pd.testing.assert_frame_equal(HG.view(view), view)


def test_view__refuses_overlap():
    with pytest.raises(RegionError, match="overlap"):
        HG.view(["chr1:0-500", "chr1:499-600"])


def test_view__refuses_repeated_names():
    frame = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [0, 0], "end": [10, 10], "name": ["a", "a"]})
    with pytest.raises(RegionError, match="repeat"):
        HG.view(frame)


@pytest.mark.parametrize("table", [[], [("a", 1), ("a", 2)], [("a", 0)]])
def test_assembly__refuses_bad_tables(table):
    with pytest.raises(AssemblyMismatchError):
        Assembly.from_table("x", table)


def test_restrict__keeps_the_order_asked_for():
    assert HG.restrict(["chr10", "chr1"]).chrom_names == ("chr10", "chr1")


def test_check_same_assembly__prefix_only_asks_for_rename_chroms():
    with pytest.raises(AssemblyMismatchError, match=r"rename_chroms.*\"1\" = \"chr1\""):
        check_same_assembly("track 'CTCF': x.bw", {"1": 1050, "2": 330}, HG)


def test_check_same_assembly__prefix_of_some_chromosomes_is_refused():
    with pytest.raises(AssemblyMismatchError, match=r"shares \['chr10'\].*2 more.*\"1\" = \"chr1\""):
        check_same_assembly("track 'CTCF': x.bw", {"1": 1050, "2": 330, "chr10": 100}, HG)


def test_check_same_assembly__other_lengths_are_named():
    with pytest.raises(AssemblyMismatchError, match="chr1 has 999 bp, hg has 1,050"):
        check_same_assembly("track 'CTCF': x.bw", {"chr1": 999, "chr2": 330}, HG)


def test_check_same_assembly__extra_contigs_are_ignored():
    check_same_assembly("file", {"chr1": 1050, "chrUn_1": 5}, HG)


def test_bins__refuses_a_width_of_zero():
    with pytest.raises(ValueError, match="positive"):
        HG.bins(0)


def test_finer_start__refuses_a_width_that_does_not_divide():
    with pytest.raises(ValueError, match="does not divide"):
        HG.bins(100).finer_start(0, HG.bins(30))


def test_bins__refuses_more_chromosomes_than_codes():
    with pytest.raises(AssemblyMismatchError, match="40,000 chromosomes"):
        Assembly.from_table("draft", [(f"scaffold{i}", 1000) for i in range(40_000)]).bins(100)
