"""From checkpoints to a folder that a device runs: graphs, language models, proof, plans."""
