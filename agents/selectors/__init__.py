"""Reads: a QuerySet or a frozen dataclass; never a write."""
