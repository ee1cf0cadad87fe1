"""Hooks of MkDocs: pages that are made, and links that lead out of the documentation.

The README is the first page, and the reference has a page for each folder of the library. Links to
files of the checkout that are no pages are checked here, and shown as plain text: the site is read
without the checkout.
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
LIBRARY: Final = ROOT / "shared" / "fl_notifications"

MADE: Final = {
    "index.md": "README.md",
    "examples.md": "examples/README.md",
    "changelog.md": "CHANGELOG.md",
}
"""Page -> the file of the checkout that it is."""

SECTIONS: Final = {
    "Start": ["index.md", "examples.md", "changelog.md"],
    "Guides": ["migrating.md", "callbacks.md", "operating.md"],
    "How it works": ["architecture.md", "glossary.md", "decisions.md"],
    "Figures": ["metrics.md", "cost.md", "scale.md"],
}
"""The sections of the site and their pages, as far as they are written."""

FOLDERS: Final = (
    ("server", "For FL servers: write trainings, and send notifications of your own."),
    ("receiver", "For participants: verify what arrives, answer it, or fetch it from the mailbox."),
    ("trainings", "Trainings and participants, as the table holds them."),
    ("notifications", "What is said to whom."),
    ("deliveries", "Notifications on their way: the queue, the guard, the POST, the signature."),
    ("outcomes", "How a delivery ended: the event, and the ledger."),
    ("aws", "Clients and batches."),
    ("telemetry", "Log lines, metrics, traces."),
)
"""The folders of the library in the order of the reference; the two ends of the wire first."""

LANGUAGES: Final = {
    ".py": "python",
    ".sh": "sh",
    ".mjs": "js",
    ".yaml": "yaml",
    ".service": "ini",
}
"""Of the examples: suffix -> how they are highlighted."""

FIRST: Final = ("repository", "notification", "model", "delivery", "outcome")
"""Modules with which a folder's page begins; the others follow by name."""

_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
_FENCE: Final = re.compile(r"^(```|~~~)")

log = logging.getLogger("mkdocs.hooks.docs")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into sections; those that no section names come last, so that none is lost."""
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    sections: list[dict[str, list[str]]] = []
    for name, wanted in SECTIONS.items():
        found = [page for page in wanted if page in pages or page in MADE]
        sections.append({name: found})
        pages -= set(found)
    if pages:
        sections.append({"More": sorted(pages)})
    sections.append({"Reference": [f"reference/{folder}.md" for folder, _ in FOLDERS]})
    config.nav = sections
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for page, source in MADE.items():
        content = (ROOT / source).read_text()
        if page == "examples.md":
            content += "".join(_examples())
        files.append(File.generated(config, page, content=content))
    for folder, about in FOLDERS:
        files.append(
            File.generated(config, f"reference/{folder}.md", content=_reference(folder, about))
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links of a page: to other pages, or out of the documentation."""
    del config
    source = MADE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {made: page for page, made in MADE.items()}
    pages |= {f"docs/{file.src_uri}": file.src_uri for file in files.documentation_pages()}

    def mended(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = os.path.normpath(PurePosixPath(source).parent / target)
        if path in pages:
            here = PurePosixPath(page.file.src_uri).parent
            return f"[{text}]({os.path.relpath(pages[path], here)}{anchor})"
        if not (ROOT / path).exists():
            log.warning("%s: the link to %s leads nowhere", source, target)
        return text

    return "\n".join(_outside_of_code(markdown, mended))


def _examples() -> Iterator[str]:
    """Each file of the examples but for their tests: the site is read without the checkout."""
    for path in sorted((ROOT / "examples").rglob("*")):
        language = LANGUAGES.get(path.suffix)
        if language is not None and not path.name.startswith("test_"):
            name = path.relative_to(ROOT / "examples")
            yield f"\n\n## {name}\n\n````{language}\n{path.read_text().rstrip()}\n````\n"


def _outside_of_code(markdown: str, mended: Any) -> Iterator[str]:
    """Mend the links of the lines that are no code."""
    code = False
    for line in markdown.split("\n"):
        if _FENCE.match(line.lstrip()):
            code = not code
        yield line if code else _LINK.sub(mended, line)


def _reference(folder: str, about: str) -> str:
    """A page for a folder of the library: its modules, one after the other."""
    modules = sorted(
        (
            ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)
            for path in (LIBRARY / folder).rglob("*.py")
            if not path.name.startswith("_") and path.name != "apps.py"
        ),
        # What Django runs is no interface, and comes last.
        key=lambda name: (".management." in name, name.split(".")[-1] not in FIRST, name),
    )
    blocks = "\n\n".join(f"::: {module}" for module in modules)
    return f"# fl_notifications.{folder}\n\n{about}\n\n{blocks}\n"
