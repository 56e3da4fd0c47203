"""The edge to libvirt: one event loop, calls bounded in time, errors translated once.

Facts used here were measured on libvirt 9.0 (docs/decisions/0004): without keepalive and a running event loop a
call to a hung libvirtd never returns; opening a connection to a silent host takes 133 s to fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

import libvirt

from vmferry.adapters.ssh_apart import apart
from vmferry.errors import HostBusy, HostUnreachable, NotFound, OutcomeUnknown, PermanentError, VmferryError
from vmferry.settings import Settings
from vmferry.stopping import Stop, current_stop

T = TypeVar("T")

_loop_lock = threading.Lock()
_loop: threading.Thread | None = None


def start_event_loop() -> None:
    """Start libvirt's event loop once per process, before the first connection is opened."""
    global _loop
    with _loop_lock:
        if _loop is not None:
            return
        libvirt.virEventRegisterDefaultImpl()
        # libvirt prints every error to stderr otherwise; ours carry the text.
        libvirt.registerErrorHandler(lambda _ctx, _error: None, None)
        _loop = threading.Thread(target=_run_loop, name="libvirt-events", daemon=True)
        _loop.start()


def _run_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def bounded(call: Callable[[], T], timeout_s: float) -> T:
    """Run `call` in a thread of its own and wait at most `timeout_s`; raises TimeoutError.

    A C call cannot be interrupted: after a timeout its thread stays behind until libvirt gives up. The calling
    thread waits in Python, so signals and cancellations reach it (prefect-facts 20).
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except InvalidStateError:
            raise
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="libvirt-call", daemon=True).start()
    try:
        return future.result(timeout_s)
    except FutureTimeout as error:
        if future.done():
            raise
        raise TimeoutError(f"no answer within {timeout_s:.0f} s") from error


def open_connection(uri: str, host: str, settings: Settings) -> libvirt.virConnect:
    """Open a connection that notices a hung daemon (within 8 s by default); raises HostUnreachable."""
    start_event_loop()
    timeout_s, reached_by, stop = settings.connect_timeout_s, apart(uri, settings.state_dir), current_stop()
    try:
        connection = bounded(lambda: _open(reached_by, stop), timeout_s)
        # Some drivers (test:///) have no keepalive; their calls do not cross a network either.
        if not uri.startswith("test:"):
            connection.setKeepAlive(settings.keepalive_interval_s, settings.keepalive_count)
        return connection
    except TimeoutError as error:
        raise HostUnreachable(
            f"host {host}: libvirt at {uri} did not answer within {timeout_s:.0f} s; try `virsh -c '{uri}' version`",
            host=host,
        ) from error
    except libvirt.libvirtError as error:
        raise HostUnreachable(
            f"host {host}: libvirt at {uri} cannot be opened: {text_of(error)}; try `virsh -c '{uri}' version`",
            host=host,
        ) from error


def _open(uri: str, stop: Stop) -> libvirt.virConnect:
    """Open; once more where a request to stop has come: its signal ends an ssh that has not yet been set apart."""
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError:
        if not stop.why:
            raise
        return libvirt.open(uri)


def text_of(error: libvirt.libvirtError) -> str:
    """Return libvirt's message in one line."""
    return " ".join((error.get_error_message() or str(error)).split())


_CONNECTION_LOST = {
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_AUTH_FAILED,
}
_RPC_DOMAINS = {
    libvirt.VIR_FROM_RPC,
    libvirt.VIR_FROM_REMOTE,
    libvirt.VIR_FROM_STREAMS,
}
_BUSY = {libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_AGENT_UNRESPONSIVE}


def is_connection_lost(error: libvirt.libvirtError) -> bool:
    """Whether the error tells of the connection, not of the call's subject."""
    return error.get_error_code() in _CONNECTION_LOST and error.get_error_domain() in _RPC_DOMAINS


def translate(error: libvirt.libvirtError, host: str, what: str, *, is_write: bool) -> VmferryError:
    """Turn a libvirt error into the class that says what may be done next.

    A lost connection during a read is transient; during a write nobody knows whether the call took effect.
    Source: the error table in `libvirt-facts.md`, "Connections".
    """
    message = f"host {host}: {what}: {text_of(error)}"
    code = error.get_error_code()
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return NotFound(message, host=host)
    if code in _BUSY:
        return HostBusy(message, host=host)
    if is_connection_lost(error):
        if is_write:
            return OutcomeUnknown(f"{message}; whether it took effect is not known", host=host)
        return HostUnreachable(message, host=host)
    if is_write and code in (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_SYSTEM_ERROR):
        return OutcomeUnknown(f"{message}; whether it took effect is not known", host=host)
    return PermanentError(message, host=host)
