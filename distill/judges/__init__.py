"""Judges of reasoning: an endpoint with a rubric, or the likelihood of a local teacher."""
