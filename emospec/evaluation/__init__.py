"""Predictions -> metrics, intervals and tests. Nothing here imports torch."""
