"""Adapters to transformers and TRL: backbones, generation, the trainer, the sample's policy."""
