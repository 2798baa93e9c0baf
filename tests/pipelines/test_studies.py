"""The studies run on a small simulated store: compute, plot, and the commands they are made of."""

import importlib.util
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run
from epizarr.ingest import load_manifest
from epizarr.simulate import DEFAULT, RULES, MotifRule, simulate_world
from epizarr.train import load_config

ROOT = Path(__file__).resolve().parents[2]
# A network of a few thousand parameters, so that the whole way takes seconds.
TINY = [
    "network.conv_channels=[8, 8, 8, 4]",
    "network.adaptive_pool=5",
    "network.hidden=8",
    "network.n_layers=1",
    "network.head_hidden=16",
    "network.n_offsets=40",
    "network.window_bp=560000",
    "training.n_bins=50",
    "training.epochs=1",
]


def load_study(name: str):
    """Import a script of ``pipelines/``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "pipelines" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Store with a scored run of the demo's cell type."""
    folder = tmp_path_factory.mktemp("study")
    store, genome = str(folder / "store.zarr"), folder / "genome"
    settings = [*TINY, "splits.train=['sim1:0-3,500,000']", "splits.validation=['sim1:4,000,000-5,000,000']"]
    overrides = [word for setting in [*settings, "splits.test=['sim2']"] for word in ("--set", setting)]
    report = str(folder / "report.html")
    for command in (
        ["simulate", str(genome), "--size", "tiny", "--seed", "5", "--redraws", "2"],
        ["ingest", str(genome / "manifest.toml"), "-o", store],
        ["train", store, "--config", "small", "-o", str(folder / "run"), *overrides],
        ["predict", store, "--checkpoint", str(folder / "run" / "best"), "--cell-type", "SIM1"],
        ["evaluate", store, "--run", "run", "--cell-type", "SIM1", "--truth", str(genome / "SIM1"), "--report", report],
    ):
        assert run(command) == 0, command
    return store


def test_demo__compute_and_plot_and_verdict(scored):
    demo = load_study("demo")
    results = demo.compute(Path(scored), "run")
    assert "prediction" in results["predictor"].values
    assert isinstance(demo.plot(results), Figure)
    lines = demo.verdict(results)
    assert "noise ceiling" in lines[0]
    assert "nan" not in lines[0]


def test_demo__simulates_only_what_is_not_there(tmp_path):
    demo = load_study("demo")
    assert demo.steps(tmp_path, 1, [])[0][0] == "simulate"
    (tmp_path / "genome-1").mkdir()
    (tmp_path / "genome-1" / "manifest.toml").touch()
    assert [command[0] for command in demo.steps(tmp_path, 1, [])] == ["ingest", "info", "train", "predict", "evaluate"]


def test_demo__takes_no_ceiling_for_a_baseline(scored):
    demo = load_study("demo")
    (line, _) = demo.verdict(demo.compute(Path(scored), "run"))
    assert "best baseline (ridge)" in line or "best baseline (CTCF insulation)" in line


def test_simulated__summary_and_plot(scored):
    study = load_study("simulated")
    scores = study.compute(Path(scored), "run", Path(scored).parent / "genome" / "SIM1", ["sim2"])
    detail = scores["detail"].to_series()
    assert (
        0 < detail["prediction"] < 1 < detail["observed"]
    )  # a tiny network's epoch is too smooth, counts are too rough
    results = {("mse", 1): scores, ("mse-motifs", 1): scores}
    table = study.summary(results)
    assert (table["ridge"] < table["track ceiling"]).all()
    assert (table["track ceiling"] < table["noise ceiling"]).all()
    pearson = scores["mean_pearson"].sel(predictor="prediction").item()
    assert table["share"].tolist() == [pearson / table["track ceiling"][0]] * 2
    assert isinstance(study.plot(results), Figure)


def test_simulated__commands_of_each_variant_fit_the_tracks_of_their_genome(tmp_path):
    study = load_study("simulated")
    for variant in study.VARIANTS:
        simulate, _, train, *_ = study.steps(tmp_path, variant, 2)
        assert ("--motifs" in simulate) == variant.has_motifs
        assert variant.rules in RULES
        assert any("motif" in word for word in train) == variant.has_motifs
        settings = [train[i + 1] for i, word in enumerate(train) if word == "--set"]
        named = set(load_config(ROOT / "pipelines" / "demo.toml", settings).data.track_transforms)
        assert named <= set(MotifRule().tracks)
    stores = [study.steps(tmp_path, variant, 2)[1][-1] for variant in study.VARIANTS]
    assert len(set(stores)) == len({(variant.rules, variant.has_motifs) for variant in study.VARIANTS})


