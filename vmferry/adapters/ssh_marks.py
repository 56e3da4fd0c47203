"""The mark of a host: one small file, changed by compare-and-swap under a lock on the host itself.

Beside libvirt's own state: there on every host, on its own disk, kept over a reboot (docs/decisions/0020).
"""

from __future__ import annotations

from vmferry.adapters.ssh_shell import Script
from vmferry.model.mark import HostMarks

PLACE = "/var/lib/libvirt/vmferry"
READ_MARK = f"""say mark "$(head -c 4096 {PLACE}/mark.json 2>/dev/null)"
say freeze "$(head -c 4096 {PLACE}/freeze.json 2>/dev/null)"
"""

# $1 what must stand there (empty: nothing), $2 what shall (empty: nothing), $3 which mark; prints what stands there
# afterwards.
SWAP_MARK = Script(
    "swap-mark",
    f"""set -eu
umask 022
mkdir -p -- {PLACE}
cd {PLACE}
exec 9>>lock
flock -w 10 9
now=$(head -c 4096 "$3.json" 2>/dev/null) || now=
if [ "$now" = "$1" ]; then
  if [ -n "$2" ]; then
    printf '%s\\n' "$2" >"$3.new"
    sync "$3.new"
    mv -T "$3.new" "$3.json"
  else
    rm -f "$3.json"
  fi
  now=$2
fi
printf '%s' "$now"
""",
    is_write=True,
)

READ_MARKS = Script(
    "read-marks",
    f"""cd {PLACE} 2>/dev/null || exit 0
head -c 4096 mark.json 2>/dev/null
printf '\\0'
head -c 4096 freeze.json 2>/dev/null
exit 0
""",
)


def parse_marks(text: str) -> HostMarks:
    """Return what the script printed: both texts with a NUL between them, nothing where neither was ever made."""
    mark, _, freeze = text.partition("\0")
    return HostMarks(mark=mark.strip(), freeze=freeze.strip())
