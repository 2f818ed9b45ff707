"""From an HTTP request to pictures and options."""
