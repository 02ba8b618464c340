"""Base and result scored on held-out data."""
