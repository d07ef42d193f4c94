"""Starts the portal and real agents as separate processes, and asks the portal through its API."""
