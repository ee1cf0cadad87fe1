"""Settings of Sweep, from its environment."""

from fl_notifications.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function."""

    trainings_table: str
    ledger_table: str
    waiting_table: str
    outcomes_bus: str
    deliveries_dlq_url: str
