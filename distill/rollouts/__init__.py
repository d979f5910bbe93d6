"""What a policy says to tasks: batched sampling with the pause for tools, and its record."""
