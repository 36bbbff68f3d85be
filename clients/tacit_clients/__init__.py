"""What runs on a device: the small language model, local training, the Flower ClientApp. Rests on privacy."""
