"""`chain-manager`: the controller's process. os-ken, our app, and whatever else the user wants beside it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller_app.cli.options import read_options
from controller_app.model.position import PolicyError
from controller_app.openflow.listener import Listener, ListenError, tls_context
from controller_app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from controller_app.runtime.control import Runtime

LOG = logging.getLogger(__name__)

OUR_APP = "controller_app.app"
_HANDSHAKES = "os_ken.controller.ofp_handler"  # os-ken's own app that speaks with switches
_OF13 = 4
_LEAVING_TIME = 5.0  # seconds for connections and apps to end


class LaunchError(Exception):
    """It cannot start. The text is for people, one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Exit status 0 when it was told to end, 1 when it could not start."""
    try:
        settings, apps = read_options(sys.argv[1:] if arguments is None else arguments)
        _log_to_stderr(settings.verbose)
        run(settings, [OUR_APP, *apps])
    except (SettingsError, ListenError, LaunchError) as error:
        print(f"chain-manager: {error}", file=sys.stderr)
        return 1
    except PolicyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(settings: Settings, apps: Sequence[str], stop: threading.Event | None = None,
        listening: Callable[[Sequence[Listener]], object] | None = None) -> None:
    """Run the apps until a signal, or `stop`, says to end.

    `apps` are module paths or files of os-ken apps, ours (OUR_APP) being one like any other. `listening` is
    called once switches can connect; by default it says so on stderr. Raises ListenError, LaunchError,
    SettingsError or PolicyError when it cannot start, with nothing left running.
    """
    stop = stop or threading.Event()
    listeners = _listen(settings)
    closing: list[Callable[[], object]] = [listener.close for listener in listeners]
    try:
        from controller_app.openflow import osken_fixes

        osken_fixes.apply(listeners)
        _tell_osken(settings, listeners)
        manager = _load(apps)
        runtime = None
        if OUR_APP in apps:
            runtime = _our_runtime(settings)
            closing.append(runtime.close)
            runtime.start()
            LOG.info("the REST API is at %s port %d", *runtime.api_address)
        closing[len(listeners):len(listeners)] = [lambda: _disconnect(osken_fixes), manager.close]
        try:
            manager.instantiate_apps(**manager.create_contexts())
        except Exception as error:  # whatever an app raises while it is made
            LOG.debug("the apps cannot start", exc_info=True)
            raise LaunchError(f"an app cannot start: {type(error).__name__}: {error}") from error
        _obey_signals(stop, runtime)
        _be_prompt()
        (listening or _announce)(listeners)
        stop.wait()
        LOG.info("leaving; the rules stay in the switches")
    finally:
        _leave(closing)


def _listen(settings: Settings) -> list[Listener]:
    """Take the ports before anything else happens: most failed starts are a second controller's."""
    settings.check()
    context = tls_context(settings.ctl_cert, settings.ctl_privkey, settings.ca_certs) \
        if settings.ctl_cert is not None and settings.ctl_privkey is not None else None
    wanted = [(settings.tcp_port, None), (settings.tls_port, context)]
    listeners: list[Listener] = []
    try:
        for port, security in wanted:
            if port is not None:
                listeners.append(Listener(settings.ofp_listen_host, port, security))
    except ListenError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _announce(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        print(f"listening on {listener}", file=sys.stderr, flush=True)


def _tell_osken(settings: Settings, listeners: Sequence[Listener]) -> None:
    """Apps may look at os-ken's configuration, so it says what is the case."""
    from os_ken import cfg

    cfg.CONF(args=[], project="os_ken", default_config_files=[], default_config_dirs=[])
    told = {"ofp_listen_host": settings.ofp_listen_host, "ctl_privkey": settings.ctl_privkey,
            "ctl_cert": settings.ctl_cert, "ca_certs": settings.ca_certs}
    for name, value in told.items():
        cfg.CONF.set_override(name, value)
    for listener in listeners:
        cfg.CONF.set_override("ofp_ssl_listen_port" if listener.tls else "ofp_tcp_listen_port", listener.port)


def _load(apps: Sequence[str]) -> Any:
    """os-ken's manager with every app loaded. LaunchError for one that cannot be."""
    from os_ken.base.app_manager import AppManager

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a module of the user's, next to where the command is called
    manager = AppManager()
    AppManager._instance = manager  # apps ask for "the" manager
    for app in [*apps, _HANDSHAKES]:
        if app in manager.applications_cls:
            continue
        try:
            if os.path.isfile(app):  # os-ken looks for a module instead when a file is not Python
                compile(Path(app).read_bytes(), app, "exec")
            manager.load_apps([app])
        except Exception as error:  # an app's module may raise anything when it is imported
            LOG.debug("%s cannot be loaded", app, exc_info=True)
            raise LaunchError(f"app {app}: {_why_not(app, error)}") from error
        if app not in manager.applications_cls and app != _HANDSHAKES:
            raise LaunchError(f"app {app}: there is no class in it that derives from "
                              f"os_ken.base.app_manager.OSKenApp")
    for name, cls in manager.applications_cls.items():
        if cls.OFP_VERSIONS is not None and _OF13 not in cls.OFP_VERSIONS:
            raise LaunchError(f"app {name}: its OFP_VERSIONS are without OpenFlow 1.3 (0x04), which all apps of "
                              f"this process speak; add ofproto_v1_3.OFP_VERSION")
    return manager


def _why_not(app: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        missing = error.name or ""
        if missing == "ryu" or missing.startswith("ryu."):
            return "it imports ryu; write os_ken instead of ryu in its imports, the rest can stay"
        if app == missing or app.startswith(missing + "."):
            return "there is no such file, and no such module; give FILE.py or module.path"
        return f"it needs the module {missing}, which is not installed"
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    return f"{type(error).__name__}: {error}"


def _our_runtime(settings: Settings) -> Runtime:
    """What our app finds when os-ken makes it."""
    from controller_app.runtime import control as runtime
    from controller_app.store.interface import StoreError

    try:
        ours = runtime.Runtime(settings)
    except StoreError as error:
        raise LaunchError(str(error)) from error
    if not settings.state:
        LOG.warning("without --state DIR a restart forgets what is applied (chainctl apply, net, endpoint, service, "
                    "label) and the addresses that services were given: say where to keep them")
    runtime.activate(ours)
    return ours


def _obey_signals(stop: threading.Event, runtime: Runtime | None) -> None:
    """SIGTERM and SIGINT end, SIGHUP reads the files again. Only the main thread may set this up."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def reload(*_: object) -> None:
        if runtime is not None:
            threading.Thread(target=runtime.reload, name="reload", daemon=True).start()

    signal.signal(signal.SIGHUP, reload)


def _be_prompt() -> None:
    """Keep what answers switches from waiting for the rest.

    Policies, networks and rules are values that do not refer to each other in circles. Going through all of them for
    garbage takes a second where there are thousands of services, in which nothing else is done, and finds none; what
    makes circles, such as errors, is little. And a thread that computes for long (a request that is being verified)
    lets others in sooner than Python has it by itself.
    """
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)
    sys.setswitchinterval(0.001)


def _disconnect(fixes: Any) -> None:
    fixes.disconnect_all()
    deadline = time.monotonic() + _LEAVING_TIME / 2
    while fixes.connected() and time.monotonic() < deadline:
        time.sleep(0.01)


def _leave(closing: Sequence[Callable[[], object]]) -> None:
    """Close in order. An app that does not end is left behind: the process ends without it."""
    for close in closing:
        thread = threading.Thread(target=close, daemon=True)
        thread.start()
        thread.join(_LEAVING_TIME)
        if thread.is_alive():
            LOG.warning("something did not end within %g s; leaving without it", _LEAVING_TIME)


def _log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if verbose else logging.INFO,
                        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    if not verbose:
        logging.getLogger("os_ken").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
