"""Where a lease lies, and how it is taken so that one process gets it. Used through :mod:`epizarr.io.ledger`.

In a folder a lease is one file, taken and replaced under a lock on the store; its modification time is the heartbeat.

An object store has no locks, so leases are numbered there and the one with the highest number counts. A lease is taken by
creating the next number, which the store allows to one process only. One that slept since it looked, and creates a number that
has become free again, finds the other's lease when it looks once more, and withdraws. This asks for listings that show what was
written before, as the stores of Amazon, Google and Microsoft give them.
"""

import fcntl
import getpass
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from epizarr.errors import LeaseError, StoreError, StoreNotFoundError
from epizarr.io.object_store import RemoteFolder
from epizarr.io.places import Place

#: Age at which a lease without a heartbeat counts as stale, in seconds.
STALE_S = 600.0
_FILE = "lease.json"
_NUMBERED = re.compile(r"lease-\d{6,}\.json")
_TOO_LATE = "another process took this lease a moment ago. Wait until it has finished."


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

    @classmethod
    def this_process(cls) -> "Owner":
        """Owner of a lease that this process is about to take; each has a token of its own."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            pid_started=_pid_started(os.getpid()) or 0,
            user=_user(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            token=uuid.uuid4().hex,
        )

    @classmethod
    def from_json(cls, text: str | bytes, age_s: float) -> "Owner":
        """Read what :meth:`to_json` wrote."""
        try:
            return cls(**json.loads(text), heartbeat_s=max(age_s, 0.0))
        except (ValueError, TypeError):
            # Damaged by hand or by the disk. Nobody's host: stale by age alone.
            return cls("an unknown host", 0, 0, "an unknown user", "an unknown time", "", max(age_s, 0.0))

    def to_json(self) -> str:
        """What a lease's file holds."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "heartbeat_s"})

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


class Seat(Protocol):
    """The place of one group's lease."""

    def holder(self) -> Owner | None:
        """Who holds the lease; None if nobody does."""
        ...

    def take(self, owner: Owner, check: Callable[[Owner | None], None]) -> None:
        """Take the lease for ``owner``, unless ``check``, which is told who holds it, raises."""
        ...

    def beat(self, owner: Owner) -> None:
        """Give a sign of life."""
        ...

    def leave(self, owner: Owner) -> None:
        """Give back what ``owner`` still holds."""
        ...


def seat_of(store: Place, work: Place) -> Seat:
    """Seat of the lease in a group's work folder."""
    return RemoteSeat(work) if isinstance(work, RemoteFolder) else FolderSeat(Path(str(store)), work)


class FolderSeat:
    """A lease in a folder."""

    def __init__(self, store: Path, work: Path) -> None:
        self.store = store
        self.path = work / _FILE

    def holder(self) -> Owner | None:
        """Who holds the lease; None if nobody does."""
        try:
            age = time.time() - self.path.stat().st_mtime
            text = self.path.read_text()
        except FileNotFoundError:
            return None
        return Owner.from_json(text, age)

    def take(self, owner: Owner, check: Callable[[Owner | None], None]) -> None:
        """Take the lease for ``owner``, unless ``check``, which is told who holds it, raises."""
        with _locked(self.store):
            check(self.holder())
            self.path.unlink(missing_ok=True)
            _create(self.path, owner.to_json())

    def beat(self, owner: Owner) -> None:
        """Give a sign of life."""
        with suppress(FileNotFoundError):
            os.utime(self.path)

    def leave(self, owner: Owner) -> None:
        """Give back what ``owner`` still holds, and remove the work folder if nothing is left in it."""
        if not self.store.is_dir():
            return  # the whole store was deleted meanwhile
        with _locked(self.store):
            current = self.holder()
            if current is not None and current.token == owner.token:
                self.path.unlink(missing_ok=True)
            for folder in (self.path.parent, self.path.parent.parent):
                try:
                    folder.rmdir()
                except OSError:
                    return  # still in use: by this group's ledger, or by another group


class RemoteSeat:
    """A lease in an object store. Its file is written anew at each heartbeat."""

    def __init__(self, work: RemoteFolder) -> None:
        self.work = work
        self.name = ""

    def holder(self) -> Owner | None:
        """Who holds the lease; None if nobody does."""
        return next(reversed(self._leases().values()), None)

    def take(self, owner: Owner, check: Callable[[Owner | None], None]) -> None:
        """Take the lease for ``owner``, unless ``check``, which is told who holds it, raises.

        Raises
        ------
        LeaseError
            If another process was quicker.
        StoreError
            If the store does not keep its word: it writes over what it should create only.
        """
        self.work.check_writable()
        before = self._leases()
        check(next(reversed(before.values()), None))
        number = 1 + (_number(next(reversed(before))) if before else 0)
        self.name, text = f"lease-{number:06d}.json", owner.to_json().encode()
        try:
            self.work.create(self.name, text)
        except FileExistsError as error:
            # A request whose answer was lost is sent again: then it is this process that was quicker.
            if self.work.read_many([self.name]).get(self.name) != text:
                raise LeaseError(f"{self.work}/{self.name}: {_TOO_LATE}") from error
        self._check_creation(text)
        others = {other.token for other in self._leases().values()} - {owner.token}
        if others - {old.token for old in before.values()}:
            self.work.remove(self.name)
            raise LeaseError(f"{self.work}: {_TOO_LATE}")
        for name in before:
            self.work.remove(name)

    def beat(self, owner: Owner) -> None:
        """Give a sign of life."""
        self.work.write(self.name, owner.to_json().encode())

    def leave(self, owner: Owner) -> None:
        """Give back what ``owner`` still holds."""
        current = self.holder()
        if current is not None and current.token == owner.token:
            self.work.remove(self.name)

    def _leases(self) -> dict[str, Owner]:
        """Leases by name, in the order in which they were taken."""
        found = {}
        for name in sorted(filter(_NUMBERED.fullmatch, self.work.names()), key=_number):
            with suppress(FileNotFoundError):  # given back in this moment
                found[name] = Owner.from_json(self.work.read(name), self.work.age_s(name))
        return found

    def _check_creation(self, text: bytes) -> None:
        """Create the lease once more: a store that does not refuse has not kept anybody else out either."""
        try:
            self.work.create(self.name, text)
        except FileExistsError:
            return
        self.work.remove(self.name)
        raise StoreError(
            f"{self.work} cannot hold a lease: its server writes over a file although it was asked to create it only if there is "
            "none (If-None-Match), and so two writers would not see each other. Write to a folder and copy it, or use a server "
            "that can, as Amazon's and Google's and recent versions of MinIO."
        )


def _number(name: str) -> int:
    return int(name.removeprefix("lease-").removesuffix(".json"))


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
        raise LeaseError(f"{path}: {_TOO_LATE}") from error
    finally:
        temporary.unlink()


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
