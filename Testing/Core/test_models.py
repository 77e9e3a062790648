# SPDX-License-Identifier: Apache-2.0
"""The list of models, the cache folder, and archives that try to leave it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ReadingRoomLib import bundle_data, bundles, models
from ReadingRoomLib.bundles import verify_bundle
from ReadingRoomLib.errors import (
    BadInput,
    Cancelled,
    DownloadFailed,
    ModelMissing,
    ModelUntrusted,
    OutputFailed,
)
from ReadingRoomLib.models import (
    available_models,
    cache_folder,
    delete_model,
    export_model,
    find_model,
    import_model,
    keep_model,
    list_bundle,
)

IMAGE = {
    "type": "image",
    "format": "hounsfield",
    "num_channels": 1,
    "spatial_shape": ["*", "*"],
    "dtype": "float32",
    "value_range": [-150, 350],
}
METADATA = {
    **{name: "text" for name, kind in bundle_data.MONAI_FIELDS.items() if kind is str},
    "required_packages_version": {},
    "network_data_format": {"inputs": {"image": IMAGE}, "outputs": {"pred": IMAGE}},
    "name": "test",
    "recipe": "modern",
    "labels": {"1": "pelvis"},
    "spacing": None,
    "trained_on": "simulated CT",
    "simulated": True,
    "eval_metrics": {},
}


def make_bundle(folder: Path, weight: float = 1.0) -> str:
    """Write a bundle by hand (the network is not built here) and return its SHA-256."""
    tensor = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(tensor).encode()
    contents = {
        bundle_data.METADATA: json.dumps(METADATA).encode(),
        bundle_data.INFERENCE: b'{"network_def": {"_target_": "some.Network"}}',
        bundle_data.WEIGHTS: struct.pack("<Q", len(header)) + header + struct.pack("<f", weight),
        bundle_data.CARD: b"# Card\n",
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[bundle_data.HASHES] = (json.dumps(hashes, indent=2, sort_keys=True) + "\n").encode()
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return verify_bundle(folder).sha256


def entry(name: str, sha256: str, **more: object) -> dict:
    return {
        "name": name,
        "module": "MuscleSeg",
        "recipe": "modern",
        "sha256": sha256,
        "size": 1000,
        "licence": "Apache-2.0",
        "card": "Models/starter/docs/README.md",
        "trained_on": "simulated CT",
        "simulated": True,
        **more,
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "Zwischenspeicher für Zoë"
    monkeypatch.setenv("READINGROOM_CACHE", str(folder))
    return folder


@pytest.fixture
def registry(tmp_path) -> Path:
    """A list with one model that comes with the module."""
    sha256 = make_bundle(tmp_path / "module" / "Models" / "starter")
    path = tmp_path / "module" / "models.json"
    write_list(path, entry("starter", sha256, path="Models/starter"))
    return path


def write_list(path: Path, *entries: object) -> None:
    path.write_text(json.dumps({"models": entries}), encoding="utf-8")


@pytest.fixture
def archive(tmp_path) -> Path:
    """An archive of a model that is not in the list."""
    make_bundle(tmp_path / "other", weight=2.0)
    return export_model(tmp_path / "other", tmp_path / "other model.zip")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder and the address under which a server on this computer offers its files."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def online(registry, served, tmp_path) -> Path:
    """A list with a second model that has to be downloaded."""
    folder, address = served
    sha256 = make_bundle(tmp_path / "large", weight=3.0)
    zipped = export_model(tmp_path / "large", folder / "large.zip")
    starter = json.loads(registry.read_text())["models"][0]
    content = zipped.read_bytes()
    download = {
        "url": f"{address}/large.zip",
        "archive_sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    write_list(registry, starter, entry("large", sha256, **download))
    return registry


# ------------------------------------------------------------------------------------------ finding


def test_the_model_that_comes_with_the_module(registry):
    folder = find_model("starter", registry)
    assert folder == registry.parent / "Models" / "starter"
    [model] = available_models(registry)
    assert (model.name, model.module, model.simulated) == ("starter", "MuscleSeg", True)
    assert model.built_in and model.installed


def test_what_learned_from_any_contrast_says_so(registry, tmp_path, monkeypatch):
    assert [model.any_contrast for model in available_models(registry)] == [False]
    monkeypatch.setitem(METADATA, "intensities", "random")
    monkeypatch.setitem(METADATA, "name", "any")
    make_bundle(registry.parent / "Models" / "any", weight=3.0)
    list_bundle(registry, registry.parent / "Models" / "any", "MuscleSeg")
    make_bundle(tmp_path / "mine")
    keep_model(tmp_path / "mine", registry, "mine")
    assert {model.name: model.any_contrast for model in available_models(registry)} == {
        "any": True, "starter": False, "mine": True}
    write_list(registry, entry("starter", "0" * 64, path="Models/starter", any_contrast="yes"))
    with pytest.raises(ModelMissing):
        available_models(registry)


@pytest.mark.parametrize("name", sorted(bundles.SIZE_LIMITS))
def test_an_altered_starter_is_refused(registry, name):
    file = registry.parent / "Models" / "starter" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelUntrusted):
        find_model("starter", registry)


def test_another_whole_bundle_in_the_starters_place_is_refused(registry):
    make_bundle(registry.parent / "Models" / "starter", weight=9.0)
    with pytest.raises(ModelUntrusted, match="not the model that was published"):
        find_model("starter", registry)


def test_a_starter_that_is_not_there(registry):
    shutil.rmtree(registry.parent / "Models")
    assert not available_models(registry)[0].installed
    with pytest.raises(ModelMissing, match="install the extension again"):
        find_model("starter", registry)


def test_a_folder_of_ones_own(registry, tmp_path, monkeypatch):
    make_bundle(tmp_path / "mine")
    assert find_model(tmp_path / "mine", registry) == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert find_model("mine", registry) == tmp_path / "mine"
    (tmp_path / "mine" / "models" / "model.pt").write_bytes(b"x")
    with pytest.raises(ModelUntrusted):
        find_model("mine", registry)


def test_a_name_of_the_list_wins_over_a_folder(registry, tmp_path, monkeypatch):
    make_bundle(tmp_path / "starter", weight=5.0)
    monkeypatch.chdir(tmp_path)
    assert find_model("starter", registry) == registry.parent / "Models" / "starter"


def test_an_unknown_name_says_what_there_is(registry):
    with pytest.raises(ModelMissing) as caught:
        find_model("best", registry)
    assert caught.value.message == (
        'There is no model "best"; choose one of starter, or import the model from a file.'
    )


def test_an_archive_must_be_imported_first(registry, archive):
    with pytest.raises(ModelMissing, match="import it first"):
        find_model(archive, registry)


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"models": []}',
        '{"models": [3]}',
        json.dumps({"models": [entry("a", DIGEST)]}),
        json.dumps({"models": [entry("a", DIGEST, path="../a")]}),
        json.dumps({"models": [entry("a", DIGEST, path="/a")]}),
        json.dumps({"models": [entry("a", DIGEST, path=3)]}),
        json.dumps({"models": [entry("a", DIGEST, path="a", url="https://x.example/a")]}),
        json.dumps({"models": [entry("a", DIGEST, url="https://x.example/a")]}),
        json.dumps({"models": [entry("a", "abc", path="a")]}),
        json.dumps({"models": [entry("../a", DIGEST, path="a")]}),
        json.dumps({"models": [entry("a", DIGEST, path="a", module="../x")]}),
        json.dumps({"models": [entry("a", DIGEST, path="a", size="big")]}),
        json.dumps({"models": [entry("a", DIGEST, path="a", simulated="no")]}),
        json.dumps({"models": [entry("a", DIGEST, path="a", extra=1)]}),
        json.dumps({"models": [entry("a", DIGEST, path="a")] * 2}),
        json.dumps(
            {"models": [entry("a", DIGEST, path="a"), entry("b", DIGEST, path="b", module="X")]}
        ),
    ],
)
def test_a_list_that_cannot_be_used(registry, content):
    registry.write_text(content)
    with pytest.raises(ModelMissing, match="install the extension again"):
        available_models(registry)


def test_no_list(tmp_path):
    with pytest.raises(ModelMissing):
        available_models(tmp_path / "models.json")


# -------------------------------------------------------------------------------------- downloading


def test_a_model_is_downloaded_once(online, served, cache):
    seen = []
    folder = find_model("large", online, lambda done, size: seen.append((done, size)))
    assert folder == cache / "models" / "MuscleSeg" / "large"
    assert seen[-1][0] == seen[-1][1] == available_models(online)[1].size
    (served[0] / "large.zip").unlink()
    assert find_model("large", online) == folder
    assert [p.name for p in folder.parent.iterdir()] == ["large"]
    assert not list((cache / "downloads").glob("*.zip"))


def test_an_altered_downloaded_model_is_refused(online):
    folder = find_model("large", online)
    (folder / bundle_data.CARD).write_text("# Another card\n")
    with pytest.raises(ModelUntrusted, match="was altered"):
        find_model("large", online)
    delete_model("large", online)
    assert find_model("large", online) == folder


def test_a_new_version_replaces_the_one_on_this_computer(online):
    folder = available_models(online)[1].folder
    make_bundle(folder, weight=0.5)
    find_model("large", online)
    assert verify_bundle(folder).sha256 == available_models(online)[1].sha256


def test_an_archive_with_another_model_than_the_list_says(online, cache):
    starter, large = json.loads(online.read_text())["models"]
    write_list(online, starter, {**large, "sha256": DIGEST})
    with pytest.raises(ModelUntrusted, match="not the model that was published"):
        find_model("large", online)
    assert list((cache / "models" / "MuscleSeg").iterdir()) == []


def test_without_a_connection_the_sentence_says_what_to_do(online):
    starter, large = json.loads(online.read_text())["models"]
    write_list(online, starter, {**large, "url": large["url"] + ".gone"})
    with pytest.raises(DownloadFailed, match="import the model from a file instead") as caught:
        find_model("large", online)
    assert caught.value.message.endswith("instead.")


def test_a_download_can_be_cancelled(online, cache):
    with pytest.raises(Cancelled):
        find_model("large", online, cancelled=lambda: True)
    assert not available_models(online)[1].installed


def test_a_downloaded_model_is_deleted(online):
    folder = find_model("large", online)
    delete_model("large", online)
    assert not folder.exists() and list(folder.parent.iterdir()) == []
    with pytest.raises(ModelMissing, match="on this computer"):
        delete_model("large", online)


def test_what_came_with_the_module_is_not_deleted(registry):
    with pytest.raises(BadInput, match="cannot be deleted"):
        delete_model("starter", registry)
    assert find_model("starter", registry).is_dir()


def test_an_unknown_model_is_not_deleted(registry):
    for name in ("nothing", "..", ""):
        with pytest.raises(ModelMissing):
            delete_model(name, registry)


# ---------------------------------------------------------------------------------------- importing


def test_a_model_travels_by_archive(registry, archive, cache, tmp_path):
    model = import_model(archive, registry)
    assert model.name == "other-model" and model.installed and not model.built_in
    assert model.trained_on == "simulated CT" and model.simulated and model.recipe == "modern"
    assert available_models(registry)[1] == model
    folder = find_model("other-model", registry)
    assert folder == cache / "models" / "MuscleSeg" / "other-model"
    for name in bundles.SIZE_LIMITS:
        assert (folder / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    delete_model("other-model", registry)
    assert [model.name for model in available_models(registry)] == ["starter"]


def test_a_model_of_the_list_is_recognised_offline(online, served, tmp_path):
    shutil.move(served[0] / "large.zip", tmp_path / "from the usb stick.zip")
    assert import_model(tmp_path / "from the usb stick.zip", online).name == "large"
    assert find_model("large", online).is_dir()


def test_a_name_can_be_chosen_once(registry, archive):
    assert import_model(archive, registry, name="mine").name == "mine"
    with pytest.raises(OutputFailed, match="delete it first"):
        import_model(archive, registry, name="mine")
    assert import_model(archive, registry, name="mine", overwrite=True).name == "mine"


@pytest.mark.parametrize("name", ["starter", "..", "...", "骨"])
def test_a_name_that_cannot_be_used(registry, archive, name):
    with pytest.raises(BadInput):
        import_model(archive, registry, name=name)


def test_a_name_cannot_leave_the_folder(registry, archive, cache):
    assert import_model(archive, registry, name="../../x").folder.parent.name == "MuscleSeg"


def test_same_bundle_gives_same_archive(archive, tmp_path):
    again = export_model(tmp_path / "other", tmp_path / "again.zip")
    assert again.read_bytes() == archive.read_bytes()


def test_an_archive_is_not_overwritten(archive, tmp_path):
    with pytest.raises(OutputFailed, match="exists already"):
        export_model(tmp_path / "other", archive)
    with pytest.raises(OutputFailed, match="could not be written"):
        export_model(tmp_path / "other", tmp_path / "nowhere" / "x.zip")


def test_a_damaged_bundle_is_not_exported(archive, tmp_path):
    (tmp_path / "other" / "extra").write_text("x")
    with pytest.raises(ModelUntrusted):
        export_model(tmp_path / "other", tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_damaged_imported_model_is_listed_and_can_be_deleted(registry, archive):
    folder = import_model(archive, registry, name="mine").folder
    (folder / bundle_data.METADATA).write_text("[")
    assert [model.name for model in available_models(registry)] == ["starter", "mine"]
    with pytest.raises(ModelUntrusted):
        find_model("mine", registry)
    delete_model("mine", registry)
    assert not folder.exists()


# --------------------------------------------------------------------------------- hostile archives


def rebuild(archive: Path, change, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write the archive anew; ``change(name, content)`` gives the members to put in its place."""
    with zipfile.ZipFile(archive) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    rebuilt = archive.with_name("rebuilt.zip")
    with zipfile.ZipFile(rebuilt, "w", compression) as new:
        for name, content in contents.items():
            for member in change(name, content):
                new.writestr(*member)
    return rebuilt


