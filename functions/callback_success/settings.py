"""What CallbackSuccess is told by its environment."""

from shared.settings import FunctionSettings


class Settings(FunctionSettings):
    """Settings of the function."""

    callbacks_dlq_url: str
