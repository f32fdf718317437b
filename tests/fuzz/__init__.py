"""A million bad inputs for every decoder: `python -m tests.fuzz`, or `make fuzz`."""
