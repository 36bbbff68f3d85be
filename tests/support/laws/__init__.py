"""Laws that any federated learning system with differential privacy should keep, each stated once for any subject."""
