"""The checks of the self-check, each a function that yields a Finding for what is wrong now."""
