# SPDX-License-Identifier: Apache-2.0
"""Conducting a reader study: who reads what when, what was answered, what it was worth.

Every reader reads every case once in every modality, in as many sessions as there are modalities.
In a session each modality has an equal share of the cases, and in the next the shares move on
(a Latin square), so that neither learning nor fatigue favours a modality. Between the sessions
lies a washout. Cases carry numbers that mean something else for each reader and session.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from ReadingRoomLib.errors import BadInput

from .study import NOT_MARKED, ReaderStudy, as_other_ratings

LOWEST, HIGHEST = 0, 100  # confidence


@dataclass(frozen=True)
class StudyPlan:
    """What is to be read.

    Attributes:
        cases, modalities, readers: names, all different.
        seed: of the random order; the same plan gives the same order.
        washout_days: between a reader's last reading of one session and the first of the next.
        free_response: whether places are marked; otherwise cases are rated.
        quality: words for the quality of the images, the best first; none when it is not asked.

    Raises:
        BadInput: a name is empty or there twice, or there is nothing to read.
    """

    cases: tuple[str, ...]
    modalities: tuple[str, ...]
    readers: tuple[str, ...]
    seed: int = 0
    washout_days: float = 28.0
    free_response: bool = True
    quality: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("cases", "modalities", "readers", "quality"):
            names = getattr(self, kind)
            if not names and kind != "quality":
                raise BadInput(f"The reader study has no {kind}.")
            if len(set(names)) < len(names) or not all(name.strip() for name in names):
                raise BadInput(f"The {kind} of the reader study need different names.")

    def missing(self, marks: Sequence[float | None], rating: float | None,
                quality: str | None) -> str:
        """What a reader has still to say about a case, in a sentence; empty when nothing.

        Args:
            marks: confidence of each mark, None where it was not given.
            rating, quality: see :class:`Answer`.
        """
        for number, confidence in enumerate(marks, 1):
            if confidence is None:
                return f"Say how sure you are of mark {number}."
        if not self.free_response and rating is None:
            return "Say how sure you are that this patient is ill."
        if self.quality and quality not in self.quality:
            return "Say how good the images are."
        return ""


@dataclass(frozen=True)
class Reading:
    """A case to be read.

    Attributes:
        session: from 1.
        number: of the case for this reader in this session, from 1; this is what the reader sees.
        case, modality: names; the reader must not see the first.
    """

    session: int
    number: int
    case: str
    modality: str


@dataclass(frozen=True)
class Mark:
    """A place that a reader marked.

    Attributes:
        position: mm, LPS.
        rating: confidence that there is a lesion, 0 to 100.
    """

    position: tuple[float, float, float]
    rating: float


@dataclass(frozen=True)
class Answer:
    """What a reader said about a case.

    Attributes:
        case, modality: names.
        marks: in a free-response study; none when nothing was seen.
        rating: of the case, 0 to 100; None in a free-response study.
        seconds: in which the case was looked at.
        finished: local time, ISO 8601.
        quality: of the images, in the words of the plan; None when it is not asked.
    """

    case: str
    modality: str
    marks: tuple[Mark, ...]
    rating: float | None
    seconds: float
    finished: str
    quality: str | None = None


@dataclass(frozen=True)
class Lesion:
    """A true lesion.

    Attributes:
        position: of its middle, mm, LPS.
        radius: mm; a mark within it has found the lesion.
        weight: its importance among the lesions of its case.
    """

    position: tuple[float, float, float]
    radius: float
    weight: float = 1.0


def reading_order(plan: StudyPlan, reader: str) -> list[list[Reading]]:
    """The sessions of a reader, each with its readings in order."""
    random = np.random.default_rng([plan.seed, plan.readers.index(reader)])
    count = len(plan.modalities)
    share = random.permutation(len(plan.cases)) % count  # equal shares of the cases
    # sessions must not differ in which modality they favour when the shares are not quite equal
    first = int(random.integers(count))
    sessions = []
    for session in range(count):
        order = random.permutation(len(plan.cases))
        sessions.append([
            Reading(session + 1, number, plan.cases[case],
                    plan.modalities[(share[case] + first + session) % count])
            for number, case in enumerate(order, 1)])
    return sessions


class ReadingClock:
    """Counts the seconds in which a case is looked at.

    Args:
        now: a clock that only goes forward, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._counted = 0.0
        self._began: float | None = None

    @property
    def running(self) -> bool:
        return self._began is not None

    @property
    def seconds(self) -> float:
        """Counted since the last reset."""
        return self._counted + (self._now() - self._began if self.running else 0.0)

    def run(self) -> None:
        """Count on; nothing changes when it runs already."""
        if not self.running:
            self._began = self._now()

    def pause(self) -> None:
        """Stop counting, and keep what was counted."""
        self._counted, self._began = self.seconds, None

    def reset(self) -> None:
        """Stop counting, and forget what was counted."""
        self._counted, self._began = 0.0, None


