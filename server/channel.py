"""How this package's gRPC connections to Triton behave."""

from __future__ import annotations

_MOST = 2**31 - 1  # bytes of a message, as tritonclient has it by itself: `channel_args` replace its own

CHANNEL = [
    ("grpc.max_send_message_length", _MOST),
    ("grpc.max_receive_message_length", _MOST),
    # gRPC waits up to two minutes before it tries an address again that refused: a server that has started, or started
    # again, would be well long before anybody asks it
    ("grpc.max_reconnect_backoff_ms", 1000),
]
