"""The steps of a share, host by host, from what was read; what is there already makes no step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmferry.model.host import Host, Profile
from vmferry.model.sharing import (
    Act,
    Bring,
    Discard,
    Edit,
    Firewall,
    NfsVersion,
    Packages,
    Run,
    SetAside,
    SharedImage,
    ShareFacts,
    SharePlan,
    ShareRequest,
    ShareStep,
    StepKind,
    TextFile,
)
from vmferry.planning.sharing.lines import (
    ETAB,
    MOUNTD_PORT,
    export_line,
    fstab_line,
    is_exported,
    mount_argv,
    mount_source,
)

SERVICES = ("nfs", "mountd", "rpc-bind")
PORTS = ("2049/tcp", "2049/udp")
_SERVICE = "nfs-server.service"
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y")
_INSTALL_S = 1200


def wanted_packages(family: Packages, *, serves: bool) -> tuple[str, ...]:
    """Return the packages that a host needs for its part."""
    if family is Packages.APT:
        return ("nfs-common", "nfs-kernel-server") if serves else ("nfs-common",)
    return ("nfs-utils",)


def plan_share(
    share: str,
    request: ShareRequest,
    hosts: Mapping[str, Host],
    facts: Mapping[str, ShareFacts],
    images: tuple[SharedImage, ...],
) -> SharePlan:
    """Return everything that is to be done, in order: the server first, then images, export, mounts and pools."""
    maker = _Maker(request, hosts, facts, images)
    steps = tuple(step for step in maker.steps() if step.do)
    return SharePlan(
        share=share,
        request=request,
        addresses=maker.addresses,
        server_address=maker.server_address,
        images=images,
        steps=steps,
        notes=tuple(maker.notes()),
    )


class _Maker:
    """Makes the steps of one share; reads only."""

    def __init__(
        self,
        request: ShareRequest,
        hosts: Mapping[str, Host],
        facts: Mapping[str, ShareFacts],
        images: tuple[SharedImage, ...],
    ) -> None:
        self._request, self._hosts, self._facts, self._images = request, hosts, facts, images
        self.addresses = {host: facts[host].address for host in request.clients}
        self.server_address = hosts[request.server].migration_address

    def steps(self) -> Iterator[ShareStep]:
        server, clients = self._request.server, self._request.clients
        for host in self._request.hosts:
            yield self._packages(host)
            yield self._firewall(host)
            yield self._service(host)
        yield from (self._selinux(host) for host in clients)
        yield self._directory(server)
        yield from (self._copy(image) for image in self._images)
        yield self._export(server)
        yield from (self._aside(image) for image in self._images)
        yield from (self._mount(host) for host in clients)
        yield from (self._pool(host) for host in clients)

    def notes(self) -> Iterator[str]:
        """Yield what an operator should know, and what no step says."""
        request = self._request
        for host in request.hosts:
            if self._serves(host) and self._facts[host].firewall in (Firewall.NONE, Firewall.FIREWALLD_STOPPED):
                yield f"{host}: no firewall runs, no port has to be opened"
        if request.server in request.clients:
            yield (
                f"{request.server} mounts its own export: under memory pressure that can deadlock, and its VMs stop "
                "when it goes down; the reference recommends a third host"
            )
        if request.nfs is NfsVersion.V4:
            yield "NFS 4.2 locks over the network and cannot be told not to: image locks of QEMU reach the server"

    def _serves(self, host: str) -> bool:
        """Whether a host gets what a server has: the reference asks for it on source and destination too."""
        return host == self._request.server or self._hosts[host].profile is Profile.RHEL8

    def _step(self, host: str, kind: StepKind, why: str, do: list[Act], undo: list[Act]) -> ShareStep:
        return ShareStep(host=host, kind=kind, why=why, do=tuple(do), undo=tuple(undo))

    def _packages(self, host: str) -> ShareStep:
        facts = self._facts[host]
        wanted = wanted_packages(facts.packages, serves=self._serves(host))
        missing = tuple(name for name in wanted if name not in facts.installed)
        do: list[Act] = []
        undo: list[Act] = []
        if missing and facts.packages is Packages.APT:
            do = [
                Run(argv=(*_APT, "update"), timeout_s=_INSTALL_S),
                Run(argv=(*_APT, "install", "--no-install-recommends", *missing), timeout_s=_INSTALL_S),
            ]
            # One by one, what depends on another first: a package that never came cannot be purged, and is no failure.
            undo = [_gone((*_APT, "purge", name), ("dpkg-query", "--show", name)) for name in reversed(missing)]
        elif missing:
            tool = facts.packages.value
            do = [Run(argv=(tool, "-y", "install", *missing), timeout_s=_INSTALL_S)]
            # Version 3 of yum does not know the option, and removes nothing by itself.
            words = ("remove",) if facts.packages is Packages.YUM else ("remove", "--noautoremove")
            undo = [_gone((tool, "-y", *words, name), ("rpm", "-q", name)) for name in reversed(missing)]
        return self._step(host, StepKind.PACKAGES, f"install {' '.join(missing)}", do, undo)

    def _firewall(self, host: str) -> ShareStep:
        facts = self._facts[host]
        why = "let NFS in"
        if not self._serves(host) or facts.firewall is not Firewall.FIREWALLD:
            return self._step(host, StepKind.FIREWALL, why, [], [])
        services = [name for name in SERVICES if name not in facts.open_services]
        ports = [port for port in PORTS if port not in facts.open_ports]
        do: list[Act] = []
        undo: list[Act] = []
        # Services and ports in one command are refused (firewalld 1.3).
        words = [tuple(f"-service={name}" for name in services), tuple(f"-port={port}" for port in ports)]
        for some in filter(None, words):
            do.append(Run(argv=("firewall-cmd", "--permanent", *(f"--add{word}" for word in some))))
            undo.append(Run(argv=("firewall-cmd", "--permanent", *(f"--remove{word}" for word in some))))
        if do:
            do.append(Run(argv=("firewall-cmd", "--reload")))
            undo.append(Run(argv=("firewall-cmd", "--reload")))
        return self._step(host, StepKind.FIREWALL, why, do, undo)

    def _service(self, host: str) -> ShareStep:
        facts = self._facts[host]
        if not self._serves(host):
            return self._step(host, StepKind.SERVICE, "", [], [])
        do: list[Act] = []
        undo: list[Act] = []
        needs_port = facts.packages is Packages.APT and facts.firewall is Firewall.FIREWALLD
        if needs_port and self._request.nfs is NfsVersion.V3:
            line = f"[mountd]\nport={MOUNTD_PORT}"
            if facts.mountd.text is None:
                restart = Run(
                    argv=("systemctl", "restart", "nfs-mountd.service"),
                    only_if=("systemctl", "--quiet", "is-active", _SERVICE),
                )
                do += [*_edits(facts.mountd, line), restart]
                undo += [*_edits(facts.mountd, line, is_there=False), restart]
        if not (facts.is_server_enabled and facts.is_server_active):
            do.append(Run(argv=("systemctl", "enable", "--now", _SERVICE)))
            if not facts.is_server_enabled:
                undo.insert(0, Run(argv=("systemctl", "disable", _SERVICE)))
            if not facts.is_server_active:
                undo.insert(0, Run(argv=("systemctl", "stop", _SERVICE)))
        return self._step(host, StepKind.SERVICE, "start the NFS service, now and with the host", do, undo)

    def _selinux(self, host: str) -> ShareStep:
        facts = self._facts[host]
        do: list[Act] = []
        undo: list[Act] = []
        if facts.is_selinux_on and not facts.has_nfs_boolean:
            do = [Run(argv=("setsebool", "-P", "virt_use_nfs", "on"))]
            undo = [Run(argv=("setsebool", "-P", "virt_use_nfs", "off"))]
        return self._step(host, StepKind.SELINUX, "let QEMU open files on NFS", do, undo)

    def _directory(self, host: str) -> ShareStep:
        facts, directory = self._facts[host], self._request.directory
        do: list[Act] = []
        undo: list[Act] = []
        if not facts.has_directory:
            do = [Run(argv=("mkdir", "-p", "-m", "0711", "--", directory))]
            if facts.is_selinux_on:
                do.append(Run(argv=("restorecon", "--", directory)))
            undo = [
                Run(argv=("rmdir", "--ignore-fail-on-non-empty", "--", directory), only_if=("test", "-d", directory))
            ]
        return self._step(host, StepKind.DIRECTORY, "make the directory that is shared", do, undo)

    def _copy(self, image: SharedImage) -> ShareStep:
        server = self._request.server
        bring = Bring(from_host=image.host, path=image.path, to_host=server, to_path=image.shared_path)
        discard = Discard(path=image.shared_path, from_host=image.host, originals=(image.path, image.aside))
        return self._step(server, StepKind.COPY, f"copy the image of {image.vm}", [bring], [discard])

    def _export(self, host: str) -> ShareStep:
        facts = self._facts[host]
        line = export_line(self._request, self.addresses)
        place = facts.own_exports if facts.has_exports_d else facts.exports
        is_written = line in (facts.own_exports.text or "").split("\n") + (facts.exports.text or "").split("\n")
        is_done = is_written and is_exported(self._request, self.addresses, facts)
        do: list[Act] = [] if is_done else [Run(argv=("exportfs", "-ra"))]
        undo: list[Act] = []
        if not is_written:
            do, undo = [*_edits(place, line), *do], [*_edits(place, line, is_there=False), *self._unexports()]
        return self._step(host, StepKind.EXPORT, f"share it with {' and '.join(self._request.clients)}", do, undo)

    def _unexports(self) -> Iterator[Run]:
        """Take the export back for each host alone: `exportfs -ra` fails on any line of anybody in the files."""
        for address in dict.fromkeys(self.addresses.values()):
            is_there = ("grep", "-qF", "--", f"{self._request.directory}\t{address}(", ETAB)
            yield Run(argv=("exportfs", "-u", mount_source(self._request, address)), only_if=is_there)

    def _aside(self, image: SharedImage) -> ShareStep:
        do, undo = SetAside(path=image.path, aside=image.aside), SetAside(path=image.aside, aside=image.path)
        why = f"the image of {image.vm} that was copied gets another name, so that nothing uses it by mistake"
        return self._step(image.host, StepKind.ASIDE, why, [do], [undo])

    def _mount(self, host: str) -> ShareStep:
        facts, request = self._facts[host], self._request
        line, mount_at = fstab_line(request, self.server_address), request.mount_at
        source = mount_source(request, self.server_address)
        do: list[Act] = []
        undo: list[Act] = []
        if line not in (facts.fstab.text or "").split("\n"):
            reload = Run(argv=("systemctl", "daemon-reload"))
            do += [*_edits(facts.fstab, line), reload]
            undo += [*_edits(facts.fstab, line, is_there=False), reload]
        if facts.mount is None:
            is_mounted = ("findmnt", "--noheadings", "--source", source, "--mountpoint", mount_at)
            if not facts.has_mount_point:
                do.append(Run(argv=("mkdir", "-p", "-m", "0711", "--", mount_at)))
                undo.append(Run(argv=("rmdir", "--", mount_at), only_if=("test", "-d", mount_at)))
            do.append(Run(argv=mount_argv(request, self.server_address), unless=is_mounted))
            undo.insert(0, Run(argv=("timeout", "60", "umount", "--", mount_at), only_if=is_mounted))
        pool = facts.pool_at(mount_at)
        if do and pool is not None and pool.is_active:
            refresh = Run(argv=("virsh", "-q", "-c", "qemu:///system", "pool-refresh", pool.name))
            do.append(refresh)
            undo.append(refresh)
        return self._step(host, StepKind.MOUNT, f"mount it at {mount_at}, now and with the host", do, undo)

    def _pool(self, host: str) -> ShareStep:
        """Define the pool that the other host has for the mount point; none on either: none is needed."""
        target = self._request.mount_at
        pools = [self._facts[client].pool_at(target) for client in self._request.clients]
        wanted = next((pool for pool in pools if pool is not None), None)
        do: list[Act] = []
        undo: list[Act] = []
        if wanted is not None and self._facts[host].pool_at(target) is None:
            virsh, name = ("virsh", "-q", "-c", "qemu:///system"), wanted.name
            is_there = (*virsh, "pool-info", name)
            define = (*virsh, "pool-define-as", name, "dir", "--target", target)
            do = [Run(argv=define, unless=is_there)]
            do += [Run(argv=(*virsh, "pool-autostart", name))] if wanted.is_autostart else []
            if wanted.is_active:
                do.append(Run(argv=(*virsh, "pool-start", name), unless=("sh", "-c", _IS_ACTIVE, "sh", name)))
            undo = [
                Run(argv=(*virsh, "pool-destroy", name), only_if=("sh", "-c", _IS_ACTIVE, "sh", name)),
                Run(argv=(*virsh, "pool-undefine", name), only_if=is_there),
            ]
        return self._step(host, StepKind.POOL, "define the storage pool that the other host has", do, undo)


_IS_ACTIVE = 'virsh -q -c qemu:///system pool-list --name | grep -qxF -- "$1"'


def _gone(argv: tuple[str, ...], is_there: tuple[str, ...]) -> Run:
    return Run(argv=argv, only_if=is_there, timeout_s=_INSTALL_S)


def _edits(file: TextFile, line: str, *, is_there: bool = True) -> list[Act]:
    return [Edit(path=file.path, line=line, is_there=is_there, before=file.text)]
