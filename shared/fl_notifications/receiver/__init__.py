"""For participants: verifying what arrives."""
