"""A Python client of the server, synchronous and asynchronous."""
