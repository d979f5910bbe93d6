"""The torch modules that are exported, around the transformers implementations."""
