"""The paper's cases on a simulated locus of the same make-up: CTCF clusters between two genes, a deletion, two cell types."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run
from epizarr.errors import ConfigError
from epizarr.simulate import DEFAULT, expected_contacts, simulate_world
from tests.pipelines.test_studies import TINY, load_study

pytest.importorskip("liftover", reason="the extra `liftover` is not installed")
#: The measured maps lie on an assembly whose sim2 begins so much later.
SHIFT_BP = 40_000


@pytest.fixture(scope="module")
def study():
    """The script."""
    return load_study("cases")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Store with two simulated cell types, and a network of one epoch."""
    folder = tmp_path_factory.mktemp("cases")
    store, genome = str(folder / "store.zarr"), str(folder / "genome")
    settings = [*TINY, "data.cell_types=['SIM1']", "splits.train=['sim1:0-3,500,000']", "execution.pictures=false"]
    settings += ["splits.validation=['sim1:4,000,000-5,000,000']", "splits.test=['sim2']"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    for command in (
        ["simulate", genome, "--size", "tiny", "--seed", "5", "--cell-type", "SIM1", "--cell-type", "SIM2"],
        ["ingest", f"{genome}/manifest.toml", "-o", store],
        ["train", store, "--config", "small", "-o", str(folder / "run"), *overrides],
    ):
        assert run(command) == 0, command
    return Path(store), folder / "run" / "best"


@pytest.fixture(scope="module")
def locus():
    """The genome, its strongest boundary on sim2, and the sites of the clusters within 400 kb."""
    attribution, world = load_study("attribution"), simulate_world(DEFAULT, 5, "SIM1")
    sites = world.sites_of("sim2", "ctcf")
    sites = sites[sites["position"].between(1_500_000, 3_500_000)]
    group = (sites["position"].diff() > attribution.SAME_BP).cumsum()
    barrier = sites["strength"].map(lambda strength: -np.log1p(-strength)).groupby(group).sum()
    own = sites[group == barrier.idxmax()]
    middle = int(own["position"].mean())
    around = world.sites_of("sim2", "ctcf")
    around = around[abs(around["position"] - middle) < 400_000]
    assert len(around) > len(own)  # clusters on either side of the strongest
    return world, own, around, middle


def boundary_case(study, own):
    """A case as Sox9-Kcnj2 is one, of simulated parts."""
    lo, hi = int(own["position"].min()) - 3_000, int(own["position"].max()) + 3_000
    bins = f"sim2:{lo // 10_000 * 10_000}-{-(-hi // 10_000) * 10_000}"
    old = f"sim2:{lo - SHIFT_BP}-{hi - SHIFT_BP}"
    states = (
        study.State("wild-type"),
        study.State("without-site", edit="mask", regions=(old,), assembly="old"),
        study.State("without-all", edit="mask", between=("LEFT", "RIGHT")),
        study.State("deleted", edit="delete", regions=(bins,)),
    )
    site = f"sim2:{lo}-{hi}"
    return study.Case(
        "simulated", "simulated", ("SIM1",), states, "", "", "", genes=("LEFT", "RIGHT"), chrom="sim2", site=site
    )


def write_inputs(folder, world, own, around, middle):
    """Genes on either side, a chain file, and noise-free contacts of the states on the older assembly as text."""
    ends = (middle - 400_000, middle + 400_000)
    (folder / "genes.bed").write_text(
        f"sim2\t{ends[0] - 20_000}\t{ends[0]}\tLEFT\t0\t+\nsim2\t{ends[1]}\t{ends[1] + 20_000}\tRIGHT\t0\t+\n"
    )
    n = world.assembly.length("sim2")
    (folder / "old.chain").write_text(
        f"chain 1 sim2 {n - SHIFT_BP} + 0 {n - SHIFT_BP} sim2 {n} + {SHIFT_BP} {n} 1\n{n - SHIFT_BP}\n\n"
    )
    lo, hi = (middle - 1_200_000) // 10_000, (middle + 1_200_000) // 10_000
    for name, dropped in (("wild-type", []), ("without-site", own.index), ("without-all", around.index)):
        band = expected_contacts(replace(world, sites=world.sites.drop(index=dropped)), "sim2", lo, hi, 40)
        row, k = np.nonzero(np.isfinite(band) & (np.arange(hi - lo)[:, None] + np.arange(40) < hi - lo))
        at = (lo + row) * 10_000 - SHIFT_BP
        table = pd.DataFrame({"a": "sim2", "x": at, "b": "sim2", "y": at + k * 10_000, "n": band[row, k]})
        table.to_csv(folder / f"{name}.txt", sep="\t", header=False, index=False)


@pytest.mark.slow
def test_cases__a_boundary_and_all_sites_between_two_genes_removed(study, made, locus, tmp_path, monkeypatch, capsys):
    (store, checkpoint), (world, own, around, middle) = made, locus
    case = boundary_case(study, own)
    monkeypatch.setitem(study.CASES, "simulated", case)
    write_inputs(tmp_path, world, own, around, middle)
    kept = {}
    monkeypatch.setattr(
        study, "plot", lambda results, plot=study.plot: kept.setdefault("results", results) and plot(results)
    )
    words = ["--case", "simulated", "--store", str(store), "--chain", str(tmp_path / "old.chain")]
    words += ["--checkpoint", f"mse={checkpoint}", "--checkpoint", f"gan={checkpoint}", "--out", str(tmp_path / "out")]
    words += ["--genes", str(tmp_path / "genes.bed")]
    for name in ("wild-type", "without-site", "without-all"):
        words += ["--capture", f"{name}={tmp_path / name}.txt"]
    study.main(words)
    results = kept["results"]
    assert results["source"].values.tolist() == ["mse", "gan", "measured"]
    assert (tmp_path / "out" / "simulated.png").is_file()
    # The measured maps are those of the simulator, back on the new assembly: without its sites the boundary is weaker.
    insulation = results["insulation"].sel(source="measured").to_series()
    assert insulation["without-site"] > insulation["wild-type"] + 0.1
    measured = results["scaled"].sel(source="measured", state="wild-type").values
    grid = world.assembly.bins(10_000)
    lo, _ = grid.region_extent(world.assembly.region(results.attrs["region"]))
    lo -= grid.chrom_extent("sim2")[0]
    first = (middle - 1_200_000) // 10_000
    true = expected_contacts(world, "sim2", first + 5, first + 205, 40)[:, 2:30]
    true = np.log1p(true / np.nanmean(true, axis=0))
    lifted = measured[first + 5 - lo : first + 205 - lo, 2:30]
    known = np.isfinite(lifted) & np.isfinite(true)
    assert known.mean() > 0.5
    assert (
        np.nanmean([np.corrcoef(a[ok], b[ok])[0, 1] for a, b, ok in zip(lifted.T, true.T, known.T, strict=True)])
        > 0.999
    )
    # Both names are one network.
    np.testing.assert_array_equal(results["change"].sel(source="mse"), results["change"].sel(source="gan"))
    changes = results["change"].sel(source="mse")
    assert not np.nan_to_num(changes.sel(state="wild-type")).any()
    for state in ("without-site", "without-all", "deleted"):
        assert np.nan_to_num(changes.sel(state=state)).any()
    correlation = results["correlation"].sel(source="mse").to_series()
    assert correlation[["without-site", "without-all"]].between(-1, 1).all()
    assert np.isnan(correlation["deleted"])  # it was not measured
    np.testing.assert_allclose(results["correlation"].sel(source="measured", state="without-site"), 1)
    np.testing.assert_allclose(results["share"].sel(source="mse").sum(), 1)
    assert "boundary:sim2" in capsys.readouterr().out


@pytest.mark.slow
def test_cases__two_cell_types_beside_the_contacts_of_the_store(study, made, tmp_path):
    store, checkpoint = made
    states = (study.State("SIM1"), study.State("SIM2", cell=1))
    region = "sim2:1,000,000-3,000,000"
    case = study.Case(
        "pair",
        "simulated",
        ("SIM1", "SIM2"),
        states,
        "",
        "",
        "",
        locus=region,
        chrom="sim2",
        target="sim2:1,800,000-2,000,000",
    )
    settled = study.settle(case, DEFAULT.assembly)
    assert settled.target == "rectangle:sim2:1,800,000-2,000,000:sim2:1,800,000-2,000,000"
    assert study.problems(case, store, {"run": checkpoint}, ["SIM1", "SIM2"], {}) == []
    results = study.compute(store, {"run": checkpoint}, case, settled, tmp_path / "p.zarr", cell_types=["SIM1", "SIM2"])
    predicted = ez.open_prediction(tmp_path / "p.zarr", "SIM2", "pair-SIM2-run", 10_000)
    shown = ez.select(predicted["contact"], region).values
    assert np.isfinite(shown[:100, 2:40]).all()
    assert results["agreement"].sel(source="measured").values.tolist() == pytest.approx([1, 1])
    assert np.isfinite(results["correlation"].sel(source="run", state="SIM2"))
    table = study.summary(results)
    assert "insulation" not in table.columns  # there is no site
    assert isinstance(study.plot(results), Figure)


MM10 = ez.Assembly.from_table("mm10", [("chr1", 9_000_000), ("chr11", 122_082_543)])


def test_cases__places_that_the_paper_does_not_give_are_left_out_or_asked_for(study, tmp_path):
    case = study.CASES["sox9-kcnj2"]
    settled = study.settle(case, MM10)
    assert settled.edits == {"wild-type": [], "without-C1-C4": ["mask:CTCF:chr11:111,520,000-111,540,000"]}
    assert set(settled.left_out) == {"without-C1", "without-C2-C4", "without-all-CTCF"}
    assert settled.target == "boundary:chr11:111,520,000-111,540,000"
    assert settled.shown == ez.Region("chr11", 110_020_000, 113_040_000)
    (tmp_path / "c.chain").write_text(
        "chain 1 chr11 121843856 + 0 121843856 chr11 122082543 + 136000 121979856 1\n121843856\n\n"
    )
    chain = study.open_chain(tmp_path / "c.chain")
    (tmp_path / "g.bed").write_text(
        "chr11\t111000000\t111010000\tKcnj2\t0\t+\nchr11\t112000000\t112010000\tSox9\t0\t+\n"
    )
    settled = study.settle(case, MM10, genes=tmp_path / "g.bed", chain=chain)
    assert not settled.left_out
    assert settled.edits["without-C1"] == ["mask:CTCF:chr11:111,520,818-111,521,832"]
    assert settled.edits["without-all-CTCF"] == ["mask:CTCF:chr11:111,010,000-112,000,000"]
    cped1 = study.CASES["cped1"]
    with pytest.raises(ConfigError, match=r"the paper gives no place\. Give genes"):
        study.settle(cped1, MM10)
    with pytest.raises(ConfigError, match="does not have CPED1"):
        study.settle(cped1, MM10, genes=tmp_path / "g.bed")
    (tmp_path / "g.bed").write_text("chr1\t5000000\t5300000\tCPED1\t0\t+\n")
    settled = study.settle(cped1, MM10, genes=tmp_path / "g.bed")
    assert settled.shown == ez.Region("chr1", 3_500_000, 6_800_000)
    assert settled.target == "rectangle:chr1:5000000-5300000:chr1:5000000-5300000"


@pytest.mark.slow
def test_cases__says_at_once_what_the_store_lacks(study, made, tmp_path, capsys):
    store, checkpoint = made
    with pytest.raises(SystemExit) as end:
        study.main(
            ["--case", "gm12878-k562", "--store", str(store), "--checkpoint", str(checkpoint), "--out", str(tmp_path)]
        )
    for text in (
        "holds assembly 'simulated'; the case lies on hg38",
        "cell type 'GM12878' has no tracks",
        "'K562' has no",
    ):
        assert text in end.value.code
    assert "Fig. 4B" in capsys.readouterr().out
    case = replace(study.CASES["sox17"], assembly="simulated")
    found = study.problems(case, store, {"run": checkpoint}, ["SIM1"], {"DNase": "ATAC"})
    assert len(found) == 1
    assert "'SIM1' lacks tracks of checkpoint run: ATAC; it has DNase" in found[0]


def test_cases__every_edit_of_the_paper_lies_on_its_chromosome(study):
    for case in study.CASES.values():
        assert case.source
        assert case.not_given
        places = [text for state in case.states for text in state.regions] + [case.site, case.locus, case.target]
        assert {text.partition(":")[0] for text in places if text} <= {case.chrom}
        assert not case.states[0].edit
        assert study.describe(case).startswith(case.name)
