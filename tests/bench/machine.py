"""On what the figures were measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine_facts() -> dict[str, Any]:
    """Read date, load, processor, memory and versions; reads only."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "cpu": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "prefect": version("prefect"),
        "libvirt": _output("virsh", "--version"),
        "qemu": _first(r"version ([\d.]+)", _output("qemu-system-x86_64", "--version")),
        "commit": _output("git", "describe", "--always", "--dirty"),
    }


def machine_lines(facts: dict[str, Any]) -> list[str]:
    """Say the same in lines; the load first, because it decides what the figures are worth."""
    load = " ".join(map(str, facts["load_average"]))
    return [
        f"load average at the start: {load} on {facts['cores']} cores; other work shows in every figure",
        f"{facts['date']}, {facts['cpu']}, {facts['memory_mib'] / 1024:.0f} GiB, Linux {facts['kernel']}",
        f"Python {facts['python']}, Prefect {facts['prefect']}, libvirt {facts['libvirt']}, QEMU {facts['qemu']}, "
        f"vmferry {facts['commit']}",
    ]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else "unknown"


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10).stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
