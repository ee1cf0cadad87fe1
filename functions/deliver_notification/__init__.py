"""Delivers enqueued notifications to their receivers."""
