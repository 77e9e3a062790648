# SPDX-License-Identifier: Apache-2.0
"""The key of a database: who is which number. It is in a file that the user names, or nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ReadingRoomLib.deidentification import SECRET_BYTES, Deidentifier
from ReadingRoomLib.errors import BadInput, OutputFailed

SECRET_FILE = "secret"
_KIND = "key of a BrainTumorClassify database"


@dataclass
class Key:
    """What leads from a copy back to a patient.

    Attributes:
        secret: of the pseudonyms.
        numbers: by PatientID.
        sites: what a site is called in the list, by what it is called in the hospital.
    """

    secret: bytes = field(repr=False)
    numbers: dict[str, str] = field(default_factory=dict, repr=False)
    sites: dict[str, str] = field(default_factory=dict, repr=False)

    def number(self, identifiers: Iterable[str]) -> None:
        """Give those a number that have none, in an order that tells nothing."""
        order = Deidentifier(self.secret)
        new = sorted(set(identifiers) - self.numbers.keys(),
                     key=lambda one: order.digest("number", one))
        last = max(map(int, self.numbers.values()), default=0)
        for number, identifier in enumerate(new, last + 1):
            self.numbers[identifier] = f"{number:04}"

    def name_sites(self, sites: Iterable[str]) -> None:
        """Name those "site 1", "site 2" that have no name, in an order that tells nothing."""
        order = Deidentifier(self.secret)
        new = sorted(set(sites) - self.sites.keys(), key=lambda one: order.digest("site", one))
        for number, site in enumerate(new, len(self.sites) + 1):
            self.sites[site] = f"site {number}"


def check_place(file: Path, folders: Iterable[Path]) -> None:
    """Refuse a key file in a folder that is given away.

    Raises:
        BadInput: it lies in one of them.
    """
    resolved = file.resolve()
    if any(resolved.is_relative_to(folder.resolve()) for folder in folders):
        raise BadInput("The key must not lie in the output or among the images: name a file "
                       "elsewhere (--key).")


def open_key(file: Path | None, work: Path) -> Key:
    """The key in a file, a new one where there is none yet, or one for this run only.

    The latter is kept in the working folder, so that a run that was cut off goes on, and goes with
    it.

    Raises:
        BadInput: the file is no key.
    """
    if file is not None and file.exists():
        return _read(file)
    secret = work / SECRET_FILE
    if not secret.exists():
        write_private(secret, secrets.token_bytes(SECRET_BYTES))
    return Key(secret.read_bytes())


def _read(file: Path) -> Key:
    try:
        content = json.loads(file.read_text("utf-8"))
        if content["kind"] != _KIND:
            raise ValueError
        numbers = {str(one["patient"]): str(number)
                   for number, one in content["patients"].items()}
        key = Key(bytes.fromhex(content["secret"]), numbers,
                  {str(name): str(site) for site, name in content["sites"].items()})
        if len(key.secret) != SECRET_BYTES or not all(map(str.isdigit, numbers.values())):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInput("The file that was named for the key is no key of a database and was left "
                       "as it is: name another one (--key).") from None
    return key


def write_key(file: Path, key: Key) -> None:
    """Write a key, readable by its owner alone.

    Raises:
        OutputFailed: it cannot be written.
    """
    deidentifier = Deidentifier(key.secret)
    content = {
        "kind": _KIND, "secret": key.secret.hex(),
        "patients": {number: {"patient": identifier,
                              "days": deidentifier.pseudonym(identifier, number).days}
                     for identifier, number in sorted(key.numbers.items(),
                                                      key=lambda item: item[1])},
        "sites": {name: site for site, name in key.sites.items()},
    }
    try:
        write_private(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError:
        raise OutputFailed("The key cannot be written: name a file in a folder that you may write "
                           "to (--key).") from None


def write_private(file: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, at once; on Windows the folder's rights hold."""
    unfinished = file.with_name(f"unfinished-{file.name}")
    with contextlib.suppress(FileNotFoundError):
        unfinished.unlink()
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL
                     | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)
