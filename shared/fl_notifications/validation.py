"""What pydantic found wrong, in one short line."""

from pydantic import ValidationError


def first_error(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong, dotted if nested and empty if it is the whole, and why.

    The wrong value is not in it: it may be anything, and this is logged.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]
