"""Flags and typed parameters of one virDomainMigrateToURI3: pure, from the plan alone.

Sources: sections 3 and 6 of `libvirt-measurements.md`.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import libvirt

from vmferry.model.convergence import POLICIES
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.model.transport import Compression, Encryption, Switch


def migration_flags(plan: MigrationPlan) -> int:
    """Return virDomainMigrateFlags.

    PEER2PEER: the source's libvirtd drives the move, so it survives our death. PAUSED: the guarded switch-over;
    libvirt alone can end with two running copies when the Finish reply is lost (docs/decisions/0005).
    No UNDEFINE_SOURCE: the definition is removed after both hosts were looked at. Never UNSAFE.
    """
    flags = libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    if plan.switch is Switch.GUARDED:
        flags |= libvirt.VIR_MIGRATE_PAUSED
    elif plan.switch is Switch.POSTCOPY and plan.mode is MigrationMode.LIVE:
        flags |= libvirt.VIR_MIGRATE_POSTCOPY
    if plan.mode is MigrationMode.LIVE:
        flags |= libvirt.VIR_MIGRATE_LIVE
        if POLICIES[plan.policy].throttle is not None:
            flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    if plan.is_persistent:
        flags |= libvirt.VIR_MIGRATE_PERSIST_DEST
    if plan.disks:
        # With any image that builds on another one, only the top layers travel.
        is_shallow = any(disk.backing for disk in plan.disks)
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC if is_shallow else libvirt.VIR_MIGRATE_NON_SHARED_DISK
    return int(flags | _transport_flags(plan))


def _transport_flags(plan: MigrationPlan) -> int:
    flags = 0
    if plan.encryption is Encryption.TLS:
        flags |= libvirt.VIR_MIGRATE_TLS
    elif plan.encryption is not Encryption.NONE:  # a plan that did not decide is never sent as plain text
        flags |= libvirt.VIR_MIGRATE_TUNNELLED
    if plan.transport.connections is not None:
        flags |= libvirt.VIR_MIGRATE_PARALLEL
    if plan.transport.compression is not None:
        flags |= libvirt.VIR_MIGRATE_COMPRESSED
    if plan.transport.is_zero_copy:
        flags |= libvirt.VIR_MIGRATE_ZEROCOPY
    return flags


def migration_parameters(plan: MigrationPlan) -> dict[str, Any]:
    """Return the typed parameters; the persistent XML is given apart because DEST_XML does not change it."""
    parameters: dict[str, Any] = {}
    if plan.encryption in (Encryption.TLS, Encryption.NONE):  # a tunnelled stream has no address of its own
        parameters[libvirt.VIR_MIGRATE_PARAM_URI] = plan.migration_uri
        listen = _listen_address(plan.migration_uri)
        if listen is not None:
            parameters[libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS] = listen
    if plan.dest_xml is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_DEST_XML] = plan.dest_xml
    if plan.dest_persistent_xml is not None and plan.is_persistent:
        parameters[libvirt.VIR_MIGRATE_PARAM_PERSIST_XML] = plan.dest_persistent_xml
    if plan.bandwidth_mib_s is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = plan.bandwidth_mib_s
    if plan.disks:  # none named would mean all of them, shared ones included
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = [disk.target for disk in plan.disks]
    throttle = POLICIES[plan.policy].throttle
    if throttle is not None and plan.mode is MigrationMode.LIVE:
        parameters[libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL] = throttle.initial
        parameters[libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT] = throttle.increment
    return parameters | _transport_parameters(plan)


def _transport_parameters(plan: MigrationPlan) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if plan.transport.connections is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = plan.transport.connections
    method = plan.transport.compression
    if method is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_COMPRESSION] = str(Compression(method))
    if plan.transport.tls_name is not None and plan.encryption is Encryption.TLS:
        # Else libvirt lets QEMU look for the host of the migration URI in the certificate.
        parameters[libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION] = plan.transport.tls_name
    return parameters


def _listen_address(migration_uri: str) -> str | None:
    """Return the numeric address of `tcp://ADDRESS`, so that QEMU does not listen on every network."""
    address = migration_uri.removeprefix("tcp://").strip("[]")
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None
