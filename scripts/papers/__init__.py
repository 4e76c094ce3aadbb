"""Runs the rows of a published paper: they are declared, composed into one pipeline, and judged."""
