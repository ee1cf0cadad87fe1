"""Notifications on their way: messages, queues, signatures, the endpoint guard, and the POST."""
