"""From events to bounds: what was spent, under which assumption, and what a budget still allows."""
