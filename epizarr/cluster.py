"""One Dask client from one ``--cluster`` option, and one way to run many independent tasks on it.

``local[:N]`` (N processes), ``cuda[:N]`` (one worker a GPU, extra ``cuda``), ``slurm:config.yaml`` (extra package
dask-jobqueue) or ``tcp://host:8786`` (a scheduler that runs already). Without a client tasks run in threads of this process.
Only the command line and the pipelines open a client; library functions are given one, or None.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import dask
from dask.callbacks import Callback
from dask.utils import funcname

from epizarr.errors import ConfigError

Result = TypeVar("Result")
#: Called after each finished task with (tasks done, tasks in all).
Progress = Callable[[int, int], None]
#: Called after each finished task with its place among the tasks.
Finished = Callable[[int], None]

_FORMS = "local, local:4, cuda, cuda:2, slurm:config.yaml or tcp://host:8786"


class ProgressParts:
    """One count of finished tasks over several calls of ``run_tasks``."""

    def __init__(self, progress: Progress | None, n_tasks: int) -> None:
        self._progress = progress
        self._n_tasks = n_tasks
        self._before = 0

    def part(self, n_tasks: int) -> Progress | None:
        """Progress of the next ``n_tasks`` tasks."""
        before, progress = self._before, self._progress
        self._before += n_tasks
        return None if progress is None else lambda done, _: progress(before + done, self._n_tasks)


@contextmanager
def open_client(spec: str | None) -> Iterator[Any]:
    """Start or connect to a Dask cluster and close what was started.

    Parameters
    ----------
    spec
        One of the forms above; None gives None, meaning threads of this process.

    Yields
    ------
    A ``distributed.Client``, or None.

    Raises
    ------
    ConfigError
        If ``spec`` is none of the forms, or needs a package that is not installed.
    """
    if spec is None:
        yield None
        return
    kind, _, rest = spec.partition(":")
    if kind in ("tcp", "tls", "ucx") and rest.startswith("//"):
        from distributed import Client

        with Client(spec) as client:
            yield client
        return
    with _cluster(spec, kind, rest) as cluster:
        from distributed import Client

        with Client(cluster) as client:
            yield client


def _cluster(spec: str, kind: str, rest: str) -> Any:
    if kind in ("local", "cuda") and rest and not (rest.isdigit() and int(rest) > 0):
        raise ConfigError(f"--cluster {spec!r}: {rest!r} is not a number of workers; write {_FORMS}.")
    n_workers = int(rest) if rest.isdigit() else None
    if kind == "local":
        from distributed import LocalCluster

        return LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True)
    if kind == "cuda":
        try:
            from dask_cuda import LocalCUDACluster
        except ImportError as error:
            raise ConfigError(f"--cluster {spec!r} needs dask-cuda: pip install 'epizarr[cuda]' ({error}).") from error
        return LocalCUDACluster(n_workers=n_workers)
    if kind == "slurm":
        return _slurm_cluster(spec, rest)
    raise ConfigError(f"--cluster {spec!r} is not understood; write {_FORMS}.")


def _slurm_cluster(spec: str, path: str) -> Any:
    if not path or not Path(path).is_file():
        raise ConfigError(
            f"--cluster {spec!r}: no file {path!r}; give a YAML file of dask_jobqueue.SLURMCluster's arguments."
        )
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ConfigError(f"--cluster {spec!r} needs dask-jobqueue: pip install dask-jobqueue ({error}).") from error
    import yaml

    options = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: a table of SLURMCluster's arguments is needed, not {type(options).__name__}.")
    n_jobs = options.pop("jobs", 1)
    cluster = SLURMCluster(**options)
    cluster.scale(jobs=n_jobs)
    return cluster


class _Ticker(Callback):
    """Tells of finished tasks of the in-process scheduler."""

    def __init__(self, place_of_key: dict[str, int], finished: Finished) -> None:
        super().__init__()
        self.place_of_key = place_of_key
        self.finished = finished

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        if key in self.place_of_key:
            self.finished(self.place_of_key[key])


def run_tasks(
    function: Callable[..., Result],
    tasks: Sequence[Any],
    *,
    shared: Sequence[Any] | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    finished: Finished | None = None,
) -> list[Result]:
    """Run independent tasks as one Dask graph, begun in their order, and return their results in order.

    Parameters
    ----------
    function
        Called with one task, and with what it shares if ``shared`` is given. It must be safe to call again: a lost worker's
        tasks are run elsewhere.
    tasks
        One small, picklable argument each: what to read and where to write, never the data themselves.
    shared
        For each task an object that it has in common with others, the same object for all of them. It is a task of the graph:
        a worker gets it once, whatever the number of tasks, and it is not lost with a worker.
    client
        Dask client; None runs in threads of this process.
    n_threads
        Threads when there is no client; 1 runs in the calling thread. Default: one a core.
    progress
        Told after each finished task.
    finished
        Told after each finished task which one it was, in this process.

    Raises
    ------
    Whatever the first failing task raises; tasks that have not begun are dropped.
    """
    if not tasks:
        return []
    columns = [tasks] if shared is None else [tasks, shared]
    n_done = 0

    def told(place: int) -> None:
        nonlocal n_done
        n_done += 1
        if finished is not None:
            finished(place)
        if progress is not None:
            progress(n_done, len(tasks))

    token = uuid4().hex[:8]
    # dask.order lets the last of independent keys begin first.
    keys = [f"{funcname(function)}-{token}-{place:07d}" for place in range(len(tasks), 0, -1)]
    if client is not None:
        return _run_distributed(function, columns, keys, client, told)
    graph = [
        dask.delayed(_Call(function, arguments))(dask_key_name=key)
        for key, arguments in zip(keys, zip(*columns, strict=True), strict=True)
    ]
    scheduler = {"scheduler": "synchronous"} if n_threads == 1 else {"scheduler": "threads", "num_workers": n_threads}
    with _Ticker({key: place for place, key in enumerate(keys)}, told):
        return list(dask.compute(*graph, **scheduler))


class _Call:
    """A task closed over its arguments, so that Dask does not walk through them."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments

    def __call__(self) -> Any:
        return self.function(*self.arguments)


class _Given:
    """A task that gives what other tasks share."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def _run_distributed(
    function: Callable[..., Result], columns: Sequence[Sequence[Any]], keys: list[str], client: Any, told: Finished
) -> list[Result]:
    from distributed import as_completed

    given = {
        id(value): client.submit(_Given(value), key=f"shared-{uuid4().hex}", retries=2)
        for value in {id(value): value for column in columns[1:] for value in column}.values()
    }
    arguments = [columns[0], *([given[id(value)] for value in column] for column in columns[1:])]
    futures = client.map(function, *arguments, key=keys, retries=2)
    places = {key: place for place, key in enumerate(keys)}
    results: dict[int, Result] = {}
    try:
        for future in as_completed(futures):
            place = places[future.key]
            results[place] = future.result()
            future.release()  # or a lost worker's finished tasks would be run again, even when all have been told
            told(place)
        return [results[place] for place in range(len(keys))]
    finally:
        client.cancel([*futures, *given.values()])
