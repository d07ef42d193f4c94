"""How the portal itself fares."""
