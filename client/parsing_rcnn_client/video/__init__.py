"""Video: read -> in-flight window -> track -> smooth -> draw -> write."""
