# SPDX-License-Identifier: Apache-2.0
"""What a node is told in its configuration file (TOML), checked before anything starts."""

from __future__ import annotations

import difflib
import ipaddress
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ReadingRoomLib.errors import BadInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MEGABYTE, GIGABYTE = 10**6, 10**9
_REQUIRED = object()


@dataclass(frozen=True)
class Peer:
    """Who may send: both must be right.

    Attributes:
        ae_title: by which it calls.
        network: from which; a single address is a network of one.
    """

    ae_title: str
    network: Network


@dataclass(frozen=True)
class Destination:
    """Who gets the results."""

    ae_title: str
    host: str
    port: int


@dataclass(frozen=True)
class Completeness:
    """When a series counts as complete.

    Attributes:
        silence: seconds after its last image.
        after_release: seconds after the association that sent it was released in order.
        give_up: seconds after which an interrupted series is given up.
    """

    silence: float = 60.0
    after_release: float = 5.0
    give_up: float = 3600.0


@dataclass(frozen=True)
class Limits:
    """What a peer may ask for.

    Attributes:
        object_bytes: of one object.
        objects: of one series.
        per_minute: objects from one peer.
        free_bytes: that are left on the disk.
        associations: at a time.
        judge_seconds: for one series, after which its computation is ended.
    """

    object_bytes: int = 600 * MEGABYTE
    objects: int = 3000
    per_minute: int = 10_000
    free_bytes: int = 5 * GIGABYTE
    associations: int = 10
    judge_seconds: float = 600.0


@dataclass(frozen=True)
class Retries:
    """How often an unreachable destination is tried: after the first seconds, then twice as long
    each time, up to the longest."""

    first: float = 10.0
    longest: float = 600.0


@dataclass(frozen=True)
class Settings:
    """A node.

    Attributes:
        ae_title, host, port: its own; port 0 is any that is free.
        model: folder of an exported model.
        data: folder for everything that is kept.
        threads: of the computation; 0: as many as there are processors.
        keep_days: of images and results.
        peers: who may send.
        destinations: who gets results.
        status_host, status_port: of the status page.
    """

    ae_title: str
    host: str
    port: int
    model: Path
    data: Path
    peers: tuple[Peer, ...]
    destinations: tuple[Destination, ...] = ()
    threads: int = 0
    keep_days: float = 14.0
    complete: Completeness = field(default_factory=Completeness)
    limits: Limits = field(default_factory=Limits)
    retries: Retries = field(default_factory=Retries)
    status_host: str = "127.0.0.1"
    status_port: int = 8104


