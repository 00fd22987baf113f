"""A server on this machine that behaves as the test says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = bytes | int | Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serve(answers: dict[str, Answer]) -> Iterator[ThreadingHTTPServer]:
    """Answers by path: content, a status, or a function of the handler; 404 for other paths.

    The server has `url` and `asked`, the paths in the order in which they were asked for.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            answer = answers.get(self.path, 404)
            if callable(answer):
                answer(self)
            elif isinstance(answer, int):
                self.send_error(answer)
            else:
                send(self, answer)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, content: bytes, announced: int | None = None) -> None:
    """Send content, announcing another length if one is given."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(announced or len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def cut(content: bytes) -> Answer:
    """The first half of the content, then the end of the connection."""
    return lambda handler: send(handler, content[: len(content) // 2], len(content))
