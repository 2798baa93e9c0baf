"""Stranded motif tracks as a user makes them: FASTA and motif in, two bigWigs out."""

import inspect

import numpy as np
import pyBigWig
import pytest

from epizarr.cli import run, tracks_motif
from epizarr.genome import Assembly
from epizarr.io.bigwig import read_bin_means
from epizarr.io.motif_tracks import write_motif_tracks
from epizarr.io.motifs import read_motif
from epizarr.motif_scan import DEFAULT_P_VALUE, DEFAULT_PSEUDOCOUNT, best_score_runs, find_hits, make_scanner

LENGTHS = {"chr2": 50_001, "chr1": 30_000, "chrUn": 700}
JASPAR = """>TEST.1 MADEUP
A [ 18  0  0  2  0 10  0 20 ]
C [  0 20  0 16  0  0  0  0 ]
G [  1  0 20  1 20  0  2  0 ]
T [  1  0  0  1  0 10 18  0 ]
"""
PAIRS = bytes.maketrans(b"ACGTacgt", b"TGCAtgca")


def sequences():
    rng = np.random.default_rng(11)
    made = {chrom: bytearray(rng.choice(list(b"ACGTacgt"), size=n).astype(np.uint8)) for chrom, n in LENGTHS.items()}
    made["chr2"][10_000:10_300] = b"N" * 300
    # Two that overlap, one at either end.
    made["chr1"][100:113] = b"ACGCGATACGCGA"[:13]
    made["chr1"][:8] = made["chr1"][-8:] = b"ACGCGATA"
    return {chrom: bytes(sequence) for chrom, sequence in made.items()}


def write_fasta(path, made):
    lines = (b"\n".join(seq[i : i + 60] for i in range(0, len(seq), 60)) for seq in made.values())
    path.write_bytes(b"".join(b">%s\n%s\n" % (c.encode(), text) for c, text in zip(made, lines, strict=True)))
    return path


@pytest.fixture
def fasta(tmp_path):
    return write_fasta(tmp_path / "toy.fa", sequences())


@pytest.fixture
def pwm(tmp_path):
    path = tmp_path / "made-up.jaspar"
    path.write_text(JASPAR)
    return path


@pytest.fixture
def arguments(fasta, pwm, tmp_path):
    return ["tracks", "motif", str(fasta), "--pwm", str(pwm), "-o", str(tmp_path / "M"), "--p-value", "0.001"]


def signal_of(path):
    """Values base by base, 0 where there is none, by chromosome."""
    with pyBigWig.open(str(path)) as file:
        return {
            c: np.nan_to_num(np.asarray(file.values(c, 0, n, numpy=True), dtype=float))
            for c, n in file.chroms().items()
        }


def write_signal(path, chroms, intervals):
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(chroms.items()))
        for chrom, start, end, value in intervals:
            file.addEntries([chrom], [start], ends=[end], values=[float(value)])
    return path


def test_tracks_motif__hold_the_best_score_at_each_base(arguments, pwm, tmp_path, capsys):
    assert run(arguments) == 0
    scanner = make_scanner(read_motif(pwm), p_value=0.001)
    n_hits = []
    for side, strand in (("plus", 0), ("minus", 1)):
        found = signal_of(tmp_path / f"M.{side}.bw")
        assert {c: len(values) for c, values in found.items()} == LENGTHS
        n_hits.append(0)
        for chrom, sequence in sequences().items():
            hits = find_hits(np.frombuffer(sequence, dtype=np.uint8), scanner)[strand]
            expected = np.zeros(LENGTHS[chrom])
            for start, end, score in zip(*best_score_runs(hits, scanner.width), strict=True):
                expected[start:end] = score
            np.testing.assert_array_equal(found[chrom], expected.astype(np.float32))
            n_hits[-1] += len(hits)
    printed = capsys.readouterr().out
    assert min(n_hits) > 20
    assert all(f"{n:,}" in printed for n in n_hits)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["M.minus.bw", "M.plus.bw", "made-up.jaspar", "toy.fa"]


