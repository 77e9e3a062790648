# SPDX-License-Identifier: Apache-2.0
"""What one side of the pipe says is what the other side understands."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ReadingRoomLib import protocol
from ReadingRoomLib.errors import BadInput, Cancelled
from ReadingRoomLib.protocol import Channel, LineDecoder, ProtocolError, decode, encode

# File names that are not valid UTF-8 reach Python as text with these surrogates.
texts = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.characters(categories=["Cs"], min_codepoint=0xDC80, max_codepoint=0xDCFF),
    )
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
messages = st.dictionaries(texts, values, max_size=6)


@given(messages)
def test_a_message_survives_the_line(message):
    line = encode(message)
    assert line.isascii()
    assert line.count("\n") == 1 and line.endswith("\n")
    assert decode(line) == message
    assert decode(line.encode()) == message


@given(st.lists(messages, max_size=5), st.data())
def test_messages_survive_being_cut_into_pieces(sent, data):
    stream = "".join(map(encode, sent)).encode()
    places = st.lists(st.integers(0, len(stream)), max_size=8).map(sorted)
    cuts = [0, *data.draw(places), len(stream)]
    decoder = LineDecoder()
    pieces = (stream[a:b] for a, b in zip(cuts, cuts[1:], strict=False))
    assert [message for piece in pieces for message in decoder.feed(piece)] == sent


@given(st.binary(max_size=60))
def test_garbage_is_refused_but_nothing_breaks(line):
    try:
        assert isinstance(decode(line), dict)
    except ProtocolError as error:
        assert len(str(error)) < 500
    LineDecoder().feed(line + b"\n")


@pytest.mark.parametrize("line", ["", "3", "[]", "null", '"text"', '{"a": ', "[" * 100_000])
def test_a_line_that_is_no_object_is_refused(line):
    with pytest.raises(ProtocolError):
        decode(line)


def test_foreign_lines_between_messages_are_left_out():
    decoder = LineDecoder()
    assert decoder.feed(b'Starting...\n\r\n{"done": 1}\r\n\xff\xfe\n{"done": 2}\n{"do') == [
        {"done": 1},
        {"done": 2},
    ]


def test_values_of_numpy_and_paths_become_plain():
    message = {
        "volume": np.float32(1.5),
        "count": np.int64(7),
        "flag": np.bool_(True),
        "spacing": np.array([0.5, 0.5, 3.0]),
        "mean": np.nan,
        "psnr": np.float64("inf"),
        "folder": Path("a") / "b",
        "names": {"b", "a"},
        3: ("x", None),
    }
    assert decode(encode(message)) == {
        "volume": 1.5,
        "count": 7,
        "flag": True,
        "spacing": [0.5, 0.5, 3.0],
        "mean": None,
        "psnr": None,
        "folder": os.path.join("a", "b"),
        "names": ["a", "b"],
        "3": ["x", None],
    }


def test_what_has_no_plain_form_is_an_error_and_not_a_strange_text():
    with pytest.raises(TypeError):
        encode({"object": object()})


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (protocol.progress_message("segment", 1, 2, "Segmenting"), "progress"),
        (protocol.failure_message(BadInput("One sentence."), None), "failure"),
        (protocol.request_message(["segment"], 1), "request"),
        (protocol.ready_message(), "ready"),
        (protocol.SHUTDOWN_MESSAGE, "shutdown"),
        ({"schema": 1, "status": "completed", "id": 3}, "result"),
        ({}, "other"),
    ],
)
def test_each_kind_of_message_is_told_apart(message, kind):
    assert protocol.message_kind(message) == kind


def test_a_channel_adds_the_id_of_its_request_and_knows_when_it_has_ended():
    stream = io.BytesIO()
    channel = Channel(stream).for_request(None)
    channel.send({"stage": "segment"})
    assert not channel.ended
    channel.send({"status": "completed"})
    assert channel.ended
    assert [decode(line) for line in stream.getvalue().splitlines()] == [
        {"id": None, "stage": "segment"},
        {"id": None, "status": "completed"},
    ]


def test_a_channel_writes_on_where_the_pipe_took_only_a_part():
    class SlowPipe(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data)[:3])

    stream = SlowPipe()
    Channel(stream).send({"message": "a long sentence"})
    assert decode(stream.getvalue()) == {"message": "a long sentence"}


def test_a_channel_that_nobody_reads_cancels():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as stream, pytest.raises(Cancelled):
        Channel(stream).send({"stage": "segment"})
