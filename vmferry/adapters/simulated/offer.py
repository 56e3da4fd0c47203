"""What the libvirt of a simulated host tells beside its domains: CPU, firmware, huge pages, pools."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from vmferry.model.base import Model
from vmferry.model.facts import CpuFit, CpuVerdict, Firmware, GuestCpu, HostCpu, HugePages, Pool

_CPU = HostCpu(model="EPYC-Milan", vendor="AMD", tsc_hz=2_445_000_000, has_tsc_scaling=True)
# Of libvirt 9.0's CPU map (src/cpu_map/index.xml): enough for tests, no more is known here.
_MODELS = (
    *("qemu64", "kvm64", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell", "Skylake-Client"),
    *("Skylake-Server", "Cascadelake-Server", "Icelake-Server", "EPYC", "EPYC-IBPB", "EPYC-Rome", "EPYC-Milan"),
)
_MISSING = ("Skylake-Server", "Cascadelake-Server", "Icelake-Server", "avx512f")


class Offer(Model):
    """What a host can run: `missing` are the CPU models and features that it cannot, `models` those libvirt knows."""

    pools: tuple[Pool, ...] = ()
    hugepages: tuple[HugePages, ...] | None = ()
    firmware: Firmware | None = Firmware(kinds=("bios", "efi"), loaders=("/usr/share/OVMF/OVMF_CODE_4M.fd",))
    cpu: HostCpu | None = _CPU
    models: tuple[str, ...] = _MODELS
    missing: tuple[str, ...] = _MISSING


def compare_cpu(offer: Offer, cpu: GuestCpu) -> CpuVerdict:
    """Tell as the libvirt adapter does whether the guest's CPU can be run, in its words; never raises."""
    try:
        root = ElementTree.fromstring(cpu.xml)
    except ElementTree.ParseError as error:
        return _failed(f"XML error: {error}")
    if root.tag != "cpu":
        return _failed(f"XML error: expected 'cpu' element, got <{root.tag}>")
    mode, model = root.get("mode", "custom"), root.findtext("model", "").strip()
    if model and model not in offer.models:
        return _failed(f"internal error: Unknown CPU model {model}")
    if missing := [name for name in (model, *_required(root)) if name in offer.missing]:
        words = f"Host CPU does not provide required features: {', '.join(missing)}"
        return CpuVerdict(fit=CpuFit.INCOMPATIBLE, detail=words)
    if mode in ("host-passthrough", "maximum"):
        return _failed(f"libvirt has nothing to compare in a CPU of mode {mode}")
    is_same = offer.cpu is not None and offer.cpu.model == model and root.find("feature") is None
    return CpuVerdict(fit=CpuFit.IDENTICAL if is_same else CpuFit.SUPERSET)


def _required(root: ElementTree.Element) -> Iterator[str]:
    for feature in root.iterfind("feature"):
        if feature.get("policy", "require") in ("require", "force"):
            yield feature.get("name", "")


def _failed(why: str) -> CpuVerdict:
    return CpuVerdict(fit=CpuFit.FAILED, detail=why)
