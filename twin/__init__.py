"""The digital twin: its records, masks, store, tools and the text that the model reads."""
