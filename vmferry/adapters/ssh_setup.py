"""A host's own configuration over ssh: read what a share depends on, run programs, change files in one act."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from vmferry.adapters.ssh_shell import Completed, Script, SshShell
from vmferry.errors import PermanentError
from vmferry.model.host import Host
from vmferry.model.sharing import (
    Firewall,
    NfsMount,
    Packages,
    PoolAt,
    ShareFacts,
    TextFile,
)
from vmferry.planning.sharing.lines import EXPORTS, FSTAB, own_exports, own_mountd
from vmferry.ports.sharing import Ran
from vmferry.settings import Settings

# $1 shared directory, $2 mount point, $3 the server's address, $4 our exports file, $5 our file of nfs.conf.d.
# Records of name NUL text NUL; a program that is missing leaves its text empty.
_READ = Script(
    "read-sharing",
    r"""PATH=$PATH:/usr/sbin:/sbin
directory=$1 mount_at=$2
say() { printf '%s\0%s\0' "$1" "$2"; }
try() { timeout 10 "$@" 2>/dev/null; }
file() { if [ -e "$1" ]; then printf 'file:%s\0%s.\0' "$1" "$(cat "$1"; echo .)"; fi; }
above() { local path=$1; while [ ! -e "$path" ]; do path=$(dirname "$path"); done; echo "$path"; }
for tool in apt-get dnf yum; do if command -v $tool >/dev/null; then say packages ${tool%-get}; break; fi; done
if command -v dpkg-query >/dev/null; then
  say installed "$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' nfs-common nfs-kernel-server 2>/dev/null |
    sed -n 's/^installed //p')"
else
  say installed "$(rpm -q --qf '%{NAME}\n' nfs-utils 2>/dev/null | grep -x nfs-utils)"
fi
{ read -r firewalld; read -r serving; } < <(systemctl is-active firewalld.service nfs-server.service 2>/dev/null)
say active "$serving"
say enabled "$(systemctl is-enabled nfs-server.service 2>/dev/null)"
if [ "$firewalld" = active ] || command -v firewall-cmd >/dev/null; then say firewalld "$firewalld"; fi
if [ "$firewalld" = active ]; then
  say zone "$(try firewall-cmd --permanent --list-all)"
else
  say ufw "$(command -v ufw >/dev/null && LC_ALL=C try ufw status | head -n 1)"
  say drops "$({ nft list ruleset; iptables-save; iptables-legacy-save; } 2>/dev/null |
    grep -Ec '^:INPUT (DROP|REJECT)|hook input .*policy drop|-A INPUT .*-j (DROP|REJECT)|^[[:space:]]*(reject|drop)')"
fi
if command -v selinuxenabled >/dev/null && selinuxenabled; then
  say selinux on
  say boolean "$(getsebool virt_use_nfs 2>/dev/null)"
