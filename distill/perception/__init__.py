"""From-scratch training of the embedded perception networks."""
