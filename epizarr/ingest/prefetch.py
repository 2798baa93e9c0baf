"""Fetching the remote inputs of a manifest into a cache, each once, before anything is planned or written."""

from collections.abc import Callable
from dataclasses import dataclass

from epizarr.errors import InputFileError, ManifestError, OfflineError, RemoteError, raise_all
from epizarr.ingest.manifest import Manifest, map_inputs
from epizarr.ingest.toml_table import InputFile
from epizarr.io.remote import Cache, CachedFile
from epizarr.io.transport import remote_size

_MB = 1_000_000


@dataclass(frozen=True)
class FetchedInput:
    """A remote input that is in the cache: its uri as in the manifest, and the file. ``is_new``: it was fetched just now."""

    uri: str
    file: CachedFile
    is_new: bool


def remote_inputs(manifest: Manifest) -> list[InputFile]:
    """Remote inputs of a manifest, each address once, with the sha256 that any of its entries states.

    Raises
    ------
    ManifestError
        If two entries state different checksums of one file.
    """
    found: dict[str, InputFile] = {}
    problems: list[str] = []

    def note(file: InputFile) -> InputFile:
        if file.url:
            before = found.setdefault(file.url, file)
            if before.sha256 is None:
                found[file.url] = file
            elif file.sha256 not in (None, before.sha256):
                problems.append(f"{file.uri} is listed with sha256 {before.sha256} and with {file.sha256}")
        return file

    map_inputs(manifest, note)
    raise_all(ManifestError, f"manifest {manifest.path}", problems)
    return list(found.values())


def require_fetched(manifest: Manifest) -> None:
    """Refuse to go on while remote inputs are not in the cache. Nothing is fetched.

    Raises
    ------
    RemoteError
        Lists them, and says how to fetch them.
    """
    missing = [file for file in remote_inputs(manifest) if not file.path.is_file()]
    if missing:
        raise RemoteError(
            f"manifest {manifest.path}: not in the cache yet, so headers, names and sizes are not known:\n"
            + "".join(f"  - {file.uri} → {file.path}\n" for file in missing)
            + f"Fetch them first: epizarr prefetch {manifest.path}, with the same --cache as here."
        )


def missing_inputs(manifest: Manifest, cache: Cache) -> list[tuple[str, int | None]]:
    """Remote inputs that are not in the cache, with their sizes in bytes where the servers tell. At most a byte of each is read.

    A server that cannot be reached, or refuses, gives None: what is wrong is told when the file is fetched.
    """
    rows: list[tuple[str, int | None]] = []
    is_offline = False
    for file in remote_inputs(manifest):
        if file.path.is_file():
            continue
        size = None
        if not is_offline:
            try:
                size = remote_size(file.url, cache.access)
            except OfflineError:
                is_offline = True
            except RemoteError:
                pass
        rows.append((file.uri, size))
    return rows


def fetch_inputs(
    manifest: Manifest, cache: Cache, progress: Callable[[str, int, int], None] | None = None
) -> list[FetchedInput]:
    """Fetch the remote inputs of a manifest that are not in the cache.

    Parameters
    ----------
    manifest
        From :func:`~epizarr.ingest.manifest.load_manifest`, with the same cache.
    cache
        Where they are kept. A transfer that was cut goes on where it stopped.
    progress
        Called with (what is fetched, megabytes that have arrived, megabytes in all; 0 if the server does not say).

    Returns
    -------
    Every remote input, in the order of the manifest.

    Raises
    ------
    RemoteError
        Once, with everything that could not be fetched; the rest has been. Without a connection the first file ends it.
    ManifestError
        If a file has another sha256 than the manifest states.
    """
    fetched: list[FetchedInput] = []
    problems: list[str] = []
    wrong: list[str] = []
    for file in remote_inputs(manifest):
        was_there = file.path.is_file()

        def told(done: int, total: int | None, uri: str = file.uri) -> None:
            if progress is not None:
                progress(f"fetch {uri}, MB", round(done / _MB), round((total or 0) / _MB))

        try:
            found = cache.fetch(file.url, file.sha256, told)
        except InputFileError as error:
            wrong.append(str(error))
        except OfflineError as error:
            problems.append(str(error))
            break
        except RemoteError as error:
            problems.append(str(error))
        else:
            fetched.append(FetchedInput(file.uri, found, not was_there))
    raise_all(ManifestError if wrong else RemoteError, f"manifest {manifest.path}", [*wrong, *problems])
    return fetched
