"""Features of all bins of an assembly, from files."""

import numpy as np
import pyBigWig
import pytest

from epizarr.errors import AssemblyMismatchError, ConfigError, InputFileError
from epizarr.genome import Assembly
from epizarr.io.bin_features import read_bin_features
from epizarr.normalize.features import bin_features

RNG = np.random.default_rng(7)
SEQUENCE = {chrom: RNG.choice(list(b"ACGT"), size=n).astype(np.uint8) for chrom, n in (("chr1", 2500), ("chr2", 3210))}
TOY = Assembly("toy", ("chr2", "chr1"), (3210, 2500))


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "toy.fa"
    path.write_bytes(b"".join(b">%s\n%s\n" % (c.encode(), s.tobytes()) for c, s in SEQUENCE.items()))
    return path


def write_bigwig(path, chroms, chrom="chr1"):
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(chroms))
        file.addEntries([chrom] * 2, [0, 700], ends=[600, 1300], values=[0.5, 1.0])
    return path


def test_read_bin_features__follow_the_order_of_the_assembly(fasta):
    table = read_bin_features(fasta, TOY, 1000, enzymes=["MboI"])
    assert (len(table), table.index.name) == (TOY.bins(1000).n_bins, "bin_id")
    for chrom in TOY.chrom_names:
        first, last = TOY.bins(1000).chrom_extent(chrom)
        expected = bin_features(SEQUENCE[chrom], 1000, patterns=["GATC"])
        np.testing.assert_array_equal(table[first:last], expected)
    assert table["len"].any()


def test_read_bin_features__are_missing_where_the_track_lists_no_chromosome(fasta, tmp_path):
    track = write_bigwig(tmp_path / "m.bw", [("chr1", 2500)])
    table = read_bin_features(fasta, TOY, 1000, enzymes=None, mappability=track)
    assert list(table) == ["gc", "map"]
    np.testing.assert_array_equal(table["map"], [np.nan] * 4 + [0.5, 0.0, 0.0])


def test_read_bin_features__rename_chromosomes_of_both_files(fasta, tmp_path):
    fasta.write_bytes(fasta.read_bytes().replace(b">chr", b">"))
    track = write_bigwig(tmp_path / "m.bw", [("one", 2500)], "one")
    table = read_bin_features(
        fasta,
        TOY,
        1000,
        enzymes=None,
        mappability=track,
        rename_fasta={"1": "chr1", "2": "chr2"},
        rename_mappability={"one": "chr1"},
    )
    assert table["map"].tolist()[4:] == [0.5, 0.0, 0.0]


def test_read_bin_features__refuse_a_mappability_of_another_assembly(fasta, tmp_path):
    track = write_bigwig(tmp_path / "m.bw", [("chr1", 2501)])
    with pytest.raises(AssemblyMismatchError, match="chr1 has 2,501 bp, toy has 2,500"):
        read_bin_features(fasta, TOY, 1000, enzymes=["MboI"], mappability=track)


def test_read_bin_features__refuse_a_sequence_of_another_assembly(fasta):
    with pytest.raises(AssemblyMismatchError, match="chr1 has 2,500 bp, other has 2,600"):
        read_bin_features(fasta, Assembly("other", ("chr1",), (2600,)), 1000, enzymes=["MboI"])


def test_read_bin_features__refuse_enzymes_that_never_cut(fasta):
    with pytest.raises(InputFileError, match="no bin of 1,000 bp holds a fragment end of GATCGATCGATCGATC"):
        read_bin_features(fasta, TOY, 1000, enzymes=["GATCGATCGATCGATC"])


def test_read_bin_features__refuse_an_unknown_enzyme_before_reading(tmp_path):
    with pytest.raises(ConfigError, match="'Mbo2' is not known"):
        read_bin_features(tmp_path / "absent.fa", TOY, 1000, enzymes=["Mbo2"])


def test_read_bin_features__report_progress_in_bp(fasta):
    calls = []
    read_bin_features(fasta, TOY, 1000, enzymes=None, progress=lambda *call: calls.append(call))
    assert calls == [(0, 5710, "chr1"), (2500, 5710, "chr2"), (5710, 5710, "")]
