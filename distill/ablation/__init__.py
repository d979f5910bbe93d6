"""What each part of the distillation is worth: variants, seeds, one table."""
