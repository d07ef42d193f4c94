"""What an operator does on the console, driven in a real browser against a running portal with real agents."""
