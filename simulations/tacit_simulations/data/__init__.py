"""Where emulated devices find their data: generated homes, public sets, a user's own files."""
