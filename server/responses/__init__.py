"""From people, or an error, to an HTTP response."""
