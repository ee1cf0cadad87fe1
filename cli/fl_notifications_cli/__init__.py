"""What a person runs: the local stack, the demo, traces."""
