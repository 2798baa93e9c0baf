"""Several processes against one: the same run, a killed rank, a Dask cluster."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from epizarr.errors import ConfigError, LostRankError
from epizarr.train import launch
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.launch import TorchrunRank, train_on_cluster, train_rank
from epizarr.train.loop import train_model
from epizarr.train.signals import StopRequest
from tests._killing import tree_digest
from tests._runs import write_store
from tests._training import tiny_config

#: 21 steps with everything that could differ between one process and two; the last step of an epoch has 3 windows only.
SETTINGS = [
    "training.epochs=2",
    "training.batch_size=5",
    "training.adversarial_weight=0.05",
    "training.mirror=true",
    "training.clip_norm=0.5",
    "network.dropout=0.2",
    "network.head=variance",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture(scope="module")
def one(store, tmp_path_factory) -> Path:
    """The run of one process."""
    return train_model(store, tiny_config(SETTINGS), tmp_path_factory.mktemp("one") / "run").run_dir


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class _DieAt:
    """Kills its process after so many steps of the run."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, report) -> None:
        if report.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch(self, row) -> None:
        """Nothing."""


def rank_process(store, run_dir, overrides, rank, world, port, die_at, queue) -> None:
    try:
        progress = None if die_at is None or rank else _DieAt(die_at)
        train_rank(
            store,
            tiny_config(overrides),
            run_dir,
            rank=rank,
            world=world,
            init_method=f"tcp://127.0.0.1:{port}",
            progress=progress,
        )
        queue.put((rank, None))
    except Exception as error:
        queue.put((rank, f"{type(error).__name__}: {error}"))


