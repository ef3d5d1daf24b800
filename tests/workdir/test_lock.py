"""One process at a time in a work directory: also after kills, on several hosts, and where there are no locks."""

import contextlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from mtvae_jax.errors import UserError
from mtvae_jax.runs.find import Holders
from mtvae_jax.training.first_stage import train
from mtvae_jax.workdir import lock
from mtvae_jax.workdir.lock import hold, holder

HOLDS = "import sys; from mtvae_jax.workdir.lock import hold; hold(sys.argv[1]); print(flush=True); sys.stdin.read()"


@contextlib.contextmanager
def another_process(workdir, program=HOLDS):
    command = [sys.executable, "-c", program, str(workdir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.stdin.close()


def signed(workdir, **changes):
    """The lock of a process that is gone, or never was."""
    (workdir / "lock").write_text(json.dumps(lock._me() | {"pid": gone()} | changes))


def gone():
    """The id of a process that has ended."""
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    return process.pid


def refusal(workdir):
    with pytest.raises(UserError) as refused:
        hold(workdir, patience=0)
    return str(refused.value)


def test_another_process_is_refused_in_one_line_that_names_the_holder(tmp_path):
    with another_process(tmp_path) as process:
        said = refusal(tmp_path)
        about = f"process {process.pid} on {lock._me()['host']}, since 20"
        assert said.startswith(f"{tmp_path}: is in use by {about}")
        assert said.endswith("; wait for it, stop it, or give another directory with --workdir")
        assert holder(tmp_path).startswith(about)
        assert Holders().of(tmp_path)[0].startswith(f"in use by {about}")
    assert holder(tmp_path) is None
    with hold(tmp_path, patience=0):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        assert holder(tmp_path) is None  # this process is not in its own way
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_nothing(tmp_path):
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "lock").exists()
        assert holder(tmp_path) is None
        assert Holders().of(tmp_path) == ()
        with hold(tmp_path, patience=0):
            pass


def test_a_process_that_is_ending_is_waited_for(tmp_path):
    program = HOLDS.replace("sys.stdin.read()", "import time; time.sleep(0.5)")
    with another_process(tmp_path, program), hold(tmp_path, patience=30):
        pass


def test_one_process_may_hold_a_directory_several_times(tmp_path):
    outer, inner = hold(tmp_path), hold(tmp_path / ".")
    inner.release()
    assert (tmp_path / "lock").exists()
    outer.release()
    assert not (tmp_path / "lock").exists()
    outer.release()  # once more does nothing


def test_of_many_that_want_it_at_once_there_is_always_one(tmp_path):
    program = (
        "import os, sys, time\n"
        "from mtvae_jax.workdir.lock import hold\n"
        "for _ in range(60):\n"
        "    with hold(sys.argv[1], patience=60):\n"
        "        os.close(os.open(os.path.join(sys.argv[1], 'alone'), os.O_CREAT | os.O_EXCL))\n"
        "        os.unlink(os.path.join(sys.argv[1], 'alone'))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_its_holder_deletes_before_it_can_be_locked_is_no_lock(tmp_path, monkeypatch):
    opened, really_open = [], lock._open

    def open_too_early(path):
        opened.append(really_open(path))
        if len(opened) == 1:
            os.unlink(path)
        return opened[-1]

    monkeypatch.setattr(lock, "_open", open_too_early)
    with hold(tmp_path, patience=0):
        assert len(opened) == 2
        assert os.path.samestat(os.fstat(opened[1]), os.stat(tmp_path / "lock"))


def test_a_lock_left_by_another_host_is_void_where_locks_are_shared(tmp_path):
    signed(tmp_path, host="elsewhere")
    assert holder(tmp_path) is None
    with hold(tmp_path, patience=0):
        pass


def test_where_locks_are_not_shared_another_host_is_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_locks_are_shared", lambda path: False)
    signed(tmp_path, host="elsewhere", pid=7, since="2026-01-01 00:00:00")
    about = "process 7 on elsewhere, since 2026-01-01 00:00:00"
    assert refusal(tmp_path) == f"{tmp_path}: is in use by {about}; if that is no longer so, delete {tmp_path / 'lock'}"
    assert Holders().of(tmp_path) == (f"in use by {about}",)
    (tmp_path / "lock").unlink()  # the way out
    with hold(tmp_path, patience=0):
        pass
    signed(tmp_path)  # of a process of this host, whose locks are seen
    with hold(tmp_path, patience=0):
        pass


def test_where_there_are_no_locks_the_file_alone_counts(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with another_process(tmp_path) as process:
        assert f"process {process.pid} on " in refusal(tmp_path)
        assert holder(tmp_path).startswith(f"process {process.pid} on ")
    with hold(tmp_path, patience=0):
        pass
    signed(tmp_path)
    assert holder(tmp_path) is None
    with hold(tmp_path, patience=0):
        pass
    signed(tmp_path, host="elsewhere")
    assert "on elsewhere, since " in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x"}', "\0" * 100])
def test_what_is_no_signature_is_nobody(content, tmp_path):
    (tmp_path / "lock").write_text(content)
    assert holder(tmp_path) is None
    with hold(tmp_path, patience=0):
        pass


@pytest.mark.parametrize(
    ("mount", "shared"),
    [
        ("/dev/sda / ext4 rw 0 0", True),
        ("server:/export /data nfs4 rw,vers=4.2,local_lock=none 0 0", True),
        ("server:/export /data nfs rw,vers=3,local_lock=all 0 0", False),
        ("server:/export /data nfs rw,vers=3,nolock 0 0", False),
        ("mds:/fs /data lustre rw,flock 0 0", True),
        ("mds:/fs /data lustre rw,localflock 0 0", False),
        ("beegfs /data beegfs rw 0 0", False),
        ("beegfs /data/runs2 beegfs rw 0 0", True),
        ("beegfs /data/my\\\\040runs beegfs rw 0 0", True),
    ],
)
def test_file_systems_known_not_to_share_their_locks(mount, shared, tmp_path):
    (tmp_path / "mounts").write_text(f"proc /proc proc rw 0 0\n/dev/sda / ext4 rw 0 0\n{mount}\n")
    assert lock._locks_are_shared("/data/runs/a/lock", tmp_path / "mounts") is shared


def test_mount_points_with_spaces(tmp_path):
    (tmp_path / "mounts").write_text("/dev/sda / ext4 rw 0 0\nbeegfs /my\\040runs beegfs rw 0 0\n")
    assert not lock._locks_are_shared("/my runs/a/lock", tmp_path / "mounts")
    assert lock._locks_are_shared("/data", tmp_path / "nowhere")


def test_a_run_is_refused_while_another_process_is_in_its_directory_and_changes_nothing(
    make_run, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(lock, "PATIENCE", 0.3)
    config = make_run("plain", train__epochs=1)
    train(config, dataset, tmp_path, stream=io.StringIO())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with another_process(tmp_path) as process:
        started = time.monotonic()
        with pytest.raises(UserError, match=rf"is in use by process {process.pid} on "):
            train(config, dataset, tmp_path)
        assert time.monotonic() - started < 20
        (tmp_path / "lock").rename(tmp_path.parent / "theirs")
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
        (tmp_path.parent / "theirs").rename(tmp_path / "lock")


def test_without_fcntl_a_package_of_windows_models_load_and_directories_are_locked(tmp_path):
    program = (
        "import os, subprocess, sys, types\n"  # subprocess takes any msvcrt for Windows
        "sys.modules['fcntl'] = None\n"
        "locked = []\n"
        "sys.modules['msvcrt'] = windows = types.SimpleNamespace(LK_NBLCK=2)\n"
        "windows.locking = lambda file, mode, size: locked.append((mode, size, os.lseek(file, 0, os.SEEK_CUR)))\n"
        "del os.pread, os.pwrite, os.kill\n"  # not there, or not what they are elsewhere
        "import mtvae_jax.trained.model\n"
        "from mtvae_jax.workdir.lock import hold, holder\n"
        "with hold(sys.argv[1], patience=0):\n"
        "    assert open(os.path.join(sys.argv[1], 'lock')).read().startswith('{')\n"
        "    assert locked == [(2, 1, 1 << 30)]\n"
        "assert holder(sys.argv[1]) is None\n"
        "def locking(*_):\n"
        "    raise PermissionError(13, 'Permission denied')\n"
        "windows.locking = locking\n"
        "open(os.path.join(sys.argv[1], 'lock'), 'w').write('{\"host\": \"h\", \"pid\": 7, \"since\": \"noon\"}')\n"
        "assert holder(sys.argv[1]) == 'process 7 on h, since noon', holder(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
