"""Text from elsewhere, as a log or a message attribute can hold it."""


def printable(text: str, length: int = 1000) -> str:
    """Text that is cut, and has no control characters."""
    cut = text[:length]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)
