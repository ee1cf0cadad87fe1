"""The layout's rules: who may import whom, and what the layer must have in it."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Final

import pytest

from tests.cloudformation import ROOT, functions, template

OURS: Final = ("fl_notifications", "functions", "fl_notifications_cli", "tests", "benchmarks")
REQUIREMENTS: Final = ROOT / "shared" / "requirements.txt"
RUNTIME: Final = {"boto3", "botocore"}
"""What Lambda's Python runtimes bring:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
"""


def modules(directory: str) -> list[Path]:
    return sorted((ROOT / directory).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """What a module imports when it runs; what only a type checker sees is left out."""
    yield from _imported(ast.parse(path.read_text()))


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield f"{node.module}"
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def names(path: Path) -> list[str]:
    return [str(part) for part in path.relative_to(ROOT).parts]


ARROWS: Final[dict[str, set[str]]] = {
    "aws": set(),
    "trainings": {"aws"},
    "deliveries": {"aws", "trainings"},
    "notifications": {"aws", "deliveries", "outcomes", "telemetry", "trainings"},
    "outcomes": {"aws", "deliveries", "trainings"},
    "telemetry": {"deliveries", "outcomes", "trainings"},
    "server": {"aws", "deliveries", "notifications", "outcomes", "trainings"},
    "receiver": set(),
}
"""Which folder of the library may import which others: no circle."""
ROOT_MODULES: Final = {
    "clock",
    "notification_type",
    "settings",
    "text",
    "validation",
    "webhooks",
}
"""Import nothing of ours; every folder may import them. `callbacks` is above all folders."""


@pytest.mark.parametrize("path", modules("shared"), ids=lambda path: "/".join(names(path)[2:]))
def test_the_library_imports_along_the_arrows_only(path: Path) -> None:
    place = names(path)[2].removesuffix(".py")
    for each in imports(path):
        top, _, rest = each.partition(".")
        assert top not in {"functions", "fl_notifications_cli", "tests", "benchmarks"}
        if top == "fl_notifications" and place not in {"callbacks", "__init__"}:
            assert place not in ROOT_MODULES, "a root module imports nothing of ours"
            allowed = {place, *ARROWS[place], *ROOT_MODULES}
            assert rest.partition(".")[0] in allowed, f"{each} is against the arrows"


def test_the_arrows_have_no_circle() -> None:
    above = {place: set(below) for place, below in ARROWS.items()}
    while above:
        free = {place for place, below in above.items() if not below}
        assert free, f"a circle in {above}"
        above = {p: below - free for p, below in above.items() if p not in free}


@pytest.mark.parametrize("path", modules("functions"), ids=lambda path: "/".join(names(path)))
def test_a_function_imports_the_library_and_itself(path: Path) -> None:
    own = ".".join(names(path)[:2])
    for each in imports(path):
        if each.split(".")[0] in OURS:
            assert each.split(".")[0] == "fl_notifications" or each.startswith(own)
            # What is for the two ends of the wire is no part of a function.
            assert not each.startswith(("fl_notifications.server", "fl_notifications.receiver"))


@pytest.mark.parametrize("path", modules("cli"), ids=lambda path: "/".join(names(path)))
def test_cli_imports_the_library_and_itself(path: Path) -> None:
    ours = {each.split(".")[0] for each in imports(path)} & set(OURS)
    assert ours <= {"fl_notifications", "fl_notifications_cli"}


@pytest.mark.parametrize(
    "path",
    [each for each in (*modules("shared"), *modules("functions")) if each.name != "app.py"],
    ids=lambda path: "/".join(names(path)),
)
def test_only_an_app_reads_the_environment_or_makes_clients_at_import(path: Path) -> None:
    """Logic takes its clients, clock and settings as arguments."""
    tree = ast.parse(path.read_text())
    outside = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    called = {ast.unparse(node) for each in outside for node in ast.walk(each)}
    assert not {each for each in called if each.startswith(("os.environ", "boto3.client("))}


BASE: Final = RUNTIME | {"pydantic", "pydantic_core", "standardwebhooks"}
"""What `pip install fl-notifications` brings without an extra."""
WITH_AN_EXTRA: Final = {
    "server/django": "django",
    "receiver/forward.py": "httpx",  # receiver
    "receiver/mailbox.py": "httpx",
}


@pytest.mark.parametrize("path", modules("shared"), ids=lambda path: "/".join(names(path)[2:]))
def test_the_library_needs_no_extra_but_where_it_says_so(path: Path) -> None:
    place = "/".join(names(path)[2:])
    extra = {it for start, it in WITH_AN_EXTRA.items() if place.startswith(start)}
    imported = {each.split(".")[0] for each in imports(path)}
    assert imported - set(OURS) - sys.stdlib_module_names <= BASE | extra


def packages() -> set[str]:
    """The distributions in the layer, as pip names them."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==", REQUIREMENTS.read_text(), re.MULTILINE)
    return {_normal(each) for each in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("directory", ["shared", "functions"])
def test_everything_that_is_imported_is_in_the_layer_or_the_runtime(directory: str) -> None:
    """The emulator has more of its own, so a missing one would not be noticed there."""
    distributions = packages_distributions()
    imported = {
        each.split(".")[0]
        for path in modules(directory)
        # For FL servers and participants, who bring what these need.
        if not {"django", "receiver"} & set(path.parts)
        for each in imports(path)
    }
    for name in imported - set(OURS) - RUNTIME - sys.stdlib_module_names:
        assert {_normal(each) for each in distributions[name]} & packages(), name


def test_everything_that_the_layers_packages_need_is_in_the_layer() -> None:
    """So that nothing else is taken from what happens to be in Lambda's runtime."""
    for package in packages():
        for requirement in requires(package) or []:
            name, _, condition = requirement.partition(";")
            if not condition.strip():
                needed = re.match(r"[A-Za-z0-9._-]+", name.strip())
                assert needed is not None
                assert _normal(needed[0]) in packages(), f"{package} needs {needed[0]}"


def test_every_requirement_of_the_layer_is_exact_and_has_hashes() -> None:
    blocks = re.split(r"\n(?=\S)", REQUIREMENTS.read_text().strip())
    assert len(blocks) == len(packages())
    for block in blocks:
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\\n", block), block
        assert "--hash=sha256:" in block


def test_the_layer_has_no_development_tools() -> None:
    assert not packages() & {"pytest", "mypy", "ruff", "moto", "boto3-stubs", "typer", "rich"}


def test_the_python_version_is_the_same_everywhere() -> None:
    assert (ROOT / ".python-version").read_text().strip() == "3.13"
    assert {each["Runtime"] for each in functions().values()} == {"python3.13"}
    layer = template()["Resources"]["SharedLayer"]
    assert layer["Metadata"]["BuildMethod"] == "python3.13"
    assert sys.version_info[:2] == (3, 13)
