# SPDX-License-Identifier: Apache-2.0
"""The list of heads that wait for a physician: what is known of each, and in which order.

The order, from what cannot wait to what can:

1. red;
2. heads of which the program is not sure, and says "look first";
3. heads that it could not judge: nobody knows how urgent they are;
4. black: care is thought not to improve the outcome. A physician may want them before or after red;
5. heads that are not judged yet;
6. yellow;
7. green.

Within each, who has waited longest comes first. Heads that a physician has confirmed or overruled
wait no longer: they come after all others, in the same order, under the physician's tag.
Standard library only.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import DISCLAIMER

from .decisions import UNCERTAIN

TAGS = ("red", "black", "yellow", "green")
"""In the order of the worklist."""


class State(StrEnum):
    """How far a head is."""

    WAITING = "waiting"
    JUDGING = "judging"
    JUDGED = "judged"
    REFUSED = "refused"
    CONFIRMED = "confirmed"
    OVERRULED = "overruled"


DECIDED = (State.CONFIRMED, State.OVERRULED)
_ORDER = {name: place for place, name in enumerate(
    ("red", "uncertain", "refused", "black", "open", "yellow", "green"))}


@dataclass(frozen=True)
class Study:
    """A head on the list.

    Attributes:
        key: tells it from all others, whatever is loaded.
        name: as the list shows it.
        added: UTC, ISO 8601; it has waited since.
        state: how far it is.
        result: name of the result folder; empty before it is judged.
        tag, decision, urgent_probability: of the judgement.
        physician_tag: of who confirmed or overruled it.
        remark: why it was refused or overruled.
    """

    key: str
    name: str
    added: str
    state: State = State.WAITING
    result: str = ""
    tag: str = ""
    decision: str = ""
    urgent_probability: float | None = None
    physician_tag: str = ""
    remark: str = ""

    @property
    def uncertain(self) -> bool:
        return self.decision == UNCERTAIN

    def waited(self, now: datetime) -> float:
        """Minutes since it was put on the list."""
        return max(0.0, (now - datetime.fromisoformat(self.added)).total_seconds() / 60)

    def judged(self, manifest: Mapping[str, Any]) -> Study:
        """The study with its judgement (content of ``result.json``, and the folder's name)."""
        return replace(self, state=State.JUDGED, result=manifest["result"], tag=manifest["triage"],
                       decision=manifest["decision"],
                       urgent_probability=manifest["urgent_probability"], physician_tag="",
                       remark="")

    def refused(self, sentence: str) -> Study:
        """The study that could not be judged, and why."""
        return replace(self, state=State.REFUSED, result="", tag="", decision="",
                       urgent_probability=None, physician_tag="", remark=sentence)

    def reviewed(self, event: str, tag: str, reason: str) -> Study:
        """The study with what the physician decided: ``confirmed`` or ``overruled``."""
        return replace(self, state=State(event), physician_tag=tag, remark=reason)


def new_study(key: str, name: str, now: datetime | None = None) -> Study:
    """A study that begins to wait."""
    return Study(key, name, (now or datetime.now(UTC)).astimezone(UTC).isoformat())


def urgency(study: Study) -> int:
    """Place in the order of the module's description; the smallest is looked at first."""
    if study.state in DECIDED:
        return len(_ORDER) + _ORDER[study.physician_tag]
    if study.state is State.REFUSED:
        return _ORDER["refused"]
    if study.state is not State.JUDGED:
        return _ORDER["open"]
    return _ORDER["uncertain" if study.uncertain else study.tag]


def in_order(studies: Iterable[Study]) -> list[Study]:
    """The studies as they are to be looked at."""
    return sorted(studies, key=lambda study: (urgency(study), study.added, study.key))


def next_waiting(studies: Iterable[Study]) -> Study | None:
    """The study that is to be judged next: who has waited longest."""
    waiting = [study for study in studies if study.state is State.WAITING]
    return min(waiting, key=lambda study: (study.added, study.key), default=None)


def waited_text(minutes: float) -> str:
    """Such as "5 min", "2 h 10 min" or "3 days"."""
    whole = int(minutes)
    if whole < 60:
        return f"{whole} min"
    if whole < 24 * 60:
        return f"{whole // 60} h {whole % 60} min"
    days = whole // (24 * 60)
    return f"{days} day{'s' if days > 1 else ''}"


def write_csv(studies: Iterable[Study], path: str | os.PathLike,
              now: datetime | None = None) -> None:
    """Write the list in its order, one line for each study, as UTF-8 that spreadsheets open.

    Raises:
        OSError: it cannot be written.
    """
    now = now or datetime.now(UTC)
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "state", "tag", "decision", "urgent_probability",
                         "physician_tag", "waited_min", "added", "result", "remark",
                         "disclaimer"])
        for study in in_order(studies):
            probability = study.urgent_probability
            writer.writerow([_harmless(cell) for cell in (
                study.name, study.state, study.tag, study.decision,
                "" if probability is None else f"{probability:.4f}", study.physician_tag,
                round(study.waited(now)), study.added, study.result, study.remark, DISCLAIMER)])


def _harmless(cell: Any) -> Any:
    """A spreadsheet would run a text that begins like a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell


def read_worklist(path: str | os.PathLike) -> list[Study]:
    """The studies that were kept; none where there is no file.

    What was being judged when the program ended waits again.

    Raises:
        BadInput: the file does not hold a worklist.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        written = json.loads(path.read_text("utf-8"))["studies"]
        studies = [_study(content) for content in written]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path.name} holds no worklist: remove it, or choose another folder."
                       ) from error
    return [replace(study, state=State.WAITING) if study.state is State.JUDGING else study
            for study in studies]


def _study(content: Mapping[str, Any]) -> Study:
    study = Study(**content)
    study = replace(study, state=State(study.state))
    datetime.fromisoformat(study.added).astimezone(UTC)
    urgency(study)  # a tag that is none
    return study


def write_worklist(studies: Iterable[Study], path: str | os.PathLike) -> None:
    """Keep the studies; the file is whole at any time.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps({"studies": [asdict(study) for study in studies]}, indent=1)
    unfinished.write_text(text + "\n", "utf-8")
    unfinished.replace(path)
