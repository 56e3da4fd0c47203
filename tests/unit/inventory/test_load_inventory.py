"""The inventory file: every mistake is told with its line, its host and what to do; several at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.inventory.mistakes import ONE_MISTAKE
from vmferry.errors import InventoryError
from vmferry.inventory import inventory_notes, load_inventory
from vmferry.model.host import Inventory, Profile
from vmferry.model.transport import Encryption

Problems = Callable[[str], list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Inventory]:
    def load_text(text: str) -> Inventory:
        file = tmp_path / "inventory.yaml"
        file.write_text(text, encoding="utf-8")
        return load_inventory(file)

    return load_text


@pytest.fixture
def problems(load: Callable[[str], Inventory], tmp_path: Path) -> Problems:
    """The problems of a text, without the directory."""

    def problems_of(text: str) -> list[str]:
        with pytest.raises(InventoryError) as caught:
            load(text)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return problems_of


def test_a_name_alone_is_a_whole_entry(load: Callable[[str], Inventory]) -> None:
    host = load("hosts:\n  kvm1:\n").hosts[0]
    assert host.uri == host.peer_uri == "qemu+ssh://root@kvm1/system"
    assert (host.ssh.address, host.migration_address) == ("kvm1", "kvm1")
    assert (host.encryption, host.plain_networks) == (Encryption.AUTO, ())


def test_uris_follow_user_address_and_port(load: Callable[[str], Inventory]) -> None:
    host = load("hosts: {kvm1: {ssh: {address: 'fd00::1', user: ops, port: 2222}}}").hosts[0]
    assert host.uri == "qemu+ssh://ops@[fd00::1]:2222/system"
    assert host.migration_address == "fd00::1"


def test_ssh_may_be_the_address_alone(load: Callable[[str], Inventory]) -> None:
    assert load("hosts: {kvm1: {ssh: 10.0.0.1}}").hosts[0].uri == "qemu+ssh://root@10.0.0.1/system"


def test_hosts_keep_the_order_of_the_file(load: Callable[[str], Inventory]) -> None:
    assert load("hosts: {b: , a: , c: }").names() == ("b", "a", "c")


def test_merged_fields_give_way_to_the_hosts_own(load: Callable[[str], Inventory]) -> None:
    text = "x-c: &c {site: berlin, profile: upstream}\nhosts:\n  a: {<<: *c}\n  b:\n    site: paris\n    <<: *c\n"
    a, b = load(text).hosts
    assert (a.site, b.site, b.profile) == ("berlin", "paris", Profile.UPSTREAM)


def test_the_example_is_right_and_shows_every_field() -> None:
    example = Path(__file__).parents[3] / "deployments" / "inventory.example.yaml"
    inventory = load_inventory(example)
    assert inventory.names() == ("source-example", "dest-example", "krypt.on")
    assert inventory_notes(inventory) == ()
    text = example.read_text()
    for field in type(inventory.hosts[0]).model_fields:
        assert field == "name" or f"{field}:" in text


def test_ssh_config_is_relative_to_the_file(load: Callable[[str], Inventory], tmp_path: Path) -> None:
    (tmp_path / "ssh_config").write_text("")
    assert load("ssh_config: ssh_config\nhosts: {a: }").ssh_config == str(tmp_path / "ssh_config")


def test_ssh_config_may_lie_at_home(
    load: Callable[[str], Inventory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "conf").write_text("")
    assert load("ssh_config: ~/conf\nhosts: {a: }").ssh_config == str(tmp_path / "conf")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_inventory(tmp_path / "nowhere.yaml")


def test_a_directory_is_not_an_inventory(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="Is a directory"):
        load_inventory(tmp_path)


def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_bytes(b"hosts:\n  a:\n    site: M\xfcnchen\n")
    with pytest.raises(InventoryError, match=r"i.yaml:3: is not UTF-8"):
        load_inventory(tmp_path / "i.yaml")


@pytest.mark.parametrize(("text", "start", "says"), ONE_MISTAKE, ids=[repr(m[0])[:60] for m in ONE_MISTAKE])
def test_one_mistake_is_one_problem_with_its_place(problems: Problems, text: str, start: str, says: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(start)
    assert says in found[0]


def test_a_password_in_a_uri_is_refused_and_not_repeated(problems: Problems) -> None:
    found = problems("hosts: {a: {uri: 'qemu+tcp://root:s3cret@a/system'}}")
    assert any("holds a password" in problem for problem in found)
    assert "s3cret" not in " ".join(found)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems(
        "host: x\n"
        "hosts:\n"
        "  kvm1:\n"
        "    limits: {outgoing: two, incoming: 0}\n"
        "    rack: 12\n"
        "  kvm2: {uri: 'qemu:///session', storage: [{path: images}]}\n"
        "  kvm1: {}\n"
        "  kvm_3:\n"
    )
    assert [problem.split(": ")[0] for problem in found] == [
        f"inventory.yaml:{line}" for line in (1, 4, 4, 5, 6, 6, 7, 8)
    ]
    assert all(";" in problem for problem in found)  # each says what to do


def test_an_error_holds_all_problems_and_its_text_the_first(tmp_path: Path) -> None:
    file = tmp_path / "i.yaml"
    file.write_text("hosts: {a_b: , c_d: }")
    with pytest.raises(InventoryError, match="inventory: 2 problems: ") as caught:
        load_inventory(file)
    assert len(caught.value.problems) == 2


def test_twins_made_of_one_copied_address_are_one_problem(problems: Problems) -> None:
    assert len(problems("hosts: {a: {ssh: h1}, b: {ssh: h1}}")) == 1


def test_plain_memory_traffic_is_allowed_but_noted(load: Callable[[str], Inventory]) -> None:
    a = "{encryption: none, migration_address: 10.7.0.1, storage: [{path: /x}]}"
    text = f"plain_networks: [10.7.0.0/24]\nhosts: {{a: {a}, b: {{storage: [{{path: /x}}]}}}}"
    assert [note.split(":")[0] for note in inventory_notes(load(text))] == ["host a"]


def test_shared_storage_of_one_host_is_noted(load: Callable[[str], Inventory]) -> None:
    text = "hosts: {a: {storage: [{path: /x, shared: g}]}, b: {storage: [{path: /x}]}}"
    assert inventory_notes(load(text)) == ("shared storage g: only a lists it; is it missing on the others?",)


def test_shared_storage_at_two_paths_is_noted(load: Callable[[str], Inventory]) -> None:
    text = "hosts: {a: {storage: [{path: /x, shared: g}]}, b: {storage: [{path: /y, shared: g}]}}"
    assert "other disk paths" in inventory_notes(load(text))[0]


def test_an_alias_to_a_parent_ends(problems: Problems) -> None:
    assert "alias that contains itself" in problems("hosts: {a: &a [*a]}")[0]


def test_networks_for_plain_text_are_every_hosts_unless_it_has_its_own(load: Callable[[str], Inventory]) -> None:
    a, b = load("plain_networks: [10.7.0.0/24, 'FD00:7::/64']\nhosts: {a: , b: {plain_networks: [10.8.0.0/16]}}").hosts
    assert (a.plain_networks, b.plain_networks) == (("10.7.0.0/24", "fd00:7::/64"), ("10.8.0.0/16",))


def test_plain_text_needs_a_network_and_the_line_to_write_is_told(problems: Problems) -> None:
    (found,) = problems("hosts:\n  a:\n    migration_address: 10.7.1.9\n    encryption: none\n")
    assert found.startswith("inventory.yaml:4: host a: field encryption: none sends the memory of VMs as plain text")
    assert "`plain_networks: [10.7.1.0/24]`" in found and "encryption: auto" in found


def test_a_migration_address_elsewhere_or_by_name_is_on_no_network(problems: Problems) -> None:
    top = "plain_networks: [10.7.0.0/24]\n"
    assert "holds migration_address 10.8.0.1" in problems(f"{top}hosts: {{a: {{encryption: none, ssh: 10.8.0.1}}}}")[0]
    assert "write migration_address as an IP" in problems(f"{top}hosts: {{a: {{encryption: none}}}}")[0]
