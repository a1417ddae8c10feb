"""The pynsq side of the interop tests: one of three programs that all speak
the same language with the runner. README.md beside run.py describes it."""
import argparse
import asyncio
import base64
import hashlib
import json
import logging
import sys
import threading
import time
import types

import nsq
from nsq import deflate_socket, snappy_socket

# When it has but a part of a compressed block, pynsq raises an EWOULDBLOCK that
# is no BlockingIOError for want of a second argument, and tornado, from 6.1 on,
# closes the connection.
for module in deflate_socket, snappy_socket:
    module.socket = types.SimpleNamespace(error=lambda number: OSError(number, 'no data yet'))


def emit(event, **fields):
    sys.stdout.write(json.dumps({'event': event, **fields}) + '\n')
    sys.stdout.flush()


class ErrorEvents(logging.Handler):
    """Makes an event of each error that the library logs."""

    def emit(self, record):
        emit('error', consumer=0, error=record.getMessage())


def read_lines(loop, on_line, on_end):
    """Hands each line of stdin, and then its end, to the loop."""
    def run():
        for line in sys.stdin:
            loop.call_soon_threadsafe(on_line, line)
        loop.call_soon_threadsafe(on_end)
    threading.Thread(target=run, daemon=True).start()


def layers(args):
    """What pynsq is told about the layers of its connections."""
    if not args.tls_ca:
        tls = {}
    else:
        tls = {'tls_v1': True, 'tls_options': {'ca_certs': args.tls_ca}}
    if args.tls_cert:
        tls['tls_options'].update(certfile=args.tls_cert, keyfile=args.tls_key)
    return {**tls, args.compression: True} if args.compression else tls


async def publish(args):
    loop = asyncio.get_running_loop()
    # By default a user waits for 15 s after each error.
    writer = nsq.Writer([args.nsqd], reconnect_interval=0.2, **layers(args))

    async def connected():
        while not writer.conns:  # pynsq does not tell when it is connected
            await asyncio.sleep(0.01)

    async def call(method, *arguments):
        answer = loop.create_future()

        def on_answer(_conn, data):
            if not answer.done():  # a send that fails is told twice
                answer.set_result(data)
        method(*arguments, callback=on_answer)
        return await answer

    orders = asyncio.Queue()
    read_lines(loop, orders.put_nowait, lambda: orders.put_nowait(None))
    while True:
        line = await orders.get()
        if line is None:
            return
        order = json.loads(line)
        await connected()
        topic = order['topic']
        bodies = [base64.b64decode(body) for body in order['bodies']]
        if order['op'] == 'pub':
            calls = [call(writer.pub, topic, body) for body in bodies]
        elif order['op'] == 'mpub':
            calls = [call(writer.mpub, topic, bodies)]
        else:
            calls = [call(writer.dpub, topic, order['delay'], body) for body in bodies]
        for index, data in enumerate(await asyncio.gather(*calls)):
            if isinstance(data, nsq.Error):
                emit('failed', index=index, error=repr(data))
        emit('published')


class Handler:
    """Answers the messages of one consumer as the runner asked for."""

    def __init__(self, consumer, args):
        self.consumer = consumer
        self.args = args
        self.held = []

    def __call__(self, message):
        emit('message', consumer=self.consumer, id=message.id.decode(),
             attempts=message.attempts, timestamp=str(message.timestamp),
             size=len(message.body), sha256=hashlib.sha256(message.body).hexdigest(),
             at=time.time())
        if self.args.mode == 'touch':
            return self.touch(message)
        if message.attempts < self.args.attempts:
            message.enable_async()
            if self.args.mode == 'hold':
                self.held.append(message)
            else:
                message.requeue(backoff=self.args.mode == 'backoff', time_ms=self.args.delay)
            return None
        self.tell_finish(message)
        return True

    async def touch(self, message):
        end = time.monotonic() + self.args.hold / 1000
        while time.monotonic() < end:
            message.touch()
            await asyncio.sleep(self.args.msg_timeout / 1000 / 4)
        self.tell_finish(message)
        return True

    def tell_finish(self, message):
        emit('finish', consumer=self.consumer, id=message.id.decode())

    def release(self):
        """Finishes, too late, the messages that were held."""
        for message in self.held:
            message.finish()
        self.held = []


async def consume(args):
    handlers = [Handler(i, args) for i in range(args.consumers)]
    readers = [
        nsq.Reader(topic=args.topic, channel=args.channel, message_handler=handler,
                   nsqd_tcp_addresses=[args.nsqd], max_in_flight=args.max_in_flight,
                   msg_timeout=args.msg_timeout / 1000 or None,
                   max_tries=args.max_attempts, max_backoff_duration=1, **layers(args))
        for handler in handlers
    ]

    def on_line(line):
        if line.strip() == 'release':
            for handler in handlers:
                handler.release()

    ended = asyncio.Event()
    read_lines(asyncio.get_running_loop(), on_line, ended.set)
    await ended.wait()
    # pynsq takes the end of a read for an error, even when it is asked to close.
    logging.getLogger('nsq').setLevel(logging.CRITICAL)
    for reader in readers:
        reader.close()


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest='command', required=True)
    publisher = commands.add_parser('publish')
    consumer = commands.add_parser('consume')
    for command in publisher, consumer:
        command.add_argument('--nsqd', required=True, help='TCP address of nsqd')
        command.add_argument('--tls-ca', help='use TLS; the certificate that has signed that of nsqd')
        command.add_argument('--tls-cert', help='certificate of the client')
        command.add_argument('--tls-key', help='its key')
        command.add_argument('--compression', choices=['snappy', 'deflate'])
    consumer.add_argument('--topic', required=True)
    consumer.add_argument('--channel', required=True)
    consumer.add_argument('--consumers', type=int, default=1)
    consumer.add_argument('--max-in-flight', type=int, default=1, help='of each consumer')
    consumer.add_argument('--msg-timeout', type=int, default=0, help="ms; 0: nsqd's default")
    consumer.add_argument('--mode', default='finish',
                          choices=['finish', 'requeue', 'backoff', 'hold', 'touch'])
    consumer.add_argument('--attempts', type=int, default=1,
                          help='the attempt on which a message is finished')
    consumer.add_argument('--delay', type=int, default=0, help='of a requeue, in ms')
    consumer.add_argument('--hold', type=int, default=0,
                          help='how long a touched message is held, in ms')
    consumer.add_argument('--max-attempts', type=int, default=0,
                          help='the library gives up after so many; 0: never')
    args = parser.parse_args()

    logging.getLogger('nsq').addHandler(ErrorEvents(logging.ERROR))
    asyncio.run(publish(args) if args.command == 'publish' else consume(args))


if __name__ == '__main__':
    main()
