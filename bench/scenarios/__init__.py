"""The scenarios: each takes a Bench and returns the rows that it measured."""
