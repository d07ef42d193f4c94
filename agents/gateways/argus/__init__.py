"""The dialect of registry nodes: REST push below /api/v1/master."""
