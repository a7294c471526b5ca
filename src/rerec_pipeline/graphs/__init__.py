"""The two graphs of the reward: item attributes, and user-item interactions."""
