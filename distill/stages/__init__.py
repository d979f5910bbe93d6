"""The stages of a distillation: teacher, chains, sft, grpo."""
