"""Recognises people from frame to frame, by where they are and what they look like, and numbers them."""
