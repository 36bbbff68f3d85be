"""Learning on the device: local LoRA training, example-level DP-SGD, the personal adapter."""
