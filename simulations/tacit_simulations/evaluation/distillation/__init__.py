"""What a fleet learns from the answers it had to ask a large model for."""
