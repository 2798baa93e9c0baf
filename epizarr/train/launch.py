"""Two ways to start the processes of a training run: torchrun, and the workers of a Dask cluster.

Either way each process calls :func:`~epizarr.train.loop.train_model` with its :class:`~epizarr.train.ranks.Ranks`. All must see
the store and the run's folder under the same names: one machine, or a shared file system.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any
from urllib.parse import urlsplit

from epizarr.errors import ConfigError, LostRankError
from epizarr.io.places import StorePath
from epizarr.train.config import TrainConfig
from epizarr.train.log import EpochRow
from epizarr.train.loop import StepReport, TrainProgress, TrainResult, train_model
from epizarr.train.ranks import joined_ranks
from epizarr.train.signals import StopRequest
from epizarr.train.start import device_of

#: Seconds that workers of a cluster have to come, as where they wait in a queue.
_WORKERS_PATIENCE = 3600
_TOPIC = "epizarr-train"
#: Seconds between two looks at whether the run is to be stopped.
_POLL = 0.5


@dataclass(frozen=True)
class TorchrunRank:
    """Which process of a torchrun launch this is."""

    rank: int
    world: int
    local_rank: int

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "TorchrunRank | None":
        """Read what torchrun sets; None where it did not start this process.

        Raises
        ------
        ConfigError
            If only some of its variables are set.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in names if name not in env]
        if "TORCHELASTIC_RUN_ID" not in env:
            return None
        if missing:
            raise ConfigError(f"this process seems to be torchrun's, but {', '.join(missing)} are not set.")
        return cls(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]))

    @property
    def arguments(self) -> dict[str, Any]:
        """What :func:`train_rank` is to be told; torchrun's own store is where the processes meet."""
        return {"rank": self.rank, "world": self.world, "local_rank": self.local_rank, "init_method": "env://"}


def train_rank(
    stores: StorePath | Sequence[StorePath],
    config: TrainConfig,
    run_dir: str | Path,
    *,
    rank: int,
    world: int,
    local_rank: int = 0,
    init_method: str = "env://",
    **options: Any,
) -> TrainResult:
    """Train as one of several processes.

    Parameters
    ----------
    stores, config, run_dir
        As for :func:`~epizarr.train.loop.train_model`; the same in all processes.
    rank, world
        Which process of how many this is.
    local_rank
        Its place among those of its machine: which GPU is its own.
    init_method
        Where they meet; see :func:`~epizarr.train.ranks.joined_ranks`.
    options
        Other arguments of :func:`~epizarr.train.loop.train_model`. ``progress`` is told by rank 0 only.

    Raises
    ------
    LostRankError
        If another process has ended.
    """
    if rank:
        options["progress"] = None
    with joined_ranks(rank, world, device_of(config, local_rank), init_method) as ranks:
        return train_model(stores, config, run_dir, ranks=ranks, **options)


