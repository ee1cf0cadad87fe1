"""The local stack: the real template on an AWS emulator, on this machine."""
