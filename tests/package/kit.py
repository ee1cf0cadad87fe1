"""uv, as `make` fetches it, and environments that it makes."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from tests.cloudformation import ROOT

UV: Final = str(ROOT / ".local" / "tools" / "uv" / "bin" / "uv")
# Of this run's environment nothing may be found by a user's.
HIDDEN: Final = ("PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "COVERAGE_PROCESS_START")


def run(
    *command: str | Path,
    cwd: Path,
    fails: bool = False,
    set_to: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; shows what it said if it does not end as it should."""
    environment = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, **set_to},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode != 0) is fails, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def locked(*choice: str) -> str:
    """Requirements at their locked versions: what a test installs does not change overnight."""
    export = ("export", "--locked", "--no-emit-project", "--no-hashes", "--no-annotate")
    return run(UV, *export, "--no-header", "-q", *choice, cwd=ROOT).stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path

    @classmethod
    def make(cls, path: Path, python: str) -> "Environment":
        """An empty one, of an interpreter or a version; skips the test if that is not to be had."""
        command = (UV, "venv", "-q", "--python", python, str(path))
        # pyenv's commands run only the versions that are switched on.
        pyenv = {"PYENV_VERSION": _pyenv(python), "UV_HTTP_RETRIES": "1"}
        made = subprocess.run(
            command, env={**os.environ, **pyenv}, capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.skip(f"Python {python} is not here, and uv could not fetch it")
        return cls(path)

    @property
    def python(self) -> Path:
        return self.program("python")

    @property
    def packages(self) -> Path:
        (found,) = self.path.glob("lib/python*/site-packages")
        return found

    def program(self, name: str) -> Path:
        return self.path / "bin" / name

    def install(self, *what: str | Path) -> None:
        pip = (UV, "pip", "install", "-q", "--python", self.python)
        run(*pip, *what, cwd=self.path.parent)


def _pyenv(version: str) -> str:
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return ""
    return subprocess.run(
        [pyenv, "latest", version], capture_output=True, text=True, check=False
    ).stdout.strip()
