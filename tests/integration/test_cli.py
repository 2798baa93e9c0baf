"""The command line as a user types it: the whole way from a simulated genome to a report, and how errors read."""

from pathlib import Path

import pytest

from epizarr.cli import run

NETWORK = [
    "network.conv_channels=[8, 8, 8, 4]",
    "network.adaptive_pool=5",
    "network.hidden=8",
    "network.n_layers=1",
    "network.head_hidden=16",
    "network.n_offsets=40",
    "network.window_bp=560000",
]
SETTINGS = [
    *NETWORK,
    "training.n_bins=50",
    "training.epochs=2",
    "splits.train=['sim1:0-3,500,000']",
    "splits.validation=['sim1:4,000,000-5,000,000']",
    "splits.test=['sim2']",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny genome, its store, a trained run and a prediction, all made by commands."""
    folder = tmp_path_factory.mktemp("cli")
    train = ["train", str(folder / "s.zarr"), "--config", "small", "-o", str(folder / "first")]
    commands = [
        ["simulate", str(folder / "genome"), "--size", "tiny", "--seed", "3"],
        ["ingest", str(folder / "genome" / "manifest.toml"), "-o", str(folder / "s.zarr")],
        train + [word for setting in SETTINGS for word in ("--set", setting)],
        ["predict", str(folder / "s.zarr"), "--checkpoint", str(folder / "first" / "best"), "--cell-type", "SIM1"],
    ]
    for command in commands:
        assert run(command) == 0
    return folder


def test_ingest__dry_run_prints_the_plan_and_writes_nothing(folder, capsys):
    out = folder / "other.zarr"
    assert run(["ingest", str(folder / "genome" / "manifest.toml"), "-o", str(out), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for word in ("signal", "count", "ice", "chunks", "tasks", "memory"):
        assert word in printed
    assert not out.exists()


def test_info__lists_groups(folder, capsys):
    assert run(["info", str(folder / "s.zarr")]) == 0
    printed = capsys.readouterr().out
    assert "SIM1/tracks/100: DNase, H3K27ac, H3K4me3, H3K27me3, CTCF" in printed
    assert "SIM1/predictions/first/10000" in printed


def test_check__finds_a_sound_store_sound(folder, capsys):
    manifest = str(folder / "genome" / "manifest.toml")
    assert run(["check", str(folder / "s.zarr"), "--deep", "--manifest", manifest]) == 0
    assert "0 errors" in capsys.readouterr().out


def test_qc__finds_nothing_in_a_clean_simulated_store(folder, capsys):
    report = folder / "qc.html"
    assert run(["qc", str(folder / "s.zarr"), "--cell-type", "SIM1", "--report", str(report), "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "0 warnings" in printed
    assert "SIM1/contacts/10000" in printed
    text = report.read_text()
    assert "Nothing stands out." in text
    assert "SIMULATED" in text
    assert text.count("data:image/png;base64,") == 5


def test_evaluate__prints_a_table_and_writes_a_report(folder, capsys):
    report = folder / "report.html"
    arguments = ["evaluate", str(folder / "s.zarr"), "--run", "first", "--cell-type", "SIM1"]
    truth = ["--truth", str(folder / "genome" / "SIM1"), "--report", str(report)]
    assert run(arguments + truth) == 0
    printed = capsys.readouterr().out
    for word in ("prediction", "ridge", "ceiling", "SIMULATED"):
        assert word in printed
    assert "SIMULATED" in report.read_text()


def test_train__the_same_folder_with_other_settings_is_refused(folder, capsys):
    changed = [*SETTINGS, "training.lr=0.5"]
    arguments = ["train", str(folder / "s.zarr"), "--config", "small", "-o", str(folder / "first")]
    assert run(arguments + [word for setting in changed for word in ("--set", setting)]) == 1
    assert "training.lr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["info", "nowhere.zarr"], 1, "nowhere.zarr"),
        (["ingest", "nowhere.toml", "-o", "x.zarr"], 1, "template.toml"),
        (["qc", "nowhere.zarr", "--report", "r.html"], 1, "nowhere.zarr"),
        (["train", "nowhere.zarr", "--config", "smal", "-o", "r"], 1, "Did you mean 'small'"),
        (["predict", "nowhere.zarr", "--checkpoint", "r/best", "--cell-type", "A"], 1, "r/best"),
        (["predict", "nowhere.zarr"], 2, "--checkpoint"),
        (["check", "nowhere.zarr", "--manifest", "m.toml"], 2, "--deep"),
        (["check", "nowhere.zarr", "--cluster", "local:1", "--threads", "2"], 2, "local:4"),
        (["simulate", "x", "--size", "big"], 1, "tiny"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_run__errors_are_one_paragraph_without_a_traceback(arguments, status, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == status
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


def test_run__debug_lets_the_error_through(tmp_path):
    with pytest.raises(FileNotFoundError):
        run(["--debug", "info", str(tmp_path / "nowhere.zarr")])


@pytest.mark.parametrize(
    "command",
    [
        "simulate",
        "ingest",
        "info",
        "check",
        "qc",
        "train",
        "import-weights",
        "import-map",
        "predict",
        "perturb",
        "screen",
        "attribute",
        "evaluate",
    ],
)
def test_help__has_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    assert "Example: epizarr" in capsys.readouterr().out


def test_config_show__is_itself_a_config(tmp_path, capsys):
    assert run(["config", "show", "small"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "my.toml"
    path.write_text(text)
    assert run(["config", "show", str(path)]) == 0
    assert capsys.readouterr().out == text
    assert "(scientific)" in text
    assert "(execution)" in text


def test_config_list__names_the_shipped_ones(capsys):
    assert run(["config", "list"]) == 0
    assert {"epiphany-10kb", "epiphany-5kb", "small"} <= set(capsys.readouterr().out.split())
