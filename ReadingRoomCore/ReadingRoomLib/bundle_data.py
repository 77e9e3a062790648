# SPDX-License-Identifier: Apache-2.0
"""The JSON files of a bundle, read as data: nothing in them is run, opened or believed.

A general MONAI configuration can hold ``$`` expressions, which Python evaluates, and ``%`` macros,
which open other files. Here a value is a value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
HASHES = "configs/hashes.json"
WEIGHTS = "models/model.safetensors"
CARD = "docs/README.md"
# Larger numbers in a network's arguments serve only to exhaust memory.
LARGEST_ARGUMENT = 65_536
DEEPEST_NESTING = 32

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


class Refusal(Exception):
    """Why a bundle is refused, as the part of a sentence that follows a colon."""


def decode(name: str, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The JSON object of a bundle's file.

    Raises:
        Refusal: it is none, or says one thing twice.
    """
    value = decode_json(name, contents[name])
    if not isinstance(value, dict):
        raise Refusal(f"{name} is not a JSON object")
    return value


def decode_json(name: str, content: bytes) -> Any:
    """A JSON value without repeated keys and NaN; ``name`` is the file's, for the refusal."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Two readers could take different ones of two equal keys.
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("repeated key")
        return dict(pairs)

    def no_constant(text: str) -> None:
        raise ValueError(f"{text} is not JSON")

    text = decode_text(name, content)
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{name} is not proper JSON") from error


def decode_text(name: str, content: bytes) -> str:
    """UTF-8 text of a file."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"{name} is not text") from error


def check_config(config: dict[str, Any]) -> None:
    """Only plain values, class names and references inside the file are let in."""
    unknown = set(config) - CONFIG_KEYS
    if unknown:
        raise Refusal(f"{INFERENCE} holds an unknown entry {quote(min(unknown))}")
    network = config.get("network_def")
    if not isinstance(network, dict) or "_target_" not in network:
        raise Refusal(f"{INFERENCE} does not name a network")
    for key, value in _walk(config):
        _check_key(key, value)
        if isinstance(value, str) and key not in ("_target_", "_desc_"):
            _check_string(value, config)
        elif isinstance(value, int | float):
            _check_number(value)


def _walk(value: Any, key: str | None = None, depth: int = 0) -> Iterator[tuple[str | None, Any]]:
    """Every value of a JSON tree with its key (None in a list)."""
    if depth > DEEPEST_NESTING:
        raise Refusal("its description is nested too deeply")
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
            raise Refusal(f"{INFERENCE} names a class in a way that is not allowed")
    elif key == "_desc_":
        if not isinstance(value, str) or set(value) & set("$@%#") or "::" in value:
            raise Refusal(f"{INFERENCE} holds a description that is not plain text")
    elif not KEY_PATTERN.fullmatch(key):
        # `_mode_`, `_requires_`, `_disabled_`, `_debug_` steer MONAI's parser and are not needed.
        raise Refusal(f"{INFERENCE} holds the instruction {quote(key)}, which is not allowed")


def _check_string(text: str, config: dict[str, Any]) -> None:
    if REFERENCE_PATTERN.fullmatch(text):
        referred_value(text, config)
    elif set(text) & set("$@%#") or "::" in text:
        raise Refusal(f"{INFERENCE} holds the expression {quote(text)}, which is not allowed")


def referred_value(reference: str, config: Any) -> Any:
    """What ``@key::key`` names in a description.

    Raises:
        Refusal: nothing.
    """
    for key in reference[1:].split("::"):
        if isinstance(config, list) and key.isdigit() and int(key) < len(config):
            config = config[int(key)]
        elif isinstance(config, dict) and key in config:
            config = config[key]
        else:
            raise Refusal(
                f"{INFERENCE} refers to {quote(reference)}, which it does not contain")
    return config


def _check_number(number: int | float) -> None:
    if abs(number) > LARGEST_ARGUMENT:
        raise Refusal(f"{INFERENCE} holds a number that no network needs")


def targets(config: dict[str, Any]) -> set[str]:
    """Full names of all classes that a description wants to build."""
    return {str(value) for key, value in _walk(config) if key == "_target_"}


def check_targets(config: dict[str, Any], allowed_targets: Collection[str]) -> None:
    """Refuse a description that names a class which is not allowed."""
    foreign = targets(config) - set(allowed_targets)
    if foreign:
        raise Refusal(f"it wants to run {quote(min(foreign))}, which is not an allowed network")


def quote(text: str) -> str:
    """What a file says, short and on one line, for a sentence."""
    return json.dumps(text if len(text) <= 60 else f"{text[:59]}…", ensure_ascii=False)


def check_metadata(metadata: dict[str, Any]) -> None:
    """Refuse metadata that lack a field or hold an expression."""
    _check_fields(metadata, MONAI_FIELDS | OUR_FIELDS, "")
    for _, value in _walk(metadata):
        # MONAI reads this file into the same parser as the configuration.
        if isinstance(value, str) and value.startswith(("$", "@", "%")):
            raise Refusal(f"{METADATA} holds the expression {quote(value)}, which is not allowed")
    for direction in ("inputs", "outputs"):
        tensors = metadata["network_data_format"].get(direction)
        if not isinstance(tensors, dict) or not tensors:
            raise Refusal(f"{METADATA} does not describe the network's {direction}")
        for name, tensor in tensors.items():
            if not isinstance(tensor, dict):
                raise Refusal(f"{METADATA} does not describe the network's {direction}")
            _check_fields(tensor, TENSOR_FIELDS, f"{name}.")
    if not all(isinstance(name, str) for name in metadata["labels"].values()):
        raise Refusal(f"{METADATA} holds a label without a name")
    if not all(_is_length(length) for length in metadata["spacing"] or ()):
        raise Refusal(f"{METADATA} holds a spacing that is not a length in mm")


def _check_fields(values: dict[str, Any], fields: Mapping[str, Any], prefix: str) -> None:
    missing = sorted(name for name in fields if name not in values)
    if missing:
        raise Refusal(f"{METADATA} lacks {', '.join(prefix + name for name in missing)}")
    for name, kind in fields.items():
        value = values[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refusal(f"{METADATA} holds {prefix}{name} in the wrong form")


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
