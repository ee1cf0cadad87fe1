"""What a change calls for: types, bodies and notifications."""
