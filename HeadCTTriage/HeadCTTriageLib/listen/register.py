# SPDX-License-Identifier: Apache-2.0
"""What a node knows, in SQLite: which images came, in which state each series is, what is sent.

A series is *received* while images come, *complete* when no more are awaited, *judging*, *judged*
when its result is on the disk, and *sent* when every destination has it. It ends otherwise as *not
judged*, for a reason, or *incomplete*. Every step is one transaction that is on the disk when the
method returns, so that a node killed at any moment goes on where it was.

No patient data are in here: studies, series and images go by a keyed hash of their unique
identifiers, of which the key never leaves the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Completeness, Retries

RECEIVED, COMPLETE, JUDGING, JUDGED, SENT = "received", "complete", "judging", "judged", "sent"
NOT_JUDGED, INCOMPLETE = "not judged", "incomplete"
STATES = (RECEIVED, COMPLETE, JUDGING, JUDGED, SENT, NOT_JUDGED, INCOMPLETE)
MOST_CRASHES = 3
"""After as many a series is left alone: it would stop all that come after it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS series (
    key TEXT PRIMARY KEY, study TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    revision INTEGER NOT NULL, images INTEGER NOT NULL, others INTEGER NOT NULL,
    began REAL NOT NULL, arrived REAL NOT NULL, released REAL, broken REAL, mended REAL NOT NULL,
    completed REAL, judged REAL, rank TEXT, crashes INTEGER NOT NULL, judgement TEXT);
