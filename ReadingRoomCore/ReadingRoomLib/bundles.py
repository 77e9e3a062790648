# SPDX-License-Identifier: Apache-2.0
"""MONAI bundles as data: written byte for byte alike, and never able to run code when read.

A model is a folder with exactly these files, in the layout of the MONAI bundle specification:

========================== ==================================================================
``configs/metadata.json``  MONAI's metadata fields, and what a reader must know (see below)
``configs/inference.json`` ``network_def``: the network's class and its arguments
``configs/hashes.json``    SHA-256 of every other file; its own SHA-256 names the whole bundle
``models/model.safetensors`` the weights, float16 or float32, or int8 with scales (see below)
``docs/README.md``         the model card
========================== ==================================================================

A bundle may come from anywhere, so it is read with suspicion: the list of files, their sizes and
hashes are checked before any is parsed; JSON is data only (a general MONAI configuration can hold
``$`` expressions, which Python evaluates, and ``%`` macros, which open other files); a class is
built only when its full name stands in the caller's allow-list; weights are safetensors only,
because a pickle runs code when it is opened.

Weights stored as int8 take half the room of float16: every tensor of two or more axes holds whole
numbers from -127 to 127, and beside it lies ``<name>.int8_scale``, float32, with one factor for
each index of its first axis. Vectors stay float32.

Source of the layout: https://docs.monai.io/en/stable/mb_specification.html

Importing this module imports neither torch nor MONAI; `verify_bundle` does not need them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import stat
import struct
import tempfile
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelMissing, ModelUntrusted, OutputFailed

if TYPE_CHECKING:
    import torch

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
HASHES = "configs/hashes.json"
WEIGHTS = "models/model.safetensors"
CARD = "docs/README.md"
HASHED_FILES = (INFERENCE, METADATA, CARD, WEIGHTS)

MEBIBYTE = 1024**2
SIZE_LIMITS = {
    METADATA: MEBIBYTE,
    INFERENCE: MEBIBYTE,
    HASHES: MEBIBYTE,
    CARD: MEBIBYTE,
    WEIGHTS: 2048 * MEBIBYTE,
}
WEIGHTS_HEADER_LIMIT = 4 * MEBIBYTE
# Larger numbers in a network's arguments serve only to exhaust memory.
LARGEST_ARGUMENT = 65_536
DEEPEST_NESTING = 32

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
# Required by MONAI's metadata schema of 2024-07-25.
MONAI_FIELDS = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
# Required by us, so that the panel and every result can say what the model is. `eval_metrics` is
# MONAI's optional field for scores.
OUR_FIELDS = {
    "name": str,
    "recipe": str,
    "labels": dict,
    "spacing": (list, type(None)),
    "trained_on": str,
    "simulated": bool,
    "eval_metrics": dict,
}
TENSOR_FIELDS = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
}

CONFIG_KEYS = {"network_def", "parameters"}
KEY_PATTERN = re.compile(r"[A-Za-z]\w*", re.ASCII)
TARGET_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
REFERENCE_PATTERN = re.compile(r"@[A-Za-z]\w*(::\w+)*", re.ASCII)
TENSOR_NAME_PATTERN = re.compile(r"[\w.\-]{1,512}", re.ASCII)
# safetensors types that we accept and their size in bytes. Integers are counters such as batch
# normalisation's `num_batches_tracked`.
TENSOR_TYPES = {"F16": 2, "F32": 4, "I64": 8, "I8": 1}
SCALE = ".int8_scale"


@dataclass(frozen=True)
class BundleDescription:
    """A verified bundle, without its network.

    Attributes:
        folder: the bundle's folder.
        sha256: SHA-256 of ``configs/hashes.json``, and through it of every byte of the bundle.
        metadata: content of ``configs/metadata.json``.
        model_card: content of ``docs/README.md`` (Markdown).
    """

    folder: Path
    sha256: str
    metadata: dict[str, Any]
    model_card: str


@dataclass(frozen=True)
class Bundle(BundleDescription):
    """A verified bundle with its network, on the CPU, in float32 and in evaluation mode."""

    network: torch.nn.Module


class _Refusal(Exception):
    """Why a bundle is refused, as the part of a sentence that follows a colon."""


# ------------------------------------------------------------------------------------------ writing


def write_bundle(
    folder: str | Path,
    network_config: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
    model_card: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> str:
    """Write a bundle and read it back; the folder appears only when that succeeded.

    Same input and same library versions give the same bytes.

    Args:
        folder: the folder to create.
        network_config: ``_target_`` with the full name of the network's class, and its arguments.
            The class must also build on PyTorch's meta device, see `load_bundle`.
        state_dict: the network's weights: float16 or float32, counters int64.
        metadata: at least ``name``, ``task``, ``description``, ``authors``, ``copyright``,
            ``network_data_format``, ``recipe``, ``labels`` (number as text -> name), ``spacing``
            (mm per axis, or None), ``trained_on``, ``simulated`` and ``eval_metrics`` (scores).
            Versions and the schema are filled in.
        model_card: Markdown.
        parameters: plain values that ``network_config`` may name as ``@parameters::key``.
        dtype: stores floating-point weights as this type: float16 halves the file, int8 halves it
            again at the cost of rounding to 1/127 of a channel's largest weight.
        overwrite: replaces an earlier bundle at ``folder``, never any other folder.

    Returns:
        The bundle's SHA-256.

    Raises:
        ValueError: the input cannot make a bundle that `load_bundle` would accept.
        OutputFailed: ``folder`` exists, or cannot be written.
    """
    folder = Path(folder)
    _check_replaceable(folder, overwrite)
    config = {"parameters": dict(parameters)} if parameters else {}
    config["network_def"] = dict(network_config)
    contents = {
        METADATA: _encode(_with_versions(metadata)),
        INFERENCE: _encode(config),
        WEIGHTS: _encode_weights(state_dict, dtype),
        CARD: model_card.replace("\r\n", "\n").encode(),
    }
    hashes = {name: _sha256(content) for name, content in contents.items()}
    contents[HASHES] = _encode(hashes, sort_keys=True)
    try:
        _write_folder(folder, contents)
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise OutputFailed(f'The model "{folder}" could not be saved: {reason}.') from error
    return _sha256(contents[HASHES])


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise OutputFailed(f'The model "{folder}" exists already; choose another name.')
    if folder.is_symlink() or not (folder / HASHES).is_file():
        raise OutputFailed(f'"{folder}" is not a model and was therefore not replaced.')


def _with_versions(metadata: Mapping[str, Any]) -> dict[str, Any]:
    import monai
    import numpy
    import torch

    def released(version: str) -> str:
        return version.split("+")[0]

    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "first version"},
        "monai_version": released(monai.__version__),
        "pytorch_version": released(torch.__version__),
        "numpy_version": released(numpy.__version__),
        "required_packages_version": {},
        **metadata,
    }


def _encode(value: Any, sort_keys: bool = False) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)
    return f"{text}\n".encode()


def _encode_weights(state_dict: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> bytes:
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


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as workplace:
        fresh = Path(workplace, folder.name)
        for name, content in contents.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        try:
            # The author of a bundle trusts the classes named in it.
            load_bundle(fresh, _targets(json.loads(contents[INFERENCE])))
        except ModelUntrusted as error:
            raise ValueError(str(error)) from error
        if folder.exists():
            folder.rename(Path(workplace, "replaced"))
        fresh.rename(folder)


# ------------------------------------------------------------------------------------------ reading


def verify_bundle(folder: str | Path, sha256: str | None = None) -> BundleDescription:
    """Check a bundle without building its network (no torch): files, hashes, JSON, weights' header.

    Args:
        folder: the bundle.
        sha256: what the whole bundle's SHA-256 must be, when it is known.

    Raises:
        ModelMissing: there is no such folder.
        ModelUntrusted: anything is missing, added, altered or not allowed.
    """
    folder = Path(folder)
    with _refusals_of(folder):
        contents = _read_verified(folder, sha256)
        _check_config(_decode(INFERENCE, contents))
        _read_weights_header(contents[WEIGHTS])
        return _description(folder, contents)


def load_bundle(
    folder: str | Path, allowed_targets: Collection[str], sha256: str | None = None
) -> Bundle:
    """Verify a bundle, build its network and give it its weights.

    The network is first built on PyTorch's meta device, where tensors have shapes but no memory,
    and compared with the weights' header: a file that does not fit costs nothing.

    Args:
        folder: the bundle.
        allowed_targets: full names of the classes that ``network_def`` may name, such as
            ``monai.networks.nets.UNet``. Allow only classes that neither run nor open what their
            arguments name.
        sha256: what the whole bundle's SHA-256 must be, when it is known.

    Raises:
        ModelMissing: there is no such folder.
        ModelUntrusted: anything is missing, added, altered, not allowed, or does not fit.
    """
    folder = Path(folder)
    with _refusals_of(folder):
        contents = _read_verified(folder, sha256)
        config = _decode(INFERENCE, contents)
        _check_config(config)
        _check_targets(config, allowed_targets)
        header = _read_weights_header(contents[WEIGHTS])
        description = _description(folder, contents)
        network = _build_network(config, header)
        _give_weights(network, contents[WEIGHTS])
    return Bundle(network=network, **vars(description))


@contextlib.contextmanager
def _refusals_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except _Refusal as refusal:
        raise ModelUntrusted(
            f'The model "{folder.name}" was refused: {refusal}; '
            "install it again from a source you trust."
        ) from refusal


def _description(folder: Path, contents: Mapping[str, bytes]) -> BundleDescription:
    metadata = _decode(METADATA, contents)
    _check_metadata(metadata)
    model_card = _decode_text(CARD, contents[CARD])
    if not model_card.strip():
        raise _Refusal("its model card is empty")
    return BundleDescription(folder, _sha256(contents[HASHES]), metadata, model_card)


# --------------------------------------------------------------------------------- files and hashes


def _read_verified(folder: Path, sha256: str | None) -> dict[str, bytes]:
    """Content of every file. What is parsed later are these very bytes, so that nobody can
    exchange a file between the check and its use."""
    if not folder.is_dir():
        raise ModelMissing(
            f'The model "{folder}" was not found; choose another model or install it again.'
        )
    _check_file_list(folder)
    contents = {name: _read_file(folder, name) for name in SIZE_LIMITS}
    found = _sha256(contents[HASHES])
    if sha256 is not None and found != sha256:
        raise _Refusal("it is not the model that was published under this name")
    hashes = _decode(HASHES, contents)
    # Written in one way only: so not even a space can be altered.
    if set(hashes) != set(HASHED_FILES) or _encode(hashes, sort_keys=True) != contents[HASHES]:
        raise _Refusal(f"{HASHES} was altered")
    for name in HASHED_FILES:
        if _sha256(contents[name]) != hashes[name]:
            raise _Refusal(f"{name} was altered")
    return contents


def _check_file_list(folder: Path) -> None:
    folders = {Path(name).parent.as_posix() for name in SIZE_LIMITS}
    missing = set(SIZE_LIMITS)
    for place, subfolders, files in os.walk(folder):
        for name in subfolders + files:
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise _Refusal(f"{relative} is a link to another place")
            if relative not in (folders if name in subfolders else SIZE_LIMITS):
                raise _Refusal(f"{relative} does not belong in it")
            missing.discard(relative)
    if missing:
        raise _Refusal(f"{min(missing)} is missing")


def _read_file(folder: Path, name: str) -> bytes:
    # Neither follow a link nor wait for a pipe that has been put there since the list was checked.
    flags = os.O_RDONLY
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    try:
        with open(os.open(folder / name, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _Refusal(f"{name} is not a file")
            if status.st_size > SIZE_LIMITS[name]:
                raise _Refusal(f"{name} is too large")
            return file.read(SIZE_LIMITS[name])
    except OSError as error:
        raise _Refusal(f"{name} cannot be read ({error.strerror})") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -------------------------------------------------------------------------------- JSON that is data


def _decode(name: str, contents: Mapping[str, bytes]) -> dict[str, Any]:
    value = _decode_json(name, contents[name])
    if not isinstance(value, dict):
        raise _Refusal(f"{name} is not a JSON object")
    return value


def _decode_json(name: str, content: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Two readers could take different ones of two equal keys.
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("repeated key")
        return dict(pairs)

    def no_constant(text: str) -> None:
        raise ValueError(f"{text} is not JSON")

    text = _decode_text(name, content)
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _Refusal(f"{name} is not proper JSON") from error


def _decode_text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refusal(f"{name} is not text") from error


def _check_config(config: dict[str, Any]) -> None:
    """Only plain values, class names and references inside the file may reach MONAI's parser."""
    unknown = set(config) - CONFIG_KEYS
    if unknown:
        raise _Refusal(f"{INFERENCE} holds an unknown entry {_quote(min(unknown))}")
    network = config.get("network_def")
    if not isinstance(network, dict) or "_target_" not in network:
        raise _Refusal(f"{INFERENCE} does not name a network")
    for key, value in _walk(config):
        _check_key(key, value)
        if isinstance(value, str) and key not in ("_target_", "_desc_"):
            _check_string(value, config)
        elif isinstance(value, int | float):
            _check_number(value)


