"""Options that several commands have."""

from typing import Annotated

import typer

StackName = Annotated[
    str | None, typer.Option(metavar="NAME", help="A stack on AWS. Without it, the local one.")
]
Region = Annotated[
    str | None, typer.Option(metavar="REGION", help="Its AWS region, if not your own default.")
]
