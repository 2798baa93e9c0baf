"""BAM files to one bigWig: coverage in closed form, filters, shifts and scales, and what is refused."""

import importlib.util
import shutil

import numpy as np
import pytest

from epizarr.cli import run
from epizarr.errors import AssemblyMismatchError, ConfigError, InputFileError, InputNotFoundError, OutputExistsError
from epizarr.genome import Assembly
from epizarr.io import bam, bam_coverage
from epizarr.io.bam_coverage import effective_genome_size, write_bam_track
from epizarr.io.bam_reads import ReadSettings, preset
from epizarr.io.chromsizes import open_assembly
from tests._bams import LENGTHS, Read, bin_values, pair, reads_per_bin, write_bam

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("pysam", "deeptools"))
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="pysam or deepTools is missing: pip install 'epizarr[bam]'")

GENOME = sum(LENGTHS.values())


def random_reads(seed: int, n: int, **kwargs) -> list[Read]:
    rng = np.random.default_rng(seed)
    chroms = rng.choice(list(LENGTHS), n)
    return [Read(int(rng.integers(0, LENGTHS[c] - 50)), 50, str(c), **kwargs) for c in chroms]


def spans(reads: list[Read]) -> list[tuple[str, int, int]]:
    return [(r.chrom, r.start, r.start + r.length) for r in reads]


def assert_bins(path, expected: dict[str, np.ndarray], factor: float = 1.0) -> None:
    """Equal within the six digits that bamCoverage prints."""
    found = bin_values(path)
    assert list(found) == list(expected)
    for chrom, values in expected.items():
        np.testing.assert_allclose(found[chrom], values * factor, rtol=1e-5, atol=0, err_msg=chrom)


def counted(tmp_path, reads: list[Read], settings: ReadSettings, **kwargs):
    """Number of reads in each bin (a spike-in scale of 1), and the report."""
    report = write_bam_track(
        [write_bam(tmp_path / "reads.bam", reads)],
        tmp_path / "out.bw",
        settings=settings,
        spike_in_scale=1.0,
        **kwargs,
    )
    return bin_values(tmp_path / "out.bw", kwargs.get("binsize", 10)), report


@needs_extra
def test_write_bam_track__is_the_closed_form_of_1x(tmp_path):
    reads = random_reads(1, 700)
    out = tmp_path / "out.bw"
    write_bam_track([write_bam(tmp_path / "a.bam", reads)], out, genome_size=12_345)
    assert_bins(out, reads_per_bin(spans(reads)), 12_345 / (700 * 50))


@needs_extra
def test_write_bam_track__uniform_reads_are_1(tmp_path):
    # Starts and lengths on the bins' grid: each bin inside is touched by exactly its depth.
    reads = [Read(start, 50, chrom) for chrom, n in LENGTHS.items() for start in range(0, n - 50, 10)]
    size = len(reads) * 50 // 5
    write_bam_track([write_bam(tmp_path / "a.bam", reads)], tmp_path / "out.bw", genome_size=size)
    np.testing.assert_allclose(bin_values(tmp_path / "out.bw")["chr1"][4:1990], 5 / 5, rtol=1e-5)


@needs_extra
@pytest.mark.parametrize("signal", ["fragments", "cuts"])
def test_write_bam_track__uniform_fragments_and_cuts_are_1(tmp_path, signal):
    # One fragment from every base on: intervals off the grid, as real ones are.
    # The genome that they fill is the 5,000 bp on which they begin.
    path = write_bam(tmp_path / "a.bam", [mate for start in range(5_000) for mate in pair(start, 87)])
    write_bam_track([path], tmp_path / "out.bw", settings=ReadSettings(signal=signal), genome_size=5_000)
    np.testing.assert_allclose(bin_values(tmp_path / "out.bw")["chr1"][20:490], 1, rtol=1e-5)


@needs_extra
@pytest.mark.parametrize("name", ["coverage", "filtered"])
def test_write_bam_track__replicates_equal_their_concatenation(tmp_path, name):
    settings = ReadSettings(min_mapq=10) if name == "filtered" else preset(name)
    parts = [random_reads(seed, n) for seed, n in ((1, 300), (2, 150), (3, 50))]
    files = [write_bam(tmp_path / f"{i}.bam", part) for i, part in enumerate(parts)]
    together = [read for part in parts for read in part]
    whole = write_bam(tmp_path / "whole.bam", together)
    for out, bams in (("merged.bw", files), ("one.bw", [whole])):
        write_bam_track(bams, tmp_path / out, settings=settings, genome_size=GENOME)
    merged, one = bin_values(tmp_path / "merged.bw"), bin_values(tmp_path / "one.bw")
    for chrom in LENGTHS:
        np.testing.assert_array_equal(merged[chrom], one[chrom])
    assert_bins(tmp_path / "merged.bw", reads_per_bin(spans(together)), GENOME / (500 * 50))


