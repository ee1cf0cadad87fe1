"""The demo: three trainings with participants of every kind, on the local stack."""
