"""Cases of vmferry/rules/pace.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import build_pair, build_vm
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make
from vmferry.model.convergence import PolicyName
from vmferry.model.forecast import DirtyRate, PastRate
from vmferry.model.migration import MigrationMode
from vmferry.model.transport import Encryption
from vmferry.rules.case import Case

VM = build_vm()
USED_KIB = 1 << 20  # a GiB and QEMU's own


def writing(
    mib_s: float | None,
    *,
    link: float | None = 100,
    working_set_mib: float | None = None,
    policy: PolicyName = PolicyName.MINIMAL_DOWNTIME,
    past: tuple[PastRate, ...] = (),
    **options: Any,
) -> Case:
    """A VM that writes so fast, over a way that carries `link` MiB/s."""
    dirty = DirtyRate(mib_s=mib_s, resident_kib=USED_KIB, working_set_mib=working_set_mib)
    pair = build_pair(SOURCE, DEST, (VM,), mib_s=link, past=past)
    host = {"convergence": policy, **options.pop("source_host", {})}
    return make(VM, source={"dirty": {str(VM.uuid): dirty}}, source_host=host, pair=pair, **options)


SLOW_BEFORE = (PastRate(encryption=Encryption.TLS, connections=None, compression=None, mib_s=40, moves=2),)
# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "forecast-never": (
        (
            lambda: writing(150),
            lambda: writing(95),
            lambda: writing(150, policy=PolicyName.VERY_LARGE_VM),
            lambda: writing(50, past=SLOW_BEFORE),
            lambda: writing(150, link=10, policy=PolicyName.SUSPEND_IF_NEEDED),  # 98 s, the policy allows 60
        ),
        (
            make,
            lambda: writing(80),
            lambda: writing(None),
            lambda: writing(150, link=None),
            lambda: writing(150, working_set_mib=40),  # 400 ms
            lambda: writing(150, policy=PolicyName.AUTO_CONVERGE),
            lambda: writing(150, policy=PolicyName.SUSPEND_IF_NEEDED),
            lambda: writing(150, mode=MigrationMode.NON_LIVE),
        ),
    ),
}