def assert_refused(archive: Path, registry: Path, reason: str) -> None:
    before = snapshot(registry.parent.parent)
    with pytest.raises(ModelUntrusted, match=reason) as caught:
        import_model(archive, registry)
    assert "\n" not in caught.value.message and caught.value.message.endswith(".")
    assert snapshot(registry.parent.parent) == before


def snapshot(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def test_a_bundle_in_a_folder_as_people_zip_it(registry, archive):
    def by_hand(name, content):
        yield f"my model/{name}", content

    assert_refused(rebuild(archive, by_hand), registry, "does not belong")

    def on_a_mac(name, content):
        yield f"model/{name}", content
        yield f"__MACOSX/model/._{name}", b"by-catch"
        if name == bundle_data.CARD:
            yield "model/docs/", b""

    assert import_model(rebuild(archive, on_a_mac), registry).installed


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "../../../../tmp/evil.txt",
        "/tmp/evil.txt",
        "configs/../../evil.txt",
        "..\\evil.txt",
        "C:\\evil.txt",
        "C:/evil.txt",
        "models/model.pt",
        "configs/evil.py",
        "__init__.py",
        "configs/metadata.json/evil",
        "configs/metadata.json\x00.txt",
    ],
)
def test_a_member_that_leaves_the_folder_or_does_not_belong(registry, archive, name):
    def change(member, content):
        yield member, content
        if member == bundle_data.CARD:
            yield name, b"evil"

    # zipfile cuts a name at a NUL, and then warns that it writes the same name twice.
    with pytest.warns(UserWarning) if "\x00" in name else contextlib.nullcontext():
        rebuilt = rebuild(archive, change)
    assert_refused(rebuilt, registry, "does not belong in a model|a file twice")


