# SPDX-License-Identifier: Apache-2.0
"""How far a computation has come, and how long it will still take."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from .protocol import Channel, progress_message

Clock = Callable[[], float]


class RemainingTime:
    """Estimates the seconds that a stage will still take.

    The speed is that of the recent past: work and time both fade with ``memory``, so a slow
    start (loading a model, warming a cache) is soon forgotten.

    Parameters
    ----------
    memory : float
        Seconds after which what was observed counts 1/e as much.
    patience : float
        Seconds to observe before the first estimate.
    clock : callable
        Returns seconds that only grow.

    Examples
    --------
    >>> seconds = iter([0.0, 0.0, 10.0])
    >>> remaining = RemainingTime(clock=lambda: next(seconds))
    >>> remaining.update(0, 100)
    >>> remaining.update(25, 100)
    30.0
    """

    def __init__(
        self, memory: float = 30.0, patience: float = 1.0, clock: Clock = time.monotonic
    ) -> None:
        self._memory = memory
        self._patience = patience
        self._clock = clock
        self._total: float | None = None

    def _begin(self, done: float, total: float) -> None:
        self._done = done
        self._total = total
        self._began = self._time = self._clock()
        self._recent_work = 0.0
        self._recent_seconds = 0.0
        self._estimate: float | None = None

    def update(self, done: float, total: float) -> float | None:
        """Take note that ``done`` of ``total`` units are done; return :attr:`seconds`.

        Another total, or less done than before, is a new stage.
        """
        if self._total is None or total != self._total or done < self._done:
            self._begin(done, total)
        now = self._clock()
        passed, worked = now - self._time, done - self._done
        if worked > 0:
            fading = math.exp(-passed / self._memory)
            self._recent_work = self._recent_work * fading + worked
            self._recent_seconds = self._recent_seconds * fading + passed
            self._done, self._time = done, now
        if worked > 0 and now - self._began >= self._patience:
            self._estimate = (total - done) * self._recent_seconds / self._recent_work
        if done >= total:
            self._estimate = 0.0
        return self._seconds_at(now)

    @property
    def seconds(self) -> float | None:
        """Seconds left as of now, None while there is too little to go by.

        Between two updates the seconds count down, but not below the time of the units that
        come after the one in hand: a computation that stands still does not promise an end.
        """
        return None if self._total is None else self._seconds_at(self._clock())

    def _seconds_at(self, now: float) -> float | None:
        if self._estimate is None:
            return None
        left = self._total - self._done
        if left <= 0:
            return 0.0
        after_this_unit = self._estimate * max(left - 1, 0) / left
        return max(self._estimate - (now - self._time), after_this_unit)


def format_duration(seconds: float) -> str:
    """Return a duration as a clock shows it: ``0:41``, ``12:05``, ``1:02:03``."""
    minutes, seconds = divmod(max(0, math.ceil(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Takes note of how far a computation has come, and tells nobody.

    Subclasses tell somebody. A computation has stages, one after the other; each counts units
    (slices, batches, bytes) up to its total.

    Attributes
    ----------
    timings : dict of str to float
        Seconds that each stage took so far, in the order in which the stages began.

    Examples
    --------
    >>> progress = Progress()
    >>> progress.stage("segment", total=2, message="Segmenting")
    >>> for index in range(2):
    ...     progress.advance(index + 1)
    >>> progress.close()
    >>> list(progress.timings)
    ['segment']
    """

    INTERVAL = 0.1
    """Seconds between two reports. Begin and end of a stage are always reported."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.timings: dict[str, float] = {}
        self._clock = clock
        self._name = ""
        self._done = 0.0
        self._total = 0.0
        self._message = ""
        self._stage_began = 0.0
        self._last_report = 0.0

    def stage(self, name: str, total: float, message: str = "") -> None:
        """Begin the stage ``name`` of ``total`` units; this ends the stage before.

        Parameters
        ----------
        name : str
            One word for programs, such as ``"segment"``; the key of :attr:`timings`.
        total : float
            Number of units, 0 when there is nothing to do.
        message : str
            A few words for people, such as ``"Segmenting"``.
        """
        self.close()
        self._name, self._done, self._total, self._message = name, 0, total, message
        self._stage_began = self._clock()
        self._report()

    def advance(self, done: float, message: str = "") -> None:
        """Say that ``done`` units of the stage are done altogether (not: since the last time)."""
        self._done = done
        self._message = message or self._message
        if done >= self._total or self._clock() - self._last_report >= self.INTERVAL:
            self._report()

    def close(self) -> None:
        """End the last stage."""
        if self._name:
            seconds = self._clock() - self._stage_began
            self.timings[self._name] = self.timings.get(self._name, 0.0) + seconds
            self._name = ""

    def _report(self) -> None:
        self._last_report = self._clock()
        self.show(self._name, self._done, self._total, self._message)

    def show(self, name: str, done: float, total: float, message: str) -> None:
        """Tell somebody. Called when a stage begins and ends and at most every INTERVAL."""


class JsonProgress(Progress):
    """Tells a program, by the line protocol."""

    def __init__(self, channel: Channel, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._channel = channel

    def show(self, name: str, done: float, total: float, message: str) -> None:
        self._channel.send(progress_message(name, done, total, message))


class BarProgress(Progress):
    """Tells a person: a bar in a terminal; in a log file one line when a stage ends.

    The bar is of ASCII characters, which every terminal and code page has.
    """

    WIDTH = 30

    def __init__(self, stream: TextIO | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._stream = stream if stream is not None else sys.stderr
        self._moving = self._stream.isatty()
        self._remaining = RemainingTime(clock=clock)
        self._shown = ""

    def show(self, name: str, done: float, total: float, message: str) -> None:
        if self._moving:
            self._draw(self._line(name, done, total, message))

    def close(self) -> None:
        name, label = self._name, self._message or self._name
        super().close()
        if not name:
            return
        if self._moving:
            self._stream.write("\n")
            self._shown = ""
            self._remaining = RemainingTime(clock=self._clock)
        else:
            self._stream.write(f"{label}: {format_duration(self.timings[name])}\n")
        self._stream.flush()

    def _line(self, name: str, done: float, total: float, message: str) -> str:
        fraction = min(max(done / total, 0.0), 1.0) if total > 0 else 1.0
        filled = round(fraction * self.WIDTH)
        bar = "#" * filled + "-" * (self.WIDTH - filled)
        seconds = self._remaining.update(done, total)
        left = "" if not seconds else f"{format_duration(seconds)} left"
        return f"{(message or name)[:32]:<32} {bar} {fraction:4.0%}  {left}"

    def _draw(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(len(self._shown)))
        self._stream.flush()
        self._shown = line.rstrip()


def make_progress(kind: str, channel: Channel | None = None) -> Progress:
    """Return the progress that the option ``--progress`` asks for.

    Parameters
    ----------
    kind : {"bar", "json", "none"}
        For a person, for a program, for nobody.
    channel : Channel, optional
        Where ``"json"`` writes; standard output when left out.
    """
    if kind == "bar":
        return BarProgress()
    if kind == "json":
        return JsonProgress(channel or Channel(sys.stdout.buffer))
    if kind == "none":
        return Progress()
    raise ValueError(f"progress is bar, json or none, not {kind!r}")
