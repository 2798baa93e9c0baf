"""Where a store lies, a folder of this machine or one of an object store, and what is done with the files of either.

Both give the same promises: a file is replaced in one step, and a reader sees the old content or all of the new. They keep them
by different means: :mod:`epizarr.io.files` (temporary names and renames) and :mod:`epizarr.io.object_store` (one PUT a file).
"""

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from epizarr.errors import StoreError
from epizarr.io.files import replace_file
from epizarr.io.object_store import RemoteFolder
from epizarr.io.remote_uri import HTTP_SCHEMES, remote_url

Place = Path | RemoteFolder
#: What takes a store: a path, an address, or a folder of an object store with options.
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
        path = RemoteFolder(url.rstrip("/"))
    if not isinstance(path, RemoteFolder):
        return Path(path)
    if urlsplit(path.url).scheme in HTTP_SCHEMES:
        raise StoreError(
            f"{path}: a web server does not list what a store holds. Copy the store here, or give its s3:// or gs:// address."
        )
    return path


def local_path(path: str | Path) -> Path:
    """Return the path of a folder that is written to, and refuse what is an address, which a Path does not tell from one.

    Raises
    ------
    StoreError
        If it looks like an address.
    """
    local = Path(path)
    if local.parts and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", local.parts[0]):  # Path makes "s3:/" of "s3://"
        raise StoreError(
            f"{path} looks like an address, where a folder is needed. Give a folder; or, if it is a store, its address as a str."
        )
    return local


def read_bytes(place: Place, name: str) -> bytes:
    """Content of a file of a store; ``FileNotFoundError`` if there is none."""
    return (place / name).read_bytes() if isinstance(place, Path) else place.read(name)


def read_existing(place: Place, names: Sequence[str]) -> dict[str, bytes]:
    """Content of those files that are there, by name; all of it in memory."""
    if not isinstance(place, Path):
        return place.read_many(names)
    found = {}
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = (place / name).read_bytes()
    return found


def write_bytes(place: Place, name: str, data: bytes) -> None:
    """Write a file of a store in one step; missing folders are made."""
    if isinstance(place, Path):
        replace_file(place / name, data)
    else:
        place.write(name, data)


def has_file(place: Place, name: str) -> bool:
    """Whether a store has a file of that name."""
    return (place / name).exists() if isinstance(place, Path) else place.has(name)


def find_files(place: Place, pattern: str) -> list[str]:
    """Names of a store's files that match a pattern such as ``"*/zarr.json"``, sorted."""
    if isinstance(place, Path):
        return sorted(file.relative_to(place).as_posix() for file in place.glob(pattern))
    return place.find(pattern)


def names_in(place: Place) -> list[str]:
    """Names of what lies in a folder itself; empty if there is no such folder."""
    if isinstance(place, Path):
        return [path.name for path in place.iterdir()] if place.is_dir() else []
    return place.names()


def has_any(place: Place) -> bool:
    """Whether there is such a folder. In an object store there is one if something lies in it."""
    return place.exists() if isinstance(place, Path) else bool(place.names())


def tree_bytes(place: Place) -> int:
    """Bytes of all files of a folder and below."""
    if isinstance(place, Path):
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return place.n_bytes()


def remove_tree(place: Place) -> None:
    """Remove a folder and all below; nothing happens if there is none."""
    if not isinstance(place, Path):
        place.remove_all()
    elif place.is_dir():
        shutil.rmtree(place)


def zarr_store(place: Place, *, read_only: bool) -> Store:
    """Return Zarr's view of a place.

    Raises
    ------
    StoreError
        If a remote place is to be written, and cannot be written safely.
    """
    if isinstance(place, Path):
        return LocalStore(place, read_only=read_only)
    if not read_only:
        place.check_writable()
    return FsspecStore.from_url(place.url, storage_options=place.all_options, read_only=read_only)