@needs_extra
def test_write_bam_track__scale_counts_kept_reads_only(tmp_path):
    good, bad = random_reads(1, 400), random_reads(2, 900, mapq=3)
    out = tmp_path / "out.bw"
    path = write_bam(tmp_path / "a.bam", good + bad)
    report = write_bam_track([path], out, settings=ReadSettings(min_mapq=10), genome_size=GENOME)
    assert_bins(out, reads_per_bin(spans(good)), GENOME / (400 * 50))
    assert (report.counts.n_read, report.counts.n_kept) == (1300, 400)
    assert report.counts.left_out == {"mapping quality below 10": 900}


@needs_extra
def test_write_bam_track__gaps_of_a_spliced_read_are_not_counted(tmp_path):
    spliced = Read(1_000, cigar=((0, 20), (3, 500), (0, 30)))
    for settings in (ReadSettings(), ReadSettings(min_mapq=1)):
        values, _ = counted(tmp_path, [spliced], settings, overwrite=True)
        expected = reads_per_bin([("chr1", 1_000, 1_020), ("chr1", 1_520, 1_550)])
        np.testing.assert_array_equal(values["chr1"], expected["chr1"])


@needs_extra
@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (ReadSettings(exclude_flags=0x100), [0, 1, 3, 4]),
        (ReadSettings(duplicates="flagged"), [0, 2, 3, 4]),
        (ReadSettings(duplicates="position"), [0, 1, 2, 3]),
        (ReadSettings(min_fragment_bp=45), [0, 1, 2, 4]),
        (ReadSettings(max_fragment_bp=45), [3]),
    ],
)
def test_write_bam_track__filters(tmp_path, settings, kept):
    reads = [Read(0), Read(100, flag=0x400), Read(200, flag=0x100), Read(300, 45 - 1), Read(0)]
    values, report = counted(tmp_path, reads, settings)
    np.testing.assert_array_equal(values["chr1"], reads_per_bin(spans([reads[i] for i in kept]))["chr1"])
    assert report.counts.n_kept == len(kept)


@needs_extra
def test_write_bam_track__strands_and_fragments_at_one_place_are_no_duplicates(tmp_path):
    reads = [Read(500), Read(500, flag=16), *pair(500, 90, 50), *pair(500, 95, 50), Read(500)]
    _, report = counted(tmp_path, reads, ReadSettings(duplicates="position"))
    assert report.counts.left_out == {"duplicate by position": 1}


@needs_extra
def test_write_bam_track__duplicates_by_position_are_of_one_replicate(tmp_path):
    files = [write_bam(tmp_path / f"{i}.bam", [Read(500), Read(500)]) for i in range(2)]
    settings = ReadSettings(duplicates="position")
    report = write_bam_track(files, tmp_path / "out.bw", settings=settings, genome_size=GENOME)
    assert (report.counts.n_kept, report.n_files) == (2, 2)


@needs_extra
def test_write_bam_track__blacklisted_bins_are_missing_and_their_reads_out_of_the_scale(tmp_path):
    # chr1:1,003-1,998 becomes 1,000-2,000, and 1,995-2,010 joins it; chr2 is wholly listed.
    (tmp_path / "black.bed").write_text("chr1\t1995\t2010\nchr1\t1003\t1998\nchr2\t0\t5005\n")
    inside, across, outside = [Read(1_500)] * 30, [Read(990)], [Read(4_000)] * 9
    elsewhere = [Read(100, chrom="chr2")] * 50
    out = tmp_path / "out.bw"
    path = write_bam(tmp_path / "a.bam", inside + across + outside + elsewhere)
    report = write_bam_track([path], out, genome_size=GENOME, blacklist=tmp_path / "black.bed")
    expected = reads_per_bin(spans(across + outside))["chr1"] * GENOME / (10 * 50)
    expected[100:201] = np.nan
    found = bin_values(out)
    np.testing.assert_allclose(found["chr1"], expected, rtol=1e-5)
    assert np.isnan(found["chr2"]).all()
    assert report.counts.left_out == {"in a blacklisted interval": 80}


