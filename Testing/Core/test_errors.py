# SPDX-License-Identifier: Apache-2.0
"""Every failure becomes a typed error, and the right one."""

from __future__ import annotations

import errno
import pickle

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ReadingRoomLib import errors
from ReadingRoomLib.errors import ReadingRoomError, is_out_of_memory, typed_error

EXIT_CODES = {
    "INTERNAL": 1,
    "BAD_INPUT": 10,
    "MODEL_MISSING": 11,
    "MODEL_UNTRUSTED": 12,
    "OUT_OF_MEMORY": 13,
    "OUTPUT_FAILED": 14,
    "DOWNLOAD_FAILED": 15,
    "DEPENDENCY_MISSING": 16,
    "CANCELLED": 130,
}


def test_codes_and_exit_codes_are_those_that_scripts_rely_on():
    assert {code: kind.exit_code for code, kind in errors.ERROR_TYPES.items()} == EXIT_CODES


@pytest.mark.parametrize("kind", errors.ERROR_TYPES.values())
def test_an_error_keeps_its_sentence(kind):
    error = kind("The CT ends above the knee.")
    assert error.message == str(error) == "The CT ends above the knee."
    assert isinstance(error, ReadingRoomError)
    assert pickle.loads(pickle.dumps(error)).message == error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInput("One sentence."), "BAD_INPUT"),
        (KeyboardInterrupt(), "CANCELLED"),
        (MemoryError(), "OUT_OF_MEMORY"),
        (RuntimeError("CUDA error: out of memory"), "OUT_OF_MEMORY"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "OUT_OF_MEMORY"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "OUT_OF_MEMORY"),
        (ValueError("we are out of memory cards"), "INTERNAL"),
        (OSError(errno.ENOSPC, "No space left on device"), "OUTPUT_FAILED"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "OUTPUT_FAILED"),
        (OSError(errno.EFBIG, "File too large"), "OUTPUT_FAILED"),
        (OSError(errno.EROFS, "Read-only file system", "out/labels.nrrd"), "OUTPUT_FAILED"),
        (PermissionError(errno.EACCES, "Permission denied", "out/labels.nrrd"), "OUTPUT_FAILED"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "OUTPUT_FAILED"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "out/sub"), "OUTPUT_FAILED"),
        (PermissionError(errno.EACCES, "Permission denied", "outside/ct.nrrd"), "INTERNAL"),
        (PermissionError(errno.EACCES, "Permission denied"), "INTERNAL"),
        (FileNotFoundError(errno.ENOENT, "No such file", "out/labels.nrrd"), "INTERNAL"),
        (ModuleNotFoundError("No module named 'monai'", name="monai"), "DEPENDENCY_MISSING"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
)
def test_the_code_fits_what_happened(error, code):
    typed = typed_error(error, output_folders=["out"])
    assert typed.code == code
    assert typed.message.endswith(".")


def test_the_sentence_on_a_missing_package_names_it():
    error = ModuleNotFoundError("No module named 'monai'", name="monai")
    assert "monai" in typed_error(error).message


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(10**15),
        lambda: np.empty((10**6, 10**6, 10**3)),
        lambda: sitk.Image([10**5, 10**5, 10**5], sitk.sitkFloat64),
        lambda: bytearray(2**60),
    ],
    ids=["torch", "numpy", "SimpleITK", "Python"],
)
def test_libraries_that_really_run_out_of_memory_are_understood(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)
