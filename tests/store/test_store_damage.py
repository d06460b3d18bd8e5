"""A full disk and a damaged file: what was kept stays, and what is wrong is said with what to do."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller_app.model.allocation import Allocation
from controller_app.store.interface import StoredPolicy, StoreError
from controller_app.store.sqlite import FILE, SqliteStore

LONG = "".join(f"# line {number}\n" for number in range(5000))


def policies(text: str) -> dict[str, StoredPolicy]:
    return {"a": StoredPolicy("a", text)}


def filled(directory: Path, revisions: int = 30) -> SqliteStore:
    """A store with as many revisions."""
    store = SqliteStore(directory)
    for number in range(revisions):
        edited = LONG.replace(f"line {number * 97}\n", f"row {number}\n")
        store.save(policies(edited), f"change {number}", float(number))
    return store


def noise(size: int) -> str:
    """A text that cannot be made shorter."""
    return random.Random(1).randbytes(size // 2).hex()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_refuses_a_revision_and_keeps_the_last(small_disk: Path) -> None:
    store = filled(small_disk)
    before = store.policies(), store.revisions()
    with pytest.raises(StoreError, match="full; free space on its disk") as full:
        store.save(policies(noise(4_000_000)), "too much", 1.0)
    assert full.value.full and str(small_disk / FILE) in str(full.value)
    assert (store.policies(), store.revisions()) == before
    assert store.save(policies("# small\n"), "small", 2.0) == 31  # it goes on where there is space
    store.close()
    again = SqliteStore(small_disk)
    assert again.policies() == policies("# small\n")
    again.close()


def test_a_disk_that_others_filled(small_disk: Path) -> None:
    store = filled(small_disk, 3)
    with open(small_disk / "others", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(StoreError) as full:
        store.save(policies(noise(100_000)), "too much", 1.0)
    assert full.value.full
    with pytest.raises(StoreError):
        for number in range(1000):  # what SQLite has room for in its own file is not much
            store.save_drains({f"default/{noise(1000)}{number}": 1.0 for number in range(number)})
    (small_disk / "others").unlink()
    assert store.save(policies("# small\n"), "small", 2.0) == 4
    store.close()


def test_what_is_said_is_so_however_little_space_there_is(small_disk: Path) -> None:
    store = filled(small_disk, 3)
    said = set()
    for number, free in enumerate(range(0, 400_000, 25_000)):
        (small_disk / "others").unlink(missing_ok=True)
        state = os.statvfs(small_disk)
        with open(small_disk / "others", "wb", buffering=0) as file:
            file.write(bytes(max(0, state.f_bavail * state.f_bsize - free)))
        before = store.policies()
        after = policies(f"# {number}\n" + noise(100_000))
        try:
            store.save(after, "more", 1.0)
            said.add(True)
        except StoreError as error:
            assert error.full
            after = before
            said.add(False)
        assert store.policies() == after
        copy = small_disk.parent / "copy"  # as a crash leaves it
        shutil.copytree(small_disk, copy, ignore=shutil.ignore_patterns("others"))
        again = SqliteStore(copy)
        assert again.policies() == after
        again.close()
        shutil.rmtree(copy)
    assert said == {True, False}
    store.close()


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count={pages + 5}")
    before = store.policies(), store.revisions()
    with pytest.raises(StoreError) as full:
        store.save(policies(noise(1_000_000)), "too much", 1.0)
    assert full.value.full
    assert (store.policies(), store.revisions()) == before
    store.close()
    again = SqliteStore(tmp_path)
    assert (again.policies(), again.revisions()) == before
    again.close()


def damage(path: Path, how: str) -> None:
    """Damage a file."""
    data = bytearray(path.read_bytes())
    points = random.Random(how)
    if how == "emptied":
        data.clear()
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "cut a little":
        del data[-5000:]
    elif how == "start":
        data[:100] = points.randbytes(100)
    else:
        for at in range(4096, len(data) - 64, 8192):  # all but the first page
            data[at : at + 64] = points.randbytes(64)
    with open(path, "r+b") as file:  # the same file, not another of its name
        file.truncate(len(data))
        file.write(data)


HOWS = ("emptied", "cut", "cut a little", "start", "everywhere")


@pytest.mark.parametrize("how", HOWS)
def test_a_damaged_file_does_not_open(tmp_path: Path, how: str) -> None:
    filled(tmp_path).close()
    damage(tmp_path / FILE, how)
    with pytest.raises(StoreError) as said:
        SqliteStore(tmp_path)
    assert str(said.value).startswith(f"{tmp_path / FILE}: damaged: ")
    for remedy in ("move it away", "--policy", "another --state", ".recover"):
        assert remedy in str(said.value)


@pytest.mark.parametrize("how", [*HOWS, "removed", "replaced"])
def test_a_file_that_is_damaged_in_use_takes_no_more(tmp_path: Path, how: str) -> None:
    store = filled(tmp_path)
    path = tmp_path / FILE
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    else:
        damage(path, how)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"damaged: .*chainctl get policies") as said:
            store.save(policies("# new\n"), "new", 1.0)
        assert not said.value.full
    with pytest.raises(StoreError, match="damaged"):
        store.save_drains({})
    store.close()


def everything(directory: Path) -> object:
    """What a controller starts with."""
    store = SqliteStore(directory)
    try:
        return store.policies(), store.allocation(), store.hosts(), store.drains()
    finally:
        store.close()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_damaged_the_start_is_right_or_refused(tmp_path: Path, seed: int) -> None:
    store = filled(tmp_path, 6)
    store.save_allocation(Allocation(waypoints={f"own:h{number}": number for number in range(300)}))
    store.save_hosts([{"mac": f"02:00:00:00:00:{number:02x}", "ips": ["10.0.0.1"]} for number in range(99)])
    store.save_drains({"default/web1": 17.5})
    store.close()
    whole, right = (tmp_path / FILE).read_bytes(), everything(tmp_path)
    points, refused = random.Random(seed), 0
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(points.choice((1, 1, 3, 100))):
            at = points.randrange(len(data))
            data[at : at + 1] = points.randbytes(1)
        (tmp_path / FILE).write_bytes(data)
        try:
            assert everything(tmp_path) == right
        except StoreError:
            refused += 1
    assert refused > 5


def test_a_byte_that_turned_in_a_text_is_noticed(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    (content,) = store._db.execute("SELECT content FROM pieces ORDER BY length(content) DESC LIMIT 1").fetchone()
    store.close()
    data = bytearray((tmp_path / FILE).read_bytes())
    at = data.index(content[20:60]) + 10
    data[at] ^= 0x10
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StoreError, match="damaged: a policy's text in it is not what was written"):
        SqliteStore(tmp_path)


def test_a_value_that_turned_is_noticed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.save_hosts([{"mac": "02:00:00:00:01:11"}])
    (value,) = store._db.execute("SELECT value FROM memory WHERE name = 'hosts'").fetchone()
    turned = bytearray(value)
    turned[len(value) // 2] ^= 1
    store._db.execute("UPDATE memory SET value = ? WHERE name = 'hosts'", (bytes(turned),))
    with pytest.raises(StoreError, match="damaged: a value in it is not what was written"):
        store.hosts()
    store.close()
