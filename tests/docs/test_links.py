"""Links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, anchor, headings, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, fragment = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if fragment:
            assert fragment in map(anchor, headings(target)), f"{page.name} links to {link}"
