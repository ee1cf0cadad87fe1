"""What the service costs and how fast it is, each figure against a bar: `make bench`."""
