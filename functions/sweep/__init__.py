"""Concludes what has waited for too long: notifications in mailboxes, and rounds."""
