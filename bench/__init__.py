"""The portal's load generator: real frames over real sockets, durable counts read from the database.

`python -m bench all` measures everything that docs/performance.md promises. The bench talks to the portal from outside
only, and starts it by the commands that production uses.
"""
