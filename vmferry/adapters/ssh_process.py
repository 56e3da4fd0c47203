"""The QEMU process of a domain: which one it is, and the moment in which it has ended.

libvirt kills the source's QEMU when the destination has the VM, then looks for its end every 200 ms
(virProcessKillPainfullyDelay): the VM would stand still for that time. The process itself tells it at once.
"""

from __future__ import annotations

from vmferry.adapters.ssh_shell import Script

# Sets `started` to when the process $1 began, in clock ticks since boot (proc(5), field 22; its name may hold blanks),
# and fails where there is none. A process that was killed and has no thread left but is not collected yet is none.
_STARTED = r"""started() {
  local line
  started=
  { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${line##*) }
  [ "$1" != Z ] || [ "${18}" -gt 1 ] || return 1
  started=${20}
}
"""

# $1 name and $2 UUID of a running domain of the system's libvirtd: prints the number and the start of its QEMU, which
# bears that UUID on its command line.
FIND_QEMU = Script(
    "find-qemu",
    _STARTED
    + r"""for directory in /run/libvirt/qemu /var/run/libvirt/qemu; do
  pid=
  { read -r pid <"$directory/$1.pid"; } 2>/dev/null || [ -n "$pid" ] || continue
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$2" || continue
  started "$pid" && echo "$pid $started"
  exit 0
done
exit 0
""",
)

# $1 number and $2 start of a process, $3 seconds: prints `ended` as soon as it has. Looks every 5 ms without starting a
# process: a read from a pipe that nobody writes to is the shell's own way to wait.
AWAIT_END = Script(
    "await-end",
    _STARTED
    + r"""end=$(( SECONDS + $3 ))
exec {never}<> <(:)
while started "$1" && [ "$started" = "$2" ]; do
  [ $SECONDS -lt $end ] || exit 0
  read -r -t 0.005 -u "$never" _
done
echo ended
""",
)