@needs_extra
def test_write_bam_track__atac_cuts_are_shifted(tmp_path):
    reads = [*pair(1_000, 200), Read(3_000, 35, flag=16), Read(1, 30, flag=16), Read(19_950, 50, flag=0x800)]
    values, report = counted(tmp_path, reads, preset("atac-cuts"), binsize=1)
    # 5' ends: 1000 -> +4; 1199 -> -5; 3034 -> -5; 30 -> -5. The supplementary alignment gives none.
    np.testing.assert_array_equal(np.flatnonzero(values["chr1"]), [25, 1_004, 1_194, 3_029])
    assert report.counts.left_out == {"secondary or supplementary": 1}


@needs_extra
def test_write_bam_track__cuts_shifted_off_the_chromosome_are_reported(tmp_path):
    _, report = counted(tmp_path, [Read(100), Read(0, 5, flag=16)], preset("atac-cuts"), binsize=1)
    assert report.counts.left_out == {"shifted off the chromosome": 1}


@needs_extra
def test_write_bam_track__atac_fragments_lose_four_and_five_bases(tmp_path):
    reads = [*pair(1_000, 200), *pair(1_010, 333), Read(5_000)]
    values, report = counted(tmp_path, reads, preset("atac-fragments"))
    expected = reads_per_bin([("chr1", 1_004, 1_195), ("chr1", 1_014, 1_338)])
    np.testing.assert_array_equal(values["chr1"], expected["chr1"])
    assert report.counts.left_out == {"not a proper pair": 1, "second mate of a counted fragment": 2}


@needs_extra
@pytest.mark.parametrize(("name", "kept"), [("cutrun-factor", [60, 120]), ("cutrun-histone", [150, 400])])
def test_write_bam_track__cutrun_takes_fragments_by_size(tmp_path, name, kept):
    sizes = [60, 120, 121, 149, 150, 400]
    reads = [mate for i, size in enumerate(sizes) for mate in pair(1_000 * (i + 1), size)]
    values, _ = counted(tmp_path, reads, preset(name))
    places = [("chr1", 1_000 * (sizes.index(size) + 1), 1_000 * (sizes.index(size) + 1) + size) for size in kept]
    np.testing.assert_array_equal(values["chr1"], reads_per_bin(places)["chr1"])


@needs_extra
def test_write_bam_track__spike_in_scale_multiplies_the_counts(tmp_path):
    reads = random_reads(4, 200)
    out = tmp_path / "out.bw"
    write_bam_track([write_bam(tmp_path / "a.bam", reads)], out, spike_in_scale=0.37)
    assert_bins(out, reads_per_bin(spans(reads)), 0.37)


