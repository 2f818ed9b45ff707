"""`Client` and `AsyncClient`, and how they reach a gateway, a Triton server or the engine in this process."""
