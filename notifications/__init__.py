"""Who is told: channels, rules, deliveries and silences will live here; nothing is installed yet."""
