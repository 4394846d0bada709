"""A model on the network: HTTP and WebSocket around the recogniser; no torch."""
