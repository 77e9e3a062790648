# SPDX-License-Identifier: Apache-2.0
"""Where a computation runs, and what to do when memory runs out there."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from .errors import BadInput, OutOfMemory, is_out_of_memory

Result = TypeVar("Result")

DEVICES = ("auto", "cpu", "cuda", "mps")


def import_torch() -> ModuleType:
    """Return PyTorch, told not to use more threads than this process has cores.

    In a container or on a cluster a process may have two of a computer's sixty-four cores.
    PyTorch counts all; its threads would then wait for each other. OMP_NUM_THREADS is respected.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    return torch


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _container_cores() or cores))


def _container_cores() -> int | None:
    """Return the cores that a Linux container is limited to (control groups, version 2)."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return round(int(quota) / int(period))
    except (OSError, ValueError):  # not Linux, or "max": no limit
        return None


def resolve_device(name: str, warn: Callable[[str], None] | None = None) -> str:
    """Return the device that ``name`` means on this computer.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "mps"}
        ``"auto"`` takes the graphics card when there is one that PyTorch can use.
    warn : callable, optional
        Called with one sentence when ``"auto"`` has to do without a graphics card that is there.

    Returns
    -------
    str
        ``"cpu"``, ``"cuda"`` or ``"mps"``. Only for ``"cpu"`` PyTorch is not imported.

    Raises
    ------
    BadInput
        When the device was named but is not there.
    """
    if name not in DEVICES:
        raise BadInput(f"The device is one of {', '.join(DEVICES)}, not {name}.")
    if name == "cpu":
        return name
    obstacles = {"cuda": _cuda_obstacle, "mps": _mps_obstacle}
    if name != "auto":
        obstacle = obstacles[name]()
        if obstacle:
            raise BadInput(f"{obstacle} Choose auto or cpu as the device.")
        return name
    for device, obstacle_of in obstacles.items():
        if not obstacle_of():
            return device
    if warn is not None and _has_nvidia_card():
        warn(f"{_cuda_obstacle()} The computation runs on the CPU, which takes longer.")
    return "cpu"


def _cuda_obstacle() -> str:
    """Return the sentence that says why CUDA cannot be used, empty when it can."""
    torch = import_torch()
    if torch.version.cuda is None and torch.version.hip is None:
        return "The installed PyTorch cannot use a graphics card (it is the CPU version)."
    if not torch.cuda.is_available():
        return "PyTorch finds no usable NVIDIA graphics card or driver."
    try:
        torch.zeros(1, device="cuda")  # an unknown generation of cards fails only when used
    except RuntimeError:
        return "The graphics card does not work with the installed PyTorch, or it is occupied."
    return ""


def _mps_obstacle() -> str:
    torch = import_torch()
    return "" if torch.backends.mps.is_available() else "This computer has no Apple graphics."


def _has_nvidia_card() -> bool:
    return os.path.exists("/proc/driver/nvidia/version") or os.path.exists(
        os.path.join(os.environ.get("SystemRoot", ""), "System32", "nvcuda.dll")
    )


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python and, as far as they are loaded, of numpy and PyTorch."""
    import random

    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def release_memory() -> None:
    """Give unused memory back, that of the graphics card too. Imports nothing."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()


class MemoryFallback:
    """Runs computations in groups as large, and on a device as fast, as memory allows.

    What was found out stays: after the memory ran out once, all later computations use the
    smaller groups, or the CPU.

    Parameters
    ----------
    batch_size : int
        Number of items (slices, patches) to compute at once, to begin with.
    device : str
        The device to begin with.
    warn : callable
        Called with one sentence each time that something had to be made smaller.
    """

    def __init__(self, batch_size: int, device: str, warn: Callable[[str], None]) -> None:
        self.batch_size = batch_size
        self.device = device
        self._warn = warn

    def run(self, compute: Callable[[int, str], Result]) -> Result:
        """Return ``compute(batch_size, device)``, called anew with less when memory runs out.

        ``compute`` has to put its network on the device it is given.

        Raises
        ------
        OutOfMemory
            When not even one item at a time fits on the CPU.
        """
        while True:
            try:
                return compute(self.batch_size, self.device)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the except block, where the error would hold on to what filled the memory.
            release_memory()
            self._take_less()

    def _take_less(self) -> None:
        if self.batch_size > 1:
            self.batch_size = max(1, self.batch_size // 2)
            self._warn(f"Memory was short: computed in smaller groups ({self.batch_size} at once).")
        elif self.device != "cpu":
            self.device = "cpu"
            self._warn("The graphics card has too little memory: computed on the CPU.")
        else:
            raise OutOfMemory(
                "There is not enough memory for this computation: close other programs, "
                "or choose a smaller image."
            )


def memory_fallback(
    compute: Callable[[int, str], Result],
    *,
    batch_size: int,
    device: str,
    warn: Callable[[str], None],
) -> Result:
    """Return ``compute(batch_size, device)``; with smaller batches, then on the CPU, if need be.

    For a single computation; :class:`MemoryFallback` remembers for the next.
    """
    return MemoryFallback(batch_size, device, warn).run(compute)


def fast_in_bfloat16(device: str) -> bool:
    """Whether the device computes convolutions in bfloat16 faster than in float32.

    Processors need matrix units for it (AMX, AVX512-BF16); elsewhere bfloat16 is emulated.
    """
    torch = import_torch()
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    if device != "cpu":
        return False
    # not public in PyTorch yet, so its absence must not hurt
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())
