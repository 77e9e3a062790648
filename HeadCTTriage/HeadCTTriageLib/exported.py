# SPDX-License-Identifier: Apache-2.0
"""A model for small devices: ONNX, computed by onnxruntime, without PyTorch installed.

It is a folder with ``model.onnx`` and ``model.json``, which says what the model is, how sure it may
be, and the SHA-256 of the first. ONNX is data; it is read as bytes, so that it can point to no
other file, and no operators of third parties are registered.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.errors import DependencyMissing, ModelMissing, ModelUntrusted

from .answers import RECIPES
from .certainty import Certainty
from .judging import ERROR, MOST_MISSED, Judge

GRAPH, DESCRIPTION = "model.onnx", "model.json"
MOST_BYTES = {GRAPH: 500_000_000, DESCRIPTION: 4_000_000}
INPUT = "slices"


@dataclass(frozen=True)
class ExportedModel:
    """A verified model on disk.

    Attributes:
        graph: content of ``model.onnx``.
        description: content of ``model.json``: ``name``, ``recipe``, ``version``, ``trained_on``,
            ``simulated``, ``precision``, ``bundle_sha256``, ``certainty``.
        sha256: of the graph.
    """

    graph: bytes
    description: dict[str, Any]
    sha256: str

    def described(self) -> dict[str, Any]:
        """What a result says of the model."""
        known = ("name", "recipe", "version", "trained_on", "simulated", "precision")
        return {**{key: self.description[key] for key in known}, "sha256": self.sha256}

    def judge(self, most_missed: float = MOST_MISSED, error: float = ERROR,
              threads: int = 0) -> Judge:
        """The model, ready to judge heads.

        Args:
            most_missed, error: as for :class:`.judging.Judge`.
            threads: of the computation; 0: as many as there are processors.

        Raises:
            DependencyMissing: onnxruntime is not installed.
            ModelUntrusted: it is no model of its recipe.
        """
        recipe = RECIPES[self.description["recipe"]]
        try:
            network = OnnxEngine(self.graph, threads)
            sampling = recipe.sampling  # a graph may know this size only
            small = np.zeros((2, len(sampling.windows), sampling.pixels, sampling.pixels),
                             np.float32)
            answer = recipe.read(network(recipe.inputs(small)))
            fits = answer.scores.shape == (3,) and answer.attention.shape == (2,)
        except DependencyMissing:
            raise
        except Exception as error_:  # onnxruntime raises many kinds, all its own
            raise _untrusted(self.description["name"]) from error_
        if not fits:
            raise _untrusted(self.description["name"])
        return Judge(recipe, network, Certainty.read(self.description["certainty"]), most_missed,
                     error)


class OnnxEngine:
    """A network in ONNX that takes and gives arrays.

    Args:
        graph: content of the file.
        threads: of the computation; 0: as many as there are processors.
    """

    def __init__(self, graph: bytes, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyMissing(
                "onnxruntime is not installed: install it, for example with "
                "pip install readingroom[listen].") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: np.ndarray) -> list[np.ndarray]:
        return [output.astype(np.float32) for output in self.session.run(None, {INPUT: inputs})]


def read_exported(folder: Path) -> ExportedModel:
    """Read and verify an exported model.

    Raises:
        ModelMissing: there is none.
        ModelUntrusted: it was changed, or is no model of this module.
    """
    contents = {}
    for name, most in MOST_BYTES.items():
        path = folder / name
        if not path.is_file():
            raise ModelMissing(f"{folder.name} holds no {name}: export a model first "
                               "(headcttriage export).")
        if path.stat().st_size > most:
            raise _untrusted(folder.name)
        contents[name] = path.read_bytes()
    try:
        description = json.loads(contents[DESCRIPTION])
        wanted, recipe = description["sha256"], description["recipe"]
        Certainty.read(description["certainty"])
        known = recipe in RECIPES and all(
            isinstance(description[key], kind) for key, kind in (
                ("name", str), ("version", str), ("trained_on", str), ("simulated", bool),
                ("precision", str)))
    except (ValueError, KeyError, TypeError) as error:
        raise _untrusted(folder.name) from error
    sha256 = hashlib.sha256(contents[GRAPH]).hexdigest()
    if not known or sha256 != wanted:
        raise _untrusted(folder.name)
    return ExportedModel(contents[GRAPH], description, sha256)


def write_exported(folder: Path, graph: bytes, description: dict[str, Any]) -> str:
    """Write a model into a folder that exists; returns the SHA-256 of the graph."""
    sha256 = hashlib.sha256(graph).hexdigest()
    (folder / GRAPH).write_bytes(graph)
    (folder / DESCRIPTION).write_text(
        json.dumps({**description, "sha256": sha256}, indent=1) + "\n", "utf-8")
    return sha256


def _untrusted(name: str) -> ModelUntrusted:
    return ModelUntrusted(f"The exported model {name} was changed, or was not made for this "
                          "module: export it again.")


