"""The data folder: made closed, tried at once, held by one, and refused with what to do."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from runtime import folder
from runtime.errors import AlreadyRunning, FolderError
from runtime.folder import Endpoints

ENDPOINTS = Endpoints(database_url="postgresql:///a", redis_url="unix:///b", http_url="http://127.0.0.1:1", pid=1)
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return folder.prepare(tmp_path / "deep" / "data")


def test_it_is_made_and_closed_to_others(data_dir: Path) -> None:
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "run").stat().st_mode) == 0o700


def test_preparing_it_again_changes_nothing(data_dir: Path) -> None:
    data_dir.chmod(0o750)

    assert folder.prepare(data_dir) == data_dir
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o750


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    with pytest.raises(FolderError, match=r"data cannot be used: File exists.* --data-dir"):
        folder.prepare(tmp_path / "data")


def test_a_place_where_nothing_can_be_made_is_said() -> None:
    with pytest.raises(FolderError, match=r"/proc/usance cannot be used: .* --data-dir"):
        folder.prepare(Path("/proc/usance"))


@AS_ROOT
def test_a_read_only_disk_is_said(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", options="ro"),
        pytest.raises(FolderError, match=r"Read-only file system.* mount"),
    ):
        folder.prepare(tmp_path / "disk")


@AS_ROOT
@pytest.mark.parametrize("size", ["500k", "20m"])
def test_a_full_disk_is_said(tmp_path: Path, size: str) -> None:
    with (
        small_disk(tmp_path / "disk", options=f"size={size}"),
        pytest.raises(FolderError, match=r"No space left.*free at least 200 MB"),
    ):
        folder.prepare(tmp_path / "disk")


def test_a_second_holder_is_told_who_runs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOCK_SECONDS_MAX", 0.0)
    with folder.hold(data_dir):
        folder.publish(data_dir, ENDPOINTS)
        with pytest.raises(AlreadyRunning, match=r"running in .*data already: http://127.0.0.1:1, process 1\."):
            folder.hold(data_dir).__enter__()


def test_a_second_holder_is_told_when_the_first_is_starting(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOCK_SECONDS_MAX", 0.0)
    with folder.hold(data_dir), pytest.raises(AlreadyRunning, match="starting or stopping"):
        folder.hold(data_dir).__enter__()


def test_it_can_be_held_again_afterwards(data_dir: Path) -> None:
    for _ in range(2):
        with folder.hold(data_dir):
            pass


def test_the_endpoints_are_found_while_it_is_held(data_dir: Path) -> None:
    with folder.hold(data_dir):
        before = folder.find(data_dir)
        folder.publish(data_dir, ENDPOINTS)
        while_held = folder.find(data_dir)

    assert (before, while_held, folder.find(data_dir)) == (None, ENDPOINTS, None)


def test_endpoints_left_by_one_that_was_killed_are_not_believed(data_dir: Path) -> None:
    folder.publish(data_dir, ENDPOINTS)

    assert folder.find(data_dir) is None


def test_a_folder_that_is_not_there_runs_nothing(tmp_path: Path) -> None:
    assert folder.find(tmp_path / "nothing") is None


def test_the_endpoints_are_closed_to_others(data_dir: Path) -> None:
    folder.publish(data_dir, ENDPOINTS)

    assert stat.S_IMODE((data_dir / "run/endpoints.json").stat().st_mode) == 0o600


class small_disk:  # noqa: N801 - reads like a function
    """A disk of its own for the block."""

    def __init__(self, path: Path, *, options: str) -> None:
        self.path, self.options = path, options

    def __enter__(self) -> None:
        self.path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", self.path], check=False)
        if done.returncode != 0:
            pytest.skip("mounting is forbidden here")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.path], check=True)
