"""docs/rules.md, made from the rule table. `.venv/bin/python -m tests.repo.rules_page` writes it."""

from __future__ import annotations

from pathlib import Path

from vmferry.rules.table import render_rules

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"

_HEAD = """\
<!-- Generated from vmferry/rules/table.py; do not edit. Write it anew with:
     .venv/bin/python -m tests.repo.rules_page -->

# Preflight rules

Before a VM is moved, every rule below is asked; all findings are told at once. A finding blocks the move or warns.
The two profile columns give what a finding does in a live / non-live / offline move; `–` means that the rule is not
asked. A host's profile is set in the inventory; when two hosts differ, the stricter one (`rhel8`) counts. "host lost"
tells what a finding does when the VM's host is dead and the VM is to be started elsewhere (`vmferry check`, N-1).

"Reference" is the chapter on migrating virtual machines of the RHEL 8 virtualization guide. What a finding does can be
changed for all hosts in the inventory (`rules: {guest-agent: block}`), and a block can be lifted for one run (`--lift
RULE`); `ignore` stands for rules that are asked only where the inventory raises them. "never" in the column "may be
lifted" marks rules that guard against two copies, lost data or a host without room: those can only be made stricter.

"""


def page() -> str:
    """Return the whole page."""
    return _HEAD + render_rules()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
