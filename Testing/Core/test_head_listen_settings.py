# SPDX-License-Identifier: Apache-2.0
"""The configuration of the DICOM node: read as it is meant, and refused in one sentence."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path

import pytest

from HeadCTTriageLib.listen.receive import Allowance, find_peer
from HeadCTTriageLib.listen.settings import (
    Completeness,
    Destination,
    Limits,
    Peer,
    Retries,
    read_settings,
)
from ReadingRoomLib.errors import BadInput

EXAMPLE = Path(__file__).parents[2] / "Docs" / "listen-example.toml"
LEAST = """
[node]
ae_title = "NODE"
host = "127.0.0.1"
port = 104
model = "model"
data = "data"
[[peers]]
ae_title = "CT"
address = "192.0.2.1"
"""


def write(folder, text):
    path = folder / "node.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_says_what_is_taken_without_it(tmp_path):
    example, least = read_settings(EXAMPLE), read_settings(write(tmp_path, LEAST))
    for name in ("complete", "limits", "retries", "threads", "keep_days", "status_host",
                 "status_port"):
        assert getattr(example, name) == getattr(least, name), name
    assert (least.complete, least.limits, least.retries) == (Completeness(), Limits(), Retries())
    assert least.destinations == () and least.data == tmp_path.resolve() / "data"
    assert example.destinations == (Destination("PACS", "192.0.2.130", 104),)
    assert example.peers[1] == Peer("PACS", ipaddress.ip_network("192.0.2.128/28"))


def test_the_example_names_every_entry():
    tables = tomllib.loads(EXAMPLE.read_text("utf-8"))
    assert set(tables) == {"node", "peers", "destinations", "complete", "limits", "retries",
                           "status"}


@pytest.mark.parametrize("before, after, sentence", [
    ('ae_title = "NODE"', "", "lacks ae_title in [node]"),
    ('"NODE"', '"A TITLE OF MORE THAN 16"', "1 to 16 characters"),
    ('"NODE"', '"A\\\\B"', "without backslash"),
    ("port = 104", "port = 70000", "a port"),
    ("port = 104", 'port = "104"', "a port"),
    ("port = 104", "port = true", "a port"),
    ("192.0.2.1", "192.0.2.1/24", "an address or a network"),
    ("192.0.2.1", "scanner", "an address or a network"),
    ("[[peers]]", "[[pears]]", "did you mean peers?"),
    ('[[peers]]\nae_title = "CT"\naddress = "192.0.2.1"', "", "names no [[peers]]"),
    ("[[peers]]", "[peers]", "[[peers]]"),
    ("[[peers]]", "[limits]\nobject_megabytes = 0\n[[peers]]", "a number above 0"),
    ("[[peers]]", "[limits]\nobject_megabytes = nan\n[[peers]]", "a number above 0"),
    ("[[peers]]", "[limits]\nobjects_per_series = 1.5\n[[peers]]", "a whole number"),
    ("[[peers]]", "[limits]\nobject_megabyte = 5\n[[peers]]", "did you mean object_megabytes?"),
    ("[[peers]]", "[complete]\nsilence_seconds = 4000\n[[peers]]", "choose a longer time"),
    ("[[peers]]", '[[destinations]]\nae_title = "A"\nhost = "b"\nport = 0\n[[peers]]', "a port"),
    ("[[peers]]", 2 * '[[destinations]]\nae_title = "A"\nhost = "b"\nport = 1\n' + "[[peers]]",
     "name each once"),
    ("[node]", "[node", "is no TOML"),
])
def test_mistakes_are_told_in_a_sentence(tmp_path, before, after, sentence):
    assert before in LEAST
    with pytest.raises(BadInput) as error:
        read_settings(write(tmp_path, LEAST.replace(before, after, 1)))
    message = error.value.message
    assert sentence in message and message.startswith("node.toml ") and "\n" not in message


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match="missing.toml cannot be read"):
        read_settings(tmp_path / "missing.toml")


@pytest.mark.parametrize("title, address, found", [
    ("CT", "192.0.2.1", True), ("CT", "192.0.2.2", False), ("PACS", "192.0.2.1", False),
    ("PACS", "198.51.100.200", True), ("PACS", "198.51.101.1", False),
    ("CT", "::ffff:192.0.2.1", True), ("SIX", "2001:db8::5%eth0", True),
    ("SIX", "2001:db9::5", False), ("ct", "192.0.2.1", False)])
def test_peers_are_known_by_title_and_address(title, address, found):
    peers = tuple(Peer(name, ipaddress.ip_network(where)) for name, where in (
        ("CT", "192.0.2.1"), ("PACS", "198.51.100.0/24"), ("SIX", "2001:db8::/32")))
    assert (find_peer(peers, title, address) is not None) is found


def test_an_allowance_is_gained_over_a_minute():
    now = [0.0]
    allowance = Allowance(60, clock=lambda: now[0])
    assert [allowance.take() for _ in range(61)] == 60 * [True] + [False]
    now[0] = 2.5
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now[0] = 1000.0
    assert sum(allowance.take() for _ in range(100)) == 60
