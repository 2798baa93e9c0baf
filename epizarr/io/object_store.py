"""A folder of an object store, read and written through fsspec.

An object is there whole or not at all: a write is one PUT, so that there are no temporary names and nothing to sweep. There are
no renames, links or locks either; what takes their place is creation that fails where the object exists already, which the
store itself decides (a conditional PUT). Listings are asked for each time, never kept: other processes write too.
"""

import glob
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from epizarr.errors import EpizarrError, RemoteError, StoreError

#: Schemes whose file systems hand ``mode="create"`` to the store as a condition, or (memory) hold all there is in this
#: process. Others look first and write then, and two writers could both find that nobody was there.
CREATING_SCHEMES = ("s3", "s3a", "gs", "gcs", "memory")
#: Characters by which fsspec takes a path for a pattern.
_PATTERN = "*?["
#: What lies in memory is looked up and written in two steps.
_CREATION = threading.Lock()


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of an object store: a store of ours, or a part of one. Small and picklable.

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

    def __truediv__(self, name: str) -> "RemoteFolder":
        """Return the folder of that name in this one."""
        return RemoteFolder(f"{self.url.rstrip('/')}/{name}", self.options)

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def scheme(self) -> str:
        """What stands before ``://``."""
        return urlsplit(self.url).scheme

    @property
    def all_options(self) -> dict[str, Any]:
        """Options of the file system, its cache of listings switched off."""
        has_listings = self.scheme in CREATING_SCHEMES and self.scheme != "memory"
        return {**({"use_listings_cache": False} if has_listings else {}), **self.options}

    def open(self) -> tuple[Any, str]:
        """Return the file system, and the folder's path in it."""
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(self.url, **self.all_options)
        except ImportError as error:
            raise RemoteError(f"{self.url} needs a package that is not installed: {error}.") from error
        return fs, root.rstrip("/")

    def check_writable(self) -> None:
        """Refuse an address that cannot be written to safely. Asks nothing of the store itself.

        Raises
        ------
        StoreError
            If its file system cannot create exclusively, or would take the address for a pattern.
        """
        if self.scheme not in CREATING_SCHEMES:
            raise StoreError(
                f"{self}: stores are not written to {self.scheme}:// addresses. fsspec has no way to create a file there only if "
                "nobody else has, and two writers would not see each other. Write to s3:// or gs://, or to a folder and copy it."
            )
        if any(character in self.url for character in _PATTERN):
            raise StoreError(
                f"{self}: fsspec takes the characters {' '.join(_PATTERN)} for a pattern, and removing one group could remove "
                "another. Write to an address without them."
            )

    def read(self, name: str) -> bytes:
        """Content of an object; ``FileNotFoundError`` if there is none."""
        with self._access("read") as (fs, root):
            return bytes(fs.cat_file(f"{root}/{name}"))

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """Content of those objects that are there, asked for side by side."""
        with self._access("read") as (fs, root):
            found = fs.cat_ranges([f"{root}/{name}" for name in names], None, None, on_error="return")
            for answer in found:
                if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                    raise answer
        return {name: bytes(a) for name, a in zip(names, found, strict=True) if not isinstance(a, Exception)}

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in one step: a reader sees the old content or all of the new."""
        with self._access("written") as (fs, root):
            fs.pipe_file(f"{root}/{name}", data)

    def create(self, name: str, data: bytes) -> None:
        """Write an object that is not there yet; ``FileExistsError`` if it is. Of several processes one succeeds."""
        with _CREATION, self._access("written") as (fs, root):
            try:
                fs.pipe_file(f"{root}/{name}", data, mode="create")
            except OSError as error:
                # Servers that do not say which condition failed: s3fs then has no special error.
                response = getattr(error.__cause__, "response", None) or {}
                if response.get("Error", {}).get("Code") in ("PreconditionFailed", "412"):
                    raise FileExistsError(f"{self}/{name}") from error
                raise

    def has(self, name: str) -> bool:
        """Whether there is an object of that name."""
        with self._access("read") as (fs, root):
            return bool(fs.exists(f"{root}/{name}"))

    def find(self, pattern: str) -> list[str]:
        """Names of the objects that match a pattern such as ``"*/zarr.json"``, sorted."""
        with self._access("read") as (fs, root):
            found = fs.glob(f"{glob.escape(root)}/{pattern}")
        return sorted(str(file).removeprefix(f"{root}/") for file in found)

    def names(self) -> list[str]:
        """Names of what lies in the folder itself, sorted; empty if there is nothing."""
        with self._access("read") as (fs, root), suppress(FileNotFoundError):
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(root, detail=False))
        return []

    def n_bytes(self) -> int:
        """Bytes of all that lies in the folder and below."""
        with self._access("read") as (fs, root), suppress(FileNotFoundError):
            return int(fs.du(root))
        return 0

    def age_s(self, name: str) -> float:
        """Seconds since an object was written, by the store's clock and this machine's; ``FileNotFoundError`` if it is gone."""
        with self._access("read") as (fs, root):
            written: datetime = fs.modified(f"{root}/{name}")
        return max((datetime.now(UTC) - written).total_seconds(), 0.0)

    def remove(self, name: str) -> None:
        """Remove one object; nothing happens if it is not there."""
        with self._access("written") as (fs, root), suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{name}")

    def remove_all(self) -> None:
        """Remove all that lies in the folder and below, object by object: a reader may see a part of it meanwhile."""
        self.check_writable()
        with self._access("written") as (fs, root), suppress(FileNotFoundError):
            fs.rm(root, recursive=True)

    @contextmanager
    def _access(self, what: str) -> Iterator[tuple[Any, str]]:
        """Give the file system, and say whose error it is if there is one: each object store has exceptions of its own."""
        try:
            yield self.open()
        except (EpizarrError, FileExistsError):
            raise
        except FileNotFoundError as error:
            if what == "read":
                raise
            raise RemoteError(f"{self} cannot be written: there is no such bucket ({error}). Make it first.") from error
        except Exception as error:
            raise RemoteError(
                f"{self} cannot be {what}: {type(error).__name__}: {error}. Check the address and your credentials."
            ) from error
