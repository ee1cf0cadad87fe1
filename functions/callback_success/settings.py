"""Settings of CallbackSuccess, from its environment."""

from fl_notifications.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function."""

    callbacks_dlq_url: str
