"""Model cards as pages with pictures: curves, confusion, galleries of failures, charts."""
