"""In a process of its own: the CPU seconds of importing a module, or of the least that it needs.

python -m benchmarks.imports MODULE|floor RESULT
"""

import importlib
import json
import sys
import time
from pathlib import Path

FLOOR = "floor"
MODULES = tuple(
    f"functions.{name}.app"
    for name in (
        "build_notifications",
        "fan_out",
        "deliver_notification",
        "mailbox",
        "sweep",
        "callback_success",
        "callback_failure",
    )
)


def import_floor() -> None:
    """Import boto3, make one client, and define one pydantic model."""
    import boto3  # noqa: PLC0415 - this is what is measured
    from pydantic import BaseModel  # noqa: PLC0415 - likewise

    class Model(BaseModel):
        number: int

    boto3.client("dynamodb")


if __name__ == "__main__":
    known = set(sys.modules)
    before = time.process_time()
    if sys.argv[1] == FLOOR:
        import_floor()
    else:
        importlib.import_module(sys.argv[1])
    took = time.process_time() - before
    names = sorted(set(sys.modules) - known)
    Path(sys.argv[-1]).write_text(json.dumps({"seconds": took, "modules": names}))
