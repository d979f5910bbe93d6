"""Distillation: simulated worlds with truth, metrics, training and evaluation."""
