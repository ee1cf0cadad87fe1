"""Settings of Mailbox, from its environment."""

from typing import Annotated

from pydantic import Field

from fl_notifications.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function.

    Attributes:
        mailbox_poll_min_seconds: the shortest wait between two polls that is asked for.
        mailbox_poll_max_seconds: the longest one.
    """

    trainings_table: str
    ledger_table: str
    waiting_table: str
    outcomes_bus: str
    signing_secret_arn: str
    mailbox_poll_min_seconds: Annotated[float, Field(gt=0, le=3600)]
    mailbox_poll_max_seconds: Annotated[float, Field(gt=0, le=3600)]
