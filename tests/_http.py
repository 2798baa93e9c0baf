"""A web server on the loopback interface that can do ranges, drop connections, ask for a login and be busy."""

import base64
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What the server has and how it behaves; ``seen`` are the headers of each request, with the path."""

    content: dict[str, bytes] = field(default_factory=dict, repr=False)
    etag: str | None = '"v1"'
    does_ranges: bool = True
    tells_size: bool = True
    #: Bytes after which the next connections are dropped, one entry each.
    drops: list[int] = field(default_factory=list)
    #: Answers of the next requests instead of the file.
    statuses: list[int] = field(default_factory=list)
    login: tuple[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    n_sent: int = 0


@contextmanager
def http_server(files: Files) -> Iterator[Files]:
    """Serve ``files`` at ``files.url`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            files.seen.append((self.path, dict(self.headers)))
            answer(self, files)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    files.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, files: Files) -> None:
    path = handler.path.split("?")[0]
    wanted = files.login and "Basic " + base64.b64encode(":".join(files.login).encode()).decode()
    if files.statuses:
        return _plain(handler, files.statuses.pop(0), files.headers)
    if path in files.redirects:
        return _plain(handler, 307, {"Location": files.redirects[path]})
    if wanted and handler.headers.get("Authorization") != wanted:
        return _plain(handler, 403)
    if path not in files.content:
        return _plain(handler, 404)
    body, first = files.content[path], 0
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    is_same = handler.headers.get("If-Range", files.etag) == files.etag
    headers = dict(files.headers)
    status = 200
    if files.etag is not None:
        headers["ETag"] = files.etag
    if found and files.does_ranges and is_same:
        first = int(found[1])
        if first >= len(body):
            return _plain(handler, 416, {"Content-Range": f"bytes */{len(body)}"})
        last = min(int(found[2]) if found[2] else len(body) - 1, len(body) - 1)
        status = 206
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        body = body[: last + 1]
    part = body[first:]
    if files.tells_size:
        headers["Content-Length"] = str(len(part))
    if files.drops:
        part = part[: files.drops.pop(0)]
    files.n_sent += len(part)  # before the headers: a client may not wait for more
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(part)
    handler.wfile.flush()
    handler.close_connection = True
    return None


def _plain(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
