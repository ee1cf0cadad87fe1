"""What happened to the notifications of a training, read from the stack's log."""
