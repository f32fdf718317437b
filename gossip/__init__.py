"""Gossip: who is in the mesh, and what they say of themselves. Imports nothing of meshd."""
