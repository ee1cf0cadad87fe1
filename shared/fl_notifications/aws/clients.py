"""How AWS's clients are configured."""

from typing import Final

from botocore.config import Config

CONNECTIONS: Final = 16
"""Size of a client's connection pool: its concurrent calls."""

CLIENT_CONFIG: Final = Config(
    # A call that hangs takes 10 s with its one retry, well below the shortest function timeout
    # (30 s). botocore's defaults are 60 s each.
    connect_timeout=1,
    read_timeout=4,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=CONNECTIONS,
    # Switches off two botocore costs, about 20 % of a call: parameter validation (mypy and AWS
    # validate, too) and rebuilding the User-Agent.
    parameter_validation=False,
    user_agent="fl-notifications",
)

PATIENT_CONFIG: Final = CLIENT_CONFIG.merge(
    # More retries, for background functions that make thousands of calls in a row: with 5 % of
    # calls throttled, two attempts fail once in 400 calls, six once in 64 million. The backoff
    # adds up to half a minute at most.
    Config(retries={"mode": "standard", "total_max_attempts": 6})
)
