"""How agents come in: one package per dialect (protocol.py parses and builds, its edge talks), and a process's hub."""
