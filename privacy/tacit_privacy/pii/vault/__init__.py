"""What the device must remember and nobody else may know, in one sealed file."""