def test_simulated__the_last_checkpoint_predicts_a_run_of_its_own(tmp_path):
    study = load_study("simulated")
    variant = study.VARIANTS[1]
    best, last = (study.steps(tmp_path, variant, 2, checkpoint) for checkpoint in ("best", "last"))
    assert best[:3] == last[:3]
    for commands, checkpoint, name in ((best, "best", "gan-2"), (last, "last", "gan-2-last")):
        *_, predict, evaluate = commands
        assert str(tmp_path / "gan-2" / checkpoint) in predict
        assert all(command[command.index("--run") + 1] == name for command in (predict, evaluate))


def test_realism__compute_and_summary_and_plot(scored, tmp_path):
    study = load_study("realism")
    protocol = ez.ClassifierProtocol(n_bins=40, channels=(4, 6), n_steps=60, n_windows=8, lr=5e-3)
    genome = Path(scored).parent / "genome" / "SIM1"
    results = study.compute(Path(scored), ["run"], "SIM1", truth=genome, protocol=protocol)
    synthetic = ["local mean", "local mean per distance", "distance mean"]
    assert results["map"].values.tolist() == ["replicate", "run", *synthetic]
    table = study.summary(results).set_index("map")
    assert table.loc["distance mean", "auc"] > 0.9  # nobody takes it for Hi-C
    assert abs(table.loc["replicate", "auc"] - 0.5) < abs(table.loc["distance mean", "auc"] - 0.5)
    assert table.loc["replicate", "sd ratio"] == pytest.approx(1, abs=0.05)
    assert table.loc["replicate", "fine detail"] == pytest.approx(1, abs=0.25)  # 5 Mb
    assert (table["Fréchet"].drop("replicate") > table.loc["replicate", "Fréchet"]).all()
    assert (table.loc[synthetic, "fine detail"].dropna() < 0.2).all()
    assert table.loc["local mean", "MSE"] < table.loc["run", "MSE"]  # which the squared error falls for
    assert "SIMULATED" in study.about(results)
    figure = study.plot(results)
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "realism.png")


