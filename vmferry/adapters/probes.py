"""Ask guests over the network, from the management host."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request

from vmferry.model.probes import Probe, ProbeKind, tcp_place

_TIMEOUT_S = 3.0


def ask_guest(probe: Probe, timeout_s: float = _TIMEOUT_S) -> str:
    """Return what is wrong, empty when the guest answers; never raises."""
    try:
        match probe.kind:
            case ProbeKind.PING:
                return _ping(probe.target, timeout_s)
            case ProbeKind.TCP:
                with socket.create_connection(tcp_place(probe.target), timeout=timeout_s):
                    return ""
            case ProbeKind.HTTP:
                return _get(probe.target, timeout_s)
            case ProbeKind.AGENT:
                return "an agent is asked by its host"
    except OSError as error:
        return str(error) or type(error).__name__


def _ping(target: str, timeout_s: float) -> str:
    argv = ["ping", "-n", "-c", "1", "-W", str(max(1, round(timeout_s))), "--", target]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s + 2, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout_s:.0f} s"
    return "" if done.returncode == 0 else (done.stderr.strip() or f"no answer in {timeout_s:.0f} s")


def _get(url: str, timeout_s: float) -> str:
    """Below 500 somebody is there who answers; what is asked for may need a password."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return "" if answer.status < 500 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return "" if error.code < 500 else f"status {error.code}"
