"""Wing 3: from predictions to what is true. Nothing here imports torch."""
