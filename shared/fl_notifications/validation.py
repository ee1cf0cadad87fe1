"""What pydantic found wrong, in one short line."""

from pydantic import ValidationError


def all_errors(error: ValidationError) -> list[tuple[str, str]]:
    """All fields that are wrong, dotted if nested, and why; never the wrong values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [(".".join(str(part) for part in each["loc"]), each["msg"]) for each in found]


def first_error(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong, dotted if nested and empty if it is the whole, and why.

    The wrong value is not in it: it may be anything, and this is logged.
    """
    return all_errors(error)[0]
