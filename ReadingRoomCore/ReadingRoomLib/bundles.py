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
import os
import pkgutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundle_data import (
    CARD,
    HASHES,
    INFERENCE,
    METADATA,
    REFERENCE_PATTERN,
    WEIGHTS,
    Refusal,
    check_config,
    check_metadata,
    check_targets,
    decode,
    decode_text,
    referred_value,
    targets,
)
from .bundle_weights import check_fit, encode_weights, give_weights, read_weights_header
from .errors import ModelMissing, ModelUntrusted, OutputFailed

if TYPE_CHECKING:
    import torch

HASHED_FILES = (INFERENCE, METADATA, CARD, WEIGHTS)

MEBIBYTE = 1024**2
SIZE_LIMITS = {
    METADATA: MEBIBYTE,
    INFERENCE: MEBIBYTE,
    HASHES: MEBIBYTE,
    CARD: MEBIBYTE,
    WEIGHTS: 2048 * MEBIBYTE,
}
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


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

    def described(self) -> dict[str, Any]:
        """What a result's manifest says of the model."""
        known = ("name", "recipe", "version", "trained_on", "simulated")
        return {**{key: self.metadata[key] for key in known}, "sha256": self.sha256,
                "card": f"{self.folder.name}/{CARD}"}


@dataclass(frozen=True)
class Bundle(BundleDescription):
    """A verified bundle with its network, on the CPU, in float32 and in evaluation mode."""

    network: torch.nn.Module


def arguments_of(bundle: BundleDescription) -> dict[str, Any]:
    """What the network of a bundle was built with."""
    described = json.loads((bundle.folder / INFERENCE).read_text("utf-8"))["network_def"]
    return {name: value for name, value in described.items() if name != "_target_"}


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
        WEIGHTS: encode_weights(state_dict, dtype),
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


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as workplace:
        fresh = Path(workplace, folder.name)
        for name, content in contents.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        try:
            # The author of a bundle trusts the classes named in it.
            load_bundle(fresh, targets(json.loads(contents[INFERENCE])))
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
        check_config(decode(INFERENCE, contents))
        read_weights_header(contents[WEIGHTS])
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
        config = decode(INFERENCE, contents)
        check_config(config)
        check_targets(config, allowed_targets)
        header = read_weights_header(contents[WEIGHTS])
        description = _description(folder, contents)
        network = _build_network(config, header)
        give_weights(network, contents[WEIGHTS])
    return Bundle(network=network, **vars(description))


@contextlib.contextmanager
def _refusals_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        raise ModelUntrusted(
            f'The model "{folder.name}" was refused: {refusal}; '
            "install it again from a source you trust."
        ) from refusal


def _description(folder: Path, contents: Mapping[str, bytes]) -> BundleDescription:
    metadata = decode(METADATA, contents)
    check_metadata(metadata)
    model_card = decode_text(CARD, contents[CARD])
    if not model_card.strip():
        raise Refusal("its model card is empty")
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
        raise Refusal("it is not the model that was published under this name")
    hashes = decode(HASHES, contents)
    # Written in one way only: so not even a space can be altered.
    if set(hashes) != set(HASHED_FILES) or _encode(hashes, sort_keys=True) != contents[HASHES]:
        raise Refusal(f"{HASHES} was altered")
    for name in HASHED_FILES:
        if _sha256(contents[name]) != hashes[name]:
            raise Refusal(f"{name} was altered")
    return contents


def _check_file_list(folder: Path) -> None:
    folders = {Path(name).parent.as_posix() for name in SIZE_LIMITS}
    missing = set(SIZE_LIMITS)
    for place, subfolders, files in os.walk(folder):
        for name in subfolders + files:
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise Refusal(f"{relative} is a link to another place")
            if relative not in (folders if name in subfolders else SIZE_LIMITS):
                raise Refusal(f"{relative} does not belong in it")
            missing.discard(relative)
    if missing:
        raise Refusal(f"{min(missing)} is missing")


def _read_file(folder: Path, name: str) -> bytes:
    # Neither follow a link nor wait for a pipe that has been put there since the list was checked.
    flags = os.O_RDONLY
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    try:
        with open(os.open(folder / name, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refusal(f"{name} is not a file")
            if status.st_size > SIZE_LIMITS[name]:
                raise Refusal(f"{name} is too large")
            return file.read(SIZE_LIMITS[name])
    except OSError as error:
        raise Refusal(f"{name} cannot be read ({error.strerror})") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ------------------------------------------------------------------------------------------ network


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
            raise Refusal("its network cannot be built from its description") from error
        if not isinstance(network, torch.nn.Module):
            raise Refusal("what it describes is not a network")
        check_fit(network, header)
        return _instantiate(config).float().eval()


def _instantiate(config: dict[str, Any]) -> Any:
    """Build ``network_def`` as MONAI's ``ConfigParser`` would.

    What `check_config` let pass needs little of that parser, and importing it takes longer than
    all else before the first result.
    """
    referred: dict[str, Any] = {}

    def built(value: Any) -> Any:
        if isinstance(value, list):
            return [built(item) for item in value]
        if isinstance(value, dict):
            arguments = {key: built(item) for key, item in value.items()
                         if key not in ("_target_", "_desc_")}
            target = value.get("_target_")
            return pkgutil.resolve_name(target)(**arguments) if target else arguments
        if isinstance(value, str) and REFERENCE_PATTERN.fullmatch(value):
            if value not in referred:
                referred[value] = built(referred_value(value, config))
            return referred[value]
        return value

    return built(config["network_def"])
