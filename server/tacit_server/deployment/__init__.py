"""A server that real devices reach: its directory, who is let in, its runs, and the processes that it is made of."""
