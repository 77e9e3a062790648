# SPDX-License-Identifier: Apache-2.0
"""A result folder is complete or not there, whatever happens."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ReadingRoomLib import results
from ReadingRoomLib.errors import BadInput, OutputFailed
from ReadingRoomLib.results import (
    file_sha256,
    read_result,
    remove_leftovers,
    result_folder,
    whole_file,
    write_manifest,
)

MANIFEST = {"schema": 1, "status": "completed", "files": {"labels": "labels.nrrd"}}


def write_result(output: Path, content: str = "labels", overwrite: bool = False) -> None:
    """Write a small result in the regular way."""
    with result_folder(output, overwrite=overwrite) as folder:
        (folder / "labels.nrrd").write_text(content)
        write_manifest(folder, MANIFEST)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def ended_pid() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("name", ["out", "Müller, Jürgen 患者", "a.b (1)", "new/deep/out"])
def test_a_result_appears_under_its_name_and_nothing_else_is_left(tmp_path, name):
    write_result(tmp_path / name)
    assert read_result(tmp_path / name) == MANIFEST
    assert names_in((tmp_path / name).parent) == [Path(name).name]


def test_until_the_end_there_is_nothing_under_that_name(tmp_path):
    with result_folder(tmp_path / "out") as folder:
        (folder / "labels.nrrd").write_text("half")
        write_manifest(folder, MANIFEST)
        assert not (tmp_path / "out").exists()
        assert folder.parent == tmp_path  # the same disk, so that renaming is one step
        with pytest.raises(BadInput, match="unfinished"):
            read_result(folder)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_a_computation_that_fails(tmp_path, error):
    with pytest.raises(error), result_folder(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "half.nrrd").write_text("half")
        raise error
    assert names_in(tmp_path) == []


def test_an_empty_folder_may_be_there_already(tmp_path):
    (tmp_path / "out").mkdir()
    write_result(tmp_path / "out")
    assert read_result(tmp_path / "out") == MANIFEST
    assert names_in(tmp_path) == ["out"]


def test_what_is_there_is_kept_unless_it_may_be_overwritten(tmp_path):
    write_result(tmp_path / "out", "old")
    with pytest.raises(OutputFailed, match="--overwrite"):
        write_result(tmp_path / "out", "new")
    assert (tmp_path / "out/labels.nrrd").read_text() == "old"
    write_result(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out/labels.nrrd").read_text() == "new"
    assert names_in(tmp_path) == ["out"]


def test_the_old_result_stays_when_its_replacement_fails(tmp_path):
    write_result(tmp_path / "out", "old")
    with pytest.raises(ValueError), result_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "labels.nrrd").write_text("new")
        raise ValueError
    assert (tmp_path / "out/labels.nrrd").read_text() == "old"
    assert names_in(tmp_path) == ["out"]


def test_a_folder_with_other_files_is_never_overwritten(tmp_path):
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents/thesis.txt").write_text("ten years")
    with pytest.raises(OutputFailed, match="other files"):
        write_result(tmp_path / "Documents", overwrite=True)
    assert (tmp_path / "Documents/thesis.txt").read_text() == "ten years"


def test_of_two_runs_to_the_same_folder_the_first_one_wins(tmp_path):
    with pytest.raises(OutputFailed), result_folder(tmp_path / "out") as slow:
        (slow / "labels.nrrd").write_text("slow")
        (tmp_path / "out").mkdir()
        (tmp_path / "out/labels.nrrd").write_text("fast")
    assert (tmp_path / "out/labels.nrrd").read_text() == "fast"
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("output", ["file", "file/out", "file/deep/out"])
def test_a_file_in_the_way_is_named(tmp_path, output):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputFailed, match="file"), result_folder(tmp_path / output):
        pass
    assert names_in(tmp_path) == ["file"]


def test_the_root_of_the_disk_is_refused():
    with pytest.raises(OutputFailed, match="root"), result_folder(Path(os.sep)):
        pass


def test_an_output_that_is_a_link_is_written_where_it_points(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    write_result(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read_result(tmp_path / "disk") == MANIFEST


def test_leftovers_of_ended_processes_are_removed_and_no_others(tmp_path, ended_pid):
    host = results._host()
    kept = [
        f".a.readingroom-unfinished-{host}-{os.getppid()}",  # its process is running
        f".a.readingroom-unfinished-00000000-{ended_pid}",  # may be running on another computer
        ".a.readingroom-unfinished",
        ".hidden",
        "out",
    ]
    old = tmp_path / f".old.readingroom-unfinished-00000000-{ended_pid}"
    for name in [*kept, f".a.readingroom-unfinished-{host}-{ended_pid}", old.name]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.nrrd").write_text("half")
    eight_days_ago = time.time() - 8 * 24 * 3600
    os.utime(old, (eight_days_ago, eight_days_ago))
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted(kept)


def test_a_result_whose_replacement_was_killed_gets_its_name_back(tmp_path, ended_pid):
    write_result(tmp_path / "out", "old")
    aside = tmp_path / f".out.readingroom-replaced-{results._host()}-{ended_pid}"
    (tmp_path / "out").rename(aside)
    remove_leftovers(tmp_path)
    assert (tmp_path / "out/labels.nrrd").read_text() == "old"
    assert names_in(tmp_path) == ["out"]


def test_a_replaced_result_that_was_not_removed_in_time_is_removed(tmp_path, ended_pid):
    write_result(tmp_path / "out", "new")
    write_result(tmp_path / "old", "old")
    (tmp_path / "old").rename(tmp_path / f".out.readingroom-replaced-{results._host()}-{ended_pid}")
    remove_leftovers(tmp_path)
    assert (tmp_path / "out/labels.nrrd").read_text() == "new"
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_replacement_that_fails_between_its_two_steps_gives_the_old_one_back(
    tmp_path, monkeypatch, error
):
    write_result(tmp_path / "out", "old")
    rename = Path.rename

    def fail_after_the_first_step(path, target):
        if "unfinished" in path.name:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_after_the_first_step)
    with pytest.raises(type(error)):
        write_result(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out/labels.nrrd").read_text() == "old"
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "not a result folder"),
        ("", "not a result folder"),
        ('{"schema": 1, "status"', "not a result folder"),
        ("[1]", "unfinished"),
        ('{"schema": 1}', "unfinished"),
        ('{"schema": 1, "status": "running"}', "unfinished"),
        ('{"schema": 2, "status": "completed"}', "another version"),
        ('{"schema": 1, "status": "completed", "files": {"a": "a.nrrd"}}', "a.nrrd is missing"),
    ],
)
def test_what_is_not_a_finished_result_is_refused_with_the_reason(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(BadInput, match=reason):
        read_result(tmp_path)


def test_the_manifest_is_plain_json_that_people_can_read(tmp_path):
    written = write_manifest(tmp_path, {"name": "Hüfte", "mean": float("nan"), "path": Path("a")})
    assert written == {"name": "Hüfte", "mean": None, "path": "a"}
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    assert '"name": "Hüfte"' in text and "NaN" not in text


def test_a_name_that_is_not_unicode_does_not_keep_a_result_from_being_written(tmp_path):
    name = os.fsdecode(b"CT \xff.nrrd")
    write_manifest(tmp_path, {"schema": 1, "status": "completed", "name": name})
    assert read_result(tmp_path)["name"] == name


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "ct").write_bytes(b"x" * 3_000_000)
    assert file_sha256(tmp_path / "ct") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_the_hash_of_a_series_depends_on_its_images_not_on_their_names(tmp_path):
    for folder, names in [("a", "12"), ("b", "yx"), ("c", "12")]:
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / names[0]).write_text("first")
        (tmp_path / folder / names[1]).write_text("second")
    (tmp_path / "c/2").write_text("third")
    hashes = [file_sha256(tmp_path / folder) for folder in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_missing_file_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="ct.nrrd cannot be found"):
        file_sha256(tmp_path / "ct.nrrd")


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(RuntimeError), whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert not path.exists()
    with whole_file(path) as unfinished:
        assert unfinished.suffix == path.suffix and unfinished.parent == tmp_path
        unfinished.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]