def test_ablation__compute_and_summary_and_plot(scored, monkeypatch):
    study = load_study("ablation")
    monkeypatch.setitem(study.VARIANTS, "run", study.Variant("run", "retrained", study.FIVE))
    results = study.compute(Path(scored), ["run"], "SIM1")
    found = ez.open_evaluation(scored, "SIM1", "run", study.BINSIZE).load()
    for predictor in study.PREDICTORS:
        shown, wanted = (scores.sel(predictor=predictor) for scores in (results.sel(variant="run"), found))
        assert np.isfinite([shown.pearson, shown.skill]).all()
        assert (shown.pearson, shown.skill) == (wanted.mean_pearson, wanted.skill)
    (row,) = study.summary(results).to_dict("records")
    assert (row["variant"], row["tracks"]) == ("run", " ".join(study.FIVE))
    assert (row["Pearson"], row["pixels"]) == (found.mean_pearson.sel(predictor="prediction"), found.n_pixels.sum())
    assert row["ridge skill"] == found.skill.sel(predictor="ridge")
    assert "SIMULATED" in results.attrs["notes"]
    figure = study.plot(results)
    assert isinstance(figure, Figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["run"]


@pytest.mark.slow
def test_ablation__scores_are_those_of_the_commands(scored, tmp_path):
    study = load_study("ablation")
    names = ["no-ctcf", "no-ctcf-dropout", "five-conv"]
    settings = [*TINY, "data.cell_types=['SIM1']", "splits.train=['sim1:0-3,500,000']"]
    settings += ["splits.validation=['sim1:4,000,000-5,000,000']", "splits.test=['sim2']", "execution.pictures=false"]
    there = ez.open_tracks(scored, "SIM1")["track"].values.tolist()
    commands = study.steps(Path(scored), tmp_path, names, there, settings=settings, cell_type="SIM1")
    study.run_each(commands)
    results = study.compute(Path(scored), names, "SIM1")
    for name in names:
        found = ez.open_evaluation(scored, "SIM1", name, study.BINSIZE).sel(predictor="prediction")
        shown = results.sel(variant=name, predictor="prediction")
        assert (shown.pearson, shown.skill, shown.n_pixels) == (found.mean_pearson, found.skill, found.n_pixels.sum())
        fed = json.loads(ez.open_prediction(scored, "SIM1", name, study.BINSIZE).attrs.get("missing_tracks", "[]"))
        assert set(fed) == set(there) - set(study.VARIANTS[name].tracks)
    assert len(set(results.pearson.sel(predictor="prediction").values.tolist())) == len(names)
    assert results.pearson.sel(predictor="ridge").notnull().all()
    assert results.pearson.sel(predictor="CTCF insulation").isnull().values.tolist() == [True, True, False]
    assert ez.load_checkpoint(tmp_path / "five-conv" / "best").network.core == "conv"
    assert study.summary(results)["variant"].tolist() == names
    assert "SIMULATED" in results.attrs["notes"]
    assert "missing" not in results.attrs["notes"]  # of some variants only
    table = study.beside(results)
    assert table["tracks"].tolist() == [" ".join(study.SUBSETS["no-ctcf"])]
    pearson = results.pearson.sel(predictor="prediction").to_series()
    assert table.loc[0, ["retrained", "track dropout"]].tolist() == pearson[["no-ctcf", "no-ctcf-dropout"]].tolist()
    assert table["difference"][0] == pearson["no-ctcf-dropout"] - pearson["no-ctcf"]
    target = study.strongest_boundary(Path(scored), "SIM1", ["sim2"])
    shares = study.attribute(Path(scored), tmp_path, names, target, "SIM1")
    assert shares["variant"].values.tolist() == names
    np.testing.assert_allclose(shares["share"].sum("track"), 1)
    # What a network does not predict from makes nothing of its contacts.
    assert shares["share"].sel(track="CTCF").isnull().values.tolist() == [True, True, False]
    assert float(np.abs(shares["attribution"].sel(variant=names[:2], track="CTCF")).sum()) == 0
    study.plot_attribution(shares).savefig(tmp_path / "attribution.png")
    study.plot(results).savefig(tmp_path / "ablation.png")
    assert run(commands[0]) == run(commands[1]) == run(commands[2]) == 0  # a second run has nothing to do


def test_ablation__every_variant_reads_its_tracks(tmp_path):
    study = load_study("ablation")
    for name, variant in study.VARIANTS.items():
        train, predict, _ = study.steps(tmp_path / "s.zarr", tmp_path, [name], study.ALL_TRACKS)
        config = load_config(
            ROOT / "pipelines" / "chr21.toml", [train[i + 1] for i, word in enumerate(train) if word == "--set"]
        )
        left_out = [predict[i + 1] for i, word in enumerate(predict) if word == "--without"]
        assert set(config.data.tracks) - {*config.data.zeroed_tracks, *left_out} == set(variant.tracks)
        assert (config.training.track_dropout > 0) == config.network.mask_channels == name.endswith("-dropout")
        assert bool(left_out) <= config.network.mask_channels
    assert {variant.tracks for variant in study.VARIANTS.values()} == set(study.SUBSETS.values())


def test_ablation__trains_track_dropout_once_and_leaves_out_what_the_store_lacks(tmp_path):
    study = load_study("ablation")
    names = study.possible(list(study.VARIANTS), study.FIVE)
    assert set(study.VARIANTS) - set(names) == {"five-smc3", "five-smc3-dropout"}
    commands = study.steps(tmp_path / "s.zarr", tmp_path, names, study.FIVE)
    assert [command[0] for command in commands].count("train") == len(names) - 5 + 1
    assert [command[0] for command in commands].count("predict") == len(names)
    assert not any("SMC3" in word for command in commands for word in command)


def test_ablation__ends_with_the_command_that_fails(tmp_path, capsys):
    study = load_study("ablation")
    with pytest.raises(SystemExit) as end:
        study.run_each([["info", str(tmp_path / "none.zarr")], ["config", "list"]])
    assert end.value.code == 1
    assert "config list" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["demo", "chr21", "chr21-full-size"])
def test_configs_of_the_studies__can_be_read(name):
    config = load_config(ROOT / "pipelines" / f"{name}.toml")
    assert config.splits.test


