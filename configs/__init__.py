"""Runs, one file each: `get_config()` returns a `jaxbert.config.RunConfig`. Installed as `jaxbert.configs`."""
