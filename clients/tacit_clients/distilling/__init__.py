"""What a device learns from a large model's answers: pairs in placeholder space, and a student made of them."""
