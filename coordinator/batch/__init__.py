"""Batches of scripts on this machine or under a scheduler: the calls that people type."""
