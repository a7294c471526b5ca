"""What MkDocs does beside the pages of docs/ (hooks of mkdocs.yml).

The README is the first page, each package of the API gets a page of its docstrings, and links to
files outside docs/ become their paths: the site has no copy of them. Each must exist.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("rerec", "grounding", "recbench", "graphs", "sequences", "training", "assistant")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the README and the pages of the API."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    readme = re.sub(r"(\]\(|src=\"|href=\")docs/", r"\1", readme)
    files.append(File.generated(config, "index.md", content=readme))
    for name in PACKAGES:
        content = f"# rerec_pipeline.{name}\n\n::: rerec_pipeline.{name}\n"
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Writes links to files that are not part of the site as paths."""
    here = PROJECT if page.file.src_uri == "index.md" else PROJECT / "docs"

    def shown(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if ":" in target or files.get_file_from_path(target) is not None:
            return match[0]
        path = (here / target).resolve()
        if not path.exists():
            raise PluginError(f"{page.file.src_uri} links to {target}, which there is not")
        return f"{text} (`{path.relative_to(PROJECT).as_posix()}`)"

    return _LINK.sub(shown, markdown)
