"""A real deployment on this machine, put up to be measured and taken down again."""