def test_manifest_of_the_demo__is_what_the_simulator_writes(tmp_path):
    manifest = load_manifest(ROOT / "stores" / "demo.toml", {"DEMO_GENOME": str(tmp_path)})
    cell = manifest.cell_types[0]
    assert [track.name for track in cell.tracks] == list(DEFAULT.tracks)
    assert all(file.input.path.is_relative_to(tmp_path) for track in cell.tracks for file in track.files)
    raw = tomllib.loads((ROOT / "stores" / "demo.toml").read_text())
    assert raw["store"]["assembly"] == DEFAULT.assembly.name
    assert "SIMULATED" in json.dumps(raw["cell_type"])


def test_readme__python_lines_run(scored, capsys):
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    for there, here in (
        ('"demo/store-1.zarr"', repr(scored)),
        ('"run-1"', '"run"'),
        ("sim3:4,000,000-8,000,000", "sim2:1,000,000-3,000,000"),
    ):
        assert there in code
        code = code.replace(there, here)
    exec(compile(code, "README.md", "exec"), {})
    assert "{'bin': 200, 'diagonal': 200}" in capsys.readouterr().out.replace("Frozen(", "").replace(")", "")


def test_readme__names_commands_that_exist():
    text, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "chr21"):
        assert f"make {target}" in text
        assert f"\n{target}: " in makefile


def test_uncertainty__compute_and_summary_and_plot(scored):
    study = load_study("uncertainty")
    checkpoint = str(Path(scored).parent / "run" / "best")
    words = ["--checkpoint", checkpoint, "--cell-type", "SIM1", "--run", "dropout", "--mc-dropout", "3"]
    assert run(["predict", scored, *words]) == 0
    results = study.compute(Path(scored), "SIM1", ["dropout"])
    table = study.summary(results)
    assert table["predictor"].tolist() == ["dropout"]
    # Dropout alone does not know the noise of the contacts; the factors do.
    assert table["as predicted 90%"].item() < 0.5 < 0.75 < table["conformal 90%"].item()
    assert isinstance(study.plot(results), Figure)


@pytest.mark.parametrize("data", ["simulated", "chr21"])
def test_uncertainty__its_commands_hang_together(tmp_path, data):
    study = load_study("uncertainty")
    commands = study.steps(tmp_path, data)
    trained = {c[c.index("-o") + 1] for c in commands if c[0] == "train"}
    used = {str(Path(c[i + 1]).parent) for c in commands for i, word in enumerate(c) if word == "--checkpoint"}
    assert used == trained
    for command in commands:
        if command[0] == "train":
            settings = [command[i + 1] for i, word in enumerate(command) if word == "--set"]
            config = load_config(ROOT / "pipelines" / study.DATA[data].config, settings)
            assert set(study.DATA[data].regions) == {*config.splits.validation, *config.splits.test}
    calibrated = {c[c.index("--run") + 1] for c in commands if c[0] == "calibrate"}
    assert calibrated == set(study.PREDICTORS)


@pytest.mark.reference
@pytest.mark.slow
def test_chr21__runs_from_files_to_a_report(shared, tmp_path, monkeypatch):
    chr21 = load_study("chr21")
    monkeypatch.setenv("EPIZARR_SHARED", str(shared))
    overrides = [word for setting in [*TINY, "training.epochs=1"] for word in ("--set", setting)]
    for command in chr21.steps(tmp_path, is_full_size=False):
        assert run([*command, *(overrides if command[0] == "train" else [])]) == 0, command
    results = chr21.compute(tmp_path / "chr21.zarr", "small")
    assert isinstance(chr21.plot(results), Figure)
    assert "Peak-derived signal, not coverage" in (tmp_path / "small.html").read_text()


def test_targets__compute_compares_targets_on_a_simulated_store(tmp_path):
    targets = load_study("targets")
    manifest = tmp_path / "genome" / "manifest.toml"
    assert run(["simulate", str(tmp_path / "genome"), "--size", "tiny", "--seed", "5"]) == 0
    entry = "[[cell_type.contacts]]\n"
    computed = 'compute = ["kr", "hicdcplus_oe", "hicdcplus_zscore", "akita"]\n'
    tables = '\n[cell_type.contacts.hicdcplus]\nfeatures = "none"\n'
    manifest.write_text(manifest.read_text().replace(entry, entry + computed) + tables)
    assert run(["ingest", str(manifest), "-o", str(tmp_path / "s.zarr")]) == 0
    results = targets.compute(tmp_path / "s.zarr", "SIM1")
    assert list(results.target.values) == list(targets.TARGETS)
    assert results.n_pixels > 1000
    pearson = results.pearson.to_pandas()
    assert pearson.loc["ice", "kr"] > 0.9
    assert pearson.loc["hicdcplus_oe", "hicdcplus_zscore"] > 0.99
    assert pearson.loc["ice", "akita"] > 0.3


