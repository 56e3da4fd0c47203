"""The inventory that a lab writes for vmferry."""

from __future__ import annotations

from infra.lab.host import LabHost
from infra.lab.state import LabDir, LabState

_HOST = """\
  {name}:
    uri: {uri}
    peer_uri: {peer_uri}
    ssh: {{address: {name}, user: root}}
    migration_address: {address}
    hypervisors: [{hypervisor}]
    encryption: {encryption}
    site: lab
    profile: upstream
    limits: {{outgoing: 2, incoming: 2}}
    storage:
      - {{path: /srv/shared, shared: lab-shared, locks: true}}
      - {{path: /srv/nolock, shared: lab-nolock, locks: false}}
      - {{path: /var/lib/libvirt/images}}
"""


def inventory_text(directory: LabDir, state: LabState, hosts: list[LabHost]) -> str:
    """Write the inventory of a lab's hosts as YAML."""
    entries = (
        _HOST.format(
            name=host.name,
            uri=host.uri,
            peer_uri=host.peer_uri,
            address=host.address,
            hypervisor="kvm" if state.kvm else "qemu",
            # The lab's network is private, and moves are to be fast; where hosts have certificates, they are used.
            encryption="auto" if state.spec.tls else "none",
        )
        for host in hosts
    )
    plain = f"plain_networks: [10.77.{state.index}.0/24]"
    return f"ssh_config: {directory.path}/ssh_config\n{plain}\nhosts:\n" + "".join(entries)
