"""Simulated tabletop worlds with exact ground truth, and questions about them."""