class ReaderLog:
    """The answers of one reader, kept in a file from the moment they are given.

    A line of JSON for each answer; what a crash left half written is ignored, so that the case is
    read again.

    Args:
        path: of the file; it and its folder are made with the first answer.
        plan: what is to be read.
        reader: whose answers these are.

    Raises:
        BadInput: the file is of another study or reader, or cannot be understood.
    """

    def __init__(self, path: Path, plan: StudyPlan, reader: str) -> None:
        self.path, self.plan, self.reader = path, plan, reader
        self.readings = {(reading.case, reading.modality): reading
                         for session in reading_order(plan, reader) for reading in session}
        self.answers: list[Answer] = self._read()

    @property
    def next(self) -> Reading | None:
        """What is to be read next; None when all is done."""
        done = {(answer.case, answer.modality) for answer in self.answers}
        return next((reading for names, reading in self.readings.items() if names not in done),
                    None)

    def washout_until(self) -> datetime | None:
        """When the next session may begin; None while one is going on or before the first."""
        reading = self.next
        if reading is None or not self.answers:
            return None
        last = self.answers[-1]
        if reading.session == self.readings[last.case, last.modality].session:
            return None
        return datetime.fromisoformat(last.finished) + timedelta(days=self.plan.washout_days)

    def reason_to_wait(self, now: datetime | None = None) -> str:
        """Why nothing may be read now, in a sentence; empty when the next case may be.

        Args:
            now: local time.
        """
        if self.next is None:
            return "All cases are read. Thank you."
        until = self.washout_until()
        if until and (now or datetime.now()) < until:
            return f"The next session begins on {until:%Y-%m-%d at %H:%M}."
        return ""

    def add(self, reading: Reading, marks: Sequence[Mark], rating: float | None, seconds: float,
            now: datetime | None = None, quality: str | None = None) -> None:
        """Keep an answer.

        Args:
            reading: the case that was read; it must be the next.
            marks: where lesions were seen, in a free-response study.
            rating: of the case, otherwise.
            seconds: how long it took.
            now: local time.
            quality: of the images, where the plan asks for it.

        Raises:
            BadInput: another case is next, the washout is not over, the quality of the images is
                missing or not asked, or a rating is missing or not within 0 and 100.
            OSError: the file cannot be written; then the answer is not kept.
        """
        now = now or datetime.now()
        if reading != self.next:
            raise BadInput("Another case is to be read next: open the study again.")
        reason = self.reason_to_wait(now)
        if reason:
            raise BadInput(reason)
        if self.plan.free_response == (rating is not None) or (marks and rating is not None):
            raise BadInput("Mark the lesions you see." if self.plan.free_response
                           else "Say how sure you are that this patient is ill.")
        missing = self.plan.missing([mark.rating for mark in marks], rating, quality)
        if missing:
            raise BadInput(missing)
        if quality is not None and not self.plan.quality:
            raise BadInput("This study does not ask for the quality of the images.")
        for value in [mark.rating for mark in marks] + ([] if rating is None else [rating]):
            if not LOWEST <= value <= HIGHEST:
                raise BadInput(f"A confidence lies between {LOWEST} and {HIGHEST}.")
        answer = Answer(reading.case, reading.modality, tuple(marks), rating, float(seconds),
                        now.isoformat(timespec="seconds"), quality)
        self._append({"reader": self.reader, **asdict(answer)})
        self.answers.append(answer)

    def _append(self, entry: Mapping) -> None:
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and not self._ends_with_a_line():  # half written before a crash
                line = b"\n" + line
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except BaseException:
                os.truncate(self.path, end)
                raise

    def _ends_with_a_line(self) -> bool:
        with open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _read(self) -> list[Answer]:
        if not self.path.exists():
            return []
        answers = {}
        for line in self.path.read_bytes().split(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # half written
            try:
                reader = entry.pop("reader")
                marks = tuple(Mark(tuple(m["position"]), m["rating"]) for m in entry.pop("marks"))
                answer = Answer(marks=marks, **entry)
            except (AttributeError, KeyError, TypeError) as error:
                raise BadInput(f"{self.path.name} does not hold a reader's answers.") from error
            if reader != self.reader or (answer.case, answer.modality) not in self.readings:
                raise BadInput(f"{self.path.name} holds the answers of another reader or study.")
            answers[answer.case, answer.modality] = answer
        return list(answers.values())


def collect(plan: StudyPlan, answers: Mapping[str, Iterable[Answer]],
            truth: Mapping[str, Sequence[Lesion]]) -> ReaderStudy:
    """Compare what was marked with what is there.

    A mark belongs to the nearest lesion within whose radius it lies; of several marks on a lesion
    the surest counts. Every other mark is a false positive.

    Args:
        plan: of the study.
        answers: of every reader, by name.
        truth: lesions by case; a case that is missing or has none is healthy.

    Raises:
        BadInput: a reader has not finished; see also :class:`ReaderStudy`.
    """
    shape = len(plan.modalities), len(plan.readers), len(plan.cases)
    lesions = [list(truth.get(case, ())) for case in plan.cases]
    most = max(1, *map(len, lesions))
    weights = np.zeros((len(plan.cases), most))
    for row, known in zip(weights, lesions, strict=True):
        total = sum(lesion.weight for lesion in known)
        row[: len(known)] = [lesion.weight / total for lesion in known]
    found = np.full((*shape, most), NOT_MARKED)
    others: dict[tuple[int, int, int], list[float]] = {}
    for j, reader in enumerate(plan.readers):
        given = {(answer.case, answer.modality): answer for answer in answers.get(reader, ())}
        for (k, case), (i, modality) in ((c, m) for c in enumerate(plan.cases)
                                         for m in enumerate(plan.modalities)):
            answer = given.get((case, modality))
            if answer is None:
                raise BadInput(f"Reader {reader} has not read all cases yet.")
            if answer.rating is not None:
                if lesions[k]:
                    found[i, j, k, 0] = answer.rating
                else:
                    others[i, j, k] = [answer.rating]
            for mark in answer.marks:
                lesion = _lesion_at(mark, lesions[k])
                if lesion is None:
                    others.setdefault((i, j, k), []).append(mark.rating)
                else:
                    found[i, j, k, lesion] = max(found[i, j, k, lesion], mark.rating)
    if not plan.free_response:  # a case is ill or not, however many lesions it has
        weights, found = (weights > 0).any(1, keepdims=True).astype(float), found[..., :1]
    return ReaderStudy(plan.modalities, plan.readers, plan.cases, weights, found,
                       as_other_ratings(others, shape), plan.free_response)


def _lesion_at(mark: Mark, lesions: Sequence[Lesion]) -> int | None:
    distances = [float(np.linalg.norm(np.subtract(mark.position, lesion.position)))
                 for lesion in lesions]
    within = [(distance, index) for index, (distance, lesion)
              in enumerate(zip(distances, lesions, strict=True)) if distance <= lesion.radius]
    return min(within)[1] if within else None
