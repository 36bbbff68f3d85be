"""Emulated fleets and experiments over the deployed client and server code. Rests on all three."""
