"""Who writes to a group, and which of its tasks are done: what lets a killed run be started again.

Both live in the group's *work folder*, ``<store>/.epizarr/<group>``, which goes when the group is complete:

- the *lease*, one file that names the writer (:mod:`epizarr.io.seats`);
- the *ledger*, one marker file a finished task, holding the hash of what the task was made from, and the small arrays
  that tasks leave for the last step.

Chunks are never asked whether a task is done: a chunk of NaN only is not written at all.
"""

import io
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np

from epizarr.errors import LeaseError, RemoteError, StoreError, StoreNotFoundError
from epizarr.io.files import refuse_links, sweep_partial
from epizarr.io.places import (
    Place,
    StorePath,
    has_any,
    has_file,
    names_in,
    place_of,
    read_bytes,
    read_existing,
    remove_tree,
    write_bytes,
)
from epizarr.io.seats import Owner, Seat, seat_of

#: Folder of a store that holds the work folders.
WORK = ".epizarr"
#: Seconds between two heartbeats.
HEARTBEAT_S = 20.0

_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def work_folder(store: StorePath, group: str) -> Place:
    """Folder that holds the lease and the ledger of a group while it is being written."""
    return place_of(store) / WORK / group.strip("/").replace("/", "__")


def lease_owner(store: StorePath, group: str) -> Owner | None:
    """Tell who holds the lease on a group; None if nobody does."""
    return _seat(place_of(store), group).holder()


class Lease:
    """The right to write to one group, held by one process at a time.

    Use as a context manager; a thread of this process gives the heartbeat meanwhile.

    >>> with Lease.acquire(store, "GM12878/tracks/100") as lease:  # doctest: +SKIP
    ...     lease.check()
    """

    def __init__(self, seat: Seat, owner: Owner, group: str) -> None:
        self.seat = seat
        self.owner = owner
        self.group = group
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"lease {group}", daemon=True)
        self._heart.start()

    @classmethod
    def acquire(cls, store: StorePath, group: str, take_over: bool = False) -> "Lease":
        """Take the lease on a group.

        A lease whose owner is a dead process of this host is taken over silently: a killed run is resumed by the same
        command. One that has had no heartbeat for ten minutes needs ``take_over``; a live one is never taken.

        Parameters
        ----------
        store, group
            Store and path of the group in it.
        take_over
            Whether to take a stale lease of another host, or of a process that hangs.

        Raises
        ------
        LeaseError
            If another process holds the lease; the message names it.
        StoreNotFoundError
            If there is no folder ``store``, or no store at an address.
        StoreError
            If the group's or the work folder leads out of the store by a link, or the object store cannot create exclusively.
        """
        place = place_of(store)
        if isinstance(place, Path):
            for folder in (WORK, group.strip("/")):
                refuse_links(place, place / folder)
        elif not has_file(place, "zarr.json"):
            raise StoreNotFoundError(f"{place}: no such store.")

        def check(current: Owner | None) -> None:
            if current is not None and not (current.is_dead or (take_over and current.is_stale)):
                raise LeaseError(_refusal(str(store), group, current))

        owner, seat = Owner.this_process(), _seat(place, group)
        seat.take(owner, check)
        return cls(seat, owner, group)

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken this lease over."""
        current = self.seat.holder()
        return current is None or current.token != self.owner.token

    def check(self) -> None:
        """Raise :class:`LeaseError` if this process no longer holds the lease, so that it stops writing."""
        if self.is_lost:
            raise LeaseError(
                f"group {self.group!r}: the lease of this process was taken over by "
                f"{self.seat.holder() or 'another process'}; this run stops. Start it again when the other has ended."
            )

    def release(self) -> None:
        """Give the lease back; in a folder, remove the work folder if nothing is left in it."""
        self._stop.set()
        self._heart.join()
        self.seat.leave(self.owner)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with suppress(RemoteError):  # an object store that does not answer now may do so the next time
                if self.is_lost:
                    return
                self.seat.beat(self.owner)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class _Task(Protocol):
    """What a ledger keeps account of."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...


AnyTask = TypeVar("AnyTask", bound=_Task)


class Ledger:
    """Which tasks of a group are finished, and the small arrays they left.

    Parameters
    ----------
    folder
        The group's work folder (:func:`work_folder`). Made when something is first written.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    @property
    def is_there(self) -> bool:
        """Whether anything is left in the work folder: a lease, marks, results."""
        return has_any(self.folder)

    def left(self, tasks: Iterable[AnyTask]) -> list[AnyTask]:
        """Those of some tasks that have no mark, or one with another digest than theirs."""
        tasks = list(tasks)
        there = set(names_in(self.folder / "tasks"))
        marks = read_existing(self.folder, [_marker(task.name) for task in tasks if _checked(task.name) in there])
        return [task for task in tasks if marks.get(_marker(task.name)) != task.digest.encode()]

    def check_done(self, tasks: Iterable[AnyTask]) -> None:
        """Refuse to go on if tasks that have been run, perhaps elsewhere, left no mark here.

        Raises
        ------
        StoreError
            If so: the workers then write to another place of the same name.
        """
        if left := self.left(tasks):
            raise StoreError(
                f"{self.folder}: {len(left)} tasks have been run, and their marks are not here ({left[0].name}, …). The workers "
                "do not see the same store as this process: a folder that machines do not share, or an address in memory."
            )

    def mark(self, task: str, digest: str) -> None:
        """Record, in one step, that ``task`` was finished from what ``digest`` stands for."""
        write_bytes(self.folder, _marker(task), digest.encode())

    def save(self, task: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep small arrays of a task for the last step; call before :meth:`mark`."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_bytes(self.folder, _result(task), buffer.getvalue())

    def load(self, task: str) -> dict[str, np.ndarray]:
        """Return the arrays that a finished task saved. From an object store: with the file's bytes beside them meanwhile."""
        name = _result(task)
        file = self.folder / name if isinstance(self.folder, Path) else io.BytesIO(read_bytes(self.folder, name))
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def sweep_partial(self) -> None:
        """Remove what a killed writer left of an unfinished marker."""
        if isinstance(self.folder, Path):
            sweep_partial(self.folder)

    def clear(self) -> None:
        """Forget everything; the work folder itself goes with the lease."""
        for name in ("tasks", "results"):
            remove_tree(self.folder / name)
        self.sweep_partial()


def _seat(place: Place, group: str) -> Seat:
    return seat_of(place, work_folder(place, group))


def _marker(task: str) -> str:
    return f"tasks/{_checked(task)}"


def _result(task: str) -> str:
    return f"results/{_checked(task)}.npz"


def _checked(task: str) -> str:
    if not _TASK_NAME.fullmatch(task):
        raise ValueError(f"task {task!r}: names are made of letters, digits and any of . _ + -, for they name files.")
    return task


def _refusal(store: str, group: str, owner: Owner) -> str:
    text = f"{store}: group {group!r} is being written by {owner}, last heard of {owner.heartbeat_s:.0f} s ago. "
    if owner.is_stale:
        return text + "If that process is surely gone, pass --take-over (take_over=True) to take its place."
    return text + "Wait until it has finished; one process at a time writes to a group."
