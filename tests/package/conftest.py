"""The wheel, built once for each process that runs these tests."""

from pathlib import Path

import pytest

from tests.cloudformation import ROOT
from tests.package.kit import UV, run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("dist")
    run(UV, "build", "-q", "--wheel", "--out-dir", to, cwd=ROOT)
    (built,) = to.glob("*.whl")
    return built
