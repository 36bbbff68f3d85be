"""What only a simulator can measure: figures that never cross the Grid and do not exist in a deployment."""
