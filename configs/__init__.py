"""Configs of runs, one per file: `get_config()` returns a `jaxbert.config.RunConfig`. Installed as jaxbert.configs."""