def run_ranks(store, run_dir, overrides=SETTINGS, world=2, die_at=None) -> dict[int, str | None]:
    """Train in ``world`` processes; what each that was not killed ended with."""
    context = multiprocessing.get_context("forkserver")
    queue, port = context.Queue(), free_port()
    processes = [
        context.Process(target=rank_process, args=(store, run_dir, overrides, rank, world, port, die_at, queue))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    ended = dict(queue.get(timeout=500) for _ in range(world if die_at is None else world - 1))
    for process in processes:
        process.join(300)
        assert process.exitcode is not None
    return ended


@pytest.fixture(scope="module")
def two(store, tmp_path_factory) -> Path:
    """The run of two processes."""
    run_dir = tmp_path_factory.mktemp("two") / "run"
    assert run_ranks(store, run_dir) == {0: None, 1: None}
    return run_dir


def test_train_rank__two_processes_come_to_the_parameters_of_one(one, two):
    single, double = load_checkpoint(one / "last"), load_checkpoint(two / "last")
    assert single.step == double.step > 20
    for name, value in single.state.items():
        torch.testing.assert_close(double.state[name], value, rtol=0, atol=1e-5)
    for name, value in single.judge().state_dict().items():
        torch.testing.assert_close(double.judge().state_dict()[name], value, rtol=0, atol=1e-5)
    assert double.position.n_pixels == single.position.n_pixels
    np.testing.assert_allclose(double.position.best_value, single.position.best_value, rtol=1e-5)


@pytest.mark.fault
@pytest.mark.parametrize("die_at", [1, 4, 7])
def test_train_rank__a_killed_rank_ends_the_others_and_the_run_resumes_to_the_same_bytes(store, two, tmp_path, die_at):
    ended = run_ranks(store, tmp_path / "run", die_at=die_at)
    assert "another process of this run has ended" in ended[1]
    assert run_ranks(store, tmp_path / "run") == {0: None, 1: None}
    assert tree_digest(tmp_path / "run", ignore=["log.csv", "provenance.json"]) == tree_digest(
        two, ignore=["log.csv", "provenance.json"]
    )


def test_train_rank__all_end_with_the_error_of_the_lead(store, tmp_path):
    (tmp_path / "run" / "config.toml").mkdir(parents=True)  # a folder where the lead must write a file
    ended = run_ranks(store, tmp_path / "run")
    assert "IsADirectoryError" in ended[0]
    assert "the leading process ended with IsADirectoryError" in ended[1]


@pytest.mark.slow
def test_train_on_cluster__trains_on_all_workers_as_ranks_do(store, two, tmp_path):
    from distributed import Client, LocalCluster

    heard = []

    class Ear:
        def on_step(self, report) -> None:
            heard.append(report.step)

        def on_epoch(self, row) -> None:
            heard.append(row)

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        result = train_on_cluster(store, tiny_config(SETTINGS), tmp_path / "run", client=client, progress=Ear())
    assert result.is_finished
    assert [row.epoch for row in result.rows] == [1, 2]
    assert tree_digest(tmp_path / "run", ignore=["log.csv", "provenance.json"]) == tree_digest(
        two, ignore=["log.csv", "provenance.json"]
    )
    assert result.rows[-1] in heard


@pytest.mark.slow
def test_train_on_cluster__stops_all_ranks_after_a_checkpoint(store, two, tmp_path):
    from distributed import Client, LocalCluster

    stop = StopRequest()

    class Asker:
        def on_step(self, report) -> None:
            if report.step == 3:
                stop.ask(signal.SIGTERM)

        def on_epoch(self, row) -> None:
            """Nothing."""

    config = tiny_config([*SETTINGS, "training.epochs=50"])
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        result = train_on_cluster(store, config, tmp_path / "run", client=client, progress=Asker(), stop=stop)
    assert not result.is_finished
    assert load_checkpoint(result.last).step >= 3


@pytest.mark.slow
def test_train_on_cluster__ctrl_c_ends_the_ranks_after_a_checkpoint(store, tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    seen, wait = [], launch.wait

    class Ear:
        def on_step(self, report) -> None:
            seen.append(report.step)

        def on_epoch(self, row) -> None:
            """Nothing."""

    def interrupted(*arguments, **options):
        if seen:
            raise KeyboardInterrupt
        return wait(*arguments, **options)

    monkeypatch.setattr(launch, "wait", interrupted)
    config = tiny_config([*SETTINGS, "training.epochs=500"])
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
        pytest.raises(KeyboardInterrupt),
    ):
        train_on_cluster(store, config, tmp_path / "run", client=client, progress=Ear())
    assert load_checkpoint(tmp_path / "run" / "last").epoch < 500


@pytest.mark.slow
def test_train_on_cluster__raises_what_the_ranks_raise(store, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
        pytest.raises(ConfigError, match="no track 'RAD21'"),
    ):
        train_on_cluster(store, tiny_config(["data.tracks=['RAD21']"]), tmp_path / "run", client=client)


@pytest.mark.fault
def test_train_on_cluster__a_killed_worker_ends_the_run(store, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        pid = client.run(os.getpid)[sorted(client.scheduler_info(n_workers=-1)["workers"])[1]]

        class Killer:
            def on_step(self, report) -> None:
                if report.step == 2:
                    os.kill(pid, signal.SIGKILL)

            def on_epoch(self, row) -> None:
                """Nothing."""

        config = tiny_config([*SETTINGS, "training.epochs=200"])
        with pytest.raises(LostRankError, match="lost"):
            train_on_cluster(store, config, tmp_path / "run", client=client, progress=Killer())


def test_torchrun_rank__reads_what_torchrun_sets():
    env = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert TorchrunRank.from_environment(env) is None  # some queue's variables, not torchrun's
    assert TorchrunRank.from_environment({**env, "TORCHELASTIC_RUN_ID": "x"}) == TorchrunRank(3, 8, 1)
    with pytest.raises(ConfigError, match="MASTER_PORT"):
        TorchrunRank.from_environment({"TORCHELASTIC_RUN_ID": "x"} | dict(list(env.items())[:4]))
