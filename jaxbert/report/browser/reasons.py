"""The reason why a page has no model."""

from __future__ import annotations


class LeftOut(Exception):
    """A model that the page cannot hold. Its text says why, as a sentence for the reader of the page."""
