"""The peer, fl-demonstrator's own pipeline from a checkout, measured from outside."""
