"""Personal information in text: find it, put placeholders in its place, restore it in what comes back."""
