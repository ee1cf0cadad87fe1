"""What ends a command with a message instead of a traceback."""


class CommandError(Exception):
    """A command can't go on; the message says why and what to do next."""
