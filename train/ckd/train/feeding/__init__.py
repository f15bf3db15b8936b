"""Input of a training loop: batches of randomly changed images."""
