"""What follows an accepted notification."""
