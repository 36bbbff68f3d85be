"""What an attack can show of a mechanism: empirical lower bounds on epsilon, to stand beside the proven upper one."""
