# SPDX-License-Identifier: Apache-2.0
"""The folder that holds the results of all heads, the worklist and the audit log.

Standard library only.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ReadingRoomLib.results import read_result

from .audit_log import AuditLog
from .worklist import Study, read_worklist, write_worklist


class TriageFolder:
    """Knows where what is kept.

    Args:
        path: of the folder; it is made when something is kept.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.log = AuditLog(self.path / "audit.jsonl")

    def new_result(self) -> Path:
        """A folder for a result, not there yet; its name tells nothing but the time."""
        now = datetime.now(UTC)
        return self.path / "results" / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"

    def manifest(self, result: str) -> dict[str, Any]:
        """The content of the ``result.json`` of a result, with its name as ``result``.

        Raises:
            BadInput: there is no such result.
        """
        return {**read_result(self._result(result)), "result": result}

    def contact_sheet(self, result: str) -> str:
        """Path of the picture of a result; empty where there is none."""
        path = self._result(result) / "contact_sheet.png"
        return str(path) if result and path.is_file() else ""

    def studies(self) -> list[Study]:
        """The worklist; see :func:`.worklist.read_worklist`."""
        return read_worklist(self._worklist)

    def keep(self, studies: list[Study]) -> None:
        """Keep the worklist; see :func:`.worklist.write_worklist`."""
        write_worklist(studies, self._worklist)

    def _result(self, name: str) -> Path:
        return self.path / "results" / Path(name).name

    @property
    def _worklist(self) -> Path:
        return self.path / "worklist.json"
