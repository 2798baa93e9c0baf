"""Screens of a small store: the same numbers as one perturbation at a time, null intervals, and the group, table and figure."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import epizarr as ez
from epizarr.cli import run
from epizarr.errors import MemoryBoundError, PerturbationError, StoreError
from epizarr.genome import Region
from epizarr.io.store import open_screen, open_tracks, store_assembly
from epizarr.nn import NetworkConfig
from epizarr.perturb import Copy, Insert, Mask, Scale, apply_edits
from epizarr.perturbed import perturbed_bands
from epizarr.perturbed.locus import read_stretch
from epizarr.screen import SCORES, block, screen_contacts, screen_table, screen_task_bytes
from epizarr.screen.scores import view_margin
from epizarr.screen.sites import null_sites, tile_sites
from tests._runs import ASSEMBLY, BINSIZE, N_DIAGONALS, locus_of, write_checkpoint, write_store

RUN = {"cell_type": "B", "tile_bins": 60, "overlap_bins": 15}
#: Chromosome ends, partial track bins, a hole, neighbours, one wider than a tile, one that is a whole short chromosome.
PLACES = [
    ("chr1", 0, 300),
    ("chr1", 1_000_050, 1_001_070),
    ("chr1", 1_003_000, 1_003_500),
    ("chr1", 2_000_000, 2_030_000),
    ("chr1", 3_000_000, 3_090_000),
    ("chr1", 4_700_000, 4_700_450),
    ("chr2", 0, 100),
    ("chr2", 700_000, 700_400),
    ("chr2", 1_499_900, 1_500_000),
    ("chr3", 0, 30_020),
]
EDITS = {
    "mask": Mask,
    "mask:CTCF:to=background": lambda t, r: Mask(("CTCF",), r, to="background"),
    "scale:CTCF:factor=0.5": lambda t, r: Scale(("CTCF",), r, factor=0.5),
    "insert:DNase:height=30": lambda t, r: Insert(("DNase",), r, height=30.0),
    "copy:*:from=A": lambda t, r: Copy((), r, cell_type="A"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    store = write_store(folder / "s.zarr", with_contacts=())
    peaks = folder / "peaks.bed"
    peaks.write_text("".join(f"{c}\t{a}\t{b}\tpeak_{i}\n" for i, (c, a, b) in enumerate(PLACES)))
    return store, write_checkpoint(folder / "run"), peaks


@pytest.mark.parametrize("text", EDITS)
def test_screen__equals_predicting_each_perturbation_anew(made, tmp_path, text):
    store, checkpoint, peaks = made
    if "background" in text:  # of a whole chromosome there is none
        lines = peaks.read_text().splitlines()[:-1]
        peaks = tmp_path / "fewer.bed"
        peaks.write_text("\n".join(lines) + "\n")
    screen_contacts(
        store,
        checkpoint,
        edit=text,
        peaks=f"{peaks}@CTCF",
        run="x",
        bands=True,
        null_draws=0,
        out=tmp_path / "o",
        **RUN,
    )
    ds = open_screen(tmp_path / "o", "B", "x", BINSIZE).load()
    margin = view_margin(N_DIAGONALS)
    assert ds["difference"].dims == ("perturbation", "row", "diagonal")
    loci = {chrom: locus_of(*made[:2], chrom) for chrom in ASSEMBLY.chrom_names}
    for index in range(ds.sizes["perturbation"]):
        chrom, start, end = PLACES[index]
        locus = loci[chrom]
        edit = EDITS[text](("CTCF",), Region(chrom, start, end))
        edited = apply_edits(locus.tracks, [edit], locus.facts([edit], use={}))
        lo, hi = start // BINSIZE - margin, -(-end // BINSIZE) + margin
        assert int(ds["first_row"][index]) - locus.extent[0] == lo
        bands = perturbed_bands(locus, edited, (max(0, lo), min(hi, locus.n_bins)))
        got = ds["difference"].values[index]
        assert np.isnan(got[max(-lo, 0) + len(bands.before) :]).all()
        assert np.isnan(got[: max(-lo, 0)]).all()
        found = got[max(-lo, 0) : min(hi, locus.n_bins) - lo]
        expected = (bands.after - bands.before)[max(0, lo) - bands.lo :][: len(found)]
        known = ~np.isnan(found)
        assert known[:-1, 1].all()
        assert not np.isnan(expected[known]).any()
        scale = np.nanmax(np.abs(bands.before))
        np.testing.assert_allclose(found[known], expected[known], rtol=0, atol=1e-5 * scale)
        near = np.arange(
            max(0, start // BINSIZE - N_DIAGONALS // 2), min(locus.n_bins, -(-end // BINSIZE) + N_DIAGONALS // 2)
        )
        stripes = [locus.stripes(t, *locus.tiles(), near[0], near[-1] + 1) for t in (locus.tracks, edited.tracks)]
        k = np.arange(1, N_DIAGONALS)
        inside = (near[:, None] - (k + 1) // 2 >= 0) & (near[:, None] + k // 2 < locus.n_bins)
        size = np.abs(stripes[1] - stripes[0])[:, 1:][inside]
        scored = ds["effect"].values[index]
        assert scored[0] == pytest.approx(float(size.mean()), rel=1e-3, abs=1e-7)
        assert scored[1] == pytest.approx(float(size.max()), rel=1e-3, abs=1e-6)
    assert (ds["effect"].sel(score="mean_abs_change") > 0).any()


def test_screen__does_not_depend_on_batches_blocks_or_neighbours(made, tmp_path, monkeypatch):
    store, checkpoint, peaks = made
    call = {"edit": "mask", "peaks": f"{peaks}@CTCF", "run": "x", **RUN}
    found = {}
    for name, batch, block_bins in (("a", 32, 512), ("b", 1, 512), ("c", 7, 40)):
        monkeypatch.setattr(block, "BLOCK_BINS", block_bins)
        screen_contacts(store, checkpoint, batch_size=batch, out=tmp_path / name, **call)
        found[name] = open_screen(tmp_path / name, "B", "x", BINSIZE).load()
    one = tmp_path / "one.bed"
    one.write_text("\t".join(map(str, PLACES[2])) + "\n")
    screen_contacts(store, checkpoint, out=tmp_path / "d", **call | {"peaks": f"{one}@CTCF", "null_draws": 0})
    alone = open_screen(tmp_path / "d", "B", "x", BINSIZE).load()
    assert str(alone["perturbation"].values[0]) == "chr1:1,003,000-1,003,500"
    assert np.isnan(alone["p_value"]).all()
    np.testing.assert_allclose(alone["effect"].values[0], found["a"]["effect"].values[2], rtol=1e-3, atol=1e-7)
    for name in "bc":
        for variable in ("effect", "null_effect", "abs_change"):
            np.testing.assert_allclose(found[name][variable], found["a"][variable], rtol=1e-3, atol=1e-6)


def test_screen__edit_that_changes_nothing_has_no_effect_and_p_of_1(made, tmp_path):
    store, checkpoint, peaks = made
    screen_contacts(store, checkpoint, edit="scale:CTCF:factor=1", peaks=peaks, run="x", out=tmp_path / "o", **RUN)
    ds = open_screen(tmp_path / "o", "B", "x", BINSIZE).load()
    assert (ds["effect"].sel(score=["mean_abs_change", "max_abs_change"]) == 0).all()
    # At the two ends of two chromosomes no contact lies across the interval.
    assert ds["effect"].isnull().sum() == 2 * 4
    assert (ds["effect"].fillna(0) == 0).all()
    assert (ds["abs_change"].isel(diagonal=slice(1, 5)) == 0).all()
    assert (ds["p_value"].fillna(1) == 1).all()
    assert (ds["q_value"].fillna(1) == 1).all()


def test_screen__p_values_of_places_without_signal_are_uniform(made, tmp_path):
    """Intervals drawn as null ones are, screened as if someone had asked for them."""
    store, checkpoint, _ = made
    locus = locus_of(*made[:2], "chr1")
    region = [Region("chr1", 0, 4_700_450)]
    wanted = tile_sites(ASSEMBLY, [Region("chr1", 0, 120_000)], 500)
    tracks = dataclasses.replace(
        locus.tracks,
        names=("CTCF",),
        strands=(".",),
        signal=locus.tracks.signal[:1],
        blacklisted=locus.tracks.blacklisted,
    )
    means = locus.facts([Mask(("CTCF",), region[0])], use={}).means
    drawn, _ = null_sites(
        ASSEMBLY, wanted, region, lambda _: tracks, means=means, n_draws=1, seed=99, avoids_sites=False
    )
    peaks = tmp_path / "peaks.bed"
    rows = [drawn.region(ASSEMBLY, i) for i in range(len(drawn))]
    peaks.write_text("".join(f"{r.chrom}\t{r.start}\t{r.end}\n" for r in rows))
    call = {"edit": "mask:CTCF", "peaks": peaks, "regions": ["chr1"], "run": "x", **RUN}
    screen_contacts(store, checkpoint, out=tmp_path / "o", **call)
    ds = open_screen(tmp_path / "o", "B", "x", BINSIZE).load()
    assert ds.sizes["perturbation"] == 240
    assert (ds["effect"].sel(score="mean_abs_change") > 0).all()
    for score in ("mean_abs_change", "max_abs_change", "insulation_change"):
        assert stats.kstest(ds["p_value"].sel(score=score).values, "uniform").pvalue > 0.01, score
        assert (ds["q_value"].sel(score=score) > 0.05).all(), score
    # A real edit in their place is told from them.
    screen_contacts(store, checkpoint, out=tmp_path / "p", **call | {"edit": "insert:CTCF:height=100", "null_draws": 0})
    null = open_screen(tmp_path / "o", "B", "x", BINSIZE)["null_effect"].values[:, 0]
    assert np.median(open_screen(tmp_path / "p", "B", "x", BINSIZE)["effect"].values[:, 0]) > np.max(null)


def test_null_sites__are_matched_free_of_signal_and_the_same_again(made):
    store, _, _ = made
    tracks = open_tracks(store, "B")
    locus = locus_of(*made[:2], "chr1")
    assembly = store_assembly(store)
    regions = [Region("chr1", 1_900_000, 2_600_000)]
    sites = tile_sites(assembly, [Region("chr1", 1_950_050, 1_970_000)], 1_030)

    def read_chrom(code):
        return read_stretch(locus.job, tracks, assembly.chrom_names[code], ["CTCF"], [0])

    mean = float(locus.facts([Mask(("CTCF",), regions[0])], use={}).means["CTCF"])
    call = {"means": {"CTCF": mean}, "n_draws": 3, "avoids_sites": True}
    drawn, matched = null_sites(assembly, sites, regions, read_chrom, seed=1, **call)
    again, _ = null_sites(assembly, sites, regions, read_chrom, seed=1, **call)
    other, _ = null_sites(assembly, sites, regions, read_chrom, seed=2, **call)
    assert np.array_equal(drawn.start, again.start)
    assert not np.array_equal(drawn.start, other.start)
    assert len(drawn) == 3 * len(sites)
    assert np.array_equal(drawn.end - drawn.start, (sites.end - sites.start)[matched])
    assert np.array_equal(drawn.start % 100, sites.start[matched] % 100)
    assert (drawn.start >= 1_900_000).all()
    assert (drawn.end <= 2_600_000).all()
    signal = read_chrom(0).signal[0]
    for start, end in zip(drawn.start.tolist(), drawn.end.tolist(), strict=True):
        own = signal[start // 100 : -(-end // 100)]
        assert own.mean() <= mean * (1 + 1e-6)  # and so none is missing
        assert end <= 1_950_050 or start >= 1_970_000


def test_screen__writes_group_table_and_figure_and_resumes(made, tmp_path):
    store, checkpoint, peaks = made
    call = {
        "edit": "mask",
        "peaks": f"{peaks}@CTCF",
        "linked": {"CTCF": ["DNase"]},
        "out": tmp_path / "o",
        "report": tmp_path / "report",
        **RUN,
    }
    group = screen_contacts(store, checkpoint, **call)
    assert group == f"B/screens/mask-CTCF/{BINSIZE}"
    ds = ez.open_screen(tmp_path / "o", "B", "mask-CTCF", BINSIZE).load()
    assert ds.attrs["edit"] == "mask:CTCF+DNase"
    assert json.loads(ds.attrs["null"]) == {"draws": 1, "seed": 0}
    assert [str(s) for s in ds["score"].values] == list(SCORES)
    assert [
        (ASSEMBLY.chrom_names[c], a, b)
        for c, a, b in zip(*(ds[n].values for n in ("chrom", "start", "end")), strict=True)
    ] == PLACES
    assert "difference" not in ds
    table = pd.read_csv(tmp_path / "report/screen.tsv", sep="\t")
    assert table["mean_abs_change"].is_monotonic_decreasing
    assert table["rank"].tolist() == list(range(1, len(PLACES) + 1))
    assert list(table["name"]) == list(screen_table(ds)["name"])
    assert (tmp_path / "report/screen.png").stat().st_size > 10_000
    assert screen_contacts(store, checkpoint, **call) == group  # complete: nothing is done
    with pytest.raises(StoreError, match="another null"):
        screen_contacts(store, checkpoint, **call | {"seed": 1})
    with pytest.raises(StoreError, match="choice of --bands"):
        screen_contacts(store, checkpoint, **call | {"bands": True})
    screen_contacts(store, checkpoint, **call | {"seed": 1, "overwrite": True})
    anew = ez.open_screen(tmp_path / "o", "B", "mask-CTCF", BINSIZE).load()
    np.testing.assert_allclose(anew["effect"], ds["effect"], rtol=1e-3, atol=1e-7)  # in other batches
    assert not np.array_equal(anew["null_start"], ds["null_start"])


def test_screen__of_tiles_covers_the_region(made, tmp_path):
    store, checkpoint, _ = made
    screen_contacts(
        store,
        checkpoint,
        edit="mask",
        tile_bp=7_000,
        regions=["chr2:100,000-150,000"],
        run="x",
        out=tmp_path / "o",
        **RUN,
    )
    ds = open_screen(tmp_path / "o", "B", "x", BINSIZE).load()
    assert ds["start"].values.tolist() == list(range(100_000, 150_000, 7_000))
    assert int(ds["end"][-1]) == 150_000
    assert ds.attrs["edit"] == "mask:*"
    assert (ds["null_start"] >= 100_000).all()


def test_screen_command__ranks_and_says_where_it_wrote(made, tmp_path, capsys):
    store, checkpoint, peaks = made
    out, folder = tmp_path / "o", tmp_path / "report"
    words = ["screen", str(store), "--checkpoint", str(checkpoint), "--cell-type", "B", "--peaks", f"{peaks}@CTCF"]
    words += [
        "--edit",
        "mask",
        "--region",
        "chr2",
        "--region",
        "chr3",
        "--out",
        str(out),
        "-o",
        str(folder),
        "--threads",
        "1",
    ]
    assert run([*words, "--bands", "--null-draws", "2"]) == 0
    printed = capsys.readouterr().out
    assert "peak_7" in printed
    assert "mask-CTCF" in printed
    assert (folder / "screen.tsv").is_file()
    ds = open_screen(out, "B", "mask-CTCF", BINSIZE)
    assert ds.sizes["perturbation"] == 4
    assert "difference" in ds
    assert np.bincount(ds["null_of"].values).max() == 2
    assert run([*words[:8], "--edit", "delete", "-o", str(folder)]) != 0
    assert "moves sequence" in capsys.readouterr().err


def test_screen__refuses_before_it_writes(made, tmp_path):
    store, checkpoint, peaks = made
    call = {"out": tmp_path / "o", "edit": "mask", "peaks": peaks, **RUN}
    for changed, said in (
        ({"edit": "delete"}, "moves sequence"),
        ({"edit": "mask:H3K27ac"}, "no track H3K27ac"),
        ({"edit": "scale:CTCF"}, "factor"),
        ({"edit": "mask:CTCF:chr1:0-100"}, "no region"),
        ({"edit": "copy:CTCF:from=Z"}, "Z"),
        ({"peaks": None}, "not both"),
        ({"tile_bp": 100}, "not both"),
        ({"peaks": None, "tile_bp": 0}, "width"),
        ({"regions": ["chr1:10,000-20,000"]}, "nothing to perturb"),
        ({"null_draws": -1}, "null draws"),
    ):
        with pytest.raises((PerturbationError, ez.EpizarrError), match=said):
            screen_contacts(store, checkpoint, **call | changed)
    with pytest.raises(MemoryBoundError, match="widest interval"):
        screen_contacts(store, checkpoint, max_task_bytes=1 << 20, **call)
    assert not (tmp_path / "o").exists()


def test_screen_task_bytes__published_networks_fit_the_default():
    for network in (NetworkConfig.published_10kb(), NetworkConfig.published_5kb()):
        tiles = {"tile_bins": 200, "overlap_bins": 75, "batch_size": 32, "widest_bins": 2}
        assert 2**29 < screen_task_bytes(network, **tiles) < 2**32
