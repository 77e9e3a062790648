# SPDX-License-Identifier: Apache-2.0
"""Ending a process together with everything that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path


def process_exists(pid: int) -> bool:
    """Whether the process is running. One that has ended but was not waited for is not."""
    if sys.platform == "win32":
        return _windows_process_exists(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return not _is_zombie(pid)


def kill_process_tree(pid: int, grace: float = 3.0) -> None:
    """End a process, its children, their children and so on.

    Parameters
    ----------
    pid : int
        The process at the root of the tree. That it has ended already is no error.
    grace : float
        Seconds in which the root may clean up and end its children itself (SIGTERM), before all
        that is left is killed (SIGKILL). With 0 all are killed at once. Windows has no such
        request, so it always kills at once.
    """
    if sys.platform == "win32":
        # taskkill follows the tree itself, including what is started meanwhile.
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        return
    family = [pid, *descendants(pid)]
    if grace > 0:
        _signal_all([pid], signal.SIGTERM)
        _wait_for_end([pid], grace)
    # Once more, for what was started after the first look.
    _kill_all([*family, *(child for known in family for child in descendants(known))])


def kill_descendants(pid: int) -> None:
    """Kill the children of a process, their children and so on, but not the process itself.

    Windows ends them with their console, or with ``taskkill`` from outside; here it does nothing.
    """
    if sys.platform != "win32":
        _kill_all(descendants(pid))


def _kill_all(pids: list[int]) -> None:
    _signal_all(pids, signal.SIGKILL)
    _wait_for_end(pids, 5.0)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on, nearest first."""
    children = _children_by_parent()
    found: list[int] = []
    generation = [pid]
    while generation:
        generation = [child for parent in generation for child in children[parent]]
        found += generation
    return found


def _children_by_parent() -> defaultdict[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid, parent in _all_processes():
        children[parent].append(pid)
    return children


def _all_processes() -> list[tuple[int, int]]:
    """Return (process, parent) of all processes of this computer."""
    return _processes_of_proc() if _has_proc() else _processes_of_ps()


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()  # Linux; macOS has none


def _processes_of_proc() -> list[tuple[int, int]]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _proc_stat(int(entry))
            if fields:
                found.append((int(entry), int(fields[1])))
    return found


def _processes_of_ps() -> list[tuple[int, int]]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    return [tuple(map(int, line.split())) for line in listing.splitlines()]


def _proc_stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty when there is none.

    The program's name before them, in parentheses, may itself hold spaces and parentheses.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    if _has_proc():
        return _proc_stat(pid)[:1] in (["Z"], ["X"])
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return state.strip().startswith("Z")


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _wait_for_end(pids: list[int], seconds: float) -> None:
    # By looking, not by waitpid: whoever started a process wants to collect its exit code.
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(process_exists, pids)):
        time.sleep(0.02)


def _windows_process_exists(pid: int) -> bool:
    # os.kill(pid, 0) would send Ctrl-C there.
    import ctypes

    query_limited_information, still_active = 0x1000, 259
    kernel = ctypes.windll.kernel32
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return False
    exit_code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(exit_code))
    kernel.CloseHandle(handle)
    return exit_code.value == still_active
