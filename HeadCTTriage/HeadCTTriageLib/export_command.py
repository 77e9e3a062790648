# SPDX-License-Identifier: Apache-2.0
"""From a model in PyTorch to one for small devices."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput, DependencyMissing
from ReadingRoomLib.images import read_image

from .answers import RECIPES, Recipe
from .brain import locate_brain
from .certainty import RED
from .engines import TorchEngine, load_model
from .exported import INPUT, OnnxEngine, write_exported
from .slices import sample_slices

PRECISIONS = ("float32", "float16", "int8")
EXAMPLE_SLICES = 4
OPSET = 18


def run(job: Job, model: str, recipe: str | None, precision: str, examples: Sequence[Path]) -> None:
    """Export a model and compare it with the original.

    Args:
        job: gets the files and how far both differ.
        model: name in the registry or folder of a bundle.
        recipe: what the model must have been trained as, or None.
        precision: float32, float16 or int8.
        examples: CTs of heads; int8 needs them to see how large numbers become.

    Raises:
        BadInput: int8 without examples, or an example is no head.
        DependencyMissing: onnx or onnxruntime is not installed.
    """
    if precision == "int8" and not examples:
        raise BadInput("int8 needs examples to see how large numbers become: name one or more CTs "
                       "of heads (--example).")
    job.progress.stage("read", len(examples) + 1, "Reading")
    bundle = load_model(model, recipe)
    known = RECIPES[bundle.metadata["recipe"]]
    heads = []
    for number, path in enumerate(examples, 1):
        ct = read_image(path, "CT").image
        heads.append(sample_slices(ct, locate_brain(ct), known.sampling))
        job.progress.advance(number)
    job.record(model=bundle.described())
    job.progress.stage("export", 2, "Exporting")
    graph = to_onnx(bundle.network, known, precision, heads)
    job.progress.advance(1)
    heads = heads or [_texture(known)]
    difference = score_difference(bundle.network, graph, known, heads)
    sha256 = write_exported(job.folder, graph, description_of(bundle, precision))
    job.record(files={"graph": "model.onnx", "description": "model.json"}, precision=precision,
               bytes=len(graph), sha256=sha256, largest_score_difference=round(difference, 5),
               compared_on=f"{len(examples)} CTs" if examples else "random texture")
    job.progress.advance(2)


def description_of(bundle: Bundle, precision: str) -> dict:
    """``model.json`` of an exported model, but for the SHA-256 of its graph."""
    metadata = bundle.metadata
    same = ("name", "recipe", "version", "trained_on", "simulated", "certainty")
    return {**{key: metadata[key] for key in same}, "precision": precision,
            "bundle_sha256": bundle.sha256}


def to_onnx(network: nn.Module, recipe: Recipe, precision: str,
            heads: Sequence[np.ndarray] = ()) -> bytes:
    """A network as an ONNX graph, for any number of slices of any size.

    Args:
        network: of ``recipe``.
        recipe: what it sees.
        precision: float32; float16: weights and computation, input and outputs stay float32; int8:
            weights and activations of convolutions, quantised statically.
        heads: slices (slices, windows, height, width) for int8.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{precision} is none of {PRECISIONS}")
    graph = _traced(network, recipe)
    if precision == "float16":
        return _halved(graph)
    return _quantised(graph, recipe, heads) if precision == "int8" else graph


def score_difference(network: nn.Module, graph: bytes, recipe: Recipe,
                     heads: Sequence[np.ndarray]) -> float:
    """Largest difference of the logit of being urgent between a network and its graph."""
    engines = TorchEngine(network), OnnxEngine(graph)
    scores = [[recipe.read(engine(recipe.inputs(head))).scores[RED] for engine in engines]
              for head in heads]
    return float(np.abs(np.diff(scores)).max())


def _traced(network: nn.Module, recipe: Recipe) -> bytes:
    example = torch.from_numpy(recipe.inputs(_texture(recipe, EXAMPLE_SLICES)))
    slices = torch.export.Dim("slices", min=1, max=512)
    try:
        with _silence():
            program = torch.onnx.export(
                network.eval().to(memory_format=torch.contiguous_format), (example,),
                dynamo=True, opset_version=OPSET, input_names=[INPUT],
                output_names=list(recipe.outputs), verbose=False,
                dynamic_shapes=({example.ndim - 4: slices},))
    except ImportError as error:
        raise DependencyMissing("onnx and onnxscript are not installed: install them, for example "
                                "with pip install readingroom[export].") from error
    return program.model_proto.SerializeToString()


def _halved(graph: bytes) -> bytes:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _silence():
        # what it would leave in float32 by itself (Resize) it wires wrongly
        model = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True,
                                         op_block_list=[])
    return model.SerializeToString()


def _quantised(graph: bytes, recipe: Recipe, heads: Sequence[np.ndarray]) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Heads(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(heads)

        def get_next(self):
            head = next(self.left, None)
            return None if head is None else {INPUT: recipe.inputs(head)}

    with tempfile.TemporaryDirectory() as folder, _silence():
        plain, ready, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        plain.write_bytes(graph)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(ready, small, Heads(), op_types_to_quantize=["Conv"], per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        return small.read_bytes()


def _texture(recipe: Recipe, slices: int | None = None) -> np.ndarray:
    """Slices of smooth noise, where no CT is at hand."""
    sampling = recipe.sampling
    random = np.random.default_rng(0)
    coarse = random.random((slices or sampling.slices, len(sampling.windows),
                            sampling.pixels // 8, sampling.pixels // 8), np.float32)
    return np.kron(coarse, np.ones((1, 1, 8, 8), np.float32))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporters talk a lot about what does not concern a user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()),
              contextlib.redirect_stderr(io.StringIO())):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
