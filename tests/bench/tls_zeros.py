"""What TLS carries between two lab hosts, with nothing to read, to write or to prove: a limit for copies."""

from __future__ import annotations

import threading

from infra.lab.host import LabHost
from vmferry.adapters.ssh_pairs import new_pair

_PEM = "/root/vmferry-bench.pem"
_PORT = 49152
# A process for each stream at both ends, as vmferry's receivers are.
_TEXT = """
import os, socket, ssl, sys, time
role, address, port, pem, streams, size = sys.argv[1:]
is_sink, streams = role == "sink", int(streams)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_sink else ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(pem)
context.load_cert_chain(pem)
if is_sink:
    context.num_tickets = 0
    listener = socket.create_server((address, int(port)))
room = memoryview(bytearray(1024 * 1024))
def connect():
    for _ in range(200):
        try:
            return socket.create_connection((address, int(port)))
        except ConnectionRefusedError:
            time.sleep(0.02)
    sys.exit("nobody listens")
for _ in range(streams):
    plain = listener.accept()[0] if is_sink else connect()
    if os.fork():
        plain.close()
        continue
    stream = context.wrap_socket(plain, server_side=is_sink)
    if is_sink:
        while stream.recv_into(room):
            pass
    else:
        for _ in range(int(size) // streams // len(room)):
            stream.sendall(room)
    stream.close()
    os._exit(0)
sys.exit(any(os.wait()[1] for _ in range(streams)))
"""


def send_zeros(source: LabHost, dest: LabHost, address: str, size: int, streams: int, timeout_s: float) -> None:
    """Send `size` bytes; returns when they have arrived."""
    pair = new_pair("bench")
    for host in (source, dest):
        host.outer_path(_PEM).write_text(pair.key + pair.certificate)
    more = [address, str(_PORT), _PEM, str(streams), str(size)]
    sink = threading.Thread(target=dest.run, args=(["python3", "-c", _TEXT, "sink", *more],), daemon=True)
    sink.start()
    source.run(["python3", "-c", _TEXT, "spring", *more], timeout=timeout_s)
    sink.join(timeout_s)
