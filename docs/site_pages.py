"""Pages of the site keep the paths that they have in the repository, so that links hold in both."""

from __future__ import annotations

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_BESIDE_DOCS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "data/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Name the pages by their paths from the root, and add those that are not in docs."""
    root = Path(config.config_file_path).parent
    docs = Path(config.docs_dir).relative_to(root).as_posix()
    ours = (*files.documentation_pages(), *files.media_files())
    pages = [f"{docs}/{page.src_uri}" for page in ours if page.src_dir == config.docs_dir]
    notebooks = [path.relative_to(root) for path in sorted((root / "examples").glob("*.ipynb"))]
    others = [file for file in files if file.src_dir != config.docs_dir]  # the theme's
    return Files(
        [
            *others,
            *(
                File(path, str(root), config.site_dir, config.use_directory_urls)
                for path in (*_BESIDE_DOCS, *(path.as_posix() for path in notebooks), *pages)
            ),
            *(
                File.generated(
                    config, path.with_suffix(".md").as_posix(), content=_as_page(root / path)
                )
                for path in notebooks
            ),
        ]
    )


def _as_page(notebook: Path) -> str:
    """Write a notebook, which has no outputs, as Markdown with a link to itself."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    parts.insert(1, f"[The notebook]({notebook.name}) itself, to run or to download.")
    return "\n\n".join(parts) + "\n"
