"""Debian's chromium, without a window: a person at the Prefect UI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
# No sandbox: tests run as root. The rest keeps it from calling home, which this network would refuse many times.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 90_000


class Person:
    """Somebody who looks at a page, fills in forms and takes pictures."""

    def __init__(self, page: Page, base: str, pictures: Path) -> None:
        self.page = page
        self._base = base
        self._pictures = pictures

    def open(self, path: str) -> None:
        """Open a page of the UI."""
        self.page.goto(f"{self._base}{path}")

    def log_in(self, password: str) -> None:
        """Give the server's password, when the UI asks for it."""
        box = self.page.locator("input[type=password]")
        box.wait_for()
        box.fill(password)
        self.page.locator("button[type=submit], button:has-text('Login')").first.click()
        box.wait_for(state="detached")

    def picture(self, name: str) -> Path:
        """Take a picture of what is seen."""
        path = self._pictures / f"{name}.png"
        self.page.screenshot(path=str(path))
        return path

    def choose(self, description: str, *values: str) -> None:
        """Choose values in the field with this description."""
        field = self._field(description)
        field.locator(".p-select-button__control").click()
        for value in values:
            self.page.locator(".p-select-option").filter(has_text=value).last.click()
        if len(values) > 1 or "No items selected" not in field.inner_text():
            self.page.keyboard.press("Escape")

    def write(self, description: str, text: str) -> None:
        """Write into the field with this description."""
        self._field(description).locator("input, textarea").first.fill(text)

    def press(self, button: str) -> None:
        """Press a button; the last one of this name: that of a dialog lies over the page's."""
        self.page.get_by_role("button", name=button).last.click()

    def see(self, text: str) -> Locator:
        """Wait until a text is seen."""
        found = self.page.get_by_text(text).first
        found.wait_for()
        return found

    def _field(self, description: str) -> Locator:
        self.see(description)
        return self.page.locator(".schema-form-property").filter(has_text=description).last


@contextmanager
def person_at(base: str, profile: Path, pictures: Path) -> Iterator[Person]:
    """Sit a person at a browser with an empty profile."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1280, "height": 1000},
        )
        context.set_default_timeout(WAIT_MS)
        page = context.pages[0] if context.pages else context.new_page()
        try:
            yield Person(page, base, pictures)
        except Exception:
            page.screenshot(path=str(pictures / "failed.png"))
            raise
        finally:
            context.close()
