"""Makes the fan-out of a change for one segment of a large training."""
