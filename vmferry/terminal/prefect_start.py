"""Prefect, imported late: it takes seconds, and help, hosts and checks do not need it."""

from __future__ import annotations

import atexit
import importlib
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vmferry
from vmferry.errors import InvalidInput
from vmferry.settings import Settings

# For the embedded server; each can be overridden in the environment. Measured with Prefect 3.8.8:
# the first start can take longer than Prefect's limit of 20 s, and without the two batch sizes the
# server loses the last task runs at exit.
EMBEDDED = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

_ANSWER_S = 10.0


def put_checkout_first() -> Path:
    """Put the checkout first on sys.path, as Prefect does for a pulled repository; return it."""
    root = Path(vmferry.__file__).resolve().parent.parent
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))
    return root


def prepare_environment(settings: Settings) -> bool:
    """Set Prefect's defaults before it is imported; return whether the server is embedded.

    Changes os.environ, no variable that is set, and makes PREFECT_HOME. Raises InvalidInput.
    """
    if not settings.debug:
        # Console only: the server keeps the whole log. vmferry shows progress and errors itself.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # By default each call to a lost server takes a minute: the moves would end well, but not their command.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    if os.environ.get("PREFECT_API_URL"):
        return False
    for name, value in EMBEDDED.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(settings.state_dir / "prefect"))
    # Prefect makes its own directory but not the ones above it, and then waits for a server that cannot start.
    home = Path(os.environ["PREFECT_HOME"]).expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInput(
            f"{home}: cannot be made: {error.strerror}; set VMFERRY_STATE_DIR to a directory of your own"
        ) from error
    return True


def load_flow(name: str, settings: Settings, say: Callable[[str], None]) -> Callable[..., Any]:
    """Import `flows/<name>.py:<name>`. Raises InvalidInput when vmferry runs without its checkout."""
    root = put_checkout_first()
    if not (root / "flows" / f"{name}.py").is_file():
        raise InvalidInput(
            f"{root}/flows/{name}.py is missing: flows are not part of the installed package; "
            "run vmferry from a checkout (uv run vmferry …)"
        )
    server = None
    is_embedded = prepare_environment(settings)
    if not is_embedded:
        must_answer(os.environ["PREFECT_API_URL"])
    else:
        say("starting embedded Prefect server …")
        server = _start_server()
    # Importing Prefect takes as long as the server's start: both at once.
    flow: Callable[..., Any] = getattr(importlib.import_module(f"flows.{name}"), name)
    if server is not None:
        server.wait_ready(float(os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"]))
    return flow


def must_answer(api_url: str) -> None:
    """Raise InvalidInput when nobody is at the server's address; who answers at all is Prefect's business."""
    try:
        urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=_ANSWER_S).close()
    except urllib.error.HTTPError:
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # Prefect has settings of its own for certificates
            raise InvalidInput(
                f"PREFECT_API_URL={api_url}: the Prefect server does not answer ({reason}); nothing was touched; start "
                "it, or unset the variable: vmferry then starts one of its own"
            ) from error


def is_server_lost() -> bool:
    """Whether the Prefect server that this process uses does not answer any more."""
    try:
        must_answer(os.environ["PREFECT_API_URL"])
    except InvalidInput:
        return True
    return False


def _start_server() -> Any:
    """Start the embedded server and point Prefect to it; it ends with this process."""
    # Local users must not meet the server without a password: it starts flows as the user of this process.
    password = f"vmferry:{secrets.token_urlsafe(24)}"
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = os.environ["PREFECT_API_AUTH_STRING"] = password
    wiring = importlib.import_module("tasks._wiring")
    server = wiring.embedded_server(Path(os.environ["PREFECT_HOME"]).expanduser() / "server.log")
    server.start()
    atexit.register(server.stop)
    os.environ["PREFECT_API_URL"] = server.api_url
    return server
