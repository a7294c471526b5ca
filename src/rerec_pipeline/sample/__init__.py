"""The fabricated worlds: films and books, users and queries that no licence protects."""
