"""A pynsq consumer that finds its daemons through nsqlookupds.

Prints the body of each message, one a line, before it finishes it.
"""

import argparse
import asyncio
import logging
import sys

import nsq


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--lookupd-http-address', action='append')
    parser.add_argument('--topic')
    parser.add_argument('--channel')
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)

    def handle(message):
        sys.stdout.write(message.body.decode() + '\n')
        sys.stdout.flush()
        return True

    async def run():
        nsq.Reader(
            topic=args.topic, channel=args.channel, message_handler=handle,
            lookupd_http_addresses=[
                'http://' + a for a in args.lookupd_http_address],
            lookupd_poll_interval=1, lookupd_poll_jitter=0.0,
            max_in_flight=30, max_tries=0, max_backoff_duration=1)
        await asyncio.Event().wait()
    asyncio.run(run())


if __name__ == '__main__':
    main()