fi
for path in /etc/exports /etc/fstab "$4" "$5" /etc/exports.d/*.exports; do file "$path"; done
say exports.d "$([ -d /etc/exports.d ] && echo yes)"
say directory "$([ -d "$directory" ] && echo yes)"
files() { [ ! -d "$1" ] || (cd "$1" && find . -mindepth 1 ! -type d -printf '%P\n' | head -n 10000); }
say inside "$(files "$directory")"
say free "$(stat --file-system --format '%S %a' -- "$(above "$directory")")"
say mount "$(try findmnt --json --mountpoint "$mount_at" --output SOURCE,FSTYPE,OPTIONS)"
say mount-point "$([ -d "$mount_at" ] && echo yes)"
mounted=$(findmnt --json --mountpoint "$mount_at" --output SOURCE,FSTYPE,OPTIONS 2>/dev/null)
say mount "$mounted"
[ ! -d "$mount_at" ] || say mount-point yes
[ -n "$mounted" ] || say hidden "$(files "$mount_at")"
virsh="try virsh -q -c qemu:///system"
$virsh pool-list --all --name | while read -r pool; do
  [ -z "$pool" ] || say pool "$(echo "$pool"; $virsh pool-info "$pool" | grep -E '^(State|Autostart):'; echo .
    $virsh pool-dumpxml "$pool")"
done
say exported "$(exportfs -s 2>/dev/null)"
say route "$(ip -json route get "$3" 2>/dev/null)"
exit 0
""",
)

# $1 path, $2 `same` or `none`: what must be there; $3 its base64; $4 `write` or `remove`, $5 base64, $6 mode of a new
# file. Exits 9 when the file is another one. The lock keeps a second vmferry out, a rename keeps readers from halves.
_SWAP = Script(
    "swap-text",
    r"""set -eu
exec 9>/run/lock/vmferry-setup.lock
flock -w 20 9
mkdir -p -- "$(dirname -- "$1")"
if [ "$2" = none ]; then
  [ ! -e "$1" ] || exit 9
else
  [ -e "$1" ] && [ "$(base64 -w 0 <"$1")" = "$3" ] || exit 9
fi
if [ "$4" = remove ]; then rm -f -- "$1"; exit 0; fi
new=$1.vmferry-new
rm -f -- "$new"
printf %s "$5" | base64 -d >"$new"
if [ -e "$1" ]; then
  chmod --reference="$1" -- "$new"
  chown --reference="$1" -- "$new"
  chcon --reference="$1" -- "$new" 2>/dev/null || true
else
  chmod "$6" -- "$new"
fi
sync -- "$new"
mv -T -- "$new" "$1"
""",
    is_write=True,
)
_TEXT = Script("read-text", '[ ! -e "$1" ] || { base64 -w 0 <"$1" && echo .; }')
_LARGEST = 60_000  # bytes of a configuration file that travels as an argument


class SshSetup:
    """`vmferry.ports.sharing.HostSetup` by bash and coreutils."""

    def __init__(self, host: Host, settings: Settings, *, ssh_config: str | None) -> None:
        self.host = host.name
        self._settings = settings
        self._shell = SshShell(host, ssh_config=ssh_config, connect_timeout_s=settings.connect_timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._shell.close()

    def read_sharing(self, directory: str, mount_at: str, server_address: str) -> ShareFacts:
        """Read everything that a share depends on."""
        argv = [directory, mount_at, server_address, own_exports(directory), own_mountd()]
        done = self._shell.run_script(_READ, argv, timeout_s=self._settings.call_timeout_s + 60)
        if not done.is_ok:
            raise PermanentError(f"host {self.host}: {_READ.name}: {done.complaint}", host=self.host)
        return parse_sharing(self.host, done, directory)

    def run(self, argv: Sequence[str], timeout_s: float) -> Ran:
        """Run a program to its end."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = self._shell.run(["env", path, *argv], timeout_s=timeout_s, is_write=True, name=argv[0])
        return Ran(exit_code=done.exit_code, complaint=done.complaint if not done.is_ok else "")

    def read_text(self, path: str) -> str | None:
        """Return a small text file."""
        done = self._shell.run_script(_TEXT, [path], timeout_s=self._settings.call_timeout_s)
        if not done.is_ok:
            raise PermanentError(f"host {self.host}: {path}: {done.complaint}", host=self.host)
        found = done.stdout.rstrip("\n")
        return base64.b64decode(found[:-1]).decode("utf-8", "surrogateescape") if found else None

    def swap_text(self, path: str, before: str | None, after: str | None, mode: str) -> bool:
        """Replace a file in one act if it still is `before`."""
        if max(len(before or ""), len(after or "")) > _LARGEST:
            raise PermanentError(
                f"host {self.host}: {path} is larger than {_LARGEST} bytes; change it by hand", host=self.host
            )
        has = ("none", "") if before is None else ("same", _base64(before))
        wanted = ("remove", "") if after is None else ("write", _base64(after))
        done = self._shell.run_script(_SWAP, [path, *has, *wanted, mode], timeout_s=self._settings.call_timeout_s)
        if not done.is_ok and done.exit_code != 9:
            raise PermanentError(f"host {self.host}: {path}: not changed: {done.complaint}", host=self.host)
        return done.is_ok


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def parse_sharing(host: str, done: Completed, directory: str) -> ShareFacts:
    """Return what the script found."""
    fields = done.stdout.split("\0")
    pairs = list(zip(fields[::2], fields[1::2], strict=False))
    said = dict(pairs)
    files = {name[5:]: text[:-2] for name, text in pairs if name.startswith("file:")}
    size, _, blocks = said.get("free", "0 0").partition(" ")
    ours = own_exports(directory)
    known = (EXPORTS, FSTAB, ours, own_mountd())
    return ShareFacts(
        host=host,
        packages=Packages(said.get("packages", "none")),
        installed=_lines(said, "installed"),
        firewall=_firewall(said),
        open_services=_zone(said, "services"),
        open_ports=_zone(said, "ports"),
        is_selinux_on=said.get("selinux", "").strip() == "on",
        has_nfs_boolean=said.get("boolean", "").strip().endswith("on"),
        is_server_enabled=said.get("enabled", "").strip() == "enabled",
        is_server_active=said.get("active", "").strip() == "active",
        exports=TextFile(path=EXPORTS, text=files.get(EXPORTS)),
        own_exports=TextFile(path=ours, text=files.get(ours)),
        has_exports_d=said.get("exports.d") == "yes",
        other_exports=tuple(TextFile(path=p, text=t) for p, t in sorted(files.items()) if p not in known),
        mountd=TextFile(path=own_mountd(), text=files.get(own_mountd())),
        fstab=TextFile(path=FSTAB, text=files.get(FSTAB)),
        has_directory=said.get("directory") == "yes",
        inside=_lines(said, "inside"),
        free_bytes=int(size or 0) * int(blocks or 0),
        mount=_mount(said.get("mount", "")),
        has_mount_point=said.get("mount-point") == "yes",
        hidden=_lines(said, "hidden"),
        pools=tuple(_pools(text for name, text in pairs if name == "pool")),
        exported=_lines(said, "exported"),
        address=_address(said.get("route", "")),
    )


def _lines(said: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(line for line in said.get(name, "").split("\n") if line)


def _zone(said: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return a list of `firewall-cmd --list-all`: the default zone, as it is after the next reload."""
    lines = (line.strip() for line in said.get("zone", "").split("\n"))
    return tuple(next((line.partition(":")[2] for line in lines if line.startswith(f"{name}:")), "").split())


def _firewall(said: Mapping[str, str]) -> Firewall:
    if said.get("firewalld", "").strip() == "active":
        return Firewall.FIREWALLD
    if said.get("ufw", "").strip() == "Status: active":
        return Firewall.UFW
    if said.get("drops", "0").strip() not in ("", "0"):
        return Firewall.OTHER
    return Firewall.FIREWALLD_STOPPED if "firewalld" in said else Firewall.NONE


def _mount(text: str) -> NfsMount | None:
    if not text.strip():
        return None
    top = json.loads(text)["filesystems"][-1]
    options = tuple(str(top.get("options") or "").split(","))
    return NfsMount(source=str(top.get("source") or ""), fstype=str(top.get("fstype") or ""), options=options)


def _pools(texts: Iterable[str]) -> Iterable[PoolAt]:
    for text in texts:
        name, _, rest = text.partition("\n")
        info, _, xml = rest.partition("\n.\n")
        try:
            root = ElementTree.fromstring(xml)
        except ElementTree.ParseError:
            continue
        said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info.split("\n"))}
        yield PoolAt(
            name=name,
            kind=root.get("type", ""),
            target=(root.findtext("target/path") or "").rstrip("/"),
            is_active=said.get("State") == "running",
            is_autostart=said.get("Autostart") == "yes",
        )


def _address(text: str) -> str:
    """Return the address with which a host reaches another, from `ip -json route get`."""
    try:
        return str(json.loads(text)[0].get("prefsrc", ""))
    except (ValueError, LookupError, AttributeError):
        return ""