CREATE INDEX IF NOT EXISTS series_by_state ON series (state);
CREATE INDEX IF NOT EXISTS series_by_study ON series (study);
CREATE TABLE IF NOT EXISTS images (key TEXT PRIMARY KEY, series TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS images_by_series ON images (series);
CREATE TABLE IF NOT EXISTS sends (
    series TEXT NOT NULL, revision INTEGER NOT NULL, destination TEXT NOT NULL,
    object TEXT NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL, sent REAL,
    reason TEXT NOT NULL, PRIMARY KEY (series, revision, destination, object));
"""


@dataclass(frozen=True)
class Place:
    """Where an image belongs, as hashes."""

    study: str
    series: str
    image: str


@dataclass(frozen=True)
class Claim:
    """A series that is to be judged.

    Attributes:
        key, study: hashes.
        revision: from 1; one more each time that images come after it was complete.
        images: how many.
    """

    key: str
    study: str
    revision: int
    images: int

    @property
    def result(self) -> str:
        """Name of its result folder."""
        return f"{self.key}-{self.revision}"


@dataclass(frozen=True)
class Send:
    """An object that a destination does not have yet."""

    series: str
    revision: int
    destination: str
    object: str
    attempts: int

    @property
    def result(self) -> str:
        """Name of the result folder that holds it."""
        return f"{self.series}-{self.revision}"


class Register:
    """The file; safe to be used by several threads.

    Args:
        path: of the database, which is made when absent.
        rules: when a series is complete.

    Times are seconds since 1970.
    """

    def __init__(self, path: Path, rules: Completeness) -> None:
        self.rules = rules
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        with self._transaction() as database:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            if database.execute("SELECT key FROM secret").fetchone() is None:
                database.execute("INSERT INTO secret VALUES (?)", (secrets.token_bytes(32),))
        self._key = self._database.execute("SELECT key FROM secret").fetchone()[0]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    # --- images come ---------------------------------------------------------------------------

    def place(self, study_uid: str, series_uid: str, image_uid: str) -> Place:
        """The hashes of an image's unique identifiers."""
        return Place(self._hash(study_uid), self._hash(study_uid, series_uid),
                     self._hash(image_uid))

    def _hash(self, *uids: str) -> str:
        return hmac.new(self._key, "\n".join(uids).encode(), hashlib.sha256).hexdigest()[:32]

    def knows(self, image: str) -> bool:
        return bool(self._rows("SELECT 1 FROM images WHERE key = ?", (image,)))

    def images_of(self, series: str) -> int:
        rows = self._rows("SELECT images FROM series WHERE key = ?", (series,))
        return rows[0]["images"] if rows else 0

    def add_image(self, place: Place, now: float) -> bool:
        """Note an image that is on the disk; returns whether it was new.

        One that comes after its series was complete opens the series again: it will be judged
        anew, over all its images.
        """
        with self._transaction() as database:
            self._open(database, place, now)
            new = database.execute("INSERT OR IGNORE INTO images VALUES (?, ?)",
                                   (place.image, place.series)).rowcount
            if new:
                database.execute(
                    "UPDATE series SET images = images + 1, revision = revision + (state IN "
                    f"('{JUDGING}', '{JUDGED}', '{SENT}')), state = ?, reason = '', crashes = 0, "
                    "arrived = ?, released = NULL WHERE key = ?", (RECEIVED, now, place.series))
        return bool(new)

    def add_other(self, place: Place, now: float) -> None:
        """Note a localizer, or another image that is never judged and not kept."""
        with self._transaction() as database:
            self._open(database, place, now)
            database.execute("UPDATE series SET others = others + 1 WHERE key = ?", (place.series,))

    def add_again(self, place: Place, now: float) -> None:
        """Note that an image came that was there already: its sender begins again."""
        with self._transaction() as database:
            self._open(database, place, now)

    def _open(self, database: sqlite3.Connection, place: Place, now: float) -> None:
        database.execute(
            "INSERT OR IGNORE INTO series VALUES "
            "(?, ?, ?, '', 1, 0, 0, ?, ?, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL)",
            (place.series, place.study, RECEIVED, now, now))
        database.execute(
            f"UPDATE series SET arrived = ?, released = NULL, state = '{RECEIVED}', reason = '' "
            f"WHERE key = ? AND state IN ('{RECEIVED}', '{INCOMPLETE}')", (now, place.series))

    def end_visit(self, released: Iterable[str], interrupted: Iterable[str], began: float,
                  last: float, now: float) -> None:
        """Note how an association ended.

        Only one that began after what was interrupted mends it; which of the two is noted first
        does not matter.

        Args:
            released: series that it brought in order.
            interrupted: series of which it did not bring all: it broke off, or was refused some.
            began: when it was accepted.
            last: when its last object came.
            now: when this was noted.
        """
        with self._transaction() as database:
            database.executemany(
                "UPDATE series SET released = ?, mended = MAX(mended, ?), "
                "broken = CASE WHEN broken < ? THEN NULL ELSE broken END WHERE key = ?",
                [(now, began, began, key) for key in released])
            database.executemany(
                "UPDATE series SET broken = ?, released = NULL WHERE key = ? AND mended <= ?",
                [(last, key, last) for key in interrupted])

    def recover(self, now: float) -> None:
        """Begin after a stop of any kind: what was under way is open, or to be done, again."""
        self.put_back()
        with self._transaction() as database:
            # the associations that were open ended with us
            database.execute("UPDATE series SET broken = ? WHERE state = ? AND released IS NULL",
                             (now, RECEIVED))

    # --- series are complete -------------------------------------------------------------------

    def quiet_series(self, now: float) -> list[sqlite3.Row]:
        """Open series from which nothing more is awaited (key, study, images)."""
        rules = self.rules
        return self._rows(
            "SELECT key, study, images FROM series WHERE state = ? AND broken IS NULL AND "
            "(arrived <= ? OR MAX(released, arrived) <= ?) ORDER BY arrived",
            (RECEIVED, now - rules.silence, now - rules.after_release))

    def give_up(self, now: float) -> list[str]:
        """Mark what was interrupted and never finished as incomplete; returns the keys."""
        with self._transaction() as database:
            return [row["key"] for row in database.execute(
                "UPDATE series SET state = ?, reason = 'The transfer broke off and was not "
                "repeated.' WHERE state = ? AND broken IS NOT NULL AND arrived <= ? "
                "RETURNING key", (INCOMPLETE, RECEIVED, now - self.rules.give_up)).fetchall()]

    def complete(self, key: str, images: int, rank: Sequence[float], now: float) -> None:
        """Queue a series, unless more images came since it was looked at.

        Args:
            key: of the series.
            images: how many there were.
            rank: less is better, compared with others of the study.
            now: when.
        """
        with self._transaction() as database:
            database.execute(
                "UPDATE series SET state = ?, completed = ?, rank = ? "
                "WHERE key = ? AND state = ? AND images = ?",
                (COMPLETE, now, json.dumps(list(rank)), key, RECEIVED, images))

    def refuse(self, key: str, state: str, reason: str, images: int | None = None,
               revision: int | None = None) -> bool:
        """End a series without a judgement; returns whether.

        Args:
            key: of the series.
            state: in which it must still be.
            reason: in a sentence.
            images, revision: that it must still have.
        """
        with self._transaction() as database:
            return database.execute(
                "UPDATE series SET state = ?, reason = ? WHERE key = ? AND state = ? "
                "AND images = COALESCE(?, images) AND revision = COALESCE(?, revision)",
                (NOT_JUDGED, reason, key, state, images, revision)).rowcount > 0

    # --- series are judged ---------------------------------------------------------------------

    def claim(self) -> Claim | None:
        """The next series to judge, if any: studies in order of arrival, of each the best.

        A study of which other series still come waits for them, but for interrupted ones. A series
        that is no better than one of its study that is judged is not judged.
        """
        waiting = self._rows("SELECT * FROM series WHERE state = ? ORDER BY completed", (COMPLETE,))
        for study in dict.fromkeys(row["study"] for row in waiting):
            if self._rows("SELECT 1 FROM series WHERE study = ? AND state = ? AND broken IS NULL",
                          (study, RECEIVED)):
                continue
            done = [json.loads(row["rank"]) for row in self._rows(
                "SELECT rank FROM series WHERE study = ? AND state IN (?, ?)",
                (study, JUDGED, SENT))]
            ranked = sorted((row for row in waiting if row["study"] == study),
                            key=lambda row: (json.loads(row["rank"]), row["completed"]))
            for row in ranked:
                if not done or json.loads(row["rank"]) < min(done):
                    return self._claim(row)
                self.refuse(row["key"], COMPLETE,
                            "Another series of the study, as good or better, is judged.")
        return None

    def _claim(self, row: sqlite3.Row) -> Claim | None:
        with self._transaction() as database:
            taken = database.execute(
                "UPDATE series SET state = ? WHERE key = ? AND state = ? AND images = ?",
                (JUDGING, row["key"], COMPLETE, row["images"])).rowcount
        return Claim(row["key"], row["study"], row["revision"], row["images"]) if taken else None

    def judged(self, claim: Claim, judgement: dict[str, Any], objects: Sequence[str],
               destinations: Sequence[str], now: float) -> bool:
        """Note a judgement and queue what is to be sent.

        Args:
            claim: what was judged.
            judgement: what the status page shows of it.
            objects: names of the files to send.
            destinations: to whom.
            now: when.

        Returns:
            Whether it counts: not if more images came meanwhile.
        """
        with self._transaction() as database:
            counts = database.execute(
                "UPDATE series SET state = ?, judged = ?, judgement = ?, reason = '' "
                "WHERE key = ? AND revision = ? AND state = ?",
                (JUDGED, now, json.dumps(judgement), claim.key, claim.revision, JUDGING)).rowcount
            if not counts:
                return False
            # a judgement over fewer images that nobody has yet is not worth sending any more
            database.execute("DELETE FROM sends WHERE series = ? AND sent IS NULL", (claim.key,))
            database.executemany(
                "INSERT OR IGNORE INTO sends VALUES (?, ?, ?, ?, ?, 0, NULL, '')",
                [(claim.key, claim.revision, destination, name, now)
                 for destination in destinations for name in objects])
        return True

    def put_back(self) -> None:
        """Queue again what was being judged and cannot be, through no fault of its own."""
        with self._transaction() as database:
            database.execute("UPDATE series SET state = ? WHERE state = ?", (COMPLETE, JUDGING))

    def crashed(self, claim: Claim, reason: str) -> bool:
        """Note that a computation died; returns whether it is tried again."""
        with self._transaction() as database:
            database.execute(
                "UPDATE series SET crashes = crashes + 1, "
                "state = CASE WHEN crashes + 1 < ? THEN ? ELSE ? END, "
                "reason = CASE WHEN crashes + 1 < ? THEN '' ELSE ? END "
                "WHERE key = ? AND revision = ? AND state = ?",
                (MOST_CRASHES, COMPLETE, NOT_JUDGED, MOST_CRASHES, reason, claim.key,
                 claim.revision, JUDGING))
            row = database.execute("SELECT state FROM series WHERE key = ?",
                                   (claim.key,)).fetchone()
        return row["state"] == COMPLETE

    # --- results are sent ----------------------------------------------------------------------

    def due_sends(self, destination: str, now: float) -> list[Send]:
        """What a destination is to be sent now, the oldest first."""
        return [Send(*row) for row in self._rows(
            "SELECT series, revision, destination, object, attempts FROM sends "
            "WHERE destination = ? AND sent IS NULL AND due <= ? ORDER BY due, rowid",
            (destination, now))]

    def sent(self, send: Send, now: float) -> None:
        """Note that a destination has an object."""
        with self._transaction() as database:
            database.execute(
                "UPDATE sends SET sent = ?, reason = '' WHERE series = ? AND revision = ? "
                "AND destination = ? AND object = ?",
                (now, send.series, send.revision, send.destination, send.object))
            database.execute(
                "UPDATE series SET state = ? WHERE key = ? AND state = ? AND revision = ? AND "
                "NOT EXISTS (SELECT 1 FROM sends WHERE series = key AND sent IS NULL)",
                (SENT, send.series, JUDGED, send.revision))

    def postpone(self, sends: Iterable[Send], reason: str, retries: Retries, now: float) -> None:
        """Note that a destination could not be reached, or did not want an object."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE sends SET attempts = attempts + 1, due = ?, reason = ? WHERE series = ? "
                "AND revision = ? AND destination = ? AND object = ?",
                [(now + min(retries.longest, retries.first * 2 ** min(send.attempts, 40)), reason,
                  send.series, send.revision, send.destination, send.object) for send in sends])

    # --- what is told and what is forgotten ----------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Number of series by state."""
        found = {row[0]: row[1] for row in self._rows(
            "SELECT state, COUNT(*) FROM series GROUP BY state")}
        return {state: found.get(state, 0) for state in STATES}

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The series of which something came last."""
        return [dict(row) for row in self._rows(
            "SELECT * FROM series ORDER BY arrived DESC, rowid DESC LIMIT ?", (count,))]

    def waiting_sends(self) -> list[dict[str, Any]]:
        """By destination: how many objects wait, since how many attempts, and why."""
        return [dict(row) for row in self._rows(
            "SELECT destination, COUNT(*) AS objects, MAX(attempts) AS attempts, "
            "MIN(due) AS next, MAX(reason) AS reason FROM sends WHERE sent IS NULL "
            "GROUP BY destination ORDER BY destination")]

    def outdated(self, before: float) -> list[tuple[str, str, int]]:
        """Series that have ended, and of which nothing came since: (study, key, revisions)."""
        return [tuple(row) for row in self._rows(
            "SELECT study, key, revision FROM series WHERE arrived < ? AND state IN (?, ?, ?, ?) "
            "AND NOT EXISTS (SELECT 1 FROM sends WHERE series = key AND sent IS NULL)",
            (before, JUDGED, SENT, NOT_JUDGED, INCOMPLETE))]

    def forget(self, key: str) -> None:
        """Remove a series and its images."""
        with self._transaction() as database:
            for table, column in (("images", "series"), ("sends", "series"), ("series", "key")):
                database.execute(f"DELETE FROM {table} WHERE {column} = ?", (key,))
