"""The folder of a run: what its files are called, and what they say."""
