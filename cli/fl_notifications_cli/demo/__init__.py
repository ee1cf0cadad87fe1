"""The demo: two trainings with participants of every kind, on the local stack."""
