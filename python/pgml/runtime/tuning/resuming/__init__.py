"""Checkpoints: writing them whole, finding the one to go on from, going on exactly."""
