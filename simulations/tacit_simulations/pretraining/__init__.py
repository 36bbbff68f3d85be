"""How tacit-nano is made: its corpus, tokenizer, training and model card."""
