"""What stores keep of changes, whichever store it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.store import interface, texts
from controller_app.store.interface import Store, StoredPolicy
from controller_app.store.memory import MemoryStore
from controller_app.store.sqlite import FILE, SqliteStore

PLAN = {"changes": {"s1": {"add": 3, "modify": 1, "delete": 0}}, "affected": {"chains": ["web"], "services": []}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)
    yield found
    found.close()


def policies(**named: str | None) -> dict[str, StoredPolicy]:
    return {name: StoredPolicy(name, text) for name, text in named.items()}


def test_a_revision_says_who_changed_what_and_what_became_of_it(store: Store) -> None:
    assert store.revisions() == []
    first = policies(web="version: 1\n", core="# core\n")
    assert store.save(first, "start", 1.5, who="file", plan=PLAN, verification={"ok": True, "classes": 8}) == 1
    (made,) = store.revisions()
    assert made.to_json() == {
        "number": 1, "at": "1970-01-01T00:00:01Z", "who": "file", "what": "start", "policies": ["web", "core"],
        "state": "waiting", "waiting": [], "plan": PLAN, "verification": {"ok": True, "classes": 8},
    }  # fmt: skip
    store.outcome(1, "failed", ("s1 (the switch refused a change)", "s2 (not connected)"))
    found = store.revision(1)
    assert found is not None
    assert (found.state, found.waiting) == ("failed", ("s1 (the switch refused a change)", "s2 (not connected)"))
    store.outcome(1, "confirmed")
    assert store.save({**first, **policies(web="version: 2\n", new="# new\n")}, "apply web, new", 2.0, who="ci") == 2
    assert store.save(policies(core="# core\n"), "delete web, new", 3.0) == 3
    one, two, three = reversed(store.revisions())
    assert (one.policies, two.policies, three.policies) == (("web", "core"), ("web", "new"), ("web", "new"))
    assert (one.state, two.state, three.state) == ("confirmed", "superseded", "waiting")
    assert store.texts(1) == {"web": "version: 1\n", "core": "# core\n"}
    assert store.texts(2) == {"web": "version: 2\n", "core": "# core\n", "new": "# new\n"}
    assert store.texts(3) == {"core": "# core\n"}
    assert store.revisions(2) == [three, two]
    assert store.revision(4) is None and store.texts(4) == {}
    assert store.policies() == policies(core="# core\n")


def test_the_same_texts_are_no_revision_and_files_are_remembered_all_the_same(store: Store) -> None:
    store.save(policies(web="x"), "apply web", 1.0)
    store.outcome(1, "confirmed")
    from_file = {"web": StoredPolicy("web", "x", "web.yaml", "d"), "gone": StoredPolicy("gone", None, "gone.yaml", "e")}
    assert store.save(from_file, "start", 2.0) == 1
    assert store.policies() == from_file
    (only,) = store.revisions()
    assert (only.what, only.state) == ("apply web", "confirmed")


def test_the_last_ones_are_kept_and_texts_only_as_long_as_somebody_needs_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("controller_app.store.memory", "controller_app.store.history"):
        monkeypatch.setattr(f"{module}.KEPT", 5)
    lasting = "".join(f"# lasting {line}\n" for line in range(300))
    for number in range(1, 13):
        text = "".join(f"# {line if line != number * 7 else f'changed by {number}'}\n" for line in range(300))
        assert store.save(policies(often=text, once=lasting), f"change {number}", float(number)) == number
    assert [revision.number for revision in store.revisions()] == [12, 11, 10, 9, 8]
    assert store.texts(7) == {}
    assert all(store.texts(number)["once"] == lasting for number in range(8, 13))
    assert "changed by 9\n" in store.texts(9)["often"]
    if isinstance(store, SqliteStore):
        (count,) = store._db.execute("SELECT count(*) FROM texts").fetchone()
        assert count == 6
        kept = {row[0] for row in store._db.execute("SELECT digest FROM texts").fetchall()}
        needed = {piece for text in kept for piece in texts._pieces(store._db, text)}
        assert {row[0] for row in store._db.execute("SELECT id FROM pieces").fetchall()} == needed


def test_a_thousand_small_edits_are_not_a_thousand_copies(tmp_path: Path) -> None:
    large = "".join(f"  - {{name: c{n}, from: {{host: h{n}}}, to: {{host: x{n}}}}}\n" for n in range(4000))
    store = SqliteStore(tmp_path)
    store.save(policies(large=large), "start", 0.0)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    alone = (tmp_path / FILE).stat().st_size
    for number in range(100):
        edited = large.replace(f"host: h{number * 37}}}", f"host: other{number}}}")
        store.save(policies(large=edited), "edit", float(number))
    assert store.texts(51)["large"] == large.replace(f"host: h{49 * 37}}}", "host: other49}")
    grown = (tmp_path / FILE).stat().st_size - alone
    assert grown / 100 < len(large) / 50
    store.close()


@given(st.lists(st.text(max_size=30), max_size=300).map("\n".join))
def test_pieces_together_are_the_text(text: str) -> None:
    assert "".join(texts.cut(text)) == text


def test_lines_without_end_are_cut_too() -> None:
    pieces = [*texts.cut("x" * 1_000_000)]
    assert max(map(len, pieces)) < 20_000 and "".join(pieces) == "x" * 1_000_000


def test_an_edit_leaves_all_other_pieces() -> None:
    text = "".join(f"# {line}\n" for line in range(10_000))
    before, after = {*texts.cut(text)}, {*texts.cut(text.replace("# 5000\n", "# five\n# thousand\n"))}
    assert len(after - before) <= 2 < 100 < len(before)


def test_what_a_revision_shows_has_no_key_more_than_was_agreed() -> None:
    shown = interface.Revision(1, 0.0, "x").to_json()
    assert [*shown] == ["number", "at", "who", "what", "policies", "state", "waiting", "plan", "verification"]
