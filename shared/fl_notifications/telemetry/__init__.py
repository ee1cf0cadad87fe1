"""What is said of the work: log lines, metrics and traces."""
