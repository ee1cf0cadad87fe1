"""What is in the layer, and whether a function imports it."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.imports import MODULES
from benchmarks.measuring import Servers, run_child

_MEBI: Final = 2**20


@dataclass(frozen=True)
class Layer:
    """A built layer: sizes in MiB, and the distributions that no function imports."""

    unzipped_mib: float
    zipped_mib: float
    unused: tuple[str, ...]


def look_at(directory: Path, archive: Path, servers: Servers) -> Layer:
    """Measure a built layer.

    Args:
        directory: as `sam build` leaves it; `python/` is in it.
        archive: where to zip it to.
        servers: for the environment that the functions need to be imported.
    """
    files = [path for path in directory.rglob("*") if path.is_file()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in files:
            zipped.write(path, path.relative_to(directory))
    return Layer(
        unzipped_mib=sum(path.stat().st_size for path in files) / _MEBI,
        zipped_mib=archive.stat().st_size / _MEBI,
        unused=tuple(sorted(_unused(directory / "python", servers))),
    )


def _unused(python: Path, servers: Servers) -> Iterable[str]:
    imported = set()
    for module in MODULES:
        result = run_child("benchmarks.imports", module, environment=servers.environment)
        imported |= {name.partition(".")[0] for name in result["modules"]}
    for record in python.glob("*.dist-info/RECORD"):
        paths = [line.partition(",")[0] for line in record.read_text().splitlines()]
        names = {
            path.partition("/")[0]
            for path in paths
            if path.partition(",")[0].endswith((".py", ".so"))
        }
        if not imported & {name.partition(".")[0] for name in names}:
            yield record.parent.name.removesuffix(".dist-info")