def _walk(value: Any, key: str | None = None, depth: int = 0) -> Iterator[tuple[str | None, Any]]:
    """Every value of a JSON tree with its key (None in a list)."""
    if depth > DEEPEST_NESTING:
        raise _Refusal("its description is nested too deeply")
    yield key, value
    if isinstance(value, dict):
        for child_key, child in value.items():
            yield from _walk(child, child_key, depth + 1)
    elif isinstance(value, list):
        for child in value:
            yield from _walk(child, None, depth + 1)


def _check_key(key: str | None, value: Any) -> None:
    if key is None:
        return
    if key == "_target_":
        if not isinstance(value, str) or not TARGET_PATTERN.fullmatch(value):
            raise _Refusal(f"{INFERENCE} names a class in a way that is not allowed")
    elif key == "_desc_":
        if not isinstance(value, str) or set(value) & set("$@%#") or "::" in value:
            raise _Refusal(f"{INFERENCE} holds a description that is not plain text")
    elif not KEY_PATTERN.fullmatch(key):
        # `_mode_`, `_requires_`, `_disabled_`, `_debug_` steer MONAI's parser and are not needed.
        raise _Refusal(f"{INFERENCE} holds the instruction {_quote(key)}, which is not allowed")


def _check_string(text: str, config: dict[str, Any]) -> None:
    if REFERENCE_PATTERN.fullmatch(text):
        if not _refers_inside(text, config):
            raise _Refusal(f"{INFERENCE} refers to {_quote(text)}, which it does not contain")
    elif set(text) & set("$@%#") or "::" in text:
        raise _Refusal(f"{INFERENCE} holds the expression {_quote(text)}, which is not allowed")


