"""For FL servers: the write side of the trainings table, and sending."""
