"""Never two writers: who may take a workdir, when, and what becomes of who lost it. Time is told, not waited for."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest

from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.stores import lease as leases
from jaxbert.stores.lease import DIRECTORY, Lease, Owner, period
from jaxbert.stores.storage import Disk

PERIOD = 60.0


class Time:
    """A clock that moves only when somebody sleeps, and what happens then."""

    def __init__(self):
        self.now, self.meanwhile = 1000.0, lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners are of other machines."""
    monkeypatch.setattr(Owner, "is_here", property(lambda self: False))


def lease(workdir: Path, time: Time, **more) -> Lease:
    return Lease(Disk(workdir), PERIOD, clock=time.clock, sleep=time.sleep, **more)


def stop(held: Lease) -> None:
    """Its thread ends as with its process: nothing is said to anyone."""
    held._stop.set()
    assert held._thread is not None
    held._thread.join()


def test_taken_and_given_back(tmp_path: Path):
    time = Time()
    held = lease(tmp_path, time)
    held.wait()
    held.take()
    assert [path.name for path in (tmp_path / DIRECTORY).iterdir()] == ["000001"]
    held.check()
    held.release()
    assert not list(tmp_path.iterdir()) and time.now == 1000


def test_one_that_lives_is_left_alone(tmp_path: Path, elsewhere: None):
    time = Time()
    first = lease(tmp_path, time)
    first.take()
    stop(first)

    def beat() -> None:
        first._beats, first._renewed = first._beats + 1, time.now
        first.storage.renew(first._name, first._content())

    time.meanwhile = beat
    with pytest.raises(InputError, match="E-LEASE-TAKEN"):
        lease(tmp_path, time).wait()
    assert 3 * PERIOD <= time.now - 1000 <= 3.5 * PERIOD
    first.check()


def test_one_that_was_killed_is_taken_over_after_a_period(
    tmp_path: Path, elsewhere: None, caplog: pytest.LogCaptureFixture
):
    time = Time()
    first = lease(tmp_path, time)
    first.take()
    stop(first)
    second = lease(tmp_path, time)
    with caplog.at_level("INFO"):
        second.wait()
    assert PERIOD <= time.now - 1000 < 1.2 * PERIOD and "waiting" in caplog.messages[0]
    second.take()
    second.check()
    assert [path.name for path in (tmp_path / DIRECTORY).iterdir()] == ["000002"]
    # The first was only asleep.
    with pytest.raises(Stopped, match="E-LEASE-LOST"):
        first.check()
    first.release()
    second.check()
    second.release()
    assert not list(tmp_path.iterdir())


def test_a_run_takes_over_what_a_killed_one_on_another_machine_held(tmp_path: Path, elsewhere: None, monkeypatch):
    """Through what a run really holds a workdir with: what it waited for is what it takes."""
    from jaxbert.run.hold import Hold
    from jaxbert.run.processes import Watch

    monkeypatch.setenv("JAXBERT_LEASE_S", "1")
    first = Lease(Disk(tmp_path), 1)
    first.wait()
    first.take()
    stop(first)
    with Hold(tmp_path, Watch(0, 1, None)) as hold:
        hold.wait()
        hold.take()
        hold.before_commit()
        assert [path.name for path in (tmp_path / DIRECTORY).iterdir()] == ["000002"]
    assert not (tmp_path / DIRECTORY).exists()


def test_one_that_leaves_meanwhile_is_not_waited_for(tmp_path: Path, elsewhere: None):
    time = Time()
    first = lease(tmp_path, time)
    first.take()

    def leave() -> None:
        if time.now > 1000 + PERIOD / 2:
            first.release()

    time.meanwhile = leave
    lease(tmp_path, time).wait()
    assert time.now - 1000 < 0.7 * PERIOD


@pytest.mark.parametrize(("lives", "seconds"), [(True, None), (False, 0), (None, PERIOD)])
def test_on_this_machine_its_file_lock_tells(tmp_path: Path, lives: bool | None, seconds: float | None):
    time = Time()
    first = lease(tmp_path, time)
    first.take()
    stop(first)
    if seconds is None:
        with pytest.raises(InputError, match="E-LEASE-TAKEN"):
            lease(tmp_path, time).wait(lambda: lives)
        assert time.now == 1000
    else:
        lease(tmp_path, time).wait(lambda: lives)
        assert seconds <= time.now - 1000 <= 1.2 * seconds


