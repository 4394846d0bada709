"""A run that is asked for -> a trained and evaluated run; many runs side by side."""
