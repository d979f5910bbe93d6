"""The server: HTTP, WebSocket, video and the page over :mod:`edgetwin.deploy.live`."""
