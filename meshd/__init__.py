"""AegisRay: a peer-to-peer mesh VPN with no server to run."""

__version__ = "0.1.0"
