"""Builds the notifications of a change of the trainings table and enqueues them."""