@needs_extra
def test_write_bam_track__leaves_nothing_but_the_bigwig(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    path = write_bam(folder / "a.bam", random_reads(1, 20))
    before = path.read_bytes(), path.stat().st_mtime_ns
    other = write_bam(folder / "b.bam", random_reads(2, 20))
    for settings in (ReadSettings(), preset("atac-cuts")):
        write_bam_track([path, other], tmp_path / "ours" / "x.bw", settings=settings, genome_size=9, overwrite=True)
    with pytest.raises(InputFileError):
        write_bam_track([path], tmp_path / "ours" / "y.bw", settings=ReadSettings(min_mapq=99), genome_size=9)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert sorted(p.name for p in folder.iterdir()) == ["a.bam", "b.bam"]
    assert [p.name for p in (tmp_path / "ours").iterdir()] == ["x.bw"]


@needs_extra
def test_write_bam_track__does_not_replace_unasked(tmp_path):
    out = tmp_path / "out.bw"
    out.write_text("mine")
    path = write_bam(tmp_path / "a.bam", random_reads(1, 20))
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_bam_track([path], out, genome_size=GENOME)
    assert out.read_text() == "mine"
    write_bam_track([path], out, genome_size=GENOME, overwrite=True)
    assert_bins(out, reads_per_bin(spans(random_reads(1, 20))), GENOME / (20 * 50))


@needs_extra
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "either an effective genome size"),
        ({"genome_size": 5, "spike_in_scale": 1.0}, "undo the spike-in"),
        ({"genome_size": 0}, "effective genome size 0"),
        ({"spike_in_scale": float("nan")}, "spike-in scale nan"),
        ({"genome_size": 5, "binsize": 0}, "binsize 0"),
    ],
)
def test_write_bam_track__needs_one_unit(tmp_path, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        write_bam_track([tmp_path / "a.bam"], tmp_path / "out.bw", **kwargs)


@needs_extra
def test_inspect_bam__refuses_a_truncated_file(tmp_path):
    whole = write_bam(tmp_path / "a.bam", random_reads(1, 3_000)).read_bytes()
    for name, size in (("half.bam", len(whole) // 2), ("mark.bam", len(whole) - 28)):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(InputFileError, match=f"{name} is truncated"):
            write_bam_track([tmp_path / name], tmp_path / "out.bw", genome_size=GENOME)
    assert not (tmp_path / "out.bw").exists()


@needs_extra
@pytest.mark.parametrize("settings", [ReadSettings(), ReadSettings(min_mapq=1)])
def test_write_bam_track__refuses_a_damaged_file(tmp_path, settings):
    path = write_bam(tmp_path / "a.bam", random_reads(1, 3_000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(InputFileError, match=r"a\.bam cannot be read past .*damaged"):
        write_bam_track([path], tmp_path / "out.bw", settings=settings, genome_size=GENOME)


@needs_extra
@pytest.mark.parametrize("settings", [ReadSettings(), ReadSettings(min_mapq=1)])
@pytest.mark.parametrize("order", ["coordinate", "unsorted", "queryname", None])
def test_write_bam_track__refuses_an_unsorted_file(tmp_path, order, settings):
    path = write_bam(tmp_path / "a.bam", [Read(900), Read(400)], sort=False, order=order)
    with pytest.raises(InputFileError, match=r"a\.bam is not sorted by coordinate.*samtools sort"):
        write_bam_track([path], tmp_path / "out.bw", settings=settings, genome_size=GENOME)


@needs_extra
def test_write_bam_track__takes_a_sorted_file_whose_header_is_silent(tmp_path):
    path = write_bam(tmp_path / "a.bam", [Read(400), Read(900)], order=None)
    assert write_bam_track([path], tmp_path / "out.bw", genome_size=GENOME).counts.n_kept == 2


@needs_extra
@pytest.mark.parametrize("settings", [ReadSettings(), ReadSettings(min_mapq=1)])
@pytest.mark.parametrize("reads", [[], [Read(5, flag=4)]])
def test_write_bam_track__refuses_a_file_without_a_mapped_read(tmp_path, reads, settings):
    path = write_bam(tmp_path / "a.bam", reads)
    with pytest.raises(InputFileError, match="no mapped read"):
        write_bam_track([path], tmp_path / "out.bw", settings=settings, genome_size=GENOME)


@needs_extra
def test_write_bam_track__says_why_no_read_is_left(tmp_path):
    path = write_bam(tmp_path / "a.bam", random_reads(1, 7))
    with pytest.raises(InputFileError, match="7 not a proper pair"):
        write_bam_track([path], tmp_path / "out.bw", settings=preset("atac-fragments"), genome_size=GENOME)


@needs_extra
def test_check_bam_assembly__refuses_other_lengths_and_allows_another_prefix(tmp_path):
    path = write_bam(tmp_path / "a.bam", random_reads(1, 20))
    for lengths, message in (({"chr1": 20_001}, "chr1 has 20,000 bp, toy has 20,001"), ({"chr7": 5}, "none is shared")):
        with pytest.raises(AssemblyMismatchError, match=message):
            write_bam_track(
                [path], tmp_path / "o.bw", genome_size=9, assembly=Assembly.from_table("toy", lengths.items())
            )
    bare = Assembly.from_table("toy", [("1", 20_000), ("9", 77)])
    write_bam_track([path], tmp_path / "o.bw", genome_size=9, assembly=bare)


@needs_extra
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"chr1": 20_000, "chr2": 6_000}, "chr2 has 5,005 and 6,000 bp.*different assemblies"),
        ({"chr1": 20_000}, r"1 reference sequences, such as \['chr2'\]"),
        ({"chr2": 5_005, "chr1": 20_000}, "another order"),
    ],
)
def test_check_replicates__refuses_mixed_references(tmp_path, lengths, message):
    first = write_bam(tmp_path / "a.bam", [Read(5)])
    second = write_bam(tmp_path / "b.bam", [Read(5)], lengths=lengths)
    with pytest.raises(AssemblyMismatchError, match=message):
        write_bam_track([first, second], tmp_path / "out.bw", genome_size=GENOME)


@needs_extra
def test_check_replicates__refuses_a_file_given_twice(tmp_path):
    path = write_bam(tmp_path / "a.bam", [Read(5)])
    (tmp_path / "link.bam").symlink_to(path)
    with pytest.raises(ConfigError, match="given twice"):
        write_bam_track([path, tmp_path / "link.bam"], tmp_path / "out.bw", genome_size=GENOME)


@needs_extra
def test_inspect_bam__refuses_what_is_no_bam(tmp_path):
    (tmp_path / "a.bam").write_text("chr1\t0\n")
    with pytest.raises(InputFileError, match="it is a text file"):
        bam.inspect_bam(tmp_path / "a.bam")
    with pytest.raises(InputNotFoundError, match="does not exist"):
        bam.inspect_bam(tmp_path / "gone.bam")


@needs_extra
def test_link_with_index__ignores_a_stale_index_beside_the_file(tmp_path):
    stale = write_bam(tmp_path / "few.bam", [Read(5)])
    bam.link_with_index(stale, tmp_path / "x")
    path = write_bam(tmp_path / "a.bam", random_reads(1, 300))
    shutil.copy(tmp_path / "x.bai", tmp_path / "a.bam.bai")
    write_bam_track([path], tmp_path / "out.bw", genome_size=GENOME)
    assert_bins(tmp_path / "out.bw", reads_per_bin(spans(random_reads(1, 300))), GENOME / (300 * 50))


@needs_extra
def test_tracks_bam__makes_the_track_and_says_what_it_did(tmp_path, capsys):
    reads = random_reads(1, 300)
    path = write_bam(tmp_path / "a.bam", reads)
    (tmp_path / "sizes").write_text("".join(f"{c}\t{n}\n" for c, n in LENGTHS.items()))
    out = tmp_path / "out.bw"
    arguments = ["tracks", "bam", str(path), "-o", str(out), "--effective-genome-size", "9999"]
    assert run([*arguments, "--assembly", "toy", "--chrom-sizes", str(tmp_path / "sizes"), "--min-mapq", "3"]) == 0
    assert_bins(out, reads_per_bin(spans(reads)), 9_999 / (300 * 50))
    printed = capsys.readouterr().out
    assert "300 of 300 alignments" in printed
    assert 'uncovered = "nan"' in printed
    assert run(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err


@needs_extra
def test_tracks_bam__checks_the_named_assembly(tmp_path, capsys):
    path = write_bam(tmp_path / "a.bam", random_reads(1, 3))
    assert run(["tracks", "bam", str(path), "-o", str(tmp_path / "out.bw"), "--assembly", "GRCh38"]) == 1
    printed = capsys.readouterr().err
    assert "chr1 has 20,000 bp, hg38 has 248,956,422" in printed
    assert "Traceback" not in printed


def test_tracks_bam__without_the_extra_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bam, "find_spec", lambda name: None)
    assert run(["tracks", "bam", "a.bam", "-o", str(tmp_path / "out.bw"), "--assembly", "hg38"]) == 1
    assert "pip install 'epizarr[bam]'" in capsys.readouterr().err


def test_tracks_bam__help_has_an_example(capsys):
    assert run(["tracks", "bam", "--help"]) == 0
    assert "Example: epizarr tracks bam" in capsys.readouterr().out


def test_effective_genome_size__has_the_documented_values():
    assert (effective_genome_size("hg38"), effective_genome_size("GRCm38")) == (2_913_022_398, 2_652_783_500)
    with pytest.raises(ConfigError, match=r"Did you mean 'hg19'"):
        effective_genome_size("hg91")


def test_effective_genome_size__is_below_the_assembly_length():
    import bioframe

    for name, size in bam_coverage.EFFECTIVE_GENOME_SIZES.items():
        if name in set(bioframe.assemblies_available()["provider_build"]):
            total = sum(length for _, length in open_assembly(name))
            assert 0.9 * total < size < 1.36 * total, name


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"signal": "cut"}, "Did you mean 'cuts'"),
        ({"duplicates": "drop"}, "duplicates"),
        ({"tn5_shift": True}, "whole reads are not shifted"),
        ({"min_fragment_bp": 9, "max_fragment_bp": 8}, "no fragment is 9 bp or more and 8 bp or less"),
        ({"min_mapq": 300}, "min_mapq"),
        ({"exclude_flags": 5_000}, "exclude_flags"),
    ],
)
def test_read_settings__refuses_what_cannot_be(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        ReadSettings(**kwargs)


def test_preset__unknown_name_lists_those_there_are():
    with pytest.raises(ConfigError, match="Did you mean 'atac-cuts'"):
        preset("atac-cut")
