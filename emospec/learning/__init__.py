"""Utterances -> a trained network. Needs torch (extra `train`)."""
