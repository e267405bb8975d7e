"""What `make dist` built: the wheel has the package, the sdist all that is not for git alone."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

_FOR_GIT = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml", "artifacts/")
_OF_SDIST = {"PKG-INFO", "setup.cfg"}


def main() -> None:
    """Compare both files in dist with what git knows; say each difference, and fail."""
    folder = Path("dist")
    done = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    known = {path for path in done.stdout.splitlines() if Path(path).exists()}
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    differences = _compare(wheel, names - metadata, {x for x in known if x.startswith("pipeline/")})
    if not any(name.endswith("/licenses/LICENSE") for name in metadata):
        differences.append(f"{wheel}: no LICENSE")
    with tarfile.open(sdist) as archive:
        names = {entry.name.partition("/")[2] for entry in archive if entry.isfile()}
    names = {name for name in names - _OF_SDIST if ".egg-info/" not in name}
    wanted = {x for x in known if not x.startswith(_FOR_GIT) and not x.endswith("/.gitignore")}
    differences += _compare(sdist, names, wanted)
    print(*differences or [f"as expected: {wheel}, {sdist}"], sep="\n")
    sys.exit(bool(differences))


def _compare(archive: Path, found: set[str], wanted: set[str]) -> list[str]:
    return [f"{archive}: lacks {name}" for name in sorted(wanted - found)] + [
        f"{archive}: has {name}" for name in sorted(found - wanted)
    ]


if __name__ == "__main__":
    main()
