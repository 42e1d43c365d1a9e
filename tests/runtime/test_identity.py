"""As whom the servers run. Most of it is about root; an ordinary user's case is every other test of this folder."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runtime import embedded, identity
from runtime.errors import NoIdentity
from runtime.identity import Account, Namespace, Place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice")

ROOT = Path(__file__).parents[2]
NOBODY = pwd.getpwnam("nobody")
START = """
import sys
from pathlib import Path
from runtime import embedded
plan = embedded.plan_postgres(Path(sys.argv[1]) / "postgres", durable=False)
server = embedded.server.start(plan)
print(type(plan.place.identity).__name__, plan.place.folder, flush=True)
server.stop()
"""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody can reach; pytest's own are closed."""
    path = Path(tempfile.mkdtemp(prefix="usance-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def own_homes(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = open_path / "homes"
    monkeypatch.setattr(identity, "_HOMES", (home,))
    yield home
    shutil.rmtree(home, ignore_errors=True)


def settle(folder: Path) -> Place:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return identity.settle(folder, embedded._postgres_programs())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_root_runs_them_in_a_user_namespace(tmp_path: Path) -> None:
    place = settle(tmp_path / "postgres")

    assert place.identity == Namespace(NOBODY.pw_uid, NOBODY.pw_gid)
    assert (tmp_path / "postgres").stat().st_uid == 0


def test_in_the_namespace_files_stay_roots_and_closed(tmp_path: Path) -> None:
    server = embedded.start_postgres(tmp_path / "postgres", durable=False)
    server.stop()

    assert {path.lstat().st_uid for path in (tmp_path / "postgres").rglob("*")} == {0}
    assert mode(tmp_path / "postgres/data") == 0o700
    assert not (tmp_path / "postgres/elsewhere").exists()


def test_a_folder_of_somebody_else_is_served_as_its_owner(open_path: Path) -> None:
    folder = open_path / "postgres"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    place = settle(folder)

    assert place.identity == Account(NOBODY.pw_uid, NOBODY.pw_gid)
    assert place.folder == folder


def test_a_folder_of_a_user_without_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    os.chown(tmp_path / "postgres", 54_321, 54_321)

    with pytest.raises(NoIdentity, match="user id 54321, who has no name"):
        settle(tmp_path / "postgres")


def test_where_namespaces_are_forbidden_the_folder_is_given_to_nobody(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_namespaces(monkeypatch)
    place = settle(open_path / "data/postgres")

    assert place.identity == Account(NOBODY.pw_uid, NOBODY.pw_gid)
    assert place.folder == open_path / "data/postgres"
    assert place.folder.stat().st_uid == NOBODY.pw_uid


def test_a_closed_data_folder_of_ours_lets_the_servers_user_pass_and_no_more(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_namespaces(monkeypatch)
    (open_path / "data").mkdir(mode=0o700)
    place = settle(open_path / "data/postgres")

    assert place.folder == open_path / "data/postgres"
    assert mode(open_path / "data") == 0o711
    assert mode(open_path / "data/postgres") == 0o700


@pytest.mark.usefixtures("own_homes")
def test_a_closed_folder_that_is_not_ours_alone_stays_closed(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_namespaces(monkeypatch)
    (open_path / "home").mkdir(mode=0o700)
    (open_path / "home/letters").touch()
    place = settle(open_path / "home/postgres")

    assert mode(open_path / "home") == 0o700
    assert place.folder == (open_path / "home/postgres/elsewhere").resolve() != open_path / "home/postgres"


def test_under_a_closed_home_the_servers_live_elsewhere(
    open_path: Path, own_homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_namespaces(monkeypatch)
    (open_path / "home").mkdir(mode=0o700)
    place = settle(open_path / "home/data/postgres")
    again = settle(open_path / "home/data/postgres")

    assert place == again
    assert place.folder.parent == own_homes
    assert (mode(own_homes), mode(place.folder), mode(open_path / "home")) == (0o711, 0o700, 0o700)


@pytest.mark.slow
def test_programs_under_a_closed_home_are_copied_once(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_namespaces(monkeypatch)
    programs = closed_programs(open_path / "home", monkeypatch)
    server = embedded.start_postgres(open_path / "data/postgres", durable=False)
    server.stop()
    first = server.plan.place.programs
    again = identity.settle(open_path / "data/postgres", programs).programs

    assert first == again
    assert first.is_relative_to(open_path / "data/postgres")
    assert mode(open_path / "home") == 0o700
    assert [path.name for path in (open_path / "data").iterdir()] == ["postgres"]


@pytest.mark.slow
def test_data_made_in_a_namespace_is_handed_over_when_they_become_forbidden(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.start_postgres(open_path / "data/postgres", durable=False).stop()
    forbid_namespaces(monkeypatch)
    server = embedded.start_postgres(open_path / "data/postgres", durable=False)
    server.stop()

    assert isinstance(server.plan.place.identity, Account)
    assert (open_path / "data/postgres/data/PG_VERSION").stat().st_uid == NOBODY.pw_uid


@pytest.mark.slow
def test_data_out_of_reach_is_not_left_behind_silently(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (open_path / "home").mkdir(mode=0o700)
    (open_path / "home/letters").touch()
    embedded.start_postgres(open_path / "home/postgres", durable=False).stop()
    forbid_namespaces(monkeypatch)

    with pytest.raises(NoIdentity, match="holds data already: move the data folder"):
        settle(open_path / "home/postgres")
    assert {path.lstat().st_uid for path in (open_path / "home").rglob("*")} == {0}


@pytest.mark.slow
def test_for_real_where_the_kernel_forbids_namespaces(open_path: Path) -> None:
    program = [sys.executable, ROOT / "tests/forbid_namespaces.py", sys.executable, "-c", START, open_path / "data"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    if "cannot make a user namespace" in done.stderr:
        pytest.skip("namespaces are forbidden here anyway: every other test is this one")

    assert done.stdout == f"Account {open_path}/data/postgres\n", done.stderr


@pytest.mark.slow
def test_an_ordinary_user_simply_runs_them(open_path: Path) -> None:
    done = as_newcomer(START, open_path, uid=NOBODY.pw_uid)

    assert done.stdout == f"Same {open_path}/data/postgres\n", done.stderr


@pytest.mark.slow
def test_a_user_without_a_name_runs_them_in_a_namespace(open_path: Path) -> None:
    done = as_newcomer(START, open_path, uid=54_321)

    assert done.stdout == f"Namespace {open_path}/data/postgres\n", done.stderr


def test_a_folder_of_another_user_is_refused_by_name(open_path: Path) -> None:
    (open_path / "data/postgres").mkdir(parents=True)
    done = as_newcomer(START, open_path, uid=NOBODY.pw_uid)

    assert "postgres belongs to root: run as that user" in done.stderr


def as_newcomer(program: str, folder: Path, *, uid: int) -> "subprocess.CompletedProcess[str]":
    """Run it as another user, to whom `folder`/data belongs."""
    (folder / "data").mkdir(exist_ok=True)
    os.chown(folder / "data", uid, uid)
    user = {"user": uid, "group": uid, "extra_groups": []}
    return subprocess.run(
        [interpreter_for(uid), "-P", "-c", program, folder / "data"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        **user,  # type: ignore[call-overload]
    )


def interpreter_for(uid: int) -> str:
    """An interpreter of our version that this user can run: ours, unless it lies under a closed home; then Debian's."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        program = [candidate, "-c", "import sys, msgspec; print(sys.version_info[:2])"]
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            done = subprocess.run(
                program,
                user=uid,
                group=uid,
                extra_groups=[],
                cwd="/",
                env=environment,
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if done.stdout.decode().strip() == str(sys.version_info[:2]):
            return candidate
    pytest.skip("other users can run neither this interpreter nor another of its version")


def forbid_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    can_run = identity._can_run
    monkeypatch.setattr(
        identity, "_can_run", lambda place, probe: not isinstance(place.identity, Namespace) and can_run(place, probe)
    )


def closed_programs(home: Path, monkeypatch: pytest.MonkeyPatch) -> identity.Programs:
    """The Postgres programs as installed under a closed home."""
    installed = embedded._postgres_programs()
    for part in installed.parts:
        source, target = installed.root / part, home / "venv" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    home.chmod(0o700)
    moved = msgspec.structs.replace(installed, root=home / "venv")
    monkeypatch.setattr(embedded, "_postgres_programs", lambda: moved)
    return moved
