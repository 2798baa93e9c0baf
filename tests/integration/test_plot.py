"""``epizarr plot`` and ``region_figure``: what is drawn is the store's, and what cannot be drawn is said."""

from pathlib import Path

import numpy as np
import pytest

import epizarr as ez
from epizarr.bands import gather_stripes
from epizarr.cli import run
from epizarr.errors import FigureError
from epizarr.view import figure as module
from tests._runs import ASSEMBLY, BINSIZE, N_DIAGONALS, draw_contacts, draw_signal, write_prediction, write_store

REGION = "chr1:1,000,000-1,200,000"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = write_store(tmp_path_factory.mktemp("plot") / "atlas.zarr")
    write_prediction(path, "B", "first", draw_contacts(draw_signal(1), 1, noise=0.0))
    (path.parent / "genes.bed").write_text("chr1\t1050000\t1080000\tALPHA\t0\t+\n")
    return path


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing."""
    seen = {}
    original = module.triangle_figure

    def spy(region, maps, signals, genes, **more):
        seen.update(region=region, maps=maps, signals=signals, genes=genes)
        return original(region, maps, signals, genes, **more)

    monkeypatch.setattr(module, "triangle_figure", spy)
    return seen


def stripes_of(store, cell_type, region=REGION):
    array = ez.open_contacts(store, cell_type, BINSIZE)["ice"]
    chrom = ez.select(array, region.partition(":")[0]).values
    lo, hi = ASSEMBLY.bins(BINSIZE).region_extent(ASSEMBLY.region(region))
    return gather_stripes(chrom, lo, hi - lo, N_DIAGONALS), np.nanmean(chrom, axis=0)


def test_region_figure__maps_are_the_stores_values(store, drawn):
    ez.region_figure(store, REGION, cell_types=["A", "B"], runs=["first"])
    assert [m.title for m in drawn["maps"]] == ["A · ice", "B · ice", "B · first"]
    np.testing.assert_array_equal(drawn["maps"][1].stripes, stripes_of(store, "B")[0])
    assert len({m.scale for m in drawn["maps"]}) == 1
    assert [s.name for s in drawn["signals"]] == ["CTCF A", "DNase A", "CTCF B", "DNase B"]


def test_region_figure__differences_are_of_observed_over_expected(store, drawn):
    ez.region_figure(store, REGION, cell_types=["A", "B"], difference=True)
    difference = drawn["maps"][2]
    (a, mean_a), (b, mean_b) = stripes_of(store, "A"), stripes_of(store, "B")
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(difference.stripes, b / mean_b - a / mean_a, rtol=1e-4, atol=1e-5)
    assert difference.title == "B · ice − A · ice"
    assert difference.scale.low == -difference.scale.high


def test_region_figure__whole_chromosomes_are_averaged(store, drawn):
    ez.region_figure(store, "chr1", tracks=["DNase"])
    (panel,) = drawn["maps"]
    assert panel.factor == 3  # 4,701 bins on 1,600 columns
    assert len(panel.stripes) == 1_567
    assert len(drawn["signals"][0].values) <= 900
    assert drawn["signals"][0].end >= ASSEMBLY.length("chr1")


def test_region_figure__takes_more_signals_by_name_and_values(store, drawn):
    values = np.linspace(-1, 1, 2_000)
    ez.region_figure(store, REGION, tracks=[], signals=[("attribution of CTCF", values)])
    (panel,) = drawn["signals"]
    assert (panel.name, panel.start, panel.end) == ("attribution of CTCF", 1_000_000, 1_200_000)
    assert panel.values is values


def test_region_figure__refuses_a_difference_of_different_quantities(store, drawn, tmp_path):
    path = write_store(tmp_path / "other.zarr")
    write_prediction(path, "A", "scores", draw_contacts(draw_signal(0), 0), target="akita")
    with pytest.raises(FigureError, match="different quantities"):
        ez.region_figure(path, REGION, cell_types=["A"], runs=["scores"], difference=True)
    with pytest.raises(FigureError, match="a difference needs two maps"):
        ez.region_figure(path, REGION, cell_types=["A"], difference=True)
    assert drawn == {}


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot__writes_each_format(store, tmp_path, suffix, capsys):
    out = tmp_path / "new" / f"figure.{suffix}"
    asked = ["plot", str(store), "--region", REGION, "--cell-type", "B", "--run", "first", "--tracks", "CTCF"]
    asked += ["--genes", str(store.parent / "genes.bed"), "--difference", "-o", str(out)]
    assert run(asked) == 0
    assert out.read_bytes()[:5] == {"png": b"\x89PNG\r", "pdf": b"%PDF-", "svg": b"<?xml"}[suffix]
    assert f"Figure: {out}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--region", "chr9", "-o", "a.png"], "chromosome 'chr9' is not in assembly"),
        (["--region", REGION, "-o", "a.jpg"], "the format is told by the name"),
        (["--region", REGION, "--run", "none", "-o", "a.png"], "no finished run 'none'"),
        (["--region", REGION, "--tracks", "CTFC", "-o", "a.png"], "Did you mean 'CTCF'"),
    ],
)
def test_plot__says_what_is_wrong(store, asked, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(["plot", str(store), *asked]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
