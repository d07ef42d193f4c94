"""`make demo`: three real OneStep agents of two services, dialling in to the running portal.

Runs in the agents' own virtual environment, as an operator's programs would; nothing of the portal is imported.
"""

# Asked to restart, an agent only ends: whoever started it has to start it again.
RESTART_EXIT_STATUS = 75
