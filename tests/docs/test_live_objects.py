"""``docs/guides/what-travels.md`` names every kind of object that is made anew or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgraph.serde import live

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "what-travels.md"
MADE_ANEW, _, REFUSED = PAGE.read_text(encoding="utf-8").partition("## Refused")


@pytest.mark.parametrize("name", sorted({kind.public for kind in live.ONE_PER_PROCESS.values()}))
def test_what_is_made_anew_is_in_the_first_table(name: str) -> None:
    assert f"`{name}`" in MADE_ANEW


@pytest.mark.parametrize("name", sorted({kind.public for kind in live.REFUSED.values()}))
def test_what_is_refused_is_in_the_second_table(name: str) -> None:
    assert name in REFUSED.replace("`", "")
