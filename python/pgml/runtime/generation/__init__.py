"""Generate text token by token, for many requests at once. Knows nothing of sockets, requests' frames and tables."""
