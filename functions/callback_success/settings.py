"""What CallbackSuccess is told by its environment."""

from shared.settings import EnvironmentSettings


class Settings(EnvironmentSettings):
    """Settings of the function."""

    callbacks_dlq_url: str
