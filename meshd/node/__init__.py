"""What a node decides: pure code, given time, randomness and bytes."""
