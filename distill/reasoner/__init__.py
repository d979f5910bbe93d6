"""Training and export of the embedded reasoner."""
