"""Settings from the environment: checked once, when a function starts."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class SettingsError(Exception):
    """The environment lacks a variable, or one has a value that cannot be used."""


class EnvironmentSettings(BaseModel):
    """Base of a function's settings: each field is an environment variable in upper case."""

    # A name that is empty is as good as missing.
    model_config = ConfigDict(frozen=True, extra="ignore", str_min_length=1)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the settings.

        Raises:
            SettingsError: names every variable that is missing or wrong.
        """
        try:
            return cls.model_validate(
                {
                    field: environment[field.upper()]
                    for field in cls.model_fields
                    if field.upper() in environment
                }
            )
        except ValidationError as error:
            wrong = "; ".join(
                f"{str(one['loc'][0]).upper()}: {one['msg']}"
                for one in error.errors(include_url=False, include_input=False)
            )
            raise SettingsError(f"environment variables are missing or wrong: {wrong}") from None


class FunctionSettings(EnvironmentSettings):
    """What every function is told.

    Attributes:
        stack_name: tells this stack's metrics from those of others.
        log_level: of the function's own log lines.
    """

    stack_name: str
    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"]
