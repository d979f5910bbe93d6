"""What a reasoner is trained on: a question about a twin, with its truth."""
