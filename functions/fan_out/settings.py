"""Settings of FanOut, from its environment."""

from fl_notifications.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function."""

    trainings_table: str
    ledger_table: str
    deliveries_queue_url: str
    fan_outs_queue_url: str
    stream_dlq_url: str
    outcomes_bus: str