@pytest.mark.slow
def test_seams__compute_and_summary_and_plot(scored, tmp_path):
    study = load_study("seams")
    folder = Path(scored).parent
    results = study.compute(
        Path(scored), folder / "run" / "best", folder / "genome" / "SIM1", tmp_path / "seams.zarr", "sim2", n_places=5
    )
    assert results["error"].shape == (len(study.LENGTHS), 5)
    assert np.isfinite(results["error"]).all()
    table = study.summary(results)
    assert table["tile_bins"].tolist() == [50] * len(study.OVERLAPS) + [100] * len(study.OVERLAPS)
    # Without overlap the tiles end at once; blended, the same network leaves smaller seams.
    for network in ("trained", "untrained"):
        tail = table[f"{network}, 99.9 %"][: len(study.OVERLAPS)]
        assert tail.iloc[-1] < 0.5 * tail.iloc[0]
    assert isinstance(study.plot(results), Figure)


@pytest.mark.slow
def test_edge__compute_and_summary_and_plot(scored, tmp_path):
    study = load_study("edge")
    folder = Path(scored).parent
    networks = {"one": folder / "run" / "best", "same again": folder / "run" / "best"}
    results = study.compute(
        Path(scored), networks, folder / "genome" / "SIM1", tmp_path / "edge.zarr", ["sim2"], n_diagonals=40
    )
    table = study.summary(results)
    assert table["network"].tolist() == list(networks)
    assert np.isfinite(table.drop(columns="network")).all(axis=None)
    assert (table.iloc[0, 1:] == table.iloc[1, 1:]).all()
    assert isinstance(study.plot(results), Figure)


def test_edge__its_first_network_is_that_of_simulated(tmp_path):
    study, simulated = load_study("edge"), load_study("simulated")
    assert study.steps(tmp_path, 2)[:3] == simulated.steps(tmp_path, simulated.VARIANTS[0], 2)[:3]
    wide = [
        load_config(ROOT / "pipelines" / "demo.toml", list(settings)).network for settings in study.VARIANTS.values()
    ]
    assert [network.adaptive_pool * 10_000 for network in wide] == [network.window_bp for network in wide]


def test_seams__makes_what_simulated_makes_in_the_same_folder(tmp_path):
    study, simulated = load_study("seams"), load_study("simulated")
    assert study.steps(tmp_path, 2) == simulated.steps(tmp_path, simulated.VARIANTS[0], 2)[:3]


def test_seams__a_tiling_is_moved_to_where_it_does_not_repeat():
    study = load_study("seams")
    for tiling in study.tilings(200):
        assert 0 < tiling.phase_bins < tiling.tile_bins - tiling.overlap_bins


@pytest.mark.slow
def test_attribution__scores_its_questions(scored, tmp_path, monkeypatch):
    study = load_study("attribution")
    world = simulate_world(DEFAULT, 5, "SIM1")
    assert study.auroc(np.array([3.0, 1.0, 2.0]), np.array([True, False, False])) == 1
    assert study.auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    # An untrained network predicts no boundary.
    monkeypatch.setattr(study, "is_predicted", lambda store, run, boundaries: np.ones(len(boundaries), dtype=bool))
    store, checkpoint = Path(scored), Path(scored).parent / "run" / "best"
    call = {"run": "run", "chroms": ["sim2"], "n_ranked": 2, "n_decoys": 2, "n_removed": 1}
    results = study.compute(store, checkpoint, tmp_path / "effects.zarr", world, **call)
    assert results.sizes["boundary"] == 2
    assert ((results["by_attribution"] >= 0) & (results["by_attribution"] <= 1)).all()
    assert np.isfinite(results["correlation"]).all()
    # What sites do is there to be compared with: without them more passes the boundary.
    assert float(np.nanmax(np.abs(results["true_change"]))) > 0.05
    assert isinstance(study.plot(results), Figure)
    assert "SIMULATED" in study.verdict(results)[0]