def test_tracks_motif__change_places_on_the_reverse_complement(arguments, pwm, tmp_path):
    assert run(arguments) == 0
    mirrored = {chrom: sequence.translate(PAIRS)[::-1] for chrom, sequence in sequences().items()}
    other = write_fasta(tmp_path / "mirrored.fa", mirrored)
    write_motif_tracks(other, read_motif(pwm), tmp_path / "R", p_value=0.001)
    for side, twin in (("plus", "minus"), ("minus", "plus")):
        here, there = signal_of(tmp_path / f"M.{side}.bw"), signal_of(tmp_path / f"R.{twin}.bw")
        for chrom in LENGTHS:
            np.testing.assert_array_equal(here[chrom], there[chrom][::-1])


def test_tracks_motif__write_no_zeros_and_no_value_in_gaps(arguments, tmp_path):
    assert run(arguments) == 0
    with pyBigWig.open(str(tmp_path / "M.plus.bw")) as file:
        intervals = file.intervals("chr2")
    assert min(value for _, _, value in intervals) > 0
    assert not [i for i in intervals if i[0] < 10_300 and i[1] > 10_000]


def test_tracks_motif__can_be_read_as_a_track(arguments, tmp_path):
    assert run(arguments) == 0
    path = tmp_path / "M.plus.bw"
    means = read_bin_means(path, chrom="chr1", start=0, end=30_000, binsize=100, uncovered="zero")
    values = signal_of(path)["chr1"]
    np.testing.assert_allclose(means, values.reshape(-1, 100).mean(axis=1), rtol=1e-6)
    assert means[0] > 0


def test_tracks_motif__the_same_twice(arguments, tmp_path):
    assert run(arguments) == 0
    first = [(tmp_path / f"M.{side}.bw").read_bytes() for side in ("plus", "minus")]
    assert run([*arguments, "--overwrite"]) == 0
    assert [(tmp_path / f"M.{side}.bw").read_bytes() for side in ("plus", "minus")] == first


def test_tracks_motif__refuse_to_replace_unasked(arguments, tmp_path, capsys):
    (tmp_path / "M.minus.bw").write_text("mine")
    assert run(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "M.minus.bw").read_text() == "mine"
    assert not (tmp_path / "M.plus.bw").exists()


def test_tracks_motif__scan_only_what_was_asked_for(arguments, tmp_path):
    assert run([*arguments, "--chrom", "chr1"]) == 0
    assert list(signal_of(tmp_path / "M.plus.bw")) == ["chr1"]


def test_tracks_motif__keep_hits_near_signal_only(arguments, tmp_path, capsys):
    assert run(arguments) == 0
    all_hits = signal_of(tmp_path / "M.plus.bw")
    signal = write_signal(
        tmp_path / "chip.bw",
        {"chr1": 30_000, "chr2": 50_001},
        [("chr1", 0, 10_000, 5), ("chr1", 10_000, 20_000, 4.5), ("chr2", 0, 25_000, 7)],
    )
    mask = ["--signal", str(signal), "--signal-above", "4.5", "--signal-flank", "0", "--overwrite"]
    assert run([*arguments, *mask]) == 0
    kept = signal_of(tmp_path / "M.plus.bw")
    # A hit counts if it touches the signal, so the edges are left out here.
    np.testing.assert_array_equal(kept["chr1"][:9_990], all_hits["chr1"][:9_990])
    np.testing.assert_array_equal(kept["chr2"][:24_990], all_hits["chr2"][:24_990])
    assert all_hits["chr1"][10_010:].any()
    assert not kept["chr1"][10_010:].any()
    assert not kept["chr2"][25_010:].any()
    assert not kept["chrUn"].any()
    assert "does not list chrUn" in capsys.readouterr().err


