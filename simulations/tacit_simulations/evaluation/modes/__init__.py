"""The evaluation framework: every mode of collaboration on the same questions, with the same pair of models."""
