"""How each provider is told: what a card becomes on its wire, and what it said in answer."""
