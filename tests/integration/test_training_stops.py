"""How a run ends before its last epoch: by patience, by a signal at any moment; and what it leaves for people to read."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import epizarr
from epizarr.errors import ConfigError
from epizarr.train import log as log_module
from epizarr.train import loop
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.config_text import config_toml
from epizarr.train.loop import TrainResult, train_model
from epizarr.train.signals import StopRequest, stop_on_signals
from epizarr.train.validation import Validation
from tests._killing import run_child, tree_digest
from tests._runs import write_store
from tests._training import tiny_config

LOGS = ["log.csv", "provenance.json"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr", cell_types=("A",), with_contacts=("A",))


@pytest.fixture(scope="module")
def whole_run(store, tmp_path_factory) -> TrainResult:
    return train_model(store, tiny_config(), tmp_path_factory.mktemp("whole") / "run")


def what_is_left(run_dir: Path) -> dict[str, str]:
    """Hash of every file but the logs, and the links."""
    links = {name: str((run_dir / name).readlink()) for name in ("best", "last")}
    return tree_digest(run_dir, ignore=LOGS) | links


class AskAtStep:
    """Asks for a stop in the n-th step of this process (from 1)."""

    def __init__(self, n: int, stop: StopRequest) -> None:
        self.n_left, self.stop = n, stop

    def on_step(self, report) -> None:
        self.n_left -= 1
        if not self.n_left:
            self.stop.ask(signal.SIGTERM)

    def on_epoch(self, row) -> None:
        pass


@pytest.mark.parametrize(
    "n", [1, 3, 5, -1, 11], ids=["first", "with a checkpoint", "middle", "end of an epoch", "later"]
)
def test_train_model__stopped_saves_that_step_and_goes_on_to_the_same_bytes(store, whole_run, tmp_path, n):
    run_dir, stop = tmp_path / "run", StopRequest()
    n = whole_run.rows[0].step if n < 0 else n
    stopped = train_model(store, tiny_config(), run_dir, progress=AskAtStep(n, stop), stop=stop)
    assert (stopped.is_finished, load_checkpoint(stopped.last).step) == (False, n)
    assert train_model(store, tiny_config(), run_dir).is_finished
    assert what_is_left(run_dir) == what_is_left(whole_run.run_dir)


def test_train_model__stopped_during_validation_keeps_the_epoch_and_validates_later(
    store, whole_run, tmp_path, monkeypatch
):
    run_dir, stop, real = tmp_path / "run", StopRequest(), loop.validate

    def interrupted(*args, **kwargs):
        stop.ask(signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "validate", interrupted)
    n = whole_run.rows[0].step
    for _ in range(2):  # stopped there again, nothing is new and nothing is written
        stopped = train_model(store, tiny_config(), run_dir, stop=stop)
        assert (load_checkpoint(stopped.last).step, stopped.rows, stopped.best) == (n, (), None)
    monkeypatch.undo()
    train_model(store, tiny_config(), run_dir)
    assert what_is_left(run_dir) == what_is_left(whole_run.run_dir)


def test_train_model__asked_to_stop_before_it_begins_leaves_no_checkpoint(store, tmp_path):
    stop = StopRequest()
    stop.ask(signal.SIGTERM)
    result = train_model(store, tiny_config(), tmp_path / "run", stop=stop)
    assert (result.is_finished, result.last) == (False, None)


def train_and_signal(store: Path, run_dir: Path, number: int) -> None:
    """Train, and get a signal in the fourth step."""

    class SignalAtStep(AskAtStep):
        def on_step(self, report) -> None:
            self.n_left -= 1
            if not self.n_left:
                os.kill(os.getpid(), number)

    with stop_on_signals() as stop:
        result = train_model(store, tiny_config(), run_dir, progress=SignalAtStep(4, stop), stop=stop)
    (run_dir / "told").write_text(f"{result.is_finished} {stop.exit_code}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 128 + signal.SIGUSR1)])
def test_train_model__a_signal_is_a_checkpoint_and_then_the_end(store, whole_run, tmp_path, number, code):
    run_dir = tmp_path / "run"
    child = run_child(train_and_signal, (store, run_dir, number))
    assert child.exitcode == 0, child.error
    assert (run_dir / "told").read_text() == f"False {code}"
    (run_dir / "told").unlink()
    assert load_checkpoint(run_dir / "last").step == 4
    train_model(store, tiny_config(), run_dir)
    assert what_is_left(run_dir) == what_is_left(whole_run.run_dir)


@pytest.mark.slow  # starts Python, torch and a process that makes batches
def test_train_command__whole_job_signalled_exits_143_with_a_checkpoint(store, tmp_path):
    run_dir, config = tmp_path / "run", tmp_path / "config.toml"
    # No checkpoint within an epoch but the one at the stop.
    settings = ["training.epochs=5000", "execution.num_workers=1", "execution.checkpoint_steps=1000000"]
    config.write_text(config_toml(tiny_config(settings)))
    code = "import sys; from epizarr.cli import main; main(sys.argv[1:])"
    arguments = ["train", str(store), "--config", str(config), "-o", str(run_dir)]
    last = None
    for _ in range(3):  # at an epoch's end all is saved already; then the run goes on and is stopped once more
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(epizarr.__file__).parents[1])},
        )
        try:
            while _link(run_dir / "last") == last and child.poll() is None:
                time.sleep(0.05)
            os.killpg(child.pid, signal.SIGTERM)
            _, said = child.communicate(timeout=500)
        finally:
            child.kill()
        assert child.returncode == 143, said
        assert "stopped by SIGTERM" in said
        assert "The same command goes on" in said
        last = _link(run_dir / "last")
        if load_checkpoint(run_dir / "last").position.epoch_step:
            break
    assert last is not None
    assert last.endswith("-stopped")


def _link(path: Path) -> str | None:
    return os.readlink(path) if path.is_symlink() else None


# ------------------------------------------------------------------------------------------------- choice and patience


@pytest.fixture
def scores(monkeypatch) -> dict[str, list[float]]:
    """Validation scores of the epochs to come, by name; a run without them gets its own."""
    by_name: dict[str, list[float]] = {}
    real, calls = loop.validate, []

    def validate(*args, **kwargs) -> Validation:
        found = real(*args, **kwargs)
        epoch = len(calls)
        calls.append(epoch)
        given = {name: values[epoch] for name, values in by_name.items()}
        return dataclasses.replace(found, scores=dataclasses.replace(found.scores, **given))

    monkeypatch.setattr(loop, "validate", validate)
    return by_name


@pytest.mark.parametrize(("best_by", "epoch"), [("loss", 1), ("pearson", 2), ("spearman", 3)])
def test_train_model__best_is_by_the_named_score(store, tmp_path, scores, best_by, epoch):
    scores |= {"loss": [0.1, 0.2, 0.3], "pearson": [0.1, 0.3, 0.2], "spearman": [0.1, 0.2, 0.3]}
    result = train_model(store, tiny_config([f"training.best_by={best_by}"]), tmp_path / "run")
    assert (load_checkpoint(result.best).epoch, result.best_value) == (epoch, scores[best_by][epoch - 1])


def test_train_model__patience_ends_the_run_and_the_run_stays_ended(store, tmp_path, scores):
    scores |= {"loss": [0.4, 0.3, 0.35, 0.3, 0.1]}
    config = tiny_config(["training.patience=2", "training.epochs=5"])
    for _ in range(2):
        result = train_model(store, config, tmp_path / "run")
        assert (result.is_finished, result.is_early, len(result.rows)) == (True, True, 4)
        assert load_checkpoint(result.best).epoch == 2


def test_train_model__patience_counts_on_after_resuming(store, tmp_path, scores):
    scores |= {"loss": [0.4, 0.5, 0.6, 0.1]}
    settings = ["training.patience=2", "training.epochs=4"]
    stop = StopRequest()
    train_model(store, tiny_config(settings), tmp_path / "run", progress=AskAtStep(10, stop), stop=stop)  # epoch 2
    result = train_model(store, tiny_config(settings), tmp_path / "run")
    assert (result.is_early, len(result.rows)) == (True, 3)


def test_train_model__last_epoch_without_improvement_is_no_early_end(store, tmp_path, scores):
    scores |= {"loss": [0.1, 0.2, 0.3]}
    result = train_model(store, tiny_config(["training.patience=2"]), tmp_path / "run")
    assert (result.is_finished, result.is_early) == (True, False)


def test_train_model__undefined_score_still_has_a_best_checkpoint(store, tmp_path, scores):
    scores |= {"pearson": [float("nan")] * 3}
    result = train_model(store, tiny_config(["training.best_by=pearson"]), tmp_path / "run")
    assert (load_checkpoint(result.best).epoch, result.best_value) == (1, None)


# --------------------------------------------------------------------------------------------------------- run folder


def test_train_model__each_start_adds_its_provenance(store, tmp_path):
    run_dir = tmp_path / "run"
    train_model(store, tiny_config(["execution.max_steps=3"]), run_dir, command=["epizarr", "train"])
    train_model(store, tiny_config(["execution.max_steps=5"]), run_dir)
    first, second = json.loads((run_dir / "provenance.json").read_text())["starts"]
    assert (first["step"], second["step"]) == (0, 3)
    assert (first["command"], second["command"]) == (["epizarr", "train"], [])
    assert first["packages"]["torch"].startswith("2")
    assert first["torch_threads"] == 1
    inputs = load_checkpoint(run_dir / "last").inputs["A"]
    assert first["stores"] == {"A": {"tracks": inputs["tracks"], "contacts": inputs["contacts"]}}


def test_train_model__provenance_has_the_commit_of_a_checkout(store, tmp_path):
    checkout = Path(epizarr.__file__).parents[1]
    git = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    train_model(store, tiny_config(["execution.max_steps=1"]), tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "provenance.json").read_text())["starts"][0]["git"]
    if (checkout / ".git").exists() and found.returncode == 0:
        assert recorded["commit"] == found.stdout.strip()
    else:
        assert recorded is None


def test_train_model__draws_a_picture_an_epoch_if_told_and_changes_nothing_else(store, whole_run, tmp_path):
    config, stop = tiny_config(["execution.pictures=true"]), StopRequest()
    # Stopped and resumed: pictures of epochs that are done again are replaced.
    train_model(store, config, tmp_path / "run", progress=AskAtStep(11, stop), stop=stop)
    train_model(store, config, tmp_path / "run")
    left = what_is_left(tmp_path / "run")
    drawn = [name for name in left if name not in what_is_left(whole_run.run_dir)]
    assert drawn == [f"pictures/epoch-000{epoch}.png" for epoch in (1, 2, 3)]
    plain = {name: value for name, value in what_is_left(whole_run.run_dir).items() if not name.endswith(".toml")}
    assert plain.items() <= left.items()


def test_train_model__refuses_tensorboard_without_the_package_before_it_makes_a_folder(store, tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="extra `tensorboard`"):
        train_model(store, tiny_config(["execution.tensorboard=true"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
