"""The reasoner: a small language model that plans over the twin with tools and names ids."""
