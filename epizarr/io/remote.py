"""A folder of fetched files: each is there whole, with its checksum, or not at all.

    FOLDER/www.encodeproject.org-1f0c…/ENCFF123ABC.bigWig    the file
                                       .record.json          where it came from, its size and sha256
                                       .partial, .partial.json   what has arrived of it, and of which version it is

A transfer that was cut goes on where it stopped if the server still has the same version; the file gets its name when it is
complete and its checksum is right.
"""

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from epizarr.errors import InputFileError, LeaseError, RemoteError
from epizarr.io.files import file_sha256, replace_file
from epizarr.io.remote_uri import url_name
from epizarr.io.transport import Access, InterruptedTransferError, Version, open_stream

#: Told how many bytes have arrived, of how many (None if the server does not say).
FetchProgress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class CachedFile:
    """A file that is there whole. ``size`` in bytes, ``sha256`` in hexadecimal digits."""

    url: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Cache:
    """A folder of fetched files.

    Parameters
    ----------
    folder
        Made when the first file is fetched. It may be copied to another machine as it is.
    access
        How remote files are reached.
    n_tries
        How often in a row a transfer is taken up again that brings nothing new.
    wait_s
        Seconds before the first of these tries; twice as long before each further one.
    """

    folder: Path
    access: Access = field(default_factory=Access)
    n_tries: int = 4
    wait_s: float = 2.0

    def path_of(self, url: str) -> Path:
        """Where the file from ``url`` is or would be. Looks at nothing."""
        host = "".join(c if c.isalnum() or c in ".-" else "_" for c in urlsplit(url).netloc)
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        return self.folder / f"{host[-60:]}-{digest}" / url_name(url)

    def find(self, url: str) -> CachedFile | None:
        """Return the file from ``url`` if it is there, else None. Writes nothing.

        A file that was put there by hand, without a record, is read once for its checksum.
        """
        path = self.path_of(url)
        if not path.is_file():
            return None
        size = path.stat().st_size
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads((path.parent / ".record.json").read_text())
            if record["size"] == size:
                return CachedFile(url, path, size, str(record["sha256"]))
        return CachedFile(url, path, size, file_sha256(path))

    def fetch(self, url: str, sha256: str | None = None, progress: FetchProgress | None = None) -> CachedFile:
        """Return the file from ``url``, fetching what is not there yet.

        Memory: a few MiB, whatever the file's size.

        Parameters
        ----------
        url
            From :func:`~epizarr.io.remote_uri.remote_url`.
        sha256
            What the content must hash to. With it, a cut transfer can go on although the server gives no version.
        progress
            Called after each piece.

        Raises
        ------
        OfflineError
            If there is no connection.
        RemoteError
            If the server refuses, there is no such file, the connection is lost again and again, or the folder cannot be
            written.
        InputFileError
            If the content has another sha256; a file just fetched is removed again.
        LeaseError
            If another process is fetching the same file.
        """
        found = self.find(url)
        if found is None:
            with self._writing(url) as path:
                found = self.find(url)  # another process may have brought it meanwhile
                if found is None:
                    return self._fetch(url, path, sha256, progress)
        if sha256 is not None and found.sha256 != sha256:
            raise InputFileError(
                f"{url}: the file in the cache, {found.path}, has sha256 {found.sha256}, and {sha256} is stated. Correct the "
                "statement, or remove the file to fetch it again."
            )
        return found

    # -- fetching

    @contextmanager
    def _writing(self, url: str) -> Iterator[Path]:
        """Hold the lock of a file's folder; what goes wrong in there is told as the cache's fault."""
        path = self.path_of(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path.parent / ".lock", "wb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise LeaseError(
                        f"{url} is being fetched into {self.folder} by another process. Wait until it is done, then run this "
                        "again."
                    ) from error
                yield path
        except (RemoteError, LeaseError, InputFileError):
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "Make room, and the same command goes on" if full else "Choose another folder (--cache)"
            raise RemoteError(f"cache folder {self.folder} cannot be written: {error}. {hint}.") from error

    def _fetch(self, url: str, path: Path, sha256: str | None, progress: FetchProgress | None) -> CachedFile:
        partial = path.parent / ".partial"
        n_idle = 0
        while True:
            before = _size_of(partial)
            try:
                self._transfer(url, partial, sha256 is not None, progress)
                break
            except InterruptedTransferError as error:
                n_idle = 0 if _size_of(partial) > before else n_idle + 1
                if n_idle >= self.n_tries:
                    raise RemoteError(
                        f"{error} {_size_of(partial):,} bytes have arrived and are kept: the same command goes on from there."
                    ) from error
                time.sleep(self.wait_s * 2 ** max(n_idle - 1, 0))
        size, found = partial.stat().st_size, file_sha256(partial)
        if sha256 is not None and found != sha256:
            _drop(partial)
            raise InputFileError(
                f"{url}: what was fetched has sha256 {found} ({size:,} bytes), and {sha256} is stated. The file has changed at "
                "its source, or another one was meant: correct the statement, or the address. What was fetched is removed."
            )
        # The record comes first: a file under its own name is a whole one, with a record.
        record = {"url": url, "size": size, "sha256": found}
        replace_file(path.parent / ".record.json", json.dumps(record, indent=1).encode())
        os.replace(partial, path)
        _drop(partial)
        return CachedFile(url, path, size, found)

    def _transfer(self, url: str, partial: Path, is_checked: bool, progress: FetchProgress | None) -> None:
        """Bring what is missing of a file; returns when it is complete."""
        known = _read_version(partial)
        start = _size_of(partial) if known is not None and (known.validator or is_checked) else 0
        if known is not None and start and start == known.size:
            return
        with open_stream(url, self.access, start, known) as stream:
            # Without a validator the size is all that can tell another version.
            goes_on = stream.start > 0 and known is not None and known.size == stream.version.size
            if stream.start and not goes_on:
                _drop(partial)
                raise InterruptedTransferError(f"{url}: the file has changed at its source while it was fetched.")
            version = stream.version
            with open(partial, "ab" if goes_on else "wb") as file:
                if not goes_on:  # emptied first: a version must never stand beside bytes of another one
                    replace_file(_version_path(partial), json.dumps([version.size, version.validator]).encode())
                done = file.tell()
                for piece in stream.pieces:
                    file.write(piece)
                    done += len(piece)
                    if progress is not None:
                        progress(done, version.size)
                file.flush()
                os.fsync(file.fileno())
        if version.size is not None and done < version.size:
            raise InterruptedTransferError(
                f"{url}: the connection was closed after {done:,} of {version.size:,} bytes."
            )
        if version.size is not None and done > version.size:
            _drop(partial)
            raise InterruptedTransferError(f"{url}: the server sent {done:,} bytes of {version.size:,} announced.")


def _version_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_version(partial: Path) -> Version | None:
    with suppress(OSError, ValueError, TypeError):
        size, validator = json.loads(_version_path(partial).read_text())
        return Version(size, str(validator))
    return None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _drop(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _version_path(partial).unlink(missing_ok=True)
