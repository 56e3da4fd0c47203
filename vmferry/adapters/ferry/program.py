"""How these modules get to a host and run there without being installed: a few lines that read the rest from stdin."""

import json
import shlex
import zlib
from typing import Any

_PACKAGE = "vmferry.adapters.ferry"
# 127 is what a shell says of a missing program: too old is as good as missing.
BOOT = f"""
import os, sys
if sys.version_info < (3, 6): sys.exit(127)
import json, types, zlib
size = int(sys.argv[1])
data = b""
while len(data) < size:
    part = os.read(0, size - len(data))
    if not part: sys.exit(3)
    data += part
told = json.loads(zlib.decompress(data).decode())
for name in ("vmferry", "vmferry.adapters", "{_PACKAGE}"):
    sys.modules[name] = types.ModuleType(name)
for name, text in told["modules"]:
    full = "{_PACKAGE}." + name
    sys.modules[full] = module = types.ModuleType(full)
    setattr(sys.modules["{_PACKAGE}"], name, module)
    exec(compile(text, full, "exec"), module.__dict__)
module, call = told["call"]
sys.exit(getattr(sys.modules["{_PACKAGE}." + module], call)(told["order"], told["modules"]))
"""
# The system's own first, which no environment of the ssh user's shell replaces by a slow or odd one; platform-python is
# what RHEL 8 runs its own tools with, and there may be no other.
_FIND = """for python in /usr/bin/python3 /usr/libexec/platform-python python3; do
  command -v "$python" >/dev/null 2>&1 && exec "$python" -I -S -c "$@"
done
echo "there is no python3" >&2
exit 127
"""


def payload(modules: "list[tuple[str, str]]", call: "tuple[str, str]", order: "dict[str, Any]") -> bytes:
    """Return what the program reads from its standard input first; `call` is module and function."""
    told = {"modules": modules, "call": call, "order": order}
    return zlib.compress(json.dumps(told).encode(), 6)


def words(size: int, more: "list[str]") -> "list[str]":
    """Return the command that runs a payload of `size` bytes; `more` is seen in the list of processes."""
    return ["sh", "-c", _FIND, "vmferry", BOOT, str(size), *more]


def command(size: int, more: "list[str]") -> str:
    """Return the same for a remote shell, whichever it is: one word of the login shell's, then sh."""
    return " ".join(map(shlex.quote, words(size, more)))
