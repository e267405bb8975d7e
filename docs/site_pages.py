"""Pages of the site keep the paths that they have in the repository, so that links hold in both."""

from __future__ import annotations

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
    others = [file for file in files if file.src_dir != config.docs_dir]  # the theme's
    return Files(
        [
            *others,
            *(
                File(path, str(root), config.site_dir, config.use_directory_urls)
                for path in (*_BESIDE_DOCS, *pages)
            ),
        ]
    )
