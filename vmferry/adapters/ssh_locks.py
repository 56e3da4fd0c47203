"""Do QEMU's image locks work between two hosts? The scripts that find out on marker files.

A QEMU holds its image by locks on bytes of the file (open file description locks; QEMU block/file-posix.c): one byte
per permission that it uses, one per permission that it does not let others use. A VM's disk uses `write` and lets
nobody else write. qemu-io, in the package of qemu-img everywhere, takes the same locks through the `blkdebug` driver
(QEMU 4.2); on an empty file too, for the bytes need not exist.
"""

from __future__ import annotations

from vmferry.adapters.ssh_shell import Script

# qemu-io splits its options at commas: a comma of the path is doubled.
_OPTIONS = r"""options() {
  printf 'driver=blkdebug,image.driver=file,image.filename=%s' "${1//,/,,}"
  printf ',take-child-perms.0=write,unshare-child-perms.0=write'
}
"""

# $1 name of the marker, $2 seconds, then directories. Each qemu-io holds its lock as long as its input is open: that of
# a loop which ends when the marker is gone or the time is over; nothing of it lives on. Its prompt tells that the lock
# is held. Where there is no qemu-io, or it is too old, nothing is held and so nothing will be proved. Standard error is
# closed before anything is started: what keeps a copy of it would keep the ssh command from ending.
HOLD_LOCKS = Script(
    "hold-image-locks",
    _OPTIONS
    + r"""name=$1 seconds=$2
shift 2
hold() {
  local end=$(( SECONDS + seconds ))
  { while [ -e "$1/$name" ] && [ $SECONDS -lt $end ]; do sleep 0.2; done; } |
    qemu-io --image-opts "$(options "$1/$name")"
}
fds=()
for directory in "$@"; do
  exec {fd}< <(exec 2>/dev/null; hold "$directory")
  fds+=("$fd")
done
for fd in "${fds[@]}"; do IFS= read -r -N 8 -t 5 -u "$fd" _; done
exit 0
""",
    is_write=True,
)

# Paths of markers: prints those that another QEMU holds. A marker that cannot be opened for another reason proves
# nothing. At most eight at a time.
FIND_LOCKS = Script(
    "find-image-locks",
    _OPTIONS
    + r"""look() {
  local said
  [ -e "$1" ] || return 0
  said=$(timeout 10 qemu-io --image-opts "$(options "$1")" -c quit 2>&1) && return 0
  case $said in *'Failed to get '*'"write" lock'*) printf '%s\0' "$1" ;; esac
}
for path in "$@"; do
  look "$path" &
  [ "$(jobs -rp | wc -l)" -lt 8 ] || wait -n
done
wait
exit 0
""",
)
