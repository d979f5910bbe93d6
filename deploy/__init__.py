"""What runs on the device: sources and sinks, the one-shot run, doctor and bench."""
