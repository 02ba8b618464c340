"""A real browser for pages: Debian's Chromium through playwright."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.infra.parts import chromium, need

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE, DESK = 390, 1280
"""Widths of windows, CSS pixels."""


@dataclass(slots=True, kw_only=True)
class Shown:
    """A page in the browser, and what it complained of."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts, of the console, and of loading."""

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width


@contextmanager
def shown(page_at: Path | str, width: int = DESK) -> Iterator[Shown]:
    """Opens a file, or an address, in headless Chromium; skips the test where there is none."""
    need("chromium")
    found = chromium()
    from playwright.sync_api import sync_playwright

    # Chromium refuses its sandbox to root, as whom containers and CI run.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        page = browser.new_page(viewport={"width": width, "height": 900})
        one = Shown(page=page)
        page.on("pageerror", lambda error: one.complaints.append(str(error)))
        page.on("requestfailed", lambda request: one.complaints.append(request.url))
        page.on(
            "console",
            lambda said: one.complaints.append(said.text) if said.type == "error" else None,
        )
        page.goto(page_at if isinstance(page_at, str) else page_at.resolve().as_uri())
        yield one
        browser.close()
