"""Bytes of a remote file from an offset on: requests for HTTP, fsspec for object stores.

fsspec's own HTTP needs aiohttp and follows no validators; with requests, which bioframe brings along, a transfer that was cut
goes on only if the server still has the same version (``If-Range``). Source: RFC 9110, sections 13.1.5 and 14.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from epizarr.errors import OfflineError, RemoteError
from epizarr.io.remote_uri import HTTP_SCHEMES

#: Bytes read at a time: what a cut HTTP transfer loses at most, and one request to an object store.
_HTTP_PIECE, _OBJECT_PIECE = 1 << 16, 4 << 20

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
#: Answers that pass: too many requests, and a server that is busy or being restarted.
_PASSING = (429, 500, 502, 503, 504)


class InterruptedTransferError(RemoteError):
    """A transfer was cut, or a server is busy: what has arrived stays, and another try may go on."""


@dataclass(frozen=True)
class Version:
    """What tells one version of a remote file from another; ``validator`` is empty if the server gives none."""

    size: int | None
    validator: str


@dataclass(frozen=True)
class Stream:
    """A transfer that has begun. ``start`` is the offset of its first byte: 0 if the whole file is sent."""

    start: int
    version: Version
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class Access:
    """How remote files are reached.

    Parameters
    ----------
    trust_env
        Whether proxies, certificates and ``~/.netrc`` are taken from the environment, as curl does.
    anonymous
        Whether ``s3://`` and ``gs://`` are read without credentials: for public data.
    timeout_s
        Seconds without a connection or a byte after which a transfer counts as cut.
    """

    trust_env: bool = False
    anonymous: bool = False
    timeout_s: float = 60.0


@contextmanager
def open_stream(url: str, access: Access, start: int = 0, known: Version | None = None) -> Iterator[Stream]:
    """Begin to read a remote file, from ``start`` on if that is still the version ``known``.

    Memory: a few pieces of at most 4 MiB.

    Raises
    ------
    OfflineError
        If there is no connection.
    InterruptedTransferError
        If the connection is lost or the server is busy; also while pieces are read.
    RemoteError
        If the server refuses, has no such file, or a package is missing.
    """
    opened = _open_http if urlsplit(url).scheme in HTTP_SCHEMES else _open_fsspec
    with opened(url, access, start, known) as stream:
        yield stream


def remote_size(url: str, access: Access) -> int | None:
    """Size of a remote file in bytes, None if it cannot be told. At most one byte is transferred.

    Raises
    ------
    RemoteError
        As :func:`open_stream`.
    """
    if urlsplit(url).scheme in HTTP_SCHEMES:
        # Not HEAD: the signed addresses that portals redirect to are valid for GET only.
        with _http_response(url, access, {"Range": "bytes=0-0"}) as response:
            if response.status_code == 416:  # there is no first byte
                return 0
            if response.status_code not in (200, 206):
                raise _http_error(url, response.status_code, response.reason)
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found:
                return None if found[3] == "*" else int(found[3])
            return _length(response.headers)
    with _open_fsspec(url, access, 0, None) as stream:
        return stream.version.size


# -------------------------------------------------------------------------------------------------------------------- HTTP


@contextmanager
def _http_response(url: str, access: Access, headers: dict[str, str]) -> Iterator[Any]:
    import requests

    headers = {
        "Accept-Encoding": "identity"
    } | headers  # the file as it is, so that offsets and checksums mean its bytes
    host = urlsplit(url).hostname
    with requests.Session() as session:
        session.trust_env = access.trust_env
        try:
            response = session.get(url, headers=headers, stream=True, timeout=access.timeout_s)
        except requests.exceptions.SSLError as error:
            raise RemoteError(f"{url}: the certificate of {host} cannot be verified ({error}).") from error
        except requests.exceptions.ReadTimeout as error:
            raise InterruptedTransferError(f"{url}: no answer from {host} in {access.timeout_s:g} s.") from error
        except requests.exceptions.ConnectionError as error:
            # A server that hangs up before it answers may be restarting; one that cannot be reached is another matter.
            if "RemoteDisconnected" in repr(error) or "ConnectionResetError" in repr(error):
                raise InterruptedTransferError(f"{url}: {host} closed the connection.") from error
            raise OfflineError(
                f"{url}: no connection to {host}. On a machine without a network, run `epizarr prefetch` where there is one, "
                f"and give the same --cache here ({_innermost(error)})."
            ) from error
        except requests.exceptions.RequestException as error:
            raise RemoteError(f"{url} cannot be fetched: {error}") from error
        with response:
            yield response


@contextmanager
def _open_http(url: str, access: Access, start: int, known: Version | None) -> Iterator[Stream]:
    headers = {}
    if start:
        headers["Range"] = f"bytes={start}-"
        if known is not None and known.validator:
            headers["If-Range"] = known.validator
    with _http_response(url, access, headers) as response:
        status = response.status_code
        if status == 416:  # the file has become shorter than what is here
            with _open_http(url, access, 0, None) as whole:
                yield whole
            return
        if status not in (200, 206):
            raise _http_error(url, status, response.reason)
        begins, size = 0, _length(response.headers)
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not found or int(found[1]) != start:
                raise RemoteError(f"{url}: the server sent another part of the file than the one it was asked for.")
            begins, size = start, None if found[3] == "*" else int(found[3])
        yield Stream(begins, Version(size, _validator(response.headers)), _http_pieces(url, response))


def _http_pieces(url: str, response: Any) -> Iterator[bytes]:
    import urllib3

    try:
        # Not iter_content: it would decode a Content-Encoding, which some servers put on files that are gzip themselves.
        while piece := response.raw.read(_HTTP_PIECE, decode_content=False):
            yield piece
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise InterruptedTransferError(f"{url}: the connection was lost ({error}).") from error


def _http_error(url: str, status: int, reason: str) -> RemoteError:
    said = f"{url}: the server answers {status} {reason}".rstrip()
    host = urlsplit(url).hostname
    if status in _PASSING:
        return InterruptedTransferError(f"{said}. It may be busy: try again later.")
    if status in (401, 403):
        how = "make an access key on the portal and " if host == "data.4dnucleome.org" else ""
        return RemoteError(
            f"{said}. It wants a login: {how}write `machine {host} login NAME password PASSWORD` (4DN: key and secret) into "
            "~/.netrc, or fetch the file yourself and name the local copy in the manifest."
        )
    if status in (404, 410):
        return RemoteError(f"{said}. There is no such file: check the address, and the accession and its ending.")
    return RemoteError(f"{said}.")


def _length(headers: Any) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _validator(headers: Any) -> str:
    """Strong entity tag, else the date of the last change."""
    tag = str(headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", ""))


def _innermost(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)


# ------------------------------------------------------------------------------------------------------------------ fsspec

#: Package of each scheme, and what reads public data without credentials.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_ANONYMOUS: dict[str, dict[str, Any]] = {"s3": {"anon": True}, "gs": {"token": "anon"}}


@contextmanager
def _open_fsspec(url: str, access: Access, start: int, known: Version | None) -> Iterator[Stream]:
    import fsspec

    scheme = urlsplit(url).scheme
    extra = _EXTRAS.get(scheme, "")
    try:
        fs, path = fsspec.core.url_to_fs(url, **(_ANONYMOUS.get(extra, {}) if access.anonymous else {}))
    except ImportError as error:
        what = f"pip install 'epizarr[{extra}]'" if extra else str(error)
        raise RemoteError(f"{url}: {scheme}:// needs a package that is not installed: {what}.") from error
    try:
        info = fs.info(path)
        if info.get("type") == "directory":
            raise RemoteError(f"{url} is a folder; the address of a file is needed.")
        version = Version(info.get("size"), str(fs.ukey(path)))
        begins = start if known == version else 0
        file = fs.open(path, "rb", block_size=_OBJECT_PIECE, cache_type="none")
    except RemoteError:
        raise
    except FileNotFoundError as error:
        raise RemoteError(f"{url}: there is no such file. Check the address.") from error
    except Exception as error:  # each object store has exceptions of its own
        hint = "" if access.anonymous else " For public data try --anonymous; otherwise check your credentials."
        raise RemoteError(f"{url} cannot be opened: {type(error).__name__}: {error}.{hint}") from error
    with file:
        yield Stream(begins, version, _fsspec_pieces(url, file, begins))


def _fsspec_pieces(url: str, file: Any, start: int) -> Iterator[bytes]:
    try:
        file.seek(start)
        while piece := file.read(_OBJECT_PIECE):
            yield piece
    except Exception as error:  # each object store has exceptions of its own
        raise InterruptedTransferError(f"{url}: the transfer was cut ({type(error).__name__}: {error}).") from error
