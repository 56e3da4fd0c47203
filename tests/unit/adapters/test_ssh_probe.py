"""Which of a probe's slices tells what the way carries; the stream itself is in test_ssh_copy.py and the contract."""

from __future__ import annotations

from typing import cast

import pytest

from tests.unit.builders import build_host
from vmferry.adapters.ssh_probe import measure_link
from vmferry.adapters.ssh_shell import Completed, Script, SshShell
from vmferry.errors import HostUnreachable

MIB = 2**20


class Answering:
    """A shell whose host answers what dd wrote."""

    def __init__(self, stderr: str) -> None:
        self._stderr = stderr

    def run_script(self, _script: Script, _argv: list[str], *, timeout_s: float) -> Completed:
        assert timeout_s > 1.2
        return Completed(exit_code=0, stdout="", stderr=self._stderr)


def dd(mib_s: float, seconds: float = 0.2) -> str:
    count = round(mib_s * MIB * seconds)
    return f"3+1 records in\n3+1 records out\n{count} bytes (1 MB, 1 MiB) copied, {seconds} s, 1 MB/s\n"


def probe(*slices: float) -> float:
    shell = cast(SshShell, Answering("".join(dd(rate) for rate in slices)))
    return measure_link(shell, "a", build_host("b"), 1.2, timeout_s=1)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param((33.5, 30.7, 30.4, 31.4, 31.0, 30.8), 31.0, id="the-burst-of-a-link-does-not-count"),
        pytest.param((16.3, 66.1, 61.7, 61.8, 61.7, 62.5), 62.5, id="nor-what-had-piled-up"),
        pytest.param((10, 12, 31, 9, 30, 4), 30, id="nor-what-busy-cores-held-up"),
        pytest.param((30, 29, 28), 28, id="two-slices-are-enough"),
    ],
)
def test_the_second_best_slice_but_the_first_tells_the_rate(slices: tuple[float, ...], expected: float) -> None:
    assert probe(*slices) == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("slices", [(), (30,), (30, 29)])
def test_of_fewer_slices_nothing_is_concluded(slices: tuple[float, ...]) -> None:
    with pytest.raises(HostUnreachable, match="the link to b was not measured"):
        probe(*slices)
