"""A saved model at work: no torch, no pandas."""
