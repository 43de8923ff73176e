"""Does with Python's Kubernetes client what kubectl does, for tests/suite/interop.

client.py exec [-i] [-t] POD -- COMMAND...      ends with the command's exit code
client.py logs POD                              follows the log to its end
client.py port-forward POD :PORT                prints "Forwarding from ADDRESS -> PORT", goes on until it is killed

Environment: KUBECONFIG and INTEROP_NAMESPACE.
"""

import json
import os
import select
import signal
import socket
import sys
import threading

from kubernetes import client, config
from kubernetes.stream import portforward, stream
from kubernetes.stream.ws_client import RESIZE_CHANNEL

NAMESPACE = os.environ["INTEROP_NAMESPACE"]
PIECE = 64 << 10


def api():
    """A client of its own: the library's streams change the one that they are called on."""
    return client.CoreV1Api(client.ApiClient())


def put(descriptor, data):
    """Writes all of it, however slowly it is taken."""
    while data:
        data = data[os.write(descriptor, data):]


def execute(args):
    flags, command = args[:args.index("--")], args[args.index("--") + 1:]
    stdin, tty = "-i" in flags, "-t" in flags
    process = stream(
        api().connect_get_namespaced_pod_exec,
        flags[-1],
        NAMESPACE,
        command=command,
        stdin=stdin,
        stdout=True,
        stderr=not tty,
        tty=tty,
        binary=True,
        _preload_content=False,
    )
    # One message at a time. It would gather all that are there, and copy what it has for each of them.
    process._frames_immediately_available = lambda: False
    # Wakes the loop up; what is in it does not count.
    woken, waker = os.pipe()
    if tty:
        signal.signal(signal.SIGWINCH, lambda *_: os.write(waker, b"w"))
        os.write(waker, b"w")
    while process.is_open():
        waiting = [process.sock.sock, woken] + ([sys.stdin] if stdin else [])
        # The library keeps what has been decrypted already.
        ready = [process.sock.sock] if process.sock.sock.pending() else select.select(waiting, [], [])[0]
        if woken in ready:
            os.read(woken, 1)
            size = os.get_terminal_size(0)
            process.write_channel(RESIZE_CHANNEL, json.dumps({"Width": size.columns, "Height": size.lines}))
        if sys.stdin in ready:
            typed = os.read(0, PIECE)
            if typed:
                process.write_stdin(typed)
            else:
                stdin = False
                process.close_channel(0)
        if process.sock.sock in ready:
            process.update(timeout=0)
        put(1, process.read_channel(1))
        put(2, process.read_channel(2))
    sys.exit(process.returncode)


def follow(pod):
    log = api().read_namespaced_pod_log(pod, NAMESPACE, follow=True, _preload_content=False)
    # As it comes: a read waits until it is full.
    for piece in log.stream(PIECE):
        put(1, piece)


def carry(connection, pod, port):
    """One connection, which is one of the library's forwards, too: its protocol can't close one direction alone."""
    forward = portforward(api().connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports=str(port))
    remote = forward.socket(port)
    ends = {connection: remote, remote: connection}
    while True:
        for ready in select.select(list(ends), [], [])[0]:
            data = ready.recv(PIECE)
            if not data:
                connection.close()
                remote.close()
                return
            ends[ready].sendall(data)


def listen(pod, port):
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(f"Forwarding from 127.0.0.1:{listener.getsockname()[1]} -> {port}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=carry, args=(connection, pod, port), daemon=True).start()


def main():
    config.load_kube_config(os.environ["KUBECONFIG"])
    match sys.argv[1:]:
        case ["exec", *args]:
            execute(args)
        case ["logs", pod]:
            follow(pod)
        case ["port-forward", pod, port]:
            listen(pod, int(port.removeprefix(":")))
        case _:
            sys.exit(__doc__)


main()
