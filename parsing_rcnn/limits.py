"""Limits that engines, server and clients share. The gateway's settings may lower or raise those of pictures."""

MAX_IMAGE_BYTES = 32 * 1024 * 1024
"""Of an encoded picture."""

MAX_PIXELS = 64_000_000
"""Width times height of a picture."""

MAX_SIDE = 16384
"""Pixels of a picture's longer side, and the largest `Options.max_side`."""

MIN_MAX_SIDE = 32
"""The smallest `Options.max_side`, pixels."""

MAX_TILES = 4
"""The largest `Options.tiles`: with four along each side a picture is analysed 17 times."""

MAX_PEOPLE = 64
"""People found in one picture: rows of the graphs' largest answer, and the largest `Options.max_people`."""

MAX_TIMEOUT_MS = 600_000
"""Milliseconds that a request may give the gateway."""
