"""Reinforcement fine-tuning with TRL, its supervised controls, and pretraining."""
