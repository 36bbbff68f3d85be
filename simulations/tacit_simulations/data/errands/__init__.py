"""Errands: what a household asks, from commands to questions that need an almanac and its own notes."""
