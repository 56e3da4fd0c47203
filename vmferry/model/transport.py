"""How the memory of a VM travels, and who lets it run at the destination."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model


class Encryption(StrEnum):
    """How the memory of a VM travels between two hosts."""

    AUTO = "auto"  # TLS when both hosts have certificates, else tunnelled
    TLS = "tls"  # QEMU's own TLS; both hosts need certificates
    TUNNELLED = "tunnelled"  # through the libvirt connection, which is ssh or TLS
    NONE = "none"  # plain TCP: only on a network that the inventory lists in `plain_networks`


class Compression(StrEnum):
    """`virsh migrate --comp-methods`."""

    XBZRLE = "xbzrle"  # deltas of pages that were sent before
    MT = "mt"  # several threads
    ZLIB = "zlib"  # of parallel connections
    ZSTD = "zstd"  # of parallel connections

    @property
    def is_of_connections(self) -> bool:
        """Whether parallel connections compress so, and only they (qemuMigrationParamsSetCompression of libvirt)."""
        return self in (Compression.ZLIB, Compression.ZSTD)


class TransportWish(Model):
    """What an operator asks for of the moves that leave a host; what does not go together is refused by name."""

    connections: int | None = Field(default=None, ge=1, le=32, description="1: no parallel ones; none: vmferry chooses")
    compression: Compression | None = None
    zero_copy: bool = False


class Transport(Model):
    """How one move's memory travels; `reason` says why, for plan and report."""

    encryption: Encryption = Encryption.TUNNELLED
    connections: int | None = None  # parallel connections (multifd); None: one, QEMU's plain stream
    compression: Compression | None = None
    is_zero_copy: bool = False
    # The name in the destination's certificate, where that is not the address of the migration URI.
    tls_name: str | None = None
    reason: str = ""

    def words(self) -> str:
        """`TLS, 4 connections, zstd`."""
        names = {Encryption.TLS: "TLS", Encryption.TUNNELLED: "tunnelled", Encryption.NONE: "not encrypted"}
        parts = [names.get(self.encryption, str(self.encryption))]
        parts += [f"{self.connections} connections"] if self.connections else []
        parts += [str(self.compression)] if self.compression else []
        parts += ["zero-copy"] if self.is_zero_copy else []
        return ", ".join(parts)

    def sentence(self) -> str:
        """`transport: TLS, 4 connections — because …`; empty where nothing was chosen."""
        return f"transport: {self.words()} — because {self.reason}" if self.reason else ""


class Switch(StrEnum):
    """Who lets the VM run at the destination."""

    GUARDED = "guarded"  # it arrives paused; vmferry looks at both hosts, then resumes it
    LIBVIRT = "libvirt"  # libvirt itself: only where image locks are proved to work between the hosts
    POSTCOPY = "post-copy"  # libvirt itself: QEMU cannot do otherwise when post-copy may be asked for
