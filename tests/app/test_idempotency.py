"""A request that is sent again with its key is answered again."""

from __future__ import annotations

import pytest

from controller_app.api import idempotency
from controller_app.api.idempotency import KEPT, KEPT_TIME, Answer, Memory, fingerprint, read_key
from controller_app.api.refused import Refused

DONE = Answer(200, ((b"content-type", b"application/json"),), b"{}")


def refused(memory: Memory, who: str, key: str, request: bytes, now: float = 0) -> int:
    with pytest.raises(Refused) as error:
        memory.begin(who, key, request, now)
    return error.value.status


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (' "a b" ', "a b"),
        (r'"a\"b\\c"', r"a\"b\c".replace("\\", "", 1)),
        ("8e03978e", "8e03978e"),
        ('"' + "x" * 255 + '"', "x" * 255),
    ],
)
def test_a_key_is_a_string(header: str, key: str) -> None:
    assert read_key(header) == key


NO_KEYS = ["", '""', '"a', 'a"', "a,b", '"a", "b"', "a b", "ü", '"ü"', '"a\\b"', "x" * 256, '"\n"']


@pytest.mark.parametrize("header", NO_KEYS)
def test_what_is_no_key(header: str) -> None:
    with pytest.raises(Refused) as error:
        read_key(header)
    assert error.value.status == 400


def test_every_part_of_a_request_counts() -> None:
    first = ("PUT", "/a", "x=1", ["", ""], b"body")
    others = [
        ("POST", "/a", "x=1", ["", ""], b"body"),
        ("PUT", "/b", "x=1", ["", ""], b"body"),
        ("PUT", "/a", "x=2", ["", ""], b"body"),
        ("PUT", "/a", "x=1", ['"t"', ""], b"body"),
        ("PUT", "/a", "x=1", ["", '"t"'], b"body"),
        ("PUT", "/a", "x=1", ["", ""], b"body2"),
    ]
    assert len({fingerprint(*request) for request in [first, *others]}) == 7
    assert fingerprint(*first) == fingerprint(*first)


def test_one_request_is_done_once() -> None:
    memory = Memory()
    assert memory.begin("a", "k", b"1", 0) is None
    assert refused(memory, "a", "k", b"1") == 409
    assert refused(memory, "a", "k", b"2") == 422
    memory.end("a", "k", DONE)
    assert memory.begin("a", "k", b"1", 1) == DONE
    assert refused(memory, "a", "k", b"2", 1) == 422
    assert memory.begin("b", "k", b"2", 1) is None  # another's key


@pytest.mark.parametrize("status", [None, 408, 413, 429, 500, 503])
def test_what_says_nothing_of_what_was_done_is_not_kept(status: int | None) -> None:
    memory = Memory()
    memory.begin("a", "k", b"1", 0)
    memory.end("a", "k", None if status is None else Answer(status, (), b""))
    assert memory.begin("a", "k", b"2", 0) is None


@pytest.mark.parametrize("status", [404, 409, 412, 422])
def test_a_refusal_is_an_answer(status: int) -> None:
    memory = Memory()
    memory.begin("a", "k", b"1", 0)
    memory.end("a", "k", Answer(status, (), b""))
    again = memory.begin("a", "k", b"1", 0)
    assert again is not None
    assert again.status == status


def test_a_day_later_it_is_forgotten() -> None:
    memory = Memory()
    memory.begin("a", "old", b"1", 0)
    memory.end("a", "old", DONE)
    memory.begin("a", "long", b"1", 0)
    memory.begin("a", "young", b"1", 10)
    memory.end("a", "young", DONE)
    assert memory.begin("a", "old", b"1", KEPT_TIME) == DONE
    assert memory.begin("a", "old", b"2", KEPT_TIME + 1) is None
    assert refused(memory, "a", "long", b"1", KEPT_TIME + 1) == 409  # it is still being worked on
    assert memory.begin("a", "young", b"1", KEPT_TIME + 1) == DONE


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    for number in range(KEPT + 1):
        memory.begin("a", str(number), b"1", number)
        memory.end("a", str(number), DONE)
    assert memory.begin("a", "1", b"1", KEPT) == DONE
    assert memory.begin("a", "0", b"2", KEPT) is None  # the oldest was forgotten
    memory = Memory()
    for number in range(KEPT):
        memory.begin("a", str(number), b"1", number)
    assert refused(memory, "a", "more", b"1") == 503  # nothing that is being worked on is forgotten
    memory.end("a", "500", DONE)
    assert memory.begin("a", "more", b"1", KEPT) is None
    monkeypatch.setattr(idempotency, "KEPT_BYTES", 250)
    memory = Memory()
    for number in range(3):
        memory.begin("a", str(number), b"1", number)
        memory.end("a", str(number), Answer(200, (), b"x" * 100))
    assert memory.begin("a", "0", b"2", 3) is None
    assert memory.begin("a", "1", b"1", 3) is not None