def train_on_cluster(
    stores: StorePath | Sequence[StorePath],
    config: TrainConfig,
    run_dir: str | Path,
    *,
    client: Any,
    progress: TrainProgress | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> TrainResult:
    """Train on all workers of a Dask cluster, one process a worker.

    Each worker runs one rank in a thread of its process, outside Dask's own scheduling: a rank cannot be run again elsewhere.

    Parameters
    ----------
    stores, config, run_dir, options
        As for :func:`~epizarr.train.loop.train_model`.
    client
        Dask client. A cluster that was asked for workers is waited for.
    progress
        Told in this process of what rank 0 does.
    stop
        Once it is set in this process, all ranks stop after a checkpoint; so they do at a Ctrl-C.

    Raises
    ------
    LostRankError
        If a worker dies. The run ends and can be started again with the same command.
    ConfigError
        If the cluster has no worker; or whatever :func:`~epizarr.train.loop.train_model` raises.
    """
    addresses = _workers(client)
    lead = addresses[0]
    host = urlsplit(lead).hostname or "127.0.0.1"
    port = client.run(_free_port, host, workers=[lead])[lead]
    plan = {address: rank for rank, address in enumerate(addresses)}
    if progress is not None:
        client.subscribe_topic(_TOPIC, _Receiver(progress))
    arguments = (stores, config, str(run_dir), plan, f"tcp://{host}:{port}", options)
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(partial(client.run, _run_rank, *arguments, workers=addresses, on_error="return"))
            try:
                while not wait([running], timeout=_POLL).done:
                    if stop is not None and stop.signal is not None:
                        client.run(_ask_to_stop, int(stop.signal), workers=addresses, on_error="ignore")
                        break
                outcomes = running.result()
            except KeyboardInterrupt:
                # Leaving waits for the ranks, which know nothing of a Ctrl-C here.
                client.run(_ask_to_stop, int(SIGTERM), workers=addresses, on_error="ignore")
                raise
    finally:
        if progress is not None:
            client.unsubscribe_topic(_TOPIC)
    return _outcome([outcomes.get(address) for address in addresses], addresses)


def _outcome(outcomes: Sequence[Any], addresses: Sequence[str]) -> TrainResult:
    """Result of rank 0, or the error that ended the run: that of a rank which did not merely lose another."""
    errors = [(o, a) for o, a in zip(outcomes, addresses, strict=True) if not isinstance(o, TrainResult)]
    if not errors:
        result: TrainResult = outcomes[0]
        return result
    for error, _ in errors:
        # A lost worker's error is an OSError, as is LostRankError: neither is the cause.
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise error
    error, address = next(((e, a) for e, a in errors if not isinstance(e, LostRankError)), errors[0])
    raise LostRankError(
        f"training: worker {address} was lost ({error}). Look at its log, memory above all. The same command goes on from the "
        "last checkpoint."
    )


def _workers(client: Any) -> list[str]:
    """Addresses of all workers, in a fixed order, once as many are there as the cluster was asked for."""
    wanted = len(getattr(client.cluster, "worker_spec", None) or {}) or 1
    try:
        client.wait_for_workers(wanted, timeout=_WORKERS_PATIENCE)
    except TimeoutError as error:
        raise ConfigError(f"training: the cluster {client} does not have {wanted} workers after an hour.") from error
    return sorted(client.scheduler_info(n_workers=-1)["workers"])


def _free_port(host: str) -> int:
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


async def _run_rank(
    stores: StorePath | Sequence[StorePath],
    config: TrainConfig,
    run_dir: str,
    plan: dict[str, int],
    init_method: str,
    options: dict[str, Any],
    dask_worker: Any = None,
) -> TrainResult:
    """Run a rank in a thread, so that the worker goes on to answer its scheduler."""
    stop = dask_worker.epizarr_stop = StopRequest()
    return await asyncio.to_thread(
        train_rank,
        stores,
        config,
        run_dir,
        rank=plan[dask_worker.address],
        world=len(plan),
        init_method=init_method,
        progress=_Sender(dask_worker),
        stop=stop,
        **options,
    )


def _ask_to_stop(number: int, dask_worker: Any = None) -> None:
    """Pass a signal on to the rank of a worker."""
    dask_worker.epizarr_stop.ask(number)


class _Sender:
    """Tells the client of rank 0's progress, as events of the cluster."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker

    def _send(self, message: dict[str, Any]) -> None:
        self.worker.loop.add_callback(self.worker.log_event, _TOPIC, message)

    def on_step(self, report: StepReport) -> None:
        self._send({"step": asdict(report)})

    def on_epoch(self, row: EpochRow) -> None:
        self._send({"epoch": asdict(row)})


class _Receiver:
    """The other end of :class:`_Sender`."""

    def __init__(self, progress: TrainProgress) -> None:
        self.progress = progress

    def __call__(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        if "step" in message:
            self.progress.on_step(StepReport(**message["step"]))
        if "epoch" in message:
            self.progress.on_epoch(EpochRow(**message["epoch"]))
