"""What a training loop is fed: images of a set, changed at random, batch by batch."""
