"""How the shipped recogniser of personal information is made: texts, training, export."""
