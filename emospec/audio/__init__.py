"""A file, bytes or samples -> a mono waveform at 16 kHz. Knows no label and no model."""
