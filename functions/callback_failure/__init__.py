"""What follows a rejected or failed notification."""
