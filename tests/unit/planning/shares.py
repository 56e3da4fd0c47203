"""Hosts as a share sees them, for tests: bare ones, and what a share would read of them after it was made."""

from __future__ import annotations

from uuid import UUID

from vmferry.model.host import Host, Inventory, Profile, SshAddress
from vmferry.model.sharing import (
    Firewall,
    Packages,
    SharedImage,
    ShareFacts,
    ShareRequest,
    TextFile,
)
from vmferry.planning.sharing.lines import own_exports, own_mountd

SERVER, SOURCE, DEST = "store", "kvm1", "kvm2"
ADDRESSES = {SERVER: "10.0.0.3", SOURCE: "10.0.0.1", DEST: "10.0.0.2"}
REQUEST = ShareRequest(server=SERVER, source=SOURCE, dest=DEST)
FSTAB = "/dev/sda1 / ext4 defaults 0 1\n"


def host(name: str, profile: Profile = Profile.UPSTREAM) -> Host:
    """Return an inventory entry."""
    return Host(
        name=name,
        uri=f"qemu+ssh://root@{name}/system",
        peer_uri=f"qemu+ssh://root@{name}/system",
        ssh=SshAddress(address=name),
        migration_address=ADDRESSES[name],
        profile=profile,
    )


def inventory(profile: Profile = Profile.UPSTREAM) -> Inventory:
    """Return the three hosts."""
    return Inventory(hosts=tuple(host(name, profile) for name in (SOURCE, DEST, SERVER)))


def bare(name: str, request: ShareRequest = REQUEST, **given: object) -> ShareFacts:
    """Return a Debian host without NFS, with what is given instead."""
    ours = own_exports(request.directory)
    facts = ShareFacts(
        host=name,
        packages=Packages.APT,
        installed=(),
        firewall=Firewall.FIREWALLD if name == SERVER else Firewall.NONE,
        exports=TextFile(path="/etc/exports", text=None),
        own_exports=TextFile(path=ours, text=None),
        has_exports_d=False,
        mountd=TextFile(path=own_mountd(), text=None),
        fstab=TextFile(path="/etc/fstab", text=FSTAB),
        has_directory=False,
        free_bytes=2**40,
        mount=None,
        has_mount_point=True,
        address=ADDRESSES[name],
    )
    return ShareFacts.model_validate({**facts.model_dump(), **given})


def fleet(request: ShareRequest = REQUEST, **given: dict[str, object]) -> dict[str, ShareFacts]:
    """Return all hosts bare; `kvm1={…}` changes one of them."""
    return {name: bare(name, request, **given.get(name, {})) for name in request.hosts}


def image(vm: str = "web1", name: str = "web1.qcow2", request: ShareRequest = REQUEST) -> SharedImage:
    """Return an image that is to be shared."""
    return SharedImage(
        vm=vm,
        uuid=UUID(int=1),
        host=request.source,
        path=f"{request.mount_at}/{name}",
        shared_path=f"{request.directory}/{name}",
        aside=f"{request.mount_at}/{name}.vmferry-shared-s1",
    )
