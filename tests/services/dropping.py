"""A proxy before a server that drops a connection at a chosen moment: before what was said is heard, or before the answer is."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

Moment = Literal["before", "after"]


class DroppingProxy:
    """Passes bytes between clients and a server on 127.0.0.1.

    Args:
        port: the server's port.

    Attributes:
        port: the port on which clients connect.
        dropped: how many connections were dropped.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.dropped = 0
        self._mark = b""
        self._moment: Moment = "before"
        self._times = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def go_away(self) -> None:
        """Drops all connections, and refuses new ones, as a server that was stopped."""
        self.close()

    def come_back(self) -> None:
        """Takes connections again, on the same port."""
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, mark: bytes, moment: Moment, times: int = 1) -> None:
        """Drops the next connections on which a client says the mark: before the server hears it, or after it has answered."""
        self._moment, self._times, self._mark = moment, times, mark

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            silent = threading.Event()
            threading.Thread(target=self._listen, args=(client, server, silent), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server, silent), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        try:
            while said := client.recv(1 << 16):
                if self._times and self._mark in said:
                    self._times -= 1
                    self.dropped += 1
                    if self._moment == "before":
                        break
                    silent.set()
                server.sendall(said)
        except OSError:
            pass
        if not silent.is_set():
            self._end(client, server)

    def _answer(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        try:
            while answer := server.recv(1 << 16):
                if silent.is_set():
                    break
                client.sendall(answer)
        except OSError:
            pass
        self._end(client, server)

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Drops all connections and takes no more."""
        self._end(self._listener, *self._sockets)
