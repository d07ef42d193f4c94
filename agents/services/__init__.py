"""Writes: one function per verb; each owns its transaction, its event rows and what follows the commit."""
