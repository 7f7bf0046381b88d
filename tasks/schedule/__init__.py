"""Training from scratch while choosing the noise schedule."""
