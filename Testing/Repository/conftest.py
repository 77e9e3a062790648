# SPDX-License-Identifier: Apache-2.0
"""What every test of the repository needs: its root and the files that belong to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".venv", "demo", "build", "photos", "benchmarks", "__pycache__"}


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def project_files() -> list[Path]:
    """Return every file of the project: those git tracks, or all but outputs without git."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0 and listing.stdout:
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        paths = [
            path
            for path in ROOT.rglob("*")
            if not NOT_OURS.intersection(path.relative_to(ROOT).parts[:1])
            and "__pycache__" not in path.parts
        ]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="session")
def python_files(project_files: list[Path]) -> list[Path]:
    """Return every Python file of the project."""
    return [path for path in project_files if path.suffix == ".py"]
