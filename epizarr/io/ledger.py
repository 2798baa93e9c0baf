"""Who writes to a group, and which of its tasks are done: what lets a killed run be started again.

Both live in the group's *work folder*, ``<store>/.epizarr/<group>``, which goes when the group is complete:

- the *lease*, one file that names the writer; its modification time is the heartbeat;
- the *ledger*, one marker file a finished task, holding the hash of what the task was made from, and the small arrays
  that tasks leave for the last step.

Chunks are never asked whether a task is done: a chunk of NaN only is not written at all.
"""

import fcntl
import getpass
import io
import json
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np

from epizarr.errors import LeaseError, StoreNotFoundError
from epizarr.io.files import refuse_links, replace_file, sweep_partial

#: Folder of a store that holds the work folders.
WORK = ".epizarr"
#: Seconds between two heartbeats, and the age at which a lease without a heartbeat counts as stale.
HEARTBEAT_S = 20.0
STALE_S = 600.0

_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def work_folder(store: str | Path, group: str) -> Path:
    """Folder that holds the lease and the ledger of a group while it is being written."""
    return Path(store) / WORK / group.strip("/").replace("/", "__")


@dataclass(frozen=True)
class Owner:
    """The process that holds a lease.

    ``pid_started`` is the kernel's start time of the process (clock ticks since boot; 0 where unknown): process ids are
    used again. ``heartbeat_s`` is the age of the last heartbeat in seconds.
    """

    host: str
    pid: int
    pid_started: int
    user: str
    started: str
    token: str
    heartbeat_s: float = 0.0

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host} (since {self.started})"

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to be gone: only ever known on its own host."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's process: it exists
        now = _pid_started(self.pid)
        return now is None or bool(now and self.pid_started and now != self.pid_started)

    @property
    def is_stale(self) -> bool:
        """Whether the lease may be taken over: its owner is dead, or has given no sign for ten minutes."""
        return self.is_dead or self.heartbeat_s > STALE_S


def lease_owner(store: str | Path, group: str) -> Owner | None:
    """Tell who holds the lease on a group; None if nobody does."""
    return _read_owner(work_folder(store, group) / "lease.json")


