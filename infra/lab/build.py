"""Make a lab's hosts, or whatever of them is missing."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.lab import net
from infra.lab.guest import build_image, kvm_works
from infra.lab.host import LabHost
from infra.lab.hostfiles import write_client, write_host
from infra.lab.proc import LabError
from infra.lab.spec import Accel, LabSpec
from infra.lab.state import LabDir, LabState, index_lock, lab_dir, list_labs, new_token
from infra.lab.storage import make_mounts


def claim(directory: LabDir, spec: LabSpec) -> LabState:
    """Read the lab's record, or write one: from here on `down` can find whatever we make."""
    if (state := directory.read_state()) is not None:
        merged = _merge(state.spec, spec)
        if merged != state.spec:
            state = state.model_copy(update={"spec": merged})
            directory.write_state(state)
        return state
    with index_lock():
        states = [lab_dir(name).read_state() for name in list_labs()]
        index = net.choose_index({one.index for one in states if one is not None})
        state = LabState(spec=spec, token=new_token(), index=index)
        directory.write_state(state)
        net.make_bridge(index, state.token)
    return state


def _merge(have: LabSpec, wanted: LabSpec) -> LabSpec:
    """Add the wanted guests that are new; the rest of a lab stays as it was made."""
    if (have.hosts, have.listen_tcp, have.tls) != (wanted.hosts, wanted.listen_tcp, wanted.tls):
        raise LabError(f"lab {have.name} is up with other hosts; `vmferry lab down --name {have.name}` first")
    names = {guest.name for guest in have.guests}
    new = tuple(guest for guest in wanted.guests if guest.name not in names)
    return have.model_copy(update={"guests": (*have.guests, *new)})


def raise_hosts(directory: LabDir, state: LabState, hosts: list[LabHost]) -> LabState:
    """Start what every host needs, then the hosts side by side; give the state with `kvm` found out."""
    build_image(directory.image)
    with ThreadPoolExecutor(max_workers=8) as pool:
        kvm = pool.submit(_try_kvm, directory, state)
        mounts = pool.submit(make_mounts, directory, state.spec, state.token)
        net.make_bridge(state.index, state.token)
        net.make_switches(state.index, state.token, len(state.spec.guest_bridges))
        write_client(directory, state)
        for spec in state.spec.hosts:
            write_host(directory, state, spec)
        mounts.result()
        booted = [pool.submit(host.boot) for host in hosts]
        for future in booted:
            future.result()
        _start_daemons(hosts, pool)
        return state.model_copy(update={"kvm": kvm.result()})


def _start_daemons(hosts: list[LabHost], pool: ThreadPoolExecutor) -> None:
    """Start libvirtd everywhere; only the first one probes QEMU, which takes seconds.

    The others get a copy of what it found. libvirtd checks it against the binary before it believes it.
    """
    first, *others = hosts
    first.start_libvirtd()
    first.virsh("capabilities")
    for host in others:
        source, dest = _cache(first), _cache(host)
        if source.exists() and not dest.exists():
            shutil.copytree(source, dest)
    list(pool.map(LabHost.start_libvirtd, others))


def _cache(host: LabHost) -> Path:
    return host.files / "cache" / "qemu" / "capabilities"


def _try_kvm(directory: LabDir, state: LabState) -> bool:
    match state.spec.accel:
        case Accel.KVM:
            return True
        case Accel.QEMU:
            return False
        case Accel.AUTO:
            return kvm_works(directory.image, state.token) if state.kvm is None else state.kvm