@pytest.mark.parametrize("top", ["..", ".", "", "/", "a/b", "C:"])
def test_a_top_folder_that_is_none(registry, archive, top):
    rebuilt = rebuild(archive, lambda name, content: [(f"{top}/{name}", content)])
    assert_refused(rebuilt, registry, "does not belong in a model")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_link_or_a_device(registry, archive, kind):
    def change(name, content):
        member = zipfile.ZipInfo(name)
        if name == bundle_data.CARD:
            member.external_attr = (kind | 0o777) << 16
            content = b"/etc/passwd"
        yield member, content

    assert_refused(rebuild(archive, change), registry, "a link to another place")


def test_a_bomb_that_compresses_well(registry, archive):
    def change(name, content):
        yield name, bytes(60 * bundles.MEBIBYTE) if name == bundle_data.WEIGHTS else content

    assert_refused(rebuild(archive, change), registry, "far more than a model needs")


def test_a_file_larger_than_a_model_needs(registry, archive):
    def change(name, content):
        yield name, bytes(bundles.MEBIBYTE + 1) if name == bundle_data.CARD else content

    assert_refused(rebuild(archive, change), registry, "far more than a model needs")


def test_a_size_that_is_a_lie(registry, archive):
    def change(name, content):
        yield name, bytes(100_000) if name == bundle_data.CARD else content

    rebuilt = rebuild(archive, change)
    content = rebuilt.read_bytes()
    assert content.count(struct.pack("<I", 100_000)) >= 2
    rebuilt.write_bytes(content.replace(struct.pack("<I", 100_000), struct.pack("<I", 100)))
    assert_refused(rebuilt, registry, "is damaged")


