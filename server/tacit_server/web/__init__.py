"""What the server's one port answers beside Flower: devices' own interface, health and metrics, the console."""
