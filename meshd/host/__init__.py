"""What a host does: one module for each thing outside."""
