"""Pages of the documentation site that lie at the top of the repository: a hook of MkDocs, named in mkdocs.yml."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = {
    "README.md": "index.md",
    "SECURITY.md": "reporting.md",
    "CONTRIBUTING.md": "contributing.md",
    "UPGRADING.md": "upgrading.md",
    "CHANGELOG.md": "changelog.md",
}
TARGET = re.compile(r"\]\((docs/|\.\./)?([^)#\s:]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside ``docs/`` and not in it."""
    root = Path(config.config_file_path).parent
    for source, page in TOP.items():
        files.append(File.generated(config, page, abs_src_path=str(root / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site, which all lie in one folder."""
    return TARGET.sub(lambda link: f"]({TOP.get(link[2], link[2])}{link[3] or ''})", markdown)