def _refers_inside(reference: str, config: Any) -> bool:
    for key in reference[1:].split("::"):
        if isinstance(config, list) and key.isdigit() and int(key) < len(config):
            config = config[int(key)]
        elif isinstance(config, dict) and key in config:
            config = config[key]
        else:
            return False
    return True


def _check_number(number: int | float) -> None:
    if abs(number) > LARGEST_ARGUMENT:
        raise _Refusal(f"{INFERENCE} holds a number that no network needs")


def _targets(config: dict[str, Any]) -> set[str]:
    return {str(value) for key, value in _walk(config) if key == "_target_"}


def _check_targets(config: dict[str, Any], allowed_targets: Collection[str]) -> None:
    foreign = _targets(config) - set(allowed_targets)
    if foreign:
        raise _Refusal(f"it wants to run {_quote(min(foreign))}, which is not an allowed network")


def _quote(text: str) -> str:
    """What a file says, short and on one line, for a sentence."""
    return json.dumps(text if len(text) <= 60 else f"{text[:59]}…", ensure_ascii=False)


def _check_metadata(metadata: dict[str, Any]) -> None:
    _check_fields(metadata, MONAI_FIELDS | OUR_FIELDS, "")
    for _, value in _walk(metadata):
        # MONAI reads this file into the same parser as the configuration.
        if isinstance(value, str) and value.startswith(("$", "@", "%")):
            raise _Refusal(f"{METADATA} holds the expression {_quote(value)}, which is not allowed")
    for direction in ("inputs", "outputs"):
        tensors = metadata["network_data_format"].get(direction)
        if not isinstance(tensors, dict) or not tensors:
            raise _Refusal(f"{METADATA} does not describe the network's {direction}")
        for name, tensor in tensors.items():
            if not isinstance(tensor, dict):
                raise _Refusal(f"{METADATA} does not describe the network's {direction}")
            _check_fields(tensor, TENSOR_FIELDS, f"{name}.")
    if not all(isinstance(name, str) for name in metadata["labels"].values()):
        raise _Refusal(f"{METADATA} holds a label without a name")
    if not all(_is_length(length) for length in metadata["spacing"] or ()):
        raise _Refusal(f"{METADATA} holds a spacing that is not a length in mm")


