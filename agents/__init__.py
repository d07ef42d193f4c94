"""Who is out there: services, instances, sessions, tokens, commands, events, and the dialects that they speak."""
