"""Where a store lies: a folder of this machine, or one of an object store that is read through fsspec.

Only reading goes through here. Writing needs what object stores do not have (renames, leases, links), and stays with folders.
"""

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from epizarr.errors import RemoteError, StoreError
from epizarr.io.remote_uri import HTTP_SCHEMES, remote_url


@dataclass(frozen=True)
class RemoteFolder:
    """A store's folder in an object store.

    Parameters
    ----------
    url
        ``"s3://bucket/atlas.zarr"``, ``"gs://…"`` or another address that fsspec can list.
    options
        Handed to the file system, such as ``{"anon": True}`` for public data on S3.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.url

    def open(self) -> tuple[Any, str]:
        """Return the file system, and the folder's path in it."""
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(self.url, **self.options)
        except ImportError as error:
            raise RemoteError(f"{self.url} needs a package that is not installed: {error}.") from error
        return fs, root.rstrip("/")


Place = Path | RemoteFolder
#: What readers of a store take.
StorePath = str | Path | RemoteFolder


def place_of(path: StorePath) -> Place:
    """Tell an address from a path.

    Raises
    ------
    StoreError
        If the address is one that cannot be listed.
    RemoteError
        If it is not complete, or fsspec does not know its scheme.
    """
    if isinstance(path, str) and (url := remote_url(path)) is not None:
        path = RemoteFolder(url)
    if not isinstance(path, RemoteFolder):
        return Path(path)
    if urlsplit(path.url).scheme in HTTP_SCHEMES:
        raise StoreError(
            f"{path}: a web server does not list what a store holds. Copy the store here, or give its s3:// or gs:// address."
        )
    return path


def read_bytes(place: Place, name: str) -> bytes:
    """Content of a file of a store; ``FileNotFoundError`` if there is none."""
    if isinstance(place, Path):
        return (place / name).read_bytes()
    fs, root = place.open()
    try:
        return bytes(fs.cat_file(f"{root}/{name}"))
    except FileNotFoundError:
        raise
    except Exception as error:  # each object store has exceptions of its own
        raise _unreadable(place, error) from error


def has_file(place: Place, name: str) -> bool:
    """Whether a store has a file of that name."""
    if isinstance(place, Path):
        return (place / name).exists()
    fs, root = place.open()
    try:
        return bool(fs.exists(f"{root}/{name}"))
    except Exception as error:  # as above
        raise _unreadable(place, error) from error


def find_files(place: Place, pattern: str) -> list[str]:
    """Names of a store's files that match a pattern such as ``"*/zarr.json"``, sorted."""
    if isinstance(place, Path):
        return sorted(file.relative_to(place).as_posix() for file in place.glob(pattern))
    fs, root = place.open()
    try:
        found = fs.glob(f"{glob.escape(root)}/{pattern}")
    except Exception as error:  # as above
        raise _unreadable(place, error) from error
    return sorted(str(file).removeprefix(f"{root}/") for file in found)


def zarr_store(place: Place, *, read_only: bool) -> Store:
    """Return Zarr's view of a place.

    Raises
    ------
    StoreError
        If a remote place is to be written.
    """
    if isinstance(place, Path):
        return LocalStore(place, read_only=read_only)
    if not read_only:
        raise StoreError(
            f"{place}: stores are read from object stores, not written to them. Write here, then copy the folder."
        )
    return FsspecStore.from_url(place.url, storage_options=dict(place.options), read_only=True)


def _unreadable(place: RemoteFolder, error: Exception) -> RemoteError:
    return RemoteError(
        f"{place} cannot be read: {type(error).__name__}: {error}. Check the address and your credentials."
    )
