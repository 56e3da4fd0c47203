"""Copies that are interrupted: resumed or failed clean, the original as it was, nothing left running."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.copying import Hosts, make_image, open_hosts, processes_about, wait_until_nothing_runs
from vmferry.adapters.ferry.staging import MARK
from vmferry.errors import TransientError
from vmferry.model.disks import CopyMethod, CopyOptions, CopyStats
from vmferry.settings import Settings

MIB = 2**20
DATA = 12 * MIB
SLOWLY = CopyOptions(bandwidth_mib_s=10)
SENDER = "vmferry-send"
WAYS = ("never", "always")  # by TLS


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with open_hosts(tmp_path_factory.mktemp("breaks")) as made:
        yield made


class Broken(Exception):
    """What a test's callback raises, as if vmferry itself ended."""


def at_point(seed: int, act: Callable[[], None]) -> Callable[[CopyStats], None]:
    """Return a callback that acts once, at a random point of the copy."""
    point = random.Random(seed).uniform(0.02, 0.6) * DATA
    has_acted: list[bool] = []

    def on_copy(stats: CopyStats) -> None:
        if stats.sent_bytes >= point and not has_acted:
            has_acted.append(True)
            act()

    return on_copy


def kill(*words: str) -> None:
    """Kill all processes with these words among their arguments."""
    found = processes_about(*words)
    assert found, f"nothing runs: {words}"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def image_in(tmp_path: Path) -> tuple[Path, Path, bytes]:
    image = tmp_path / "image"
    content = make_image(image, size=48 * MIB + 4097, data=DATA)
    return image, tmp_path / ".vmferry-run-1" / "image", content


def going(hosts: Hosts, way: str) -> Settings:
    """Return settings for copies that go by TLS always or never."""
    return hosts.settings.model_copy(update={"copy_tls": way})


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_source_is_resumed_by_the_next_attempt(hosts: Hosts, tmp_path: Path, seed: int) -> None:
    image, copy, content = image_in(tmp_path)
    settings = going(hosts, WAYS[seed % 2])
    with pytest.raises(TransientError, match="the source is unchanged"):
        hosts.copy(image, copy, SLOWLY, at_point(seed, lambda: kill(SENDER, str(image))), settings=settings)
    wait_until_nothing_runs(str(tmp_path))
    done = hosts.copy(image, copy, settings=settings)
    assert done.resumed_bytes + done.sent_bytes >= DATA
    assert done.resumed_bytes > 0
    assert copy.read_bytes() == content == image.read_bytes()
    wait_until_nothing_runs(str(tmp_path))


@pytest.mark.parametrize("seed", range(4, 8))
def test_a_killed_receiver_is_replaced_within_the_attempt(hosts: Hosts, tmp_path: Path, seed: int) -> None:
    image, copy, content = image_in(tmp_path)
    settings = going(hosts, WAYS[seed % 2])
    done = hosts.copy(image, copy, SLOWLY, at_point(seed, lambda: kill(MARK, str(copy))), settings=settings)
    assert ("through TLS" in done.reason) == (seed % 2 == 1)
    assert copy.read_bytes() == content == image.read_bytes()
    wait_until_nothing_runs(str(tmp_path))


@pytest.mark.parametrize(
    ("method", "way"),
    [
        *((CopyMethod.EXTENTS, way) for way in WAYS),
        (CopyMethod.TAR, "never"),
        (CopyMethod.RELAY, "always"),
    ],
)
def test_with_vmferry_everything_ends_on_the_hosts(hosts: Hosts, tmp_path: Path, method: CopyMethod, way: str) -> None:
    image, copy, content = image_in(tmp_path)

    def end() -> None:
        raise Broken

    def at_once(_stats: CopyStats) -> None:
        raise Broken

    options = SLOWLY.model_copy(update={"method": method})
    with pytest.raises(Broken):
        on_copy = at_once if method is CopyMethod.TAR else at_point(8, end)
        hosts.copy(image, copy, options, on_copy, settings=going(hosts, way))
    wait_until_nothing_runs(str(tmp_path))
    assert hosts.copy(image, copy).method is CopyMethod.EXTENTS
    assert copy.read_bytes() == content == image.read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_receiver_of_an_earlier_attempt_is_ended_before_the_copy_is_done(
    hosts: Hosts, tmp_path: Path, way: str
) -> None:
    """It might wake up later and write what it has in hand into the image of a running VM."""
    image, copy, content = image_in(tmp_path)

    def freeze() -> None:
        for pid in processes_about(MARK, str(copy)):
            os.kill(pid, signal.SIGSTOP)
        raise Broken

    with pytest.raises(Broken):
        hosts.copy(image, copy, SLOWLY, at_point(9, freeze), settings=going(hosts, way))
    assert processes_about(MARK, str(copy))
    hosts.copy(image, copy, settings=going(hosts, way))
    assert copy.read_bytes() == content
    wait_until_nothing_runs(str(tmp_path))


def test_what_rotted_in_the_staged_file_is_found_and_repaired(hosts: Hosts, tmp_path: Path) -> None:
    image, copy, content = image_in(tmp_path)
    hosts.copy(image, copy)
    with copy.open("r+b") as file:
        file.seek(MIB + 77)
        file.write(b"rotten")
        file.seek(40 * MIB)  # where the original has a hole
        file.write(b"rotten")
    done = hosts.copy(image, copy)
    assert copy.read_bytes() == content
    assert 0 < done.sent_bytes <= 64 * 1024