def test_a_machine_that_was_started_anew_is_not_the_same(monkeypatch: pytest.MonkeyPatch):
    here = Owner.here()
    assert here.is_here
    monkeypatch.setattr(leases, "boot", lambda: "another")
    assert not here.is_here


def test_of_many_who_find_it_free_one_takes_it(tmp_path: Path):
    barrier, won, lost = threading.Barrier(8), [], []

    def run() -> None:
        mine = Lease(Disk(tmp_path), PERIOD)
        mine.wait()
        barrier.wait()
        try:
            mine.take()
        except InputError:
            lost.append(mine)
        else:
            won.append(mine)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 7
    won[0].release()


def test_one_that_looked_long_ago_comes_too_late(tmp_path: Path):
    late = Lease(Disk(tmp_path), PERIOD)
    late.wait()
    disk = Disk(tmp_path)
    disk.create(f"{DIRECTORY}/000001", b"killed")
    now = Lease(Disk(tmp_path), PERIOD, _after=1)
    now.take()
    with pytest.raises(InputError, match="E-LEASE-TAKEN"):
        late.take()
    now.check()
    now.release()
    assert not list(tmp_path.iterdir())


def test_a_client_that_asked_twice_has_not_lost_to_itself(tmp_path: Path):
    class Twice(Disk):
        def create(self, name: str, content: bytes) -> bool:
            super().create(name, content)
            return super().create(name, content)

    held = Lease(Twice(tmp_path), PERIOD)
    held.take()
    held.release()


def test_an_owner_that_cannot_renew_stops_by_itself(tmp_path: Path):
    time, lost, said = Time(), threading.Event(), []

    class Full(Disk):
        def renew(self, name: str, content: bytes) -> None:
            raise OSError(28, "No space left on device")

    held = Lease(Full(tmp_path), 0.06, clock=time.clock, on_loss=lambda error: (said.append(error), lost.set()))
    held.take()
    assert not lost.wait(0.1)
    time.now += 1
    assert lost.wait(10) and isinstance(said[0], Interrupted)
    held.release()


def test_an_owner_hears_that_it_was_taken_over(tmp_path: Path):
    lost, said = threading.Event(), []
    held = Lease(Disk(tmp_path), 0.3, on_loss=lambda error: (said.append(error), lost.set()))
    held.take()
    Disk(tmp_path).create(f"{DIRECTORY}/000002", b"")
    assert lost.wait(10) and isinstance(said[0], Stopped)


def test_renewing_changes_the_file_and_not_its_size(tmp_path: Path):
    held = Lease(Disk(tmp_path), 0.12)
    held.take()
    file = tmp_path / DIRECTORY / "000001"
    first = file.read_bytes()
    end = time.monotonic() + 10
    while (now := file.read_bytes()) == first:
        assert time.monotonic() < end
        time.sleep(0.01)
    held.release()
    assert len(now) == len(first) and json.loads(first)["process"] > 0


def test_torn_files_are_somebodys(tmp_path: Path, elsewhere: None):
    (tmp_path / DIRECTORY).mkdir()
    (tmp_path / DIRECTORY / "000004").write_bytes(b'{"host": "a')
    time = Time()
    mine = lease(tmp_path, time)
    mine.wait()
    assert time.now - 1000 >= PERIOD
    mine.take()
    assert [path.name for path in (tmp_path / DIRECTORY).iterdir()] == ["000005"]
    mine.release()


def test_a_long_job_name_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAXBERT_JOB", "x" * 5000)
    held = Lease(Disk(tmp_path), PERIOD)
    held.take()
    assert len((tmp_path / DIRECTORY / "000001").read_bytes()) == 1024
    assert "JAXBERT_JOB=xxx" in str(dataclasses.replace(Owner.here()))
    held.release()


@pytest.mark.parametrize("text", ["0", "-3", "nan", "a minute", "1e9"])
def test_a_period_is_seconds(text: str):
    assert period({}) == 60.0 and period({"JAXBERT_LEASE_S": "5"}) == 5.0
    with pytest.raises(InputError, match="E-LEASE-PERIOD"):
        period({"JAXBERT_LEASE_S": text})


def test_one_that_cannot_renew_stops_in_time(tmp_path: Path):
    """Another process may take over after a period, so the owner writes no more."""
    time = Time()
    held = lease(tmp_path, time)
    held.take()
    stop(held)
    time.now += PERIOD
    held.check()
    time.now += 1
    with pytest.raises(Interrupted, match=r"61 s.*E-LEASE-SILENT"):
        held.check()
