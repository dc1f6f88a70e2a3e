"""An S3 server in memory. It answers one request at a time, so that conditional writes are atomic.

It runs in an environment of its own (`make .venv-s3`), because its libraries require other versions than the project:
python s3_server.py BUCKET
"""

from __future__ import annotations

import sys
import urllib.request
from threading import Thread

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Handler(WSGIRequestHandler):
    """Logs no request."""

    def log(self, *arguments: object) -> None:
        """Log nothing."""


server = make_server(
    "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False, request_handler=Handler
)
Thread(target=server.serve_forever).start()
urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{server.server_port}/{sys.argv[1]}", method="PUT"))
print(server.server_port, flush=True)
