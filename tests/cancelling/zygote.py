"""A process that has imported everything and forks a command line on request: its start would take most of a round.

Reads lines of JSON `[word, …]`, answers with the number of the process and, when that has ended, with its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from vmferry.cli import app
from vmferry.terminal.prefect_start import put_checkout_first

FLOWS = ("evacuate_host", "recover_runs")


def main() -> None:
    """Serve until standard input ends; the log is the first argument."""
    put_checkout_first()
    for flow in FLOWS:
        importlib.import_module(f"flows.{flow}")
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _be_command(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _be_command(words: list[str]) -> None:
    os.setpgid(0, 0)
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    app(words, prog_name="vmferry")


if __name__ == "__main__":
    main()
