"""ReRec as a Kedro project: dual-graph reward, reasoning-aware advantage, online curriculum."""

__version__ = "0.1.0"
