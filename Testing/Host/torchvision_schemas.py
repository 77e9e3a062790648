# SPDX-License-Identifier: Apache-2.0
"""Lets torchvision be imported beside a PyTorch that its compiled operators do not fit.

A package index may offer torchvision only in the build for another PyTorch, such as that with CUDA
beside one for the processor. Its compiled part then does not load, and torchvision stops on import
because the operators that it describes are unknown. Their schemas are enough for that; whoever
calls one of them gets an error. This is for tests and benchmarks; a product environment has a
torchvision that fits.
"""

import importlib.abc
import importlib.util
import sys
from pathlib import Path

SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
           "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_kept = []  # a library's schemas live as long as it does


def install() -> None:
    """Declare the schemas when torchvision is imported for the first time, and only if needed."""
    if "torchvision" not in sys.modules and not any(
            isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare_missing()
        return None  # others find it


def _declare_missing() -> None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        return
    import torch

    try:
        for library in Path(spec.origin).parent.glob("_C*"):
            torch.ops.load_library(library)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        _kept.append(library)
