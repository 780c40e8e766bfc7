"""A web server on this machine that does to a download what the world does."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request is answered; the defaults are a good server's.

    Attributes:
        status: other than 200: only this is sent.
        cut: bytes of the body after which the connection is closed; None: the whole body.
        hang: seconds of silence before anything is sent.
        headers: sent on top.
        first: called with the server before the answer, such as to change the file.
    """

    status: int = 200
    cut: int | None = None
    hang: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    first: Callable[["FaultyServer"], None] | None = None


@dataclass(slots=True)
class FaultyServer:
    """Serves files by path; `plan` says how the next requests are answered.

    Attributes:
        url: of the server, without a slash at the end.
        files: content by path.
        plan: answers to the next requests; a good server's when it is empty.
        seen: the Range header of each request so far, or None.
        conditions: the If-Range header of each request so far, or None.
        encodings: the Accept-Encoding header of each request so far, or None.
        tag: the ETag of all files; None: none is sent.
        date: Last-Modified of all files; None: none is sent.
        ranges: whether Range is understood.
        length: whether Content-Length is sent.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    plan: deque[Answer] = field(default_factory=deque)
    seen: list[str | None] = field(default_factory=list)
    conditions: list[str | None] = field(default_factory=list)
    encodings: list[str | None] = field(default_factory=list)
    tag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    length: bool = True


def _respond(handler: BaseHTTPRequestHandler, server: FaultyServer) -> None:
    asked = handler.headers.get("Range")
    server.conditions.append(handler.headers.get("If-Range"))
    server.encodings.append(handler.headers.get("Accept-Encoding"))
    server.seen.append(asked)  # last: tests wait for it
    answer = server.plan.popleft() if server.plan else Answer()
    if answer.first is not None:
        answer.first(server)
    time.sleep(answer.hang)
    content = server.files.get(handler.path)
    status = 404 if content is None else answer.status
    if content is None or status != 200:
        handler.send_response(status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    same = handler.headers.get("If-Range") in (None, server.tag, server.date)
    start = 0
    if asked is not None and server.ranges and same:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content) > 0:
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    known = (("ETag", server.tag), ("Last-Modified", server.date), *answer.headers)
    for header, text in known:
        if text is not None:
            handler.send_header(header, text)
    if server.length:
        handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    body = content[start:]
    handler.wfile.write(body if answer.cut is None else body[: answer.cut])


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """Run a server on a free port of 127.0.0.1 while the block runs."""
    server = FaultyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A client that gives up is what some tests are about.
            with suppress(BrokenPipeError, ConnectionResetError):
                _respond(self, server)
            self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
