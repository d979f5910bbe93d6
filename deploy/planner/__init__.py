"""What a model set will cost on a device: operations and bytes counted, time and memory foretold."""
