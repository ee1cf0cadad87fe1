"""A receiver on this machine, for people who write one."""
