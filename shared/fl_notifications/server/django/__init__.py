"""A Django app for FL servers: what the server's database says reaches the participants.

Add `fl_notifications.server.django` to `INSTALLED_APPS`, the setting `FL_NOTIFICATIONS` (see
`conf.Settings`), run `migrate`, and run `manage.py fl_notifications --every 30` beside the server.
`docs/migrating.md` goes through it step by step.
"""
