"""Settings of CallbackFailure, from its environment."""

from fl_notifications.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function."""

    trainings_table: str
    ledger_table: str
    callbacks_queue_url: str
    callbacks_dlq_url: str
