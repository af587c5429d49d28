"""A plain HTTP/1.1 client: keeps the connection, keeps trailers, and can send bytes that no library would send."""

import http.client
import json
import socket
import urllib.parse
from dataclasses import dataclass, field

NDJSON = "application/x-ndjson"
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
API = "/api/v1"


@dataclass
class Answer:
    """`status` 0 = the connection ended without an answer; `body` then says how."""

    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    trailers: dict = field(default_factory=dict)

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.body.decode("utf-8", "replace")


class Refused(Exception):
    """An answer other than 2xx where a good one was needed."""


class _KeepsTrailers(http.client.HTTPResponse):
    """The library reads trailers and drops them: keep them."""

    trailers = None

    def _read_and_discard_trailer(self):
        self.trailers = {}
        while (line := self.fp.readline(65537)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            self.trailers[name.strip().lower()] = value.strip()


class Rest:
    """One connection with one key. Not for several threads."""

    def __init__(self, url, key, timeout_s=600):
        self.url = url.rstrip("/")
        self.host = self.url.split("://", 1)[-1]
        self.key = key
        self.connection = http.client.HTTPConnection(self.host, timeout=timeout_s)
        self.connection.response_class = _KeepsTrailers

    def call(self, method, path, body=None, headers=None):
        """`body`: bytes, an iterable of bytes (sent in chunks), or anything JSON. Paths below /api/v1 unless they begin
        with `//`. The header `X-API-Key: None` sends no key."""
        path = path[1:] if path.startswith("//") else API + path
        headers = dict(headers or {})
        if self.key and not any(name.lower() in ("x-api-key", "authorization") for name in headers):
            headers["X-API-Key"] = self.key
        headers = {name: value for name, value in headers.items() if value is not None}
        if body is not None and not isinstance(body, (bytes, bytearray)) and not hasattr(body, "__next__"):
            body = json.dumps(body, ensure_ascii=False).encode()
        if body is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = JSON
        try:
            return self._exchange(method, path, body, headers)
        except http.client.RemoteDisconnected:
            # A kept connection may be closed by the server at any moment: what every client does then.
            if hasattr(body, "__next__"):
                raise
            self.connection.close()
            return self._exchange(method, path, body, headers)

    def _exchange(self, method, path, body, headers):
        try:
            try:
                self.connection.request(method, path, body=body, headers=headers, encode_chunked=hasattr(body, "__next__"))
            except (BrokenPipeError, ConnectionResetError):
                # The server may answer and close before it has taken everything.
                answer = read_answer(self.connection.sock) if self.connection.sock else Answer(0, body=b"no connection")
                self.connection.close()
                return answer
            response = self.connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            content,
            response.trailers or {},
        )

    def good(self, method, path, body=None, headers=None):
        """The same, raising `Refused` unless the answer is 2xx."""
        answer = self.call(method, path, body, headers)
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path}: {answer.status} {answer.text()[:600]}")
        return answer

    def raw(self, parts, timeout_s=10, half_close=False):
        """Sends byte strings as they are over a new connection and reads one answer, whatever the server does meanwhile."""
        return raw(self.host, parts, timeout_s, half_close)

    def close(self):
        self.connection.close()


def raw(host, parts, timeout_s=10, half_close=False):
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=timeout_s) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The server may answer and close before it has taken everything.
        return read_answer(connection)


def read_answer(connection):
    response = _KeepsTrailers(connection)
    try:
        response.begin()
        content = response.read()
    except TimeoutError:
        return Answer(0, body=b"no answer in time")
    except (OSError, http.client.HTTPException) as failure:
        return Answer(0, body=f"connection ended: {failure!r}".encode())
    return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, content, response.trailers or {})


def quoted(text):
    """A path segment: everything escaped that is not unreserved."""
    return urllib.parse.quote(text, safe="")
