"""libvirt's ssh in a session of its own, so that a signal for our process group is none for it.

Ctrl-C goes to every process of the terminal's foreground group, Prefect's cancel to every one of the run's (3.8.8). The
ssh that libvirt has started would end with it, in the middle of the moves that are to be finished. libvirt gives its
children back the default handling of signals (virFork), so that they cannot be told to ignore one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import quote, urlsplit

from vmferry.errors import InvalidInput

_NAME = "ssh-apart"
_TEXT = '#!/bin/sh\nexec setsid ssh "$@"\n'


def apart(uri: str, directory: Path) -> str:
    """Return the URI with ssh started apart; as it is where it has another transport, or a command of its own.

    Makes the command in `directory`. Raises InvalidInput where that cannot be.
    """
    parts = urlsplit(uri)
    has_own = any(word.startswith("command=") for word in parts.query.split("&"))
    if not parts.scheme.endswith("+ssh") or has_own or shutil.which("setsid") is None:
        return uri
    return f"{uri}{'&' if parts.query else '?'}command={quote(str(_made(directory)))}"


def _made(directory: Path) -> Path:
    """Return the command; made anew where it is missing or another one, in one piece."""
    path = directory / _NAME
    try:
        if not path.is_file() or path.read_text() != _TEXT:
            directory.mkdir(parents=True, exist_ok=True)
            new = directory / f"{_NAME}.{os.getpid()}"
            new.write_text(_TEXT)
            new.chmod(0o755)
            new.rename(path)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be made: {error.strerror}; set VMFERRY_STATE_DIR") from error
    return path
