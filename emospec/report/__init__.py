"""Run records -> one HTML page, and the card beside a model's weights."""
