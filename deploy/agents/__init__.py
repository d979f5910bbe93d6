"""Tools for agents: the twin over the Model Context Protocol."""
