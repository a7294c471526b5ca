"""What an experiment consists of, pure: its grid, when a cell counts as done, order, time left."""
