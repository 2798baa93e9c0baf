"""The interactive page's server: a small read-only HTTP server for this machine alone.

It listens on 127.0.0.1 only, answers GET and HEAD only, and only to this machine's names (a page elsewhere cannot ask it by way
of a name of its own that points here). The page's files are a fixed list; everything else goes through
:class:`epizarr.view.api.StoreView`, which knows no paths.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from epizarr.errors import EpizarrError, StoreError
from epizarr.view.api import RequestError, Start, StoreView

HOST = "127.0.0.1"
_NAMES = ("127.0.0.1", "localhost")
#: The page's files and their types.
_ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/view.css": ("view.css", "text/css; charset=utf-8"),
    "/view.js": ("view.js", "text/javascript; charset=utf-8"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/data.js": ("data.js", "text/javascript; charset=utf-8"),
}
#: The page loads nothing from elsewhere, and nobody may frame it.
_POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

Reply = tuple[str, bytes, dict[str, str]]
Query = dict[str, list[str]]


def open_server(view: StoreView, start: Start, port: int = 0) -> ThreadingHTTPServer:
    """Open a server; ``serve_forever`` runs it.

    Parameters
    ----------
    view
        What is shown.
    start
        What is shown first.
    port
        Port to listen on; 0 takes a free one. The server's ``server_port`` says which.

    Raises
    ------
    StoreError
        If the port is taken.
    """
    routes: dict[str, Callable[[Query], Reply]] = {
        "/api/store": lambda _: _json(
            view.description
            | {
                "start": {
                    "region": start.region._asdict(),
                    "map": start.map.key,
                    "second": None if start.second is None else start.second.key,
                }
            }
        ),
        "/api/region": lambda q: _json(view.assembly.region(_text(q, "text"))._asdict()),
        "/api/map": lambda q: _array(view.map_tile(_text(q, "map"), *_tile(q))),
        "/api/signal": lambda q: _array(view.signal_tile(_text(q, "track"), *_tile(q))),
        "/api/expected": lambda q: _array(view.expected(_text(q, "map"), _text(q, "chrom"))),
        "/api/genes": lambda q: _genes(view, _text(q, "chrom")),
        "/download.png": lambda q: _picture(view, q),
        "/download.csv": lambda q: _table(view, q),
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "epizarr", ""

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            if host not in _NAMES:
                self._fail(HTTPStatus.FORBIDDEN, f"this server answers to {' and '.join(_NAMES)} only.")
                return
            try:
                url = urlsplit(self.path)
                if url.path in _ASSETS:
                    name, kind = _ASSETS[url.path]
                    reply: Reply = kind, (files("epizarr.view") / "static" / name).read_bytes(), {}
                elif url.path in routes:
                    reply = routes[url.path](parse_qs(url.query))
                else:
                    self._fail(HTTPStatus.NOT_FOUND, f"there is nothing at {url.path!r}.")
                    return
            except EpizarrError as error:
                self._fail(HTTPStatus.BAD_REQUEST, str(error))
                return
            except (OSError, ValueError, RuntimeError) as error:  # a damaged chunk, a disk that fails: the page says so
                self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, f"{self.path[:200]} cannot be answered: {error}")
                return
            self._send(HTTPStatus.OK, *reply)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _fail(self, status: HTTPStatus, text: str) -> None:
            kind, body, _ = _json({"error": text})
            self._send(status, kind, body, {})

        def _send(self, status: HTTPStatus, kind: str, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            fixed = {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "Content-Security-Policy": _POLICY,
                "X-Content-Type-Options": "nosniff",
                "Cross-Origin-Resource-Policy": "same-origin",
            }
            for name, value in (fixed | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged: the page shows what went wrong."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A browser that closes a connection early is no error; anything else is printed as usual."""
            import sys

            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    try:
        return Server((HOST, port), Handler)
    except OSError as error:
        raise StoreError(
            f"port {port} of this machine cannot be used ({error.strerror}). Another program has it: choose another "
            "--port, or leave it out to take a free one."
        ) from error


def _text(query: Query, name: str) -> str:
    if name not in query:
        raise RequestError(f"the request lacks {name!r}.")
    return query[name][0]


def _number(query: Query, name: str) -> int:
    text = _text(query, name)
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise RequestError(f"{name} {text[:20]!r} is not a whole number.")
    return int(text)


def _tile(query: Query) -> tuple[str, int, int]:
    return _text(query, "chrom"), _number(query, "factor"), _number(query, "tile")


def _json(content: Any) -> Reply:
    return "application/json", json.dumps(content).encode(), {}


def _array(values: np.ndarray) -> Reply:
    """Values as little-endian float32; the shape is in a header."""
    body = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return "application/octet-stream", body, {"X-Shape": ",".join(map(str, values.shape))}


def _genes(view: StoreView, chrom: str) -> Reply:
    view.assembly.length(chrom)
    rows = [[g.start, g.end, g.name, g.strand, g.exons, g.is_coding] for g in view.genes_of(chrom)]
    return _json(rows)


def _picture(view: StoreView, query: Query) -> Reply:
    region = view.assembly.region(_text(query, "region"))
    body = view.picture(
        _text(query, "map"),
        query["second"][0] if "second" in query else None,
        region,
        query.get("track", []),
        oe="oe" in query,
        difference="difference" in query,
    )
    return "image/png", body, _download(f"{region}.png")


def _table(view: StoreView, query: Query) -> Reply:
    region = view.assembly.region(_text(query, "region"))
    body = view.table(_text(query, "map"), region).encode()
    return "text/csv; charset=utf-8", body, _download(f"{region}.csv")


def _download(name: str) -> dict[str, str]:
    safe = "".join(c if (c.isascii() and c.isalnum()) or c in ".-_" else "-" for c in name.replace(",", ""))
    return {"Content-Disposition": f'attachment; filename="{safe}"'}
