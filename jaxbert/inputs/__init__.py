"""Reading of what users and other programs wrote: regular files, and JSON. Every room above reads them through here."""
