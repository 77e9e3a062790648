# SPDX-License-Identifier: Apache-2.0
"""Devices are taken as named or refused with the reason; memory that runs out is lived with."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import pytest
import torch

from ReadingRoomLib import devices
from ReadingRoomLib.devices import MemoryFallback, memory_fallback, resolve_device
from ReadingRoomLib.errors import BadInput, OutOfMemory

needs_no_card = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == "cpu"


@needs_no_card
@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is Apple graphics")
def test_auto_is_the_cpu_where_there_is_nothing_else():
    assert resolve_device("auto") == "cpu"


@needs_no_card
def test_auto_says_when_a_graphics_card_stays_unused(monkeypatch):
    monkeypatch.setattr(devices, "_has_nvidia_card", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    warnings = []
    assert resolve_device("auto", warnings.append) == "cpu"
    assert len(warnings) == 1
    assert warnings[0].endswith("The computation runs on the CPU, which takes longer.")


@needs_card
def test_auto_is_the_graphics_card_where_there_is_one():
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"


@needs_no_card
def test_a_graphics_card_that_is_not_there_is_refused_with_the_reason():
    with pytest.raises(BadInput, match="PyTorch .* Choose auto or cpu"):
        resolve_device("cuda")


@pytest.mark.skipif(sys.platform == "darwin", reason="may be there")
def test_apple_graphics_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="Apple"):
        resolve_device("mps")


def test_another_device_is_refused():
    with pytest.raises(BadInput, match="tpu"):
        resolve_device("tpu")


def test_a_card_that_pytorch_finds_but_cannot_use_is_refused(monkeypatch):
    def fail(*size, device):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(BadInput, match="does not work with the installed PyTorch"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"


def in_new_process(code: str, **environment: str) -> str:
    """Return what ``code`` prints in a Python process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_pytorch_takes_no_more_threads_than_the_process_has_cores():
    code = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None)\n"
        "from ReadingRoomLib import devices\n"
        "devices.available_cores = lambda: 1\n"
        "print(devices.import_torch().get_num_threads())"
    )
    assert in_new_process(code) == "1"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_the_number_of_threads_that_the_user_chose_is_respected():
    code = (
        "from ReadingRoomLib import devices\n"
        "devices.available_cores = lambda: 1\n"
        "print(devices.import_torch().get_num_threads())"
    )
    assert in_new_process(code, OMP_NUM_THREADS="2") == "2"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cores_that_are_denied_to_the_process_do_not_count():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from ReadingRoomLib.devices import available_cores; print(available_cores())"
    )
    assert in_new_process(code) == "1"


def test_the_same_seed_gives_the_same_numbers():
    import random

    import numpy as np

    drawn = []
    for seed in (7, 7, 8):
        devices.seed_everything(seed)
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))


class Memory:
    """A computation that needs one unit of memory per item, on devices with little of it."""

    def __init__(self, **units: int) -> None:
        self.units = units
        self.calls: list[tuple[int, str]] = []

    def __call__(self, batch_size: int, device: str) -> str:
        self.calls.append((batch_size, device))
        if batch_size > self.units[device]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return f"{batch_size} on {device}"


def run(memory: Memory, batch_size: int, device: str) -> tuple[str, list[str]]:
    warnings: list[str] = []
    result = memory_fallback(memory, batch_size=batch_size, device=device, warn=warnings.append)
    return result, warnings


def test_with_enough_memory_nothing_changes():
    assert run(Memory(cuda=16), 16, "cuda") == ("16 on cuda", [])


def test_groups_become_smaller_until_they_fit_and_the_user_is_told():
    result, warnings = run(Memory(cuda=5), 16, "cuda")
    assert result == "4 on cuda"
    assert [w for w in warnings if "smaller groups (4 at once)" in w]


def test_what_fits_on_no_graphics_card_is_computed_on_the_cpu():
    memory = Memory(cuda=0, cpu=1)
    result, warnings = run(memory, 3, "cuda")
    assert result == "1 on cpu"
    assert memory.calls == [(3, "cuda"), (1, "cuda"), (1, "cpu")]
    assert "CPU" in warnings[-1]


def test_what_fits_nowhere_is_out_of_memory():
    with pytest.raises(OutOfMemory, match="smaller image"):
        run(Memory(cuda=0, cpu=0), 4, "cuda")


def test_another_error_is_not_tried_again():
    calls = []

    def compute(batch_size, device):
        calls.append(batch_size)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        memory_fallback(compute, batch_size=4, device="cpu", warn=calls.append)
    assert calls == [4]


def test_what_was_learned_about_memory_is_remembered():
    memory = Memory(cuda=2)
    fallback = MemoryFallback(8, "cuda", warn=lambda sentence: None)
    fallback.run(memory)
    memory.calls.clear()
    fallback.run(memory)
    assert memory.calls == [(2, "cuda")]


def test_the_memory_of_the_failed_attempt_is_free_before_the_next():
    held = []

    def compute(batch_size, device):
        assert not [reference for reference in held if reference() is not None]
        tensor = torch.zeros(10)
        held.append(weakref.ref(tensor))
        if batch_size > 1:
            raise MemoryError
        return batch_size

    gc.disable()
    try:
        assert memory_fallback(compute, batch_size=8, device="cpu", warn=print) == 1
    finally:
        gc.enable()
    assert len(held) == 4


def test_memory_that_really_runs_out_is_lived_with():
    item = 2**49  # elements; not even one of the larger groups fits into any computer

    def compute(batch_size, device):
        return torch.empty(0 if batch_size == 1 else item * batch_size, device=device).numel()

    warnings = []
    assert memory_fallback(compute, batch_size=4, device="cpu", warn=warnings.append) == 0
    assert len(warnings) == 2


@needs_card
def test_memory_that_runs_out_on_a_real_card_is_lived_with():
    free, _ = torch.cuda.mem_get_info()

    def compute(batch_size, device):
        if device == "cuda":
            torch.empty(free + 2**30, dtype=torch.uint8, device=device)
        return device

    warnings = []
    assert memory_fallback(compute, batch_size=2, device="cuda", warn=warnings.append) == "cpu"
    assert torch.cuda.memory_allocated() == 0
