"""Rewards: pure batched functions over rollouts."""
