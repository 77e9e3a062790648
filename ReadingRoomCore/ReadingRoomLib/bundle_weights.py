# SPDX-License-Identifier: Apache-2.0
"""The weights of a bundle: written, checked before they are read, and given to a network.

Format: safetensors, whose header says what lies where; a pickle would run code when it is opened.
Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .bundle_data import WEIGHTS, Refusal, decode_json, quote

if TYPE_CHECKING:
    import torch

WEIGHTS_HEADER_LIMIT = 4 * 1024**2
TENSOR_NAME_PATTERN = re.compile(r"[\w.\-]{1,512}", re.ASCII)
# safetensors types that we accept and their size in bytes. Integers are counters such as batch
# normalisation's `num_batches_tracked`.
TENSOR_TYPES = {"F16": 2, "F32": 4, "I64": 8, "I8": 1}
SCALE = ".int8_scale"


def encode_weights(state_dict: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> bytes:
    """The weights as a safetensors file; ``dtype`` as in `ReadingRoomLib.bundles.write_bundle`."""
    import safetensors.torch
    import torch

    stored = {}
    for name, tensor in state_dict.items():
        tensor = tensor.detach().cpu()
        if dtype == torch.int8 and tensor.is_floating_point():
            stored |= _as_int8(name, tensor.float())
        elif dtype is not None and tensor.is_floating_point():
            stored[name] = tensor.to(dtype)
        else:
            stored[name] = tensor
    return safetensors.torch.save({n: t.contiguous().clone() for n, t in stored.items()})


def _as_int8(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    import torch

    if tensor.ndim < 2:
        return {name: tensor}
    scale = tensor.abs().amax(tuple(range(1, tensor.ndim))) / 127
    scale[scale == 0] = 1.0
    return {name: (tensor / _beside(scale, tensor)).round().to(torch.int8), name + SCALE: scale}


def _beside(scale: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """``scale`` with as many axes as ``tensor``."""
    return scale.reshape(-1, *[1] * (tensor.ndim - 1))


def read_weights_header(content: bytes) -> dict[str, dict[str, Any]]:
    """Name -> ``dtype``, ``shape`` and ``data_offsets`` of each tensor.

    Format: length of the header (8 bytes, little endian), header (JSON), the tensors' bytes one
    after another without gaps. Source: https://huggingface.co/docs/safetensors
    """
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    if not 2 <= length <= min(WEIGHTS_HEADER_LIMIT, len(content) - 8):
        if content.startswith((b"\x80", b"PK\x03\x04")):
            raise Refusal(f"{WEIGHTS} is a pickle, which could run a program")
        raise Refusal(f"{WEIGHTS} is not a safetensors file")
    header = decode_json(WEIGHTS, content[8 : 8 + length])
    if not isinstance(header, dict) or not all(isinstance(v, dict) for v in header.values()):
        raise Refusal(f"{WEIGHTS} is not a safetensors file")
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        _check_tensor(name, tensor)
    end = 0
    for begin, stop in sorted(tensor["data_offsets"] for tensor in header.values()):
        if begin != end:
            raise Refusal(f"{WEIGHTS} is damaged")
        end = stop
    if not header or end != len(content) - 8 - length:
        raise Refusal(f"{WEIGHTS} is damaged")
    return header


def _check_tensor(name: str, tensor: dict[str, Any]) -> None:
    if not TENSOR_NAME_PATTERN.fullmatch(name) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise Refusal(f"{WEIGHTS} is damaged")
    dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(dtype, str) or dtype not in TENSOR_TYPES:
        raise Refusal(f"{WEIGHTS} holds numbers of type {quote(str(dtype))}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise Refusal(f"{WEIGHTS} is damaged")
    if math.prod(shape) * TENSOR_TYPES[dtype] != offsets[1] - offsets[0]:
        raise Refusal(f"{WEIGHTS} is damaged")


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def check_fit(network: torch.nn.Module, header: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse weights whose names, shapes or types are not those of the network."""
    expected = network.state_dict()
    scales = {name + SCALE for name, tensor in header.items() if tensor["dtype"] == "I8"}
    differing = sorted((set(expected) | scales) ^ set(header))
    if differing:
        kind = "hold an unknown" if differing[0] in header else "lack"
        raise Refusal(f"its weights {kind} {quote(differing[0])}")
    for name, tensor in expected.items():
        if list(tensor.shape) != header[name]["shape"]:
            raise Refusal(f"its weights have the wrong shape at {quote(name)}")
        types = {"F16", "F32"} if tensor.ndim < 2 else {"F16", "F32", "I8"}
        if header[name]["dtype"] not in (types if tensor.is_floating_point() else {"I64"}):
            raise Refusal(f"its weights have the wrong type at {quote(name)}")
        scale = header.get(name + SCALE)
        if scale and (scale["dtype"], scale["shape"]) != ("F32", list(tensor.shape[:1])):
            raise Refusal(f"its weights have the wrong scale at {quote(name)}")


def give_weights(network: torch.nn.Module, content: bytes) -> None:
    """Load the weights, as float32; those stored as int8 get their scale."""
    import safetensors
    import safetensors.torch
    import torch

    try:
        weights = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise Refusal(f"{WEIGHTS} is damaged") from error
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise Refusal(f"its weights hold a number that is not finite at {quote(name)}")
    for name in [name for name, tensor in weights.items() if tensor.dtype == torch.int8]:
        weights[name] = weights[name] * _beside(weights.pop(name + SCALE), weights[name])
    # Strict, and converts float16 to the network's float32.
    network.load_state_dict(weights, strict=True)
