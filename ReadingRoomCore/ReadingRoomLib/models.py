# SPDX-License-Identifier: Apache-2.0
"""Which models there are, where they lie, and how they come onto this computer.

Each module ships a ``models.json``::

    {"models": [{"name": "starter", "module": "MuscleSeg", "recipe": "modern",
                 "path": "Models/starter", "sha256": "...", "size": 8123456,
                 "licence": "Apache-2.0", "card": "Models/starter/docs/README.md",
                 "trained_on": "...", "simulated": true}]}

``sha256`` is the bundle's (see `ReadingRoomLib.bundles`). A model that comes with the module has a
``path`` beside the list; one that is downloaded has a ``url`` of a zip archive instead, and its
``archive_sha256``; ``size`` is then the archive's. Further models can be imported from such an
archive, for hospitals without internet.

Downloaded and imported models lie in ``models/<module>/<name>`` of the cache folder. Whatever lies
there is verified each time it is used.

Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .bundle_data import CARD, HASHES, METADATA
from .bundles import (
    MEBIBYTE,
    SIZE_LIMITS,
    Bundle,
    BundleDescription,
    load_bundle,
    verify_bundle,
)
from .downloads import ProgressCallback, download
from .errors import (
    BadInput,
    DownloadFailed,
    ModelMissing,
    ModelUntrusted,
    OutputFailed,
    output_failure,
)

NAME_PATTERN = re.compile(r"[A-Za-z0-9][\w.\-]{0,63}", re.ASCII)
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
# Weights hardly compress, so an archive that unpacks to far more than its size is no model.
LARGEST_EXPANSION = 20
ENCRYPTED = 0x1  # bit of a zip entry's flags
# What `zipfile` raises on archives that are not whole or not what they say.
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


@dataclass(frozen=True)
class Model:
    """One model that can be had.

    Attributes:
        name: what ``--model`` calls it; unique within its module.
        module: the module it belongs to, such as ``MuscleSeg``.
        recipe: how it was trained: ``seed`` or ``modern``.
        sha256: the bundle's SHA-256.
        size: bytes, of the bundle or of the archive to download.
        licence: SPDX identifier.
        card: where the model card is: a path beside ``models.json`` or a URL.
        trained_on: one sentence.
        simulated: whether any of the images it was trained on were simulated.
        folder: where its bundle is, or will be once it has been downloaded.
        url: of the zip archive; None when it is not downloaded.
        archive_sha256: SHA-256 of the zip archive.
        built_in: whether it came with the module.
        any_contrast: whether it takes CT and MR of any contrast, whatever the module is for.
    """

    name: str
    module: str
    recipe: str
    sha256: str
    size: int
    licence: str
    card: str
    trained_on: str
    simulated: bool
    folder: Path
    url: str | None = None
    archive_sha256: str | None = None
    built_in: bool = False
    any_contrast: bool = False

    @property
    def installed(self) -> bool:
        return self.folder.is_dir()


# ------------------------------------------------------------------------------------------ finding


def available_models(registry: str | Path) -> list[Model]:
    """The models of a ``models.json``, followed by those that were imported.

    Raises:
        ModelMissing: the list cannot be read.
    """
    listed = _listed_models(Path(registry))
    names = {model.name for model in listed}
    imported = []
    for module in sorted({model.module for model in listed}):
        for folder in sorted(_models_folder(module).glob("*")):
            if folder.name not in names and NAME_PATTERN.fullmatch(folder.name):
                imported.append(_imported_model(folder, module))
    return listed + imported


def find_model(
    name_or_path: str | Path,
    registry: str | Path,
    progress: ProgressCallback | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """The folder of a verified bundle, downloaded first when need be.

    Args:
        name_or_path: a name in ``registry``, the name of an imported model, or a bundle's folder.
        registry: the module's ``models.json``.
        progress: called with (bytes so far, bytes in all) during a download.
        cancelled: asked during a download.

    Raises:
        ModelMissing: there is no such model.
        ModelUntrusted: it is not what was published, see `verify_bundle`.
        DownloadFailed, OutputFailed, Cancelled: see `download`.
    """
    models = available_models(registry)
    for model in models:
        if model.name == str(name_or_path):
            return _ready(model, progress, cancelled)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return verify_bundle(folder.absolute()).folder
    if folder.is_file():
        raise ModelMissing(f'"{folder.name}" is a file; import it first and then choose its name.')
    names = ", ".join(model.name for model in models)
    raise ModelMissing(
        f'There is no model "{name_or_path}"; '
        f"choose one of {names}, or import the model from a file."
    )


def _ready(model: Model, progress: ProgressCallback | None, cancelled: Callable[[], bool]) -> Path:
    if model.url is None:
        if not model.installed:
            raise ModelMissing(
                f'The model "{model.name}" is not in its place; install the extension again.'
            )
        return verify_bundle(model.folder, model.sha256).folder
    # Another hash than today's: an earlier version, which the download replaces.
    if model.installed and verify_bundle(model.folder).sha256 == model.sha256:
        return model.folder
    return _download_model(model, progress, cancelled)


def load_model(
    name_or_path: str | Path,
    registry: str | Path,
    targets: Collection[str],
    recipe: str | None,
    fits: Callable[[Bundle], bool],
) -> Bundle:
    """Find, verify and build a model that a module can use.

    Args:
        name_or_path, registry: as for `find_model`.
        targets: classes that it may be built of.
        recipe: what it must have been trained as; None: whatever the module knows.
        fits: whether its network takes and answers what the recipe says; it may just try.

    Raises:
        BadInput: it was trained as something else.
        ModelMissing, ModelUntrusted: it cannot be used.
    """
    bundle = load_bundle(find_model(name_or_path, registry), targets)
    name, trained_as = bundle.metadata["name"], bundle.metadata["recipe"]
    if recipe and trained_as != recipe:
        raise BadInput(f"The model {name} was trained with the recipe {trained_as}, not {recipe}: "
                       "choose another model or another recipe.")
    try:
        if fits(bundle):
            return bundle
    except (RuntimeError, KeyError, TypeError, ValueError):
        pass  # another network, or metadata of another kind
    raise ModelUntrusted(f"The model {name} was not made for this module: choose another.")


def _download_model(
    model: Model, progress: ProgressCallback | None, cancelled: Callable[[], bool]
) -> Path:
    name = f"{model.module}-{model.name}-{model.archive_sha256[:8]}.zip"
    archive = cache_folder() / "downloads" / name
    try:
        download(
            model.url, archive, model.archive_sha256, model.size, progress, cancelled=cancelled
        )
    except DownloadFailed as error:
        raise DownloadFailed(
            f"{error.message.removesuffix('.')}; "
            "on a computer without internet, import the model from a file instead."
        ) from error
    with _workplace(model.folder.parent) as workplace:
        fresh = workplace / model.name
        _unpack(archive, fresh)
        verify_bundle(fresh, model.sha256)
        _put_in_place(fresh, model.folder, workplace)
    archive.unlink(missing_ok=True)
    return model.folder


# --------------------------------------------------------------------------- importing and deleting


def import_model(
    archive: str | Path, registry: str | Path, name: str | None = None, overwrite: bool = False
) -> Model:
    """Install a model from a zip archive made by `export_model`.

    Args:
        archive: the zip file: a bundle, at its top or in one folder.
        registry: the ``models.json`` of the module that the model is for. A model that stands in
            it is recognised by its SHA-256 and installed under its name there.
        name: what to call the model; otherwise as the archive.
        overwrite: replaces an imported model of the same name.

    Raises:
        BadInput: there is no such file, or the name cannot be used.
        ModelUntrusted: it holds anything but a bundle, or one that `verify_bundle` refuses.
        OutputFailed: the name is taken, or the cache folder cannot be written.
    """
    archive = Path(archive)
    listed = _listed_models(Path(registry))
    if not archive.is_file():
        raise BadInput(f'The file "{archive}" was not found.')
    with _workplace(_models_folder(listed[0].module)) as workplace:
        fresh = workplace / archive.stem
        found = _unpack(archive, fresh)
        known = [m for m in listed if m.sha256 == found.sha256 and not m.built_in]
        name = known[0].name if known else _free_name(name or archive.stem, listed)
        folder = _models_folder(listed[0].module) / name
        _check_free(folder, bool(known) or overwrite)
        _put_in_place(fresh, folder, workplace)
    return next(model for model in available_models(registry) if model.name == name)


def keep_model(
    bundle: str | Path, registry: str | Path, name: str, overwrite: bool = False
) -> Model:
    """Install a copy of a bundle that lies in a folder, such as one that was trained here.

    Args:
        bundle: its folder.
        registry: the ``models.json`` of the module that the model is for.
        name: what to call it.
        overwrite: replaces an imported model of the same name.

    Raises:
        BadInput: the name cannot be used.
        ModelUntrusted: it is no bundle, or one that `verify_bundle` refuses.
        OutputFailed: the name is taken, or the cache folder cannot be written.
    """
    folder = check_name(name, registry, overwrite)
    with _workplace(folder.parent) as workplace:
        fresh = workplace / name
        for file in SIZE_LIMITS:
            (fresh / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(bundle) / file, fresh / file)
        verify_bundle(fresh)
        _put_in_place(fresh, folder, workplace)
    return next(model for model in available_models(registry) if model.name == name)


def check_name(name: str, registry: str | Path, overwrite: bool = False) -> Path:
    """The folder for a model of this name, as `keep_model` takes it, which raises the same."""
    listed = _listed_models(Path(registry))
    if _free_name(name, listed) != name:
        raise BadInput(f'A model cannot be called "{name}"; use letters, digits and hyphens.')
    folder = _models_folder(listed[0].module) / name
    _check_free(folder, overwrite)
    return folder


def _check_free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not overwrite:
        raise OutputFailed(
            f'There is a model "{folder.name}" already; delete it first or choose another name.'
        )


def _free_name(name: str, listed: list[Model]) -> str:
    name = re.sub(r"[^\w.\-]+", "-", name, flags=re.ASCII).strip("-._")
    if not NAME_PATTERN.fullmatch(name):
        raise BadInput(f'A model cannot be called "{name}"; use letters, digits and hyphens.')
    if name in {model.name for model in listed}:
        raise BadInput(f'"{name}" is the name of another model; choose another name.')
    return name


def delete_model(name: str, registry: str | Path) -> None:
    """Remove a downloaded or imported model from this computer.

    Raises:
        ModelMissing: there is no such model on this computer.
        BadInput: it came with the module.
        OutputFailed: it cannot be removed.
    """
    found = [model for model in available_models(registry) if model.name == name]
    if not found or not found[0].installed:
        raise ModelMissing(f'There is no model "{name}" on this computer.')
    if found[0].built_in:
        raise BadInput(f'The model "{name}" belongs to {found[0].module} and cannot be deleted.')
    folder = found[0].folder
    with _workplace(folder.parent) as workplace:
        # Renamed first: a deletion that is interrupted leaves nothing that looks like a model.
        folder.rename(workplace / "deleted")


def export_model(folder: str | Path, archive: str | Path) -> Path:
    """Write a bundle as a zip archive that `import_model` reads; same bundle, same bytes.

    Raises:
        ModelUntrusted: the bundle is not whole.
        OutputFailed: the archive exists or cannot be written.
    """
    folder, archive = Path(folder), Path(archive)
    verify_bundle(folder)
    try:
        with zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED) as file:
            for name in sorted(SIZE_LIMITS):
                # A fixed date (the earliest that zip knows), and readable by everybody.
                member = zipfile.ZipInfo(name)
                member.external_attr = (stat.S_IFREG | 0o644) << 16
                member.create_system = 3
                file.writestr(member, (folder / name).read_bytes())
    except FileExistsError as error:
        raise OutputFailed(f'The file "{archive}" exists already.') from error
    except OSError as error:
        archive.unlink(missing_ok=True)
        reason = error.strerror or "it cannot be written"
        raise OutputFailed(f'The file "{archive}" could not be written: {reason}.') from error
    return archive


# ------------------------------------------------------------------------------------- cache folder


def cache_folder() -> Path:
    """``READINGROOM_CACHE``, or the operating system's folder for a user's caches."""
    chosen = os.environ.get("READINGROOM_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "ReadingRoom/Cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/ReadingRoom"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "readingroom"


def _models_folder(module: str) -> Path:
    return cache_folder() / "models" / module


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, so that a finished model needs only be renamed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as workplace:
            yield Path(workplace)
    except OSError as error:
        failure = output_failure(error, [folder])
        if failure is None:
            raise
        raise failure from error


def _put_in_place(fresh: Path, folder: Path, workplace: Path) -> None:
    if folder.exists():
        folder.rename(workplace / "replaced")
    try:
        fresh.rename(folder)
    except OSError:
        # Another process may have put the same model there in the meantime.
        if not folder.is_dir():
            raise


# ---------------------------------------------------------------------------------- lists of models


def _listed_models(registry: Path) -> list[Model]:
    try:
        entries = json.loads(registry.read_text(encoding="utf-8"))["models"]
        models = [_listed_model(entry, registry.parent) for entry in entries]
        if not models or len({model.module for model in models}) != 1:
            raise ValueError("a list holds the models of one module")
        if len({model.name for model in models}) != len(models):
            raise ValueError("two models have the same name")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelMissing(
            f'The list of models "{registry.name}" cannot be read; install the extension again.'
        ) from error
    return models


def _listed_model(entry: dict[str, Any], beside: Path) -> Model:
    """The model of an entry in ``models.json``; raises ValueError, KeyError or TypeError."""
    entry = dict(entry)
    path = entry.pop("path", None)
    if path is None:
        folder = _models_folder(entry["module"]) / entry["name"]
    else:
        folder = beside / path
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError("a model that comes with the module lies beside the list")
    model = Model(**entry, folder=folder, built_in=path is not None)
    for name in (model.name, model.module):
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a name")
    hashes = [model.sha256] if model.built_in else [model.sha256, model.archive_sha256]
    if not all(SHA256_PATTERN.fullmatch(sha256) for sha256 in hashes):
        raise ValueError(f"{model.name} has no SHA-256")
    if model.built_in == (model.url is not None):
        raise ValueError(f"{model.name} needs either a path or a url")
    marks = (model.simulated, model.any_contrast)
    if type(model.size) is not int or any(type(m) is not bool for m in marks) or model.size <= 0:
        raise TypeError(f"{model.name} has a size or a mark of another type")
    return model


def list_bundle(registry: str | Path, bundle: str | Path, module: str) -> None:
    """Put a bundle that comes with a module into the module's ``models.json``.

    Args:
        registry: the list; an entry of the same name is replaced.
        bundle: folder beside the list, or below.
        module: name of the module.
    """
    registry, bundle = Path(registry), Path(bundle)
    found = verify_bundle(bundle)
    path = bundle.relative_to(registry.parent).as_posix()
    entry = {
        "name": found.metadata["name"], "module": module, "recipe": found.metadata["recipe"],
        "path": path, "sha256": found.sha256,
        "size": sum((bundle / name).stat().st_size for name in SIZE_LIMITS),
        "licence": found.metadata["copyright"], "card": f"{path}/{CARD}",
        "trained_on": found.metadata["trained_on"], "simulated": found.metadata["simulated"],
        **({"any_contrast": True} if _any_contrast(found.metadata) else {}),
    }
    others = [other for other in json.loads(registry.read_text("utf-8"))["models"]
              if other["name"] != entry["name"]]
    entries = sorted([*others, entry], key=lambda each: each["name"])
    registry.write_text(json.dumps({"models": entries}, indent=2) + "\n", "utf-8")


def _imported_model(folder: Path, module: str) -> Model:
    """An imported model as far as its files tell; it is verified when it is used."""
    try:
        metadata = dict(json.loads(_read_start(folder / METADATA)))
        sha256 = hashlib.sha256(_read_start(folder / HASHES)).hexdigest()
    except (OSError, ValueError, TypeError, RecursionError):
        # Damaged, but listed all the same: so that it can be deleted.
        metadata, sha256 = {}, ""
    return Model(
        name=folder.name,
        module=module,
        recipe=str(metadata.get("recipe", "unknown")),
        sha256=sha256,
        size=sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()),
        licence=str(metadata.get("licence", "unknown")),
        card=str(folder / CARD),
        trained_on=str(metadata.get("trained_on", "unknown")),
        simulated=metadata.get("simulated") is not False,
        folder=folder,
        any_contrast=_any_contrast(metadata),
    )


def _any_contrast(metadata: Mapping[str, Any]) -> bool:
    """Whether a model learned from repainted images, see `MuscleSegLib.contrasts`."""
    return metadata.get("intensities") == "random"


def _read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MEBIBYTE)


# ----------------------------------------------------------------------------------------- archives


def _unpack(archive: Path, folder: Path) -> BundleDescription:
    """Write the bundle in a zip archive to ``folder`` and verify it."""
    contents = _read_archive(archive)
    for name, content in contents.items():
        # `name` comes from our own list of files: nothing in the archive chooses a place.
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return verify_bundle(folder)


def _read_archive(archive: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(archive) as file:
            members = _members(file, archive.stat().st_size)
            return {name: _read_member(file, member) for name, member in members.items()}
    except _Refusal as refusal:
        raise ModelUntrusted(f'"{archive.name}" was not imported: {refusal}.') from refusal
    except DAMAGED_ARCHIVE as error:
        raise ModelUntrusted(f'"{archive.name}" was not imported: it is damaged.') from error


class _Refusal(Exception):
    """Why an archive is refused, as the part of a sentence that follows a colon."""


def _members(file: zipfile.ZipFile, archive_size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's entry for each file of a bundle."""
    entries = [entry for entry in file.infolist() if not _is_by_catch(entry)]
    top = _top_folder(entries)
    members = {}
    for entry in entries:
        name = entry.filename.removeprefix(top)
        if name not in SIZE_LIMITS or not entry.filename.startswith(top):
            raise _Refusal("it holds something that does not belong in a model")
        if name in members:
            raise _Refusal("it holds a file twice")
        _check_entry(entry, SIZE_LIMITS[name])
        members[name] = entry
    if len(members) != len(SIZE_LIMITS):
        raise _Refusal("it does not hold a whole model")
    if sum(entry.file_size for entry in entries) > LARGEST_EXPANSION * archive_size + MEBIBYTE:
        raise _Refusal("it would unpack to far more than a model needs")
    return members


def _is_by_catch(entry: zipfile.ZipInfo) -> bool:
    """Folders, and what macOS adds to every archive; neither is ever unpacked."""
    return entry.is_dir() or entry.filename.startswith("__MACOSX/")


def _top_folder(entries: list[zipfile.ZipInfo]) -> str:
    """``"name/"`` when the bundle lies in a folder of the archive, otherwise ``""``."""
    first, _, rest = entries[0].filename.partition("/") if entries else ("", "", "")
    return f"{first}/" if rest in SIZE_LIMITS and NAME_PATTERN.fullmatch(first) else ""


def _check_entry(entry: zipfile.ZipInfo, limit: int) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise _Refusal("it holds a link to another place")
    if entry.flag_bits & ENCRYPTED:
        raise _Refusal("it is protected by a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refusal("it is compressed in an unusual way")
    if entry.file_size > limit:
        raise _Refusal("it would unpack to far more than a model needs")


def _read_member(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with file.open(entry) as member:
        # With this argument zipfile unpacks no more than was announced, and then checks the CRC.
        return member.read(entry.file_size)