@pytest.mark.parametrize(("flank", "kept"), [(91, False), (92, True)])
def test_tracks_motif__look_for_signal_as_far_as_the_flank(pwm, tmp_path, flank, kept):
    # The motif lies at 400-408, 600-608 and, reversed, at 1000-1008; the signal begins at 499, 91 bases after the first.
    text = bytearray(b"T" * 2000)
    text[400:408] = b"ACGCGATA"
    text[600:608] = b"ACGCGATA"
    text[1000:1008] = b"ACGCGATA".translate(PAIRS)[::-1]
    fasta = write_fasta(tmp_path / "one.fa", {"chr1": bytes(text)})
    signal = write_signal(tmp_path / "chip.bw", {"chr1": 2000}, [("chr1", 499, 1500, 1)])
    arguments = ["tracks", "motif", str(fasta), "--pwm", str(pwm), "-o", str(tmp_path / "M"), "--p-value", "1e-4"]
    mask = ["--signal", str(signal), "--signal-above", "0.5", "--signal-flank", str(flank)]
    assert run([*arguments, *mask]) == 0
    assert bool(signal_of(tmp_path / "M.plus.bw")["chr1"][400:408].all()) is kept


def test_tracks_motif__refuse_a_signal_of_another_assembly(arguments, tmp_path, capsys):
    signal = write_signal(tmp_path / "chip.bw", {"chr1": 30_001}, [("chr1", 0, 10, 1)])
    assert run([*arguments, "--signal", str(signal), "--signal-above", "0"]) == 1
    assert "chr1 has 30,001 bp" in capsys.readouterr().err


def test_tracks_motif__refuse_a_genome_of_another_assembly(arguments, capsys):
    assert run([*arguments, "--assembly", "hg38"]) == 1
    assert "made on another assembly than 'hg38'" in capsys.readouterr().err


def test_write_motif_tracks__refuse_a_fasta_that_lacks_a_chromosome(fasta, pwm, tmp_path):
    assembly = Assembly("toy", ("chr1", "chr3"), (30_000, 10))
    with pytest.raises(ValueError, match=r"lacks \['chr3'\]"):
        write_motif_tracks(fasta, read_motif(pwm), tmp_path / "M", assembly=assembly, p_value=0.001)


def test_tracks_motif__without_a_hit_leave_nothing(arguments, fasta, tmp_path, capsys):
    write_fasta(fasta, {"chr1": b"T" * 1000})
    assert run(arguments) == 1
    assert "has no hit on the + strand" in capsys.readouterr().err
    assert not list(tmp_path.glob("M*"))


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--p-value", "1e-9"], 1, "best match already has a p-value"),
        (["--p-value", "2"], 1, "between 0 and 1"),
        (["--pseudocount", "0"], 1, "pseudocount is 0"),
        (["--motif", "CTCF"], 1, "no motif 'CTCF'"),
        (["--chrom", "chr9"], 1, "chromosome 'chr9' is not in"),
        (["--signal", "x.bw"], 2, "--signal-above"),
        (["--signal-above", "3"], 2, "--signal-above"),
        (["--signal-flank", "3"], 2, "--signal only"),
        (["--signal", "x.bw", "--signal-above", "nan"], 1, "finite number"),
        (["--signal", "x.bw", "--signal-above", "1"], 1, "x.bw does not exist"),
    ],
)
def test_tracks_motif__errors_are_one_paragraph(arguments, options, status, message, tmp_path, capsys):
    assert run([*arguments, *options]) == status
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.glob("M*"))


def test_tracks_motif__defaults_are_those_of_the_library():
    defaults = {name: p.default for name, p in inspect.signature(tracks_motif.command).parameters.items()}
    assert (defaults["p_value"], defaults["pseudocount"]) == (DEFAULT_P_VALUE, DEFAULT_PSEUDOCOUNT)


def test_tracks_motif__help_has_an_example(capsys):
    assert run(["tracks", "motif", "--help"]) == 0
    assert "Example: epizarr tracks motif" in capsys.readouterr().out
