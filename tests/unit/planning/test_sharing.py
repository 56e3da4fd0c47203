"""What is done to share images, and what is refused, from what hosts showed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.planning.shares import (
    ADDRESSES,
    DEST,
    FSTAB,
    REQUEST,
    SERVER,
    SOURCE,
    fleet,
    host,
    image,
    inventory,
)
from vmferry.model.host import Profile
from vmferry.model.sharing import Edit, NfsVersion, Run, SharePlan, ShareRequest, StepKind, TextFile
from vmferry.planning.sharing import edited, plan_share, share_problems
from vmferry.planning.sharing.lines import export_line, fstab_line, own_exports
from vmferry.planning.sharing.phases import phases
from vmferry.planning.sharing.problems import request_problems
from vmferry.reporting.share_plan import plan_lines

EXPORT = f"/var/lib/libvirt/shared-images {ADDRESSES[SOURCE]}(rw,no_root_squash,no_subtree_check) "
EXPORT += f"{ADDRESSES[DEST]}(rw,no_root_squash,no_subtree_check)"
MOUNTED = {"source": f"{ADDRESSES[SERVER]}:{REQUEST.directory}", "fstype": "nfs", "options": ("rw", "nolock")}


def plan(request: ShareRequest = REQUEST, profile: Profile = Profile.UPSTREAM, **given: dict[str, object]) -> SharePlan:
    """Plan a share of one image with these hosts."""
    hosts = {name: host(name, profile) for name in request.hosts}
    return plan_share("s1", request, hosts, fleet(request, **given), (image(request=request),))


def commands(made: SharePlan, name: str, kind: StepKind) -> list[str]:
    """Return what is run on a host in a step."""
    steps = [step for step in made.steps if (step.host, step.kind) == (name, kind)]
    return [" ".join(act.argv) for step in steps for act in step.do if isinstance(act, Run)]


def done() -> dict[str, dict[str, object]]:
    """Return what the hosts show when all is shared."""
    addresses = {name: ADDRESSES[name] for name in (SOURCE, DEST)}
    client: dict[str, object] = {
        "installed": ("nfs-common",),
        "mount": MOUNTED,
        "fstab": TextFile(path="/etc/fstab", text=f"{FSTAB}{fstab_line(REQUEST, ADDRESSES[SERVER])}\n").model_dump(),
    }
    server: dict[str, object] = {
        "installed": ("nfs-common", "nfs-kernel-server"),
        "open_services": ("ssh", "nfs", "mountd", "rpc-bind"),
        "open_ports": ("2049/tcp", "2049/udp"),
        "mountd": {"path": "/etc/nfs.conf.d/vmferry.conf", "text": "[mountd]\nport=20048\n"},
        "is_server_enabled": True,
        "is_server_active": True,
        "has_directory": True,
        "exports": {"path": "/etc/exports", "text": f"{export_line(REQUEST, addresses)}\n"},
        "exported": tuple(f"{REQUEST.directory}\t{a}(sync,wdelay,hide,rw,no_root_squash)" for a in addresses.values()),
    }
    return {SERVER: server, SOURCE: client, DEST: client}


def test_the_export_is_for_exactly_the_two_hosts() -> None:
    (step,) = (step for step in plan().steps if step.kind is StepKind.EXPORT)
    assert [act.line for act in step.do if isinstance(act, Edit)] == [EXPORT]
    assert step.do[-1] == Run(argv=("exportfs", "-ra"))


def test_bare_hosts_get_every_step_of_the_reference_in_its_order() -> None:
    made = plan()
    assert [(step.host, step.kind.value) for step in made.steps] == [
        (SERVER, "packages"),
        (SERVER, "firewall"),
        (SERVER, "service"),
        (SOURCE, "packages"),
        (DEST, "packages"),
        (SERVER, "directory"),
        (SERVER, "copy"),
        (SERVER, "export"),
        (SOURCE, "aside"),
        (SOURCE, "mount"),
        (DEST, "mount"),
    ]
    assert commands(made, SERVER, StepKind.FIREWALL) == [
        "firewall-cmd --permanent --add-service=nfs --add-service=mountd --add-service=rpc-bind",
        "firewall-cmd --permanent --add-port=2049/tcp --add-port=2049/udp",
        "firewall-cmd --reload",
    ]
    assert commands(made, SOURCE, StepKind.MOUNT)[1].startswith(
        "timeout 60 mount -t nfs -o rw,hard,proto=tcp,vers=3,nolock"
    )


def test_hosts_that_share_already_get_no_step_at_all() -> None:
    made = plan_share("s1", REQUEST, {n: host(n) for n in REQUEST.hosts}, fleet(**done()), ())
    assert made.steps == ()
    assert share_problems(REQUEST, {n: host(n) for n in REQUEST.hosts}, fleet(**done()), ()) == ()


def test_the_reference_word_by_word_prepares_source_and_destination_like_the_server() -> None:
    rhel = {"packages": "dnf", "firewall": "firewalld", "is_selinux_on": True}
    made = plan(profile=Profile.RHEL8, kvm1=rhel, kvm2=rhel, store=rhel)
    for name in (SOURCE, DEST, SERVER):
        assert commands(made, name, StepKind.PACKAGES) == ["dnf -y install nfs-utils"]
        assert commands(made, name, StepKind.FIREWALL)[0].endswith("--add-service=mountd --add-service=rpc-bind")
        assert commands(made, name, StepKind.SERVICE) == ["systemctl enable --now nfs-server.service"]
    assert commands(made, SOURCE, StepKind.SELINUX) == ["setsebool -P virt_use_nfs on"]
    assert commands(made, SERVER, StepKind.SELINUX) == []


def test_only_what_was_not_there_is_done_and_taken_back() -> None:
    half = {
        "installed": ("nfs-common",),
        "open_services": ("nfs",),
        "open_ports": ("2049/udp",),
        "is_server_active": True,
        "has_directory": True,
    }
    made = plan(store=half)
    steps = {step.kind: step for step in made.steps if step.host == SERVER}
    assert StepKind.DIRECTORY not in steps
    assert [" ".join(act.argv[3:]) for act in steps[StepKind.PACKAGES].undo if isinstance(act, Run)] == [
        "-q -y purge nfs-kernel-server"
    ]
    undone = [" ".join(act.argv) for act in steps[StepKind.FIREWALL].undo if isinstance(act, Run)]
    assert undone == [
        "firewall-cmd --permanent --remove-service=mountd --remove-service=rpc-bind",
        "firewall-cmd --permanent --remove-port=2049/tcp",
        "firewall-cmd --reload",
    ]
    service = [act.argv[1:] for act in steps[StepKind.SERVICE].undo if isinstance(act, Run)]
    assert ("disable", "nfs-server.service") in service
    assert ("stop", "nfs-server.service") not in service


def test_hosts_are_prepared_at_once_and_what_needs_another_host_waits() -> None:
    made = plan()
    named = [
        [[f"{made.steps[i].host} {made.steps[i].kind}" for i in lane] for lane in lanes] for lanes in phases(made, 0)
    ]
    assert named[0] == [
        [f"{SERVER} packages", f"{SERVER} firewall", f"{SERVER} service"],
        [f"{SOURCE} packages"],
        [f"{DEST} packages"],
    ]
    assert named[1:] == [
        [[f"{SERVER} directory"]],
        [[f"{SERVER} copy"]],
        [[f"{SERVER} export"]],
        [[f"{SOURCE} aside"]],
        [[f"{SOURCE} mount"], [f"{DEST} mount"]],
    ]


def test_where_there_is_an_exports_d_the_entry_gets_a_file_of_its_own() -> None:
    (step,) = (s for s in plan(store={"has_exports_d": True}).steps if s.kind is StepKind.EXPORT)
    assert [act.path for act in step.do if isinstance(act, Edit)] == [own_exports(REQUEST.directory)]


def test_the_pool_that_one_host_has_is_defined_on_the_other() -> None:
    pool = {"name": "default", "kind": "dir", "target": REQUEST.mount_at, "is_active": True, "is_autostart": True}
    made = plan(kvm1={"pools": (pool,)})
    assert commands(made, DEST, StepKind.POOL) == [
        f"virsh -q -c qemu:///system pool-define-as default dir --target {REQUEST.mount_at}",
        "virsh -q -c qemu:///system pool-autostart default",
        "virsh -q -c qemu:///system pool-start default",
    ]
    assert commands(made, SOURCE, StepKind.MOUNT)[-1].endswith("pool-refresh default")


def test_the_dry_run_shows_every_command_with_its_host() -> None:
    lines = list(plan_lines(plan()))
    assert f"{SERVER}# exportfs -ra" in lines
    assert f"{SERVER}# printf '{EXPORT}\\n' >>/etc/exports" in lines
    assert any(line.startswith(f"{SERVER}# scp {SOURCE}:") for line in lines)


def problems(request: ShareRequest = REQUEST, **given: dict[str, object]) -> str:
    """Return what stands against a share of one image."""
    hosts = {name: host(name) for name in request.hosts}
    return "\n".join(share_problems(request, hosts, fleet(request, **given), (image(request=request),)))


@pytest.mark.parametrize(
    ("given_facts", "told"),
    [
        ({SERVER: {"packages": "none"}}, "install its packages by hand"),
        ({SERVER: {"firewall": "ufw"}}, "ufw allow from 10.0.0.1 to any port 2049"),
        ({SERVER: {"firewall": "other"}}, "--firewall-is-open"),
        (
            {SOURCE: {"hidden": ("web1.qcow2", "db.qcow2")}},
            "1 files in /var/lib/libvirt/images would be hidden by the mount: db",
        ),
        ({DEST: {"hidden": ("old.iso",)}}, "host kvm2: 1 files"),
        (
            {SOURCE: {"mount": {**MOUNTED, "source": "/dev/vg/images", "fstype": "xfs"}}},
            "/dev/vg/images (xfs) is mounted",
        ),
        ({SOURCE: {"mount": {**MOUNTED, "options": ("rw", "local_lock=none")}}}, "mounted with NFS locks"),
        ({SERVER: {"exports": {"path": "/etc/exports", "text": f"{REQUEST.directory} *(rw)\n"}}}, "in another way"),
        ({SERVER: {"inside": ("web1.qcow2",)}}, "never overwritten"),
        (
            {DEST: {"fstab": {"path": "/etc/fstab", "text": f"/dev/b {REQUEST.mount_at} xfs defaults 0 0\n"}}},
            "/etc/fstab",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stands_against_it_is_told(given_facts: dict[str, dict[str, object]], told: str) -> None:
    assert problems() == ""
    assert told in problems(**given_facts)


def test_an_image_that_a_share_has_set_aside_hides_behind_the_mount_without_harm() -> None:
    assert problems(kvm1={"hidden": ("web1.qcow2", "web1.qcow2.vmferry-shared-0123")}) == ""


def test_a_firewall_that_the_operator_has_opened_is_believed() -> None:
    assert problems(REQUEST.model_copy(update={"firewall_is_open": True}), store={"firewall": "other"}) == ""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"server": "stor"}, "did you mean"),
        ({"dest": SOURCE}, "source and dest are both kvm1"),
        ({"directory": "/srv"}, "at least two levels deep"),
        ({"directory": "/srv/a b"}, "letters, digits"),
        ({"directory": "/srv/../etc"}, "without ../"),
        ({"mount_at": "/etc/libvirt"}, "belongs to the system"),
        ({"server": SOURCE, "directory": "/var/lib/libvirt/images/shared"}, "one lies in the other"),
        ({"vms": ("a", "a")}, "named twice"),
        ({"vms": ("a",), "boot": False}, "--no-prove"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_is_refused_before_any_host_is_asked(changed: dict[str, object], told: str) -> None:
    assert list(request_problems(REQUEST, inventory())) == []
    request = ShareRequest.model_validate({**REQUEST.model_dump(), **changed})
    assert told in "\n".join(request_problems(request, inventory()))


def test_version_4_which_always_locks_is_not_what_the_reference_allows() -> None:
    request = REQUEST.model_copy(update={"nfs": NfsVersion.V4})
    assert list(request_problems(request, inventory())) == []
    assert "NFS 4.2 always locks" in "\n".join(request_problems(request, inventory(Profile.RHEL8)))
    assert any("locks over the network" in note for note in plan(request).notes)


LINES = st.text(alphabet="ab# \t/", max_size=12)
TEXTS = st.one_of(
    st.none(), st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(LINES), st.sampled_from(("", "\n")))
)


@given(text=TEXTS, line=st.sampled_from(("x y", "[mountd]\nport=1")))
@examples(200)
def test_a_line_that_is_put_in_and_taken_out_leaves_the_file_as_it_was(text: str | None, line: str) -> None:
    edit = Edit(path="/etc/f", line=line, is_there=True, before=text)
    put = edited(edit, text)
    assert put is not None
    assert edited(edit, put) == put
    assert edited(edit.model_copy(update={"is_there": False}), put) == text


@given(text=TEXTS, other=LINES)
@examples(200)
def test_a_line_that_somebody_adds_meanwhile_stays(text: str | None, other: str) -> None:
    edit = Edit(path="/etc/f", line="x y", is_there=True, before=text)
    put = edited(edit, text)
    left = edited(edit.model_copy(update={"is_there": False}), f"{put}{other}\n")
    assert left is not None
    assert left.split("\n")[-2:] == [other, ""]
    assert "x y" not in left.split("\n")
