"""Wing 4: a saved model at work. Nothing here imports torch."""
