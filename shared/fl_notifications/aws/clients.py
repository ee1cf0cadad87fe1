"""How AWS's clients are configured."""

from typing import Final

from botocore.config import Config

CONNECTIONS: Final = 16
"""Calls of one client at once."""

CLIENT_CONFIG: Final = Config(
    # Well below the shortest timeout of a function (30 s): a call that hangs, ten seconds with its
    # repetition, must not take the function with it. botocore's own are 60 s each.
    connect_timeout=1,
    read_timeout=4,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=CONNECTIONS,
    # These two take a fifth of the time of a call: botocore's check of each argument, where mypy
    # checks types and AWS the rest; and putting a user agent together anew for each call.
    parameter_validation=False,
    user_agent="fl-notifications",
)

PATIENT_CONFIG: Final = CLIENT_CONFIG.merge(
    # For functions that nobody waits for, and that make thousands of calls in a row: with 5 % of
    # them throttled, two tries each fail once in 400 calls, six once in 64 million. The waits
    # between them add up to half a minute at most.
    Config(retries={"mode": "standard", "total_max_attempts": 6})
)
