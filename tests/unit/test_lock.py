"""Of any number of processes that want a run, one gets it, and one that lost it notices."""

import dataclasses
import json
import os
import subprocess
import threading
import time

import pytest

from pagrepro import lock as lock_module
from pagrepro.errors import StateError
from pagrepro.lock import NoLock, RunLock


def make(folder, **options):
    return RunLock(folder, **{"heartbeat_s": 0.1, "wait_s": 0.0, "poll_s": 0.01, **options})


def foreign(folder, number=1, silent_s=0.0, **changes):
    """A lock file of a process on another machine, last touched `silent_s` ago."""
    owner = dataclasses.replace(RunLock(folder).me, host="far", place="far/1/2", heartbeat_s=10.0, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"lock.{number:06d}"
    path.write_text(json.dumps(owner.__dict__))
    os.utime(path, (time.time() - silent_s,) * 2)
    return path


def test_one_owner_at_a_time(tmp_path):
    first, second = make(tmp_path / "run", job="77"), make(tmp_path / "run")
    first.acquire()
    first.check()
    with pytest.raises(StateError, match=rf"process {os.getpid()} on .* \(job 77\); waited 0 s"):
        second.acquire()
    first.release()
    second.acquire()
    second.check()
    second.release()
    assert not (tmp_path / "run").exists()


def test_second_comer_waits(tmp_path):
    first, second = make(tmp_path / "run"), make(tmp_path / "run", wait_s=20)
    first.acquire()
    threading.Timer(0.3, first.release).start()
    begun = time.monotonic()
    second.acquire()
    assert 0.2 < time.monotonic() - begun < 15
    second.release()


def test_dead_process_of_this_machine_is_replaced_at_once(tmp_path):
    child = subprocess.Popen(["sleep", "60"])
    dead = make(tmp_path / "run")
    dead.me = dataclasses.replace(
        dead.me, pid=child.pid, started=lock_module._started(child.pid), heartbeat_s=3600.0
    )
    assert dead._try()
    late = make(tmp_path / "run")
    assert not late._try()
    child.kill()
    # Not even waited for: a zombie is dead.
    deadline = time.monotonic() + 10
    while lock_module._started(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    late.acquire()
    child.wait()
    late.check()
    late.release()


def test_a_later_process_with_the_same_number_is_not_the_owner(tmp_path):
    dead = make(tmp_path / "run")
    dead.me = dataclasses.replace(dead.me, started="1")
    assert dead._try()
    make(tmp_path / "run").acquire()


@pytest.mark.parametrize(("silent_s", "stale"), [(0, False), (25, False), (31, True)])
def test_another_machine_is_stale_after_three_missed_beats(tmp_path, silent_s, stale):
    foreign(tmp_path / "run", silent_s=silent_s)
    lock = make(tmp_path / "run")
    if stale:
        lock.acquire()
        assert [p.name for p in (tmp_path / "run").glob("lock.*")] == ["lock.000002"]
        lock.release()
    else:
        with pytest.raises(StateError, match="on far"):
            lock.acquire()


def test_a_lock_file_that_is_not_written_yet_is_respected(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock.000001").touch()
    with pytest.raises(StateError, match="no process"):
        make(tmp_path / "run", heartbeat_s=30).acquire()


def test_heartbeat_touches_the_file(tmp_path):
    lock = make(tmp_path / "run")
    lock.acquire()
    os.utime(lock.path, (0, 0))
    deadline = time.monotonic() + 10
    while lock.path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lock.path.stat().st_mtime > time.time() - 60
    lock.release()


def test_owner_notices_that_it_was_replaced(tmp_path):
    slow = make(tmp_path / "run")
    slow.acquire()
    foreign(tmp_path / "run", number=2)
    with pytest.raises(StateError, match=r"gone; process \d+ on far"):
        slow.check()
    slow.release()
    # The other's file is left alone.
    assert [p.name for p in (tmp_path / "run").glob("lock.*")] == ["lock.000002"]


def test_owner_notices_that_its_folder_was_deleted(tmp_path):
    lock = make(tmp_path / "run")
    lock.acquire()
    lock.path.unlink()
    with pytest.raises(StateError, match="gone"):
        lock.check()
    lock.release()


def test_two_takers_of_a_stale_lock_never_both_win(tmp_path, monkeypatch):
    """Both have seen the stale file before either makes its own: the worst order there is."""
    create = lock_module._create
    for round_ in range(20):
        folder = tmp_path / str(round_)
        foreign(folder, silent_s=100)
        together = threading.Barrier(2)

        def create_together(path, owner, together=together):
            together.wait(timeout=10)
            return create(path, owner)

        monkeypatch.setattr(lock_module, "_create", create_together)
        takers = [make(folder) for _ in range(2)]
        won = [False, False]

        def take(k, takers=takers, won=won):
            won[k] = takers[k]._try()

        threads = [threading.Thread(target=take, args=(k,)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, True]
        takers[won.index(True)].check()
        with pytest.raises(StateError):
            takers[won.index(False)].check()


def test_many_takers_in_any_order(tmp_path):
    foreign(tmp_path / "run", number=7, silent_s=100)
    inside, most, guard = [], [], threading.Lock()

    def work():
        mine = make(tmp_path / "run", wait_s=30)
        mine.acquire()
        with guard:
            inside.append(1)
            most.append(len(inside))
        time.sleep(0.005)
        with guard:
            inside.pop()
        mine.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_taker_that_looked_long_ago_gives_way(tmp_path, monkeypatch):
    """It saw lock 1 stale; meanwhile 2 came and went to 3. Making 2 again must not win over 3."""
    foreign(tmp_path / "run", number=1, silent_s=100)
    create = lock_module._create

    def late(path, owner):
        foreign(tmp_path / "run", number=3)
        return create(path, owner)

    monkeypatch.setattr(lock_module, "_create", late)
    assert not make(tmp_path / "run")._try()
    assert not (tmp_path / "run" / "lock.000002").exists()
    assert (tmp_path / "run" / "lock.000003").exists()


def test_no_lock_lets_everybody_in():
    one, two = NoLock(), NoLock()
    for lock in (one, two):
        lock.acquire()
        lock.check()
        lock.release()
