# SPDX-License-Identifier: Apache-2.0
"""What the node is doing, as a page and as JSON: read only, and without a word about a patient."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ReadingRoomLib.results import DISCLAIMER

STYLE = ("body{font:15px sans-serif;margin:2em;color:#222;background:#fafafa}"
         "table{border-collapse:collapse;margin:1em 0}"
         "td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ccc}")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy":
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
IDLE_SECONDS = 10


class StatusPage:
    """The server.

    Args:
        host, port: of the page; port 0 is any that is free.
        status: what is shown, made of what JSON knows.

    Raises:
        OSError: the port is taken, or the address is not ours.
    """

    def __init__(self, host: str, port: int, status: Callable[[], Mapping[str, Any]]) -> None:
        handler = type("Handler", (_Handler,), {
            "status": staticmethod(status), "hosts": LOOPBACK | {host} if host in LOOPBACK
            else None})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="status page",
                                        daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    status: Callable[[], Mapping[str, Any]]
    hosts: set[str] | None
    """Names by which a loopback page may be asked for: other sites cannot borrow its address."""
    timeout = IDLE_SECONDS
    server_version, sys_version = "ReadingRoom", ""

    def do_GET(self) -> None:
        if self.hosts is not None and self._host() not in self.hosts:
            self._answer(421, "text/plain", "Ask for this page by its own address.\n")
        elif self.path == "/":
            self._answer(200, "text/html", page(self.status()))
        elif self.path == "/status.json":
            self._answer(200, "application/json", json.dumps(self.status(), indent=1) + "\n")
        else:
            self._answer(404, "text/plain", "There is / and /status.json, and nothing else.\n")

    def _host(self) -> str:
        name = self.headers.get("Host", "")
        return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None,
                   explain: str | None = None) -> None:
        """Other methods than GET, and what is no request, without quoting it back."""
        self.close_connection = True
        self._answer(405 if code == 501 else code, "text/plain", "Only GET is answered.\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who looks at the page is of no interest."""


def page(status: Mapping[str, Any]) -> str:
    """The page, from what ``/status.json`` says."""
    states = "".join(f"<tr><th>{html.escape(state)}</th><td>{count}</td></tr>"
                     for state, count in status["states"].items())
    sends = _table(("Destination", "Objects waiting", "Attempts", "Next", "Why"), [
        (each["destination"], each["objects"], each["attempts"], each["next"], each["reason"])
        for each in status["waiting"]])
    series = _table(("Series", "Study", "Images", "Last image", "State", "Judgement", "Why"), [
        (each["series"], each["study"], each["images"], each["arrived"], each["state"],
         _judgement(each), each["reason"]) for each in status["series"]])
    node = status["node"]
    worker = "running" if node["worker_running"] else "not running"
    return (
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=15>"
        f"<title>HeadCTTriage</title><style>{STYLE}</style><h1>HeadCTTriage</h1>"
        f"<p>{html.escape(DISCLAIMER)}</p>"
        f"<p>{html.escape(node['ae_title'])} on port {node['port']} since {node['since']}. "
        f"Model {html.escape(node['model'])}. Worker {worker}. "
        f"{node['free_gigabytes']:.1f} GB free.</p>"
        f"<table>{states}</table><h2>To be sent</h2>{sends}<h2>Series</h2>{series}</html>\n")


def _judgement(series: Mapping[str, Any]) -> str:
    if series["decision"] is None:
        return ""
    return f"{series['decision']} ({series['urgent_probability']:.0%})"


def _table(names: tuple[str, ...], rows: list[tuple]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>" if rows else "<p>None.</p>"


def clock(seconds: float | None) -> str | None:
    """A time since 1970 as people read it, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime(
        "%Y-%m-%d %H:%M:%S UTC")
