"""What CallbackSuccess is told by its environment."""

from fl_notifications.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function."""

    callbacks_dlq_url: str
