"""Dead letters: what they say, and how they are put back."""
