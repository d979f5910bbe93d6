"""Readers of the data sets that reasoners are trained on."""
