"""Logger and tracer, configured in one way for all functions."""

from aws_lambda_powertools import Logger, Tracer

NAMESPACE = "FLNotifications"
"""The namespace of our metrics."""


def make_logger(service: str) -> Logger:
    """A JSON logger; its level is that of the function's logging configuration.

    Args:
        service: the function's name in snake case.
    """
    return Logger(service=service, use_rfc3339=True, utc=True)


def make_tracer(service: str) -> Tracer:
    """A tracer that patches nothing by itself: the handlers' threads share no segment."""
    return Tracer(service=service, auto_patch=False)


__all__ = ["NAMESPACE", "Logger", "Tracer", "make_logger", "make_tracer"]
