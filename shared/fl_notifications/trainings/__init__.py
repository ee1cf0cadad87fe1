"""Trainings and their participants: the models, and the table that holds them."""
