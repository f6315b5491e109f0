"""Held-out rows with fixed masks, and what tables of counts score on them."""
