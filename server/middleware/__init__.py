"""Small pure-ASGI middleware: nothing here buffers a response."""
