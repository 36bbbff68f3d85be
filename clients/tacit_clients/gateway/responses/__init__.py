"""OpenAI's Responses API, spoken to clients and carried as chat: one road through the gate, not two."""
