"""The console: what operators and auditors see of a server, and what operators do with it."""
