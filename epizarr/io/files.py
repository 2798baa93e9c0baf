"""Writing a file so that it is there whole or not at all, and hashing files.

A process that is killed leaves at most a ``*.partial`` file beside the one it was writing (Zarr's local store does the
same); :func:`sweep_partial` removes those before work goes on.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from epizarr.errors import InputNotFoundError, OutputExistsError, StoreError

_PARTIAL = ".partial"
_PIECE_BYTES = 1 << 22


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step: a reader sees the old content or all of the new.

    Missing folders are made. The file appears by renaming a temporary file beside it. Should another process sweep that
    file away or remove the folder meanwhile, it is written again.
    """
    for is_last in (False, False, True):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PARTIAL}")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
            return
        except FileNotFoundError:
            if is_last:
                raise
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to write to ``path`` if something is there, unless it is a file that may be replaced.

    Raises
    ------
    OutputExistsError
        Says what to do.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder, and a file of that name was to be written. Give another name.")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise OutputExistsError(f"{path} exists already. Give another name, or ask to replace it (--overwrite).")


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name beside it, for libraries that want a path; it gets its own name at the end.

    Missing folders are made. Should the block fail, the temporary file is removed and what was at ``path`` stays; so does what
    somebody else put there meanwhile.

    Parameters
    ----------
    path
        The file to write.
    overwrite
        Whether a file of that name may be replaced.

    Yields
    ------
    Path of the temporary file.

    Raises
    ------
    OutputExistsError
        As :func:`refuse_existing`.
    """
    refuse_existing(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PARTIAL}")
    try:
        yield temporary
        refuse_existing(path, overwrite=overwrite)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_partial(name: str, of: str) -> bool:
    """Whether a file's name is that of a temporary file for one called ``of``."""
    return name.startswith(f"{of}.") and name.endswith(_PARTIAL)


def sweep_partial(folder: Path, *, deep: bool = True) -> int:
    """Remove what killed writers left in ``folder`` and return how many files that were.

    Parameters
    ----------
    folder
        May be absent.
    deep
        Whether folders inside it are swept too. Only for the holder of the lease on what lies there: a live writer's
        temporary files go as well, and Zarr, unlike :func:`replace_file`, does not write them again.
    """
    pattern = f"*{_PARTIAL}"
    found = folder.rglob(pattern) if deep else folder.glob(pattern)
    leftovers = [path for path in found if path.is_file()] if folder.is_dir() else []
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def refuse_links(store: Path, folder: Path) -> None:
    """Refuse a folder of a store that is reached through, or holds, a link to another folder: writes would leave the store.

    A link to a file does no harm: files are replaced, never written into.

    Raises
    ------
    StoreError
        Names the link and where it leads.
    """
    way = [folder, *folder.parents][: len(folder.relative_to(store).parts)]
    for path in [*reversed(way), *(Path(top, name) for top, names, _ in os.walk(folder) for name in names)]:
        if path.is_symlink() and path.is_dir():
            raise StoreError(
                f"{path} is a link to {os.readlink(path)}; nothing is written through links inside a store. Put the folder "
                "itself in its place, or remove the link."
            )


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits. Reads the file once in pieces of 4 MiB.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no such file, so its sha256 cannot be computed.") from error
    return digest.hexdigest()
