"""The project's own commands, each beside what it needs; ``cli.py`` puts them into a group."""
