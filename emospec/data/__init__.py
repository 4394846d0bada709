"""Wing 1: recordings and labels. Nothing here imports torch."""
