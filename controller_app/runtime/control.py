"""The thread around the conductor: one queue, one thread, so nothing in it needs a lock.

Whoever has something to say puts it in the queue: the os-ken app (switches), the REST server (requests),
signals (reload). What the conductor does in answer, it does in the control thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from typing import TypeVar

from controller_app.discovery.ports import Port
from controller_app.model.position import PolicyError
from controller_app.model.topology import Topology
from controller_app.openflow import decode
from controller_app.policy.topology_file import load_topologies
from controller_app.runtime import changing
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.events import Events, Upload, uploading
from controller_app.runtime.intent import Intent, at_start, build, read_files
from controller_app.settings import Settings
from controller_app.store.interface import Store, StoredPolicy, StoreError
from controller_app.store.memory import MemoryStore
from controller_app.store.sqlite import SqliteStore

LOG = logging.getLogger(__name__)

TICK = 0.02  # seconds
LATE = 4 * TICK  # between two ticks: whatever else there was to do, answers of switches waited for it
# Events that may wait until frames that hosts send are no longer queued: a flood of them must cost neither all memory
# nor the time in which switches are answered. What a host needs it sends again.
MAX_WAITING = 2048
REREAD = "read the files again"  # what a revision made of that says
ANSWER_TIME = 60.0  # seconds a request waits for the control thread at most
T = TypeVar("T")
_PACKET_IN = bytes((decode.PACKET_IN,))


class Busy(RuntimeError):
    """The control thread did not come round to a request, or has ended."""


class Runtime:
    """A running controller without its OpenFlow listener, with its REST interface.

    Raises PolicyError (files that cannot be used), StoreError or SettingsError (the interface's address) when
    it cannot start.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        declared = load_topologies(settings.topology) if settings.topology else Topology()
        files = read_files(settings.policy)
        store: Store = SqliteStore(settings.state) if settings.state else MemoryStore()
        try:
            stored = store.policies()
            intent = build(at_start(stored, files))
            before = intent if dict(intent.stored) == stored else _kept(stored)
            self._conductor = Conductor(
                declared,
                intent,
                store,
                time.monotonic,
                secrets.token_bytes(16),
                settings.observe_links,
                discovering=not settings.topology,
                symmetric_hash=settings.symmetric_hash,
                wall=time.time,
                utilisation_cost=settings.utilisation_cost,
            )
            intent.check_required(declared)
            standing = self._conductor.computed.compiled.unmet  # with hosts of earlier runs: no reason not to start
            for warning in intent.check(self._conductor.topology, not settings.topology, standing):
                LOG.warning("%s", warning)
            changing.start(self._conductor, before, time.time())
            from controller_app.api.server import ApiServer  # which itself speaks of a runtime

            self._api = ApiServer(self, settings)
        except BaseException:
            store.close()
            raise
        self._store = store
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._dropped = 0  # frames, since the start; written by os-ken's thread, read by ours
        self._dropped_said = self._dropped_seen = 0
        self._ticked = time.monotonic()
        self.changing = threading.Lock()  # whoever is about to change what is wanted: two at once would only wait
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    @property
    def events(self) -> Events:
        """What happens, for whoever reads along."""
        return self._conductor.events

    @property
    def api_address(self) -> tuple[str, int]:
        """Where the REST interface listens."""
        return self._api.address

    def start(self) -> None:
        """Begin to work."""
        # What a web server says of itself is of no interest unless something is wrong.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._thread.start()
        self._api.start()

    def close(self) -> None:
        """End, keeping what was learned. The rules on the switches stay."""
        if self._ending.is_set():
            return
        self._api.close()
        self._ending.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(10)
        try:
            self._conductor.save()
        except StoreError as error:
            LOG.error("%s", error)
        self._store.close()

    # -- switches ------------------------------------------------------------------------------------------

    def connected(self, dpid: int, ports: Iterable[Port], send: Callable[[bytes], None]) -> None:
        """A switch finished its handshake; `send` takes whole messages and may be called from any thread."""
        described = list(ports)
        self._queue.put(lambda: self._conductor.connected(dpid, described, send))

    def lost(self, dpid: int) -> None:
        """A switch is gone."""
        self._queue.put(lambda: self._conductor.lost(dpid))

    def message(self, dpid: int, raw: bytes) -> None:
        """A switch said something. Frames of hosts are dropped, and counted, while very many events wait; answers
        and port changes never."""
        if raw[1:2] == _PACKET_IN and self._queue.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._queue.put(lambda: self._conductor.message(dpid, raw))

    # -- requests ------------------------------------------------------------------------------------------

    def call(self, action: Callable[[Conductor], T]) -> T:
        """Let the conductor do something and return the result, or raise what it raised.

        Raises Busy when the control thread does not come round to it.
        """
        future: Future[T] = Future()
        context = copy_context()  # what the conductor does for a request is told as that request's

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(context.run(action, self._conductor))
                except Exception as error:  # belongs to who asked, whatever it is
                    future.set_exception(error)

        if self._ending.is_set():
            raise Busy("the controller is ending")
        self._queue.put(run)
        try:
            return future.result(ANSWER_TIME)
        except FutureTimeout:
            future.cancel()
            raise Busy(f"the controller has not answered within {ANSWER_TIME:g} s") from None

    def wait_confirmed(self, seconds: float) -> list[str]:
        """Wait until every connected switch holds what is wanted. Answers which do not yet, with reasons."""
        deadline = time.monotonic() + seconds
        pause = 0.002
        while missing := self.call(lambda conductor: conductor.unconfirmed()):
            if time.monotonic() >= deadline:
                return missing
            time.sleep(pause)
            pause = min(0.05, pause * 1.5)
        return []

    def reload(self) -> None:
        """Read the files again (SIGHUP), and make what is in them count. What cannot be used is said in the log with
        its place, and changes nothing. Takes as long as a change takes."""
        self._api.reload()
        settings = self._settings
        try:
            declared = load_topologies(settings.topology) if settings.topology else Topology()
            files = read_files(settings.policy)
            wish = changing.Wish(lambda intent: intent.with_files(files), REREAD, "signal", declared)
            with uploading(Upload(wish.who)):
                made = changing.make(self, wish)
        except PolicyError as error:
            LOG.error("the files cannot be used, everything stays as it is:\n%s", error)
        except (StoreError, changing.Queued, Busy) as error:
            LOG.error("the files were not read again: %s", error)
        else:
            for warning in made.change.warnings:
                LOG.warning("%s", warning)
            now = "" if made.revision is None else f"; revision {made.revision.number} is in force"
            LOG.info("the files were read again%s", now)

    # -- inside --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_tick = 0.0
        while not self._ending.is_set():
            wait = next_tick - time.monotonic()
            action: Callable[[], object] | None = None
            if wait > 0:
                with contextlib.suppress(queue.Empty):
                    action = self._queue.get(timeout=wait)
            if action is None:  # time does not stand still, however much there is to do
                action, next_tick = self._tick, time.monotonic() + TICK
            try:
                action()
            except Exception:
                # One event that cannot be dealt with must not end the controller of a whole network.
                LOG.exception("an event could not be dealt with")

    def _tick(self) -> None:
        now = time.monotonic()
        if now > self._ticked + LATE:  # answers to checks waited as long to be read
            self._conductor.checking.lossy(now)
        self._ticked = now
        if self._dropped != self._dropped_seen:
            self._dropped_seen = self._dropped
            self._conductor.lossy()
        self._conductor.tick()
        if self._dropped != self._dropped_said and self._queue.qsize() < MAX_WAITING // 2:  # said once a flood
            LOG.warning("%d frames of hosts were dropped: too many at once", self._dropped - self._dropped_said)
            self._dropped_said = self._dropped


def _kept(stored: Mapping[str, StoredPolicy]) -> Intent | None:
    """What was applied last, as it was; None where that is no policy any more, which files may have mended."""
    try:
        return build(stored)
    except PolicyError:
        return None


_ACTIVE: list[Runtime] = []


def activate(runtime: Runtime) -> None:
    """Make a runtime the one that the os-ken app, which os-ken itself creates, will find."""
    _ACTIVE[:] = [runtime]


def active() -> Runtime:
    """The runtime of this process. RuntimeError when the app was not started by chain-manager."""
    if not _ACTIVE:
        raise RuntimeError("controller_app.app is started by chain-manager, which gives it its settings")
    return _ACTIVE[0]