def read_settings(path: Path) -> Settings:
    """Read a configuration file.

    Raises:
        BadInput: it cannot be read, or something in it cannot be meant.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read: check its name and permissions.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path.name} is no TOML ({error}): correct it.") from error
    return _settings(_Table(path.name, "", content), path.resolve().parent)


def _settings(top: _Table, folder: Path) -> Settings:
    node, status = top.table("node"), top.table("status")
    complete, limits, retries = top.table("complete"), top.table("limits"), top.table("retries")
    settings = Settings(
        ae_title=node.take("ae_title", _ae_title),
        host=node.take("host", _text),
        port=node.take("port", _port),
        model=folder / node.take("model", _text),
        data=folder / node.take("data", _text),
        threads=node.take("threads", _whole(0), 0),
        keep_days=node.take("keep_days", _positive, Settings.keep_days),
        peers=tuple(_peer(each) for each in top.tables("peers")),
        destinations=tuple(_destination(each) for each in top.tables("destinations")),
        complete=Completeness(
            complete.take("silence_seconds", _positive, Completeness.silence),
            complete.take("after_release_seconds", _positive, Completeness.after_release),
            60 * complete.take("give_up_minutes", _positive, Completeness.give_up / 60)),
        limits=Limits(
            int(MEGABYTE * limits.take("object_megabytes", _positive,
                                       Limits.object_bytes / MEGABYTE)),
            limits.take("objects_per_series", _whole(1), Limits.objects),
            limits.take("objects_per_minute", _whole(1), Limits.per_minute),
            int(GIGABYTE * limits.take("free_gigabytes", _positive,
                                       Limits.free_bytes / GIGABYTE)),
            limits.take("associations", _whole(1), Limits.associations),
            limits.take("judge_seconds", _positive, Limits.judge_seconds)),
        retries=Retries(
            retries.take("first_seconds", _positive, Retries.first),
            retries.take("longest_seconds", _positive, Retries.longest)),
        status_host=status.take("host", _text, Settings.status_host),
        status_port=status.take("port", _port, Settings.status_port))
    for table in (top, node, status, complete, limits, retries):
        table.nothing_else()
    if not settings.peers:
        raise BadInput(f"{top.file} names no [[peers]]: name those who may send.")
    titles = [destination.ae_title for destination in settings.destinations]
    if len(set(titles)) < len(titles):
        raise BadInput(f"{top.file} names several [[destinations]] with the same ae_title: name "
                       "each once.")
    if settings.complete.give_up <= settings.complete.silence:
        raise BadInput(f"{top.file} gives interrupted series up (give_up_minutes) before others "
                       "are complete (silence_seconds): choose a longer time.")
    return settings


def _peer(table: _Table) -> Peer:
    peer = Peer(table.take("ae_title", _ae_title), table.take("address", _network))
    table.nothing_else()
    return peer


def _destination(table: _Table) -> Destination:
    destination = Destination(table.take("ae_title", _ae_title), table.take("host", _text),
                              table.take("port", _port_of_another))
    table.nothing_else()
    return destination


class _Table:
    """A table of the file, of which every entry is taken once.

    Args:
        file: name of the file.
        name: of the table, for messages.
        content: as read.
    """

    def __init__(self, file: str, name: str, content: Mapping[str, Any]) -> None:
        self.file, self.name, self.left = file, name, dict(content)
        self.known: list[str] = []

    def take(self, key: str, check: Callable[[Any], Any], default: Any = _REQUIRED) -> Any:
        """A checked entry; ``check`` raises ValueError with what it should be."""
        self.known.append(key)
        if key not in self.left:
            if default is _REQUIRED:
                raise BadInput(f"{self.file} lacks {key} in [{self.name}]: add it.")
            return default
        value = self.left.pop(key)
        try:
            return check(value)
        except ValueError as error:
            raise BadInput(f"{self.file} has {key} = {value!r} in [{self.name}]: "
                           f"it must be {error}.") from error

    def table(self, key: str) -> _Table:
        """A table in this one; empty where there is none."""
        return _Table(self.file, key, self.take(key, _is(dict, f"a table, [{key}]"), {}))

    def tables(self, key: str) -> list[_Table]:
        """All tables of that name."""
        found = self.take(key, _is(list, f"tables, [[{key}]]"), [])
        if not all(isinstance(each, dict) for each in found):
            raise BadInput(f"{self.file} has {key} that are no tables: write [[{key}]].")
        return [_Table(self.file, key, each) for each in found]

    def nothing_else(self) -> None:
        """Refuse what nobody took: a mistyped limit is none."""
        for key in self.left:
            where = f" in [{self.name}]" if self.name else ""
            near = difflib.get_close_matches(key, self.known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(self.known)}."
            raise BadInput(f"{self.file} has an entry that is not known, {key}{where}: {hint}")


def _is(kind: type, meaning: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(meaning)
        return value
    return check


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value.strip()


def _ae_title(value: Any) -> str:
    meaning = "an AE title, 1 to 16 characters without backslash"
    if not isinstance(value, str):
        raise ValueError(meaning)
    title = value.strip()
    plain = title.isascii() and title.isprintable() and "\\" not in title
    if not plain or not 1 <= len(title) <= 16:
        raise ValueError(meaning)
    return title


def _network(value: Any) -> Network:
    try:
        return ipaddress.ip_network(_text(value))
    except ValueError as error:
        raise ValueError("an address or a network, such as 192.0.2.7 or 192.0.2.0/24") from error


def _positive(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ValueError("a number above 0")
    return value


def _whole(least: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"a whole number of at least {least}")
        return value
    return check


def _port(value: Any, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 65535:
        raise ValueError("a port, 1 to 65535" + (", or 0 for any that is free", "")[least])
    return value


def _port_of_another(value: Any) -> int:
    return _port(value, 1)
