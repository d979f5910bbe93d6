"""Answers from a vision-language model that looks at frames: RSVP and the direct policy."""