@pytest.mark.parametrize("missing", sorted(bundles.SIZE_LIMITS))
def test_an_archive_without_a_file(registry, archive, missing):
    def change(name, content):
        if name != missing:
            yield name, content

    assert_refused(rebuild(archive, change), registry, "does not hold a whole model")


def test_an_empty_archive(registry, tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert_refused(tmp_path / "empty.zip", registry, "does not hold a whole model")


def test_a_file_twice(registry, archive):
    def change(name, content):
        yield name, content
        if name == bundle_data.CARD:
            yield name, b"# Another card\n"

    with pytest.warns(UserWarning, match="Duplicate name"):
        rebuilt = rebuild(archive, change)
    assert_refused(rebuilt, registry, "a file twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_compression(registry, archive, method):
    rebuilt = rebuild(archive, lambda name, content: [(name, content)], method)
    assert_refused(rebuilt, registry, "compressed in an unusual way")


def test_a_password(registry, archive):
    content = bytearray(archive.read_bytes())
    # Bit 0 of the flags, 6 bytes into each local header and 8 into each central one.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(mark, place + 1)
    archive.write_bytes(content)
    assert_refused(archive, registry, "protected by a password")


def test_an_altered_bundle_in_an_archive(registry, archive):
    def change(name, content):
        yield name, content.replace(b"Card", b"card") if name == bundle_data.CARD else content

    assert_refused(rebuild(archive, change), registry, "docs/README.md was altered")


def test_every_way_to_cut_or_spoil_an_archive(registry, archive):
    content = archive.read_bytes()
    for length in range(0, len(content), 97):
        archive.write_bytes(content[:length])
        assert_refused(archive, registry, ".")
    for place in range(0, len(content), 53):
        spoiled = bytearray(content)
        spoiled[place] ^= 0xFF
        archive.write_bytes(spoiled)
        # A byte that says nothing (a date, the system that packed it) may differ.
        try:
            model = import_model(archive, registry, name="spoiled", overwrite=True)
        except ModelUntrusted:
            continue
        assert verify_bundle(model.folder).sha256 == model.sha256


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00", b"PK\x05\x06"])
def test_something_else_than_an_archive(registry, tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    assert_refused(tmp_path / "x.zip", registry, "is damaged")


def test_no_archive(registry, tmp_path):
    for path in (tmp_path / "nothing.zip", tmp_path):
        with pytest.raises(BadInput, match="was not found"):
            import_model(path, registry)


# ------------------------------------------------------------------------------------- cache folder


def test_a_cache_folder_that_cannot_be_made(registry, archive, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputFailed):
        import_model(archive, registry)


def test_another_process_that_was_quicker_wins(tmp_path, monkeypatch):
    sha256 = make_bundle(tmp_path / "place")
    make_bundle(tmp_path / "fresh")
    monkeypatch.setattr(models.Path, "exists", lambda _: False)  # looked before it was there
    models._put_in_place(tmp_path / "fresh", tmp_path / "place", tmp_path)
    assert verify_bundle(tmp_path / "place").sha256 == sha256


def test_a_model_that_cannot_be_put_in_place_is_not_passed_over(tmp_path):
    with pytest.raises(OSError), models._workplace(tmp_path / "models") as workplace:
        models._put_in_place(workplace / "nothing", tmp_path / "models" / "x", workplace)


@pytest.mark.parametrize(
    ("platform", "variable", "value", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "/c", "/c/readingroom"),
        ("linux", "XDG_CACHE_HOME", "", "~/.cache/readingroom"),
        ("darwin", "XDG_CACHE_HOME", "/c", "~/Library/Caches/ReadingRoom"),
        ("win32", "LOCALAPPDATA", "/c", "/c/ReadingRoom/Cache"),
        ("win32", "LOCALAPPDATA", "", "~/AppData/Local/ReadingRoom/Cache"),
        ("linux", "READINGROOM_CACHE", "~/mine", "~/mine"),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, variable, value, expected):
    monkeypatch.delenv("READINGROOM_CACHE")
    monkeypatch.setattr(models.sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert cache_folder() == Path(expected).expanduser()


def test_import_is_light():
    code = (
        "import sys, ReadingRoomLib.models; "
        "print({'torch', 'monai', 'numpy', 'safetensors', 'SimpleITK'} & set(sys.modules))"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "set()"
