"""The mesh under a virtual clock, and in namespaces (`lab`)."""
