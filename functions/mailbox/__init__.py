"""Gives out what waits in the mailboxes of participants that nobody can call."""
