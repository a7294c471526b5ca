"""The documentation: links lead somewhere, and the names in its commands exist."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path)
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def choices(name: str) -> set[str]:
    blocks = yaml.safe_load((PROJECT / f"conf/base/parameters/{name}s.yml").read_text())
    return set(blocks[f"{name}s"]) if f"{name}s" in blocks else set(blocks)


@pytest.mark.parametrize("name", ["dataset", "backbone", "variant"])
def test_the_table_of_choices_lists_every_block(name):
    row = re.search(rf"^\| `{name}` \| (.*?) \|", (PROJECT / "docs/running.md").read_text(), re.M)
    assert row is not None
    assert set(re.findall(r"`([^`]+)`", row.group(1))) == choices(name)


def test_make_ui_finds_mlflow_without_an_activated_environment_and_takes_a_port():
    told = ["make", "--dry-run", "--assume-old=.venv/.installed", "ui", "PORT=5001"]
    done = subprocess.run(told, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f'PATH="{PROJECT}/.venv/bin:$PATH" .venv/bin/kedro mlflow ui --port 5001' in done.stdout


def test_every_page_is_in_the_site():
    site = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^ +- (?:\w+: )?([\w/]+\.md)$", site, re.M))
    pages = {page.name for page in (PROJECT / "docs").glob("*.md")}
    made = {page for page in listed if page == "index.md" or page.startswith("api/")}
    assert listed - made == pages
    package = PROJECT / "src/rerec_pipeline"
    assert all((package / Path(page).stem).is_dir() for page in made - {"index.md"})