class Lease:
    """The right to write to one group, held by one process at a time.

    Use as a context manager; a thread of this process gives the heartbeat meanwhile.

    >>> with Lease.acquire(store, "GM12878/tracks/100") as lease:  # doctest: +SKIP
    ...     lease.check()
    """

    def __init__(self, path: Path, owner: Owner, group: str) -> None:
        self.path = path
        self.owner = owner
        self.group = group
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"lease {group}", daemon=True)
        self._heart.start()

    @classmethod
    def acquire(cls, store: str | Path, group: str, take_over: bool = False) -> "Lease":
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
            If there is no folder ``store``.
        StoreError
            If the group's or the work folder leads out of the store by a link.
        """
        path = work_folder(store, group) / "lease.json"
        for folder in (WORK, group.strip("/")):
            refuse_links(Path(store), Path(store) / folder)
        owner = Owner(
            host=socket.gethostname(),
            pid=os.getpid(),
            pid_started=_pid_started(os.getpid()) or 0,
            user=_user(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            token=uuid.uuid4().hex,
        )
        with _locked(Path(store)):
            current = _read_owner(path)
            if current is not None and not (current.is_dead or (take_over and current.is_stale)):
                raise LeaseError(_refusal(str(store), group, current))
            path.unlink(missing_ok=True)
            _create(path, json.dumps({k: v for k, v in asdict(owner).items() if k != "heartbeat_s"}))
        return cls(path, owner, group)

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken this lease over."""
        current = _read_owner(self.path)
        return current is None or current.token != self.owner.token

    def check(self) -> None:
        """Raise :class:`LeaseError` if this process no longer holds the lease, so that it stops writing."""
        if self.is_lost:
            raise LeaseError(
                f"group {self.group!r}: the lease of this process was taken over by "
                f"{_read_owner(self.path) or 'another process'}; this run stops. Start it again when the other has ended."
            )

    def release(self) -> None:
        """Give the lease back and remove the work folder if nothing is left in it."""
        self._stop.set()
        self._heart.join()
        store = self.path.parent.parent.parent
        if not store.is_dir():
            return  # the whole store was deleted meanwhile
        with _locked(store):
            if not self.is_lost:
                self.path.unlink(missing_ok=True)
            for folder in (self.path.parent, self.path.parent.parent):
                try:
                    folder.rmdir()
                except OSError:
                    return  # still in use: by this group's ledger, or by another group

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            if self.is_lost:
                return
            with suppress(FileNotFoundError):
                os.utime(self.path)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Ledger:
    """Which tasks of a group are finished, and the small arrays they left.

    Parameters
    ----------
    folder
        The group's work folder (:func:`work_folder`). Made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_done(self, task: str, digest: str) -> bool:
        """Whether ``task`` was finished from what ``digest`` stands for; another digest means: do it again."""
        try:
            return self._marker(task).read_text() == digest
        except FileNotFoundError:
            return False

    def mark(self, task: str, digest: str) -> None:
        """Record, in one step, that ``task`` was finished from what ``digest`` stands for."""
        replace_file(self._marker(task), digest.encode())

    def save(self, task: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep small arrays of a task for the last step; call before :meth:`mark`."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        replace_file(self._result(task), buffer.getvalue())

    def load(self, task: str) -> dict[str, np.ndarray]:
        """Return the arrays that a finished task saved."""
        with np.load(self._result(task), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def sweep_partial(self) -> None:
        """Remove what a killed writer left of an unfinished marker."""
        sweep_partial(self.folder)

    def clear(self) -> None:
        """Forget everything; the work folder itself goes with the lease."""
        for name in ("tasks", "results"):
            if (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name)
        self.sweep_partial()

    def _marker(self, task: str) -> Path:
        return self.folder / "tasks" / _checked(task)

    def _result(self, task: str) -> Path:
        return self.folder / "results" / f"{_checked(task)}.npz"


def _checked(task: str) -> str:
    if not _TASK_NAME.fullmatch(task):
        raise ValueError(f"task {task!r}: names are made of letters, digits and any of . _ + -, for they name files.")
    return task


def _refusal(store: str, group: str, owner: Owner) -> str:
    text = f"{store}: group {group!r} is being written by {owner}, last heard of {owner.heartbeat_s:.0f} s ago. "
    if owner.is_stale:
        return text + "If that process is surely gone, pass --take-over (take_over=True) to take its place."
    return text + "Wait until it has finished; one process at a time writes to a group."


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """Hold the lock on the store's folder: looking at a lease and replacing it must be one step."""
    try:
        descriptor = os.open(store, os.O_RDONLY)
    except FileNotFoundError as error:
        raise StoreNotFoundError(f"{store}: no such store.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # gives the lock back, as the end of the process does


def _create(path: Path, text: str) -> None:
    """Create ``path`` with its whole content in one step; fails if it exists, also where locks are not honoured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    temporary.write_text(text)
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise LeaseError(
            f"{path}: another process took this lease a moment ago. Wait until it has finished."
        ) from error
    finally:
        temporary.unlink()


def _read_owner(path: Path) -> Owner | None:
    try:
        age = time.time() - path.stat().st_mtime
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return Owner(**json.loads(text), heartbeat_s=max(age, 0.0))
    except (ValueError, TypeError):
        # Damaged by hand or by the disk. Nobody's host: stale by age alone.
        return Owner("an unknown host", 0, 0, "an unknown user", "an unknown time", "", max(age, 0.0))


def _pid_started(pid: int) -> int | None:
    """Kernel's start time of a process; None if it has ended and waits for its parent; 0 where this is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0  # no /proc on this system
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