def _check_fields(values: dict[str, Any], fields: Mapping[str, Any], prefix: str) -> None:
    missing = sorted(name for name in fields if name not in values)
    if missing:
        raise _Refusal(f"{METADATA} lacks {', '.join(prefix + name for name in missing)}")
    for name, kind in fields.items():
        value = values[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _Refusal(f"{METADATA} holds {prefix}{name} in the wrong form")


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


# ------------------------------------------------------------------------------------------ weights


def _read_weights_header(content: bytes) -> dict[str, dict[str, Any]]:
    """Name -> ``dtype``, ``shape`` and ``data_offsets`` of each tensor.

    Format: length of the header (8 bytes, little endian), header (JSON), the tensors' bytes one
    after another without gaps. Source: https://huggingface.co/docs/safetensors
    """
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    if not 2 <= length <= min(WEIGHTS_HEADER_LIMIT, len(content) - 8):
        if content.startswith((b"\x80", b"PK\x03\x04")):
            raise _Refusal(f"{WEIGHTS} is a pickle, which could run a program")
        raise _Refusal(f"{WEIGHTS} is not a safetensors file")
    header = _decode_json(WEIGHTS, content[8 : 8 + length])
    if not isinstance(header, dict) or not all(isinstance(v, dict) for v in header.values()):
        raise _Refusal(f"{WEIGHTS} is not a safetensors file")
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        _check_tensor(name, tensor)
    end = 0
    for begin, stop in sorted(tensor["data_offsets"] for tensor in header.values()):
        if begin != end:
            raise _Refusal(f"{WEIGHTS} is damaged")
        end = stop
    if not header or end != len(content) - 8 - length:
        raise _Refusal(f"{WEIGHTS} is damaged")
    return header


def _check_tensor(name: str, tensor: dict[str, Any]) -> None:
    if not TENSOR_NAME_PATTERN.fullmatch(name) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise _Refusal(f"{WEIGHTS} is damaged")
    dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(dtype, str) or dtype not in TENSOR_TYPES:
        raise _Refusal(f"{WEIGHTS} holds numbers of type {_quote(str(dtype))}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _Refusal(f"{WEIGHTS} is damaged")
    if math.prod(shape) * TENSOR_TYPES[dtype] != offsets[1] - offsets[0]:
        raise _Refusal(f"{WEIGHTS} is damaged")


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _build_network(
    config: dict[str, Any], header: Mapping[str, Mapping[str, Any]]
) -> torch.nn.Module:
    import torch

    # Building draws random numbers; the caller's sequence must not depend on it.
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                network = _instantiate(config)
        except Exception as error:  # whatever a class raises on arguments it does not know
            raise _Refusal("its network cannot be built from its description") from error
        if not isinstance(network, torch.nn.Module):
            raise _Refusal("what it describes is not a network")
        _check_fit(network, header)
        return _instantiate(config).float().eval()


def _instantiate(config: dict[str, Any]) -> Any:
    from monai.bundle import ConfigParser

    # The parser writes into what it is given; `globals=False` spares imports for expressions.
    parser = ConfigParser(deepcopy(config), globals=False)
    return parser.get_parsed_content("network_def", instantiate=True)


def _check_fit(network: torch.nn.Module, header: Mapping[str, Mapping[str, Any]]) -> None:
    expected = network.state_dict()
    scales = {name + SCALE for name, tensor in header.items() if tensor["dtype"] == "I8"}
    differing = sorted((set(expected) | scales) ^ set(header))
    if differing:
        kind = "hold an unknown" if differing[0] in header else "lack"
        raise _Refusal(f"its weights {kind} {_quote(differing[0])}")
    for name, tensor in expected.items():
        if list(tensor.shape) != header[name]["shape"]:
            raise _Refusal(f"its weights have the wrong shape at {_quote(name)}")
        types = {"F16", "F32"} if tensor.ndim < 2 else {"F16", "F32", "I8"}
        if header[name]["dtype"] not in (types if tensor.is_floating_point() else {"I64"}):
            raise _Refusal(f"its weights have the wrong type at {_quote(name)}")
        scale = header.get(name + SCALE)
        if scale and (scale["dtype"], scale["shape"]) != ("F32", list(tensor.shape[:1])):
            raise _Refusal(f"its weights have the wrong scale at {_quote(name)}")


def _give_weights(network: torch.nn.Module, content: bytes) -> None:
    import safetensors
    import safetensors.torch
    import torch

    try:
        weights = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise _Refusal(f"{WEIGHTS} is damaged") from error
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise _Refusal(f"its weights hold a number that is not finite at {_quote(name)}")
    for name in [name for name, tensor in weights.items() if tensor.dtype == torch.int8]:
        weights[name] = weights[name] * _beside(weights.pop(name + SCALE), weights[name])
    # Strict, and converts float16 to the network's float32.
    network.load_state_dict(weights, strict=True)
