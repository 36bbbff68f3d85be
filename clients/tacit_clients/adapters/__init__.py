"""Redaction inside other people's libraries. Thin, optional: each module needs its library and nothing else does."""
