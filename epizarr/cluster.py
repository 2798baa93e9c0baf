"""One Dask client from one ``--cluster`` option, and one way to run many independent tasks on it.

``local[:N]`` (N processes), ``cuda[:N]`` (one worker a GPU, extra ``cuda``), ``slurm:config.yaml`` (extra package
dask-jobqueue) or ``tcp://host:8786`` (a scheduler that runs already). Without a client tasks run in threads of this process.
Only the command line and the pipelines open a client; library functions are given one, or None.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dask
from dask.callbacks import Callback

from epizarr.errors import ConfigError

Task = TypeVar("Task")
Result = TypeVar("Result")
#: Called after each finished task with (tasks done, tasks in all).
Progress = Callable[[int, int], None]

_FORMS = "local, local:4, cuda, cuda:2, slurm:config.yaml or tcp://host:8786"


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
    """Counts finished tasks of the in-process scheduler."""

    def __init__(self, progress: Progress, n_tasks: int) -> None:
        super().__init__()
        self.progress = progress
        self.n_tasks = n_tasks
        self.done = 0

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        self.done += 1
        self.progress(min(self.done, self.n_tasks), self.n_tasks)


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Run independent tasks as one Dask graph and return their results in order.

    Parameters
    ----------
    function
        Called with one task. It must be safe to call again: a lost worker's tasks are run elsewhere.
    tasks
        One small, picklable argument each: what to read and where to write, never the data themselves.
    client
        Dask client; None runs in threads of this process.
    n_threads
        Threads when there is no client; 1 runs in the calling thread. Default: one a core.
    progress
        Told after each finished task.

    Raises
    ------
    Whatever the first failing task raises; tasks that have not begun are dropped.
    """
    if not tasks:
        return []
    if client is None:
        graph = [dask.delayed(_Call(function, task))() for task in tasks]
        scheduler = (
            {"scheduler": "synchronous"} if n_threads == 1 else {"scheduler": "threads", "num_workers": n_threads}
        )
        if progress is None:
            return list(dask.compute(*graph, **scheduler))
        with _Ticker(progress, len(tasks)):
            return list(dask.compute(*graph, **scheduler))
    return _run_distributed(function, tasks, client, progress)


class _Call:
    """A task closed over its argument, so that Dask does not walk through it."""

    def __init__(self, function: Callable[[Any], Any], task: Any) -> None:
        self.function = function
        self.task = task

    def __call__(self) -> Any:
        return self.function(self.task)


def _run_distributed(
    function: Callable[[Task], Result], tasks: Sequence[Task], client: Any, progress: Progress | None
) -> list[Result]:
    from distributed import as_completed

    futures = client.map(function, tasks, pure=False, retries=2)
    try:
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            if progress is not None:
                progress(done, len(tasks))
        return list(client.gather(futures))
    finally:
        client.cancel(futures)
