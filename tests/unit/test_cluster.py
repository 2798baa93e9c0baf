"""Tasks run in order of their results on threads and on a cluster; a wrong --cluster says what is right."""

import os
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from epizarr import cluster
from epizarr.errors import ConfigError


def double(x: int) -> int:
    return 2 * x


def add(x: int, y: int) -> int:
    return x + y


def fail_on_three(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x


@pytest.mark.parametrize("n_threads", [1, 2])
def test_run_tasks__returns_results_in_order_and_counts_them(n_threads):
    seen = []
    out = cluster.run_tasks(double, list(range(7)), n_threads=n_threads, progress=lambda *done: seen.append(done))
    assert out == [0, 2, 4, 6, 8, 10, 12]
    assert seen[-1] == (7, 7)
    assert len(seen) == 7


def test_run_tasks__passes_on_a_tasks_error():
    with pytest.raises(ValueError, match="three"):
        cluster.run_tasks(fail_on_three, [1, 2, 3], n_threads=1)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_run_tasks__shared_objects_come_with_their_tasks(n_threads):
    told = []
    out = cluster.run_tasks(add, [1, 2, 3], shared=[10, 10, 20], n_threads=n_threads, finished=told.append)
    assert out == [11, 12, 23]
    assert sorted(told) == [0, 1, 2]


def test_run_tasks__begins_tasks_in_their_order():
    begun = []
    cluster.run_tasks(begun.append, list(range(30)), n_threads=1)
    assert begun == list(range(30))


def test_run_tasks__nothing_to_do_is_fine():
    assert cluster.run_tasks(double, []) == []


@pytest.mark.parametrize("spec", ["locl", "local:x", "local:0", "slurm", "slurm:none.yaml", "tcp:8786"])
def test_open_client__refuses_what_it_does_not_understand(spec):
    with pytest.raises(ConfigError, match="cluster"), cluster.open_client(spec):
        pass


def test_open_client__none_means_threads():
    with cluster.open_client(None) as client:
        assert client is None


@pytest.mark.slow
def test_run_tasks__runs_on_a_local_cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with cluster.open_client("local:1") as client:
            assert cluster.run_tasks(double, [1, 2, 3], client=client) == [2, 4, 6]
            told = []
            out = cluster.run_tasks(add, [1, 2, 3], shared=[10, 10, 20], client=client, finished=told.append)
            assert out == [11, 12, 23]
            assert sorted(told) == [0, 1, 2]


def leave_a_file(task: tuple[Path, int]) -> int:
    """Leave a file for each time that a task runs, with the process in its name."""
    folder, place = task
    (folder / f"{place}-{os.getpid()}-{uuid4().hex}").touch()
    time.sleep(0.3)
    return place


@pytest.mark.fault
def test_run_tasks__what_a_lost_worker_has_finished_is_not_run_again(tmp_path):
    told: list[int] = []

    def kill_the_first(place: int) -> None:
        """Kill the process that has finished the first task, once three have been told."""
        told.append(place)
        if len(told) == 3:
            (file,) = tmp_path.glob(f"{told[0]}-*")
            os.kill(int(file.name.split("-")[1]), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with cluster.open_client("local:2") as client:
            tasks = [(tmp_path, place) for place in range(10)]
            assert cluster.run_tasks(leave_a_file, tasks, client=client, finished=kill_the_first) == list(range(10))
    runs = Counter(int(file.name.partition("-")[0]) for file in tmp_path.iterdir())
    assert sorted(told) == sorted(runs) == list(range(10))
    assert [runs[place] for place in told[:3]] == [1, 1, 1]
