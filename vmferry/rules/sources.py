"""Sources that several rules cite."""

from __future__ import annotations

ALLOWED = "libvirt qemuMigrationSrcIsAllowed"
SAFE = "libvirt qemuMigrationSrcIsSafe"
FACTS = "libvirt-facts, measured on libvirt 9.0"
IMAGES = "reference 9.1, Table 9.1"
