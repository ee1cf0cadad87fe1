"""Options that several commands have."""

from typing import Annotated

import typer

StackName = Annotated[
    str | None, typer.Option(help="A stack on AWS. Without it, the local stack that is running.")
]
Region = Annotated[
    str | None, typer.Option(help="The stack's AWS region, if not your own default.")
]
