#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets: corpus/TARGET/NAME.

    make_corpus.py [--check]        --check: writes nothing, and fails where a file would change

They show each target what there is to reach; the fuzzer finds variants. The heads of fuzz_*.c say
how an input is read. Small is fast: an input has what it is about, and no more.
"""

import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = {}


def add(target, **inputs):
    for name, data in inputs.items():
        CORPUS[target, name] = data.encode() if isinstance(data, str) else data


def be32(n):
    return struct.pack('>i', n)


def sized(data):
    return be32(len(data)) + data


# --- layers --------------------------------------------------------------------------------------

SNAPPY_BEGIN = b'\xff\x06\x00\x00sNaPpY'


def snappy_chunk(kind, body, checksum=0):
    body = struct.pack('<I', checksum) + body
    return bytes([kind]) + len(body).to_bytes(3, 'little') + body


def snappy(data):
    """As one compressed chunk, with one literal."""
    assert 0 < len(data) <= 60
    return SNAPPY_BEGIN + snappy_chunk(0, bytes([len(data), (len(data) - 1) << 2]) + data)


def deflate(data):
    """As a block that is not compressed: zlib's versions need not compress alike."""
    return struct.pack('<BHH', 0, len(data), len(data) ^ 0xffff) + data


HELLOS = bytes.fromhex('ca48cdc9c957c8409000000000ffff')  # with the codes that are fixed, flushed
HELLO = bytes.fromhex('cb48cdc9c90700')  # its last block
ZEROES = bytes.fromhex('ecc13101000000c2a0f54f6d0d0fa00000000000000000000000000000000000000078'
                       '30000000ffff')  # 20,000 of them, with codes of their own


add('snappy',
    compressed=b'\0\x10\xff' + snappy(b'hello'),
    # 8 bytes and a copy of them
    copies=b'\0\1\1' + SNAPPY_BEGIN + snappy_chunk(0, b'\x10\x1cabcdefgh\x11\x08'),
    uncompressed=b'\0\x10\x03' + SNAPPY_BEGIN + snappy_chunk(1, b'hello') + snappy_chunk(1, b'x'),
    checked=b'\0\x10\xff' + SNAPPY_BEGIN + snappy_chunk(1, b'123456789', 0x757B0A6C),
    wrong=b'\0\x10\xff' + SNAPPY_BEGIN + snappy_chunk(1, b'1', 1),
    skipped=b'\0\x10\xff' + SNAPPY_BEGIN + b'\xfe\x03\0\0abc\x80\0\0\0' + snappy_chunk(1, b'y'),
    many=b'\0\xff\xff' + SNAPPY_BEGIN + 3 * snappy_chunk(1, b'abc') + snappy_chunk(0, b'\1\0z'),
    reserved=b'\0\x10\xff' + SNAPPY_BEGIN + b'\x02\0\0\0',
    twice=b'\0\x10\xff' + 2 * SNAPPY_BEGIN,
    cut=b'\0\x10\xff' + snappy(b'hello')[:-2],
    pending=b'\0\x11\x02' + snappy(b'hello') + snappy_chunk(1, b'z'),
    written=b'\1\x21' + 40 * b'abcd',
    written_parts=b'\1\x04' + bytes(range(64)))
add('deflate',
    fixed=b'\0\x10\xff' + HELLOS,
    dynamic=b'\0\xff\xff' + ZEROES,
    stored=b'\0\x10\xff' + deflate(b'hello'),
    finished=b'\0\x10\x03' + HELLO + b'more',
    cut=b'\0\x10\xff' + HELLOS[:-6],
    pending=b'\0\x11\x02' + HELLOS + HELLOS,
    written=b'\1\x21' + 40 * b'abcd',
    written_parts=b'\1\x04' + bytes(range(64)))

# --- commands ------------------------------------------------------------------------------------

ID = b'@@@@@@@@@@@@@@@0'
STEP = b'\xff\x00'  # and client 0 goes on
TO_1, TO_2 = b'\xff\x01', b'\xff\x02'


def operator(*what):
    """Between two pieces of client 0; see fuzz_protocol.c."""
    names = ('', 'pause', 'unpause', 'empty', 'delete', 'pause_topic', 'unpause_topic',
             'empty_topic', 'delete_topic', 'wait', 'reset', 'repeat', 'abort', 'limit_topic',
             'set_channel', 'fill_host')
    return b''.join(bytes([0xff, names.index(w) << 4]) for w in what)


def command(line, body=None):
    return line.encode() + b'\n' + (sized(body) if body is not None else b'')


def mpub(*bodies):
    return command('MPUB t', be32(len(bodies)) + b''.join(map(sized, bodies)))


PUB = command('PUB t', b'm')
SUB = command('SUB t c')
RDY = command('RDY 5')


def identify(text):
    return command('IDENTIFY', b'{"feature_negotiation":true,' + text.encode() + b'}')


def fin(i=ID):
    return b'FIN ' + i + b'\n'


add('protocol',
    publish=b'\0' + PUB + mpub(b'a', b'bb') + command('DPUB t 1', b'x') + command('NOP'),
    publish_bulk=b'\0' + 9 * PUB + command('PUB u', b'm') + 4 * PUB,
    publish_threads=b'\1' + PUB + STEP + 9 * PUB + mpub(b'a') + STEP + command('DPUB t 0', b'x'),
    publish_late=b'\0' + PUB + STEP + PUB[:-1] + STEP + PUB[-1:] + mpub(b'a', b'b')[:-3],
    publish_large=b'\0' + PUB + STEP + b'MPUB t\n' + be32(20004) + be32(1) + be32(20000) + STEP +
        bytes(300),
    publish_whole=b'\0PUB t\n' + be32(16896) + STEP + bytes(66) + operator('repeat') + PUB,
    publish_ahead=b'\1PUB t\n' + be32(32768) + STEP + bytes(127) + b'\n\n\n' + operator('repeat') +
        PUB,
    publish_repeatedly=b'\0' + command('PUB t', b'm') + operator('repeat'),
    publish_roomy=b'\x40' + STEP.join([70 * PUB] * 3),
    mpub_roomy=b'\x40' + SUB + command('RDY 100') + mpub(*[b'm'] * 50) + operator('wait') + fin() +
        fin(ID[:-1] + b'1'),
    dpub_pieces=b'\0DPU' + STEP + b'B t 1\n' + STEP + be32(1) + STEP + b'x',
    mpub_pieces=b'\0MP' + STEP + b'UB t\n' + be32(15) + STEP + be32(2) + be32(1) + STEP + b'a' +
        be32(2) + b'bc',
    two_channels=b'\0' + SUB + RDY + TO_1 + command('SUB t d') + RDY + PUB + mpub(b'a', b'b') +
        STEP + fin(),
    operators=b'\0' + SUB + RDY + PUB + operator('pause') + 6 * PUB + operator('unpause') + fin() +
        operator('empty') + PUB + operator('pause_topic') + PUB +
        operator('empty_topic', 'unpause_topic') + PUB,
    channel_goes=b'\0' + SUB + RDY + 3 * PUB + operator('delete') + fin(),
    topic_goes=b'\0' + SUB + RDY + 3 * PUB + operator('delete_topic') + PUB + STEP + fin(),
    time_out=b'\x20' + SUB + command('RDY 1') + 3 * PUB + operator('wait', 'wait') + fin() +
        operator('wait'),
    time_out_threads=b'\x21' + SUB + command('RDY 3') + 3 * PUB + operator('wait', 'wait') + fin(),
    heartbeat_snappy=b'\x20' + identify('"snappy":true') + operator('wait') +
        snappy(SUB + RDY + PUB) + operator('wait', 'wait') + snappy_chunk(1, command('NOP')),
    consume_snappy=b'\x40' + identify('"snappy":true') + snappy(SUB + command('RDY 100')) + TO_1 +
        mpub(*[b'm'] * 50) + mpub(*[bytes(40)] * 50) + operator('wait', 'wait') +
        snappy_chunk(1, command('NOP')),
    consume_threads=b'\x41' + SUB + command('RDY 100') + TO_1 + mpub(*[b'm'] * 50) +
        mpub(*[bytes(40)] * 50) + operator('wait', 'wait'),
    consume_unbuffered=b'\x40' + identify('"output_buffer_size":64') + SUB + command('RDY 40') +
        TO_1 + mpub(*[bytes(40)] * 50) + operator('wait', 'wait') + fin(),
    consume_large=b'\x41' + SUB + command('RDY 40') + TO_1 + mpub(*[bytes(30)] * 4) +
        operator('repeat', 'wait', 'wait') + mpub(*[bytes(900)] * 2) + operator('wait', 'wait') +
        fin(),
    narrow=b'\x80' + SUB + RDY + 4 * command('PUB t', bytes(1500)) + STEP + 9 * command('FIN x'),
    narrow_threads=b'\x81' + SUB + RDY + TO_1 + 4 * command('PUB t', bytes(1500)) +
        99 * command('PUB u', b'm'),
    reset=b'\0' + SUB + RDY + operator('reset') + TO_1 + 3 * PUB + STEP + PUB,
    reset_consumer=b'\0' + SUB + RDY + operator('reset') + TO_1 + 3 * PUB + operator('wait') + PUB,
    reset_answers=b'\0' + PUB + operator('reset') + PUB,
    abort=b'\0' + SUB + RDY + PUB + operator('abort') + PUB,
    abort_snappy=b'\0' + identify('"snappy":true') + snappy(SUB + RDY + PUB) + operator('abort') +
        PUB,
    reset_threads=b'\1' + SUB + RDY + PUB + operator('reset') + PUB,
    logged_identify=b'\2' + identify('"client_id":"i","user_agent":"u"') + command('AUTH', b's'),
    full=b'\0' + PUB + operator('limit_topic') + 6 * PUB,
    full_mpub=b'\0' + 2 * PUB + operator('limit_topic') + mpub(b'a', b'b') + PUB,
    full_dpub=b'\0' + 2 * PUB + operator('limit_topic') + command('DPUB t 1', b'x') + PUB,
    full_bytes=b'\0' + PUB + operator('limit_topic') + command('PUB t', bytes(50)) + PUB,
    full_threads=b'\1' + PUB + operator('limit_topic') + 6 * PUB + STEP + PUB,
    full_disk=b'\0' + 6 * PUB + SUB + operator('limit_topic') + 3 * PUB + RDY + STEP + fin() + PUB,
    full_reset=b'\0' + PUB + operator('limit_topic') + PUB + operator('reset') + 6 * PUB,
    full_host=b'\0' + PUB + SUB + RDY + operator('fill_host') + fin() + 3 * PUB,
    full_host_mpub=b'\0' + PUB + operator('fill_host') + mpub(b'a'),
    gives_up=b'\0' + SUB + RDY + PUB + operator('set_channel') + b'REQ ' + ID + b' 0\n' + STEP +
        2 * PUB + operator('wait', 'wait') + fin() + PUB,
    gives_up_late=b'\x20' + SUB + RDY + PUB + operator('set_channel', 'wait', 'wait', 'wait') +
        fin() + PUB,
    drops=b'\0' + SUB + PUB + operator('set_channel') + 6 * PUB + RDY + operator('wait') + fin(),
    deferred=b'\x20' + SUB + RDY + command('DPUB t 2', b'm') + operator('wait') + fin(),
    publish_much=b'\0' + STEP.join([command('PUB t', bytes(250))] * 12) + SUB + RDY,
    bad_pubs=b'\0' + command('PUB', b'm') + command('PUB t!', b'm'),
    bad_pub_size=b'\0' + b'PUB t\n' + be32(-1),
    bad_pub_large=b'\0' + b'PUB t\n' + be32(1 << 30),
    bad_mpub=b'\0' + b'MPUB t\n' + be32(8) + be32(0) + be32(0),
    bad_mpub_count=b'\0' + b'MPUB t\n' + be32(8) + be32(-1) + be32(9),
    bad_mpub_message=b'\0' + b'MPUB t\n' + be32(12) + be32(1) + be32(9) + be32(9),
    bad_mpub_empty=b'\0' + b'MPUB t\n' + be32(8) + be32(1) + be32(0),
    bad_dpub=b'\0' + command('DPUB t x', b'm'),
    bad_dpub_delay=b'\0' + command('DPUB t -1', b'm'),
    bad_dpub_long=b'\0' + command('DPUB t 99999999', b'm'),
    bad_command=b'\0' + command('HELLO'),
    no_command=b'\0\n',
    blanks=b'\0  \r\n',
    long_line=b'\0' + 300 * b'x' + b'\n',
    consume=b'\0' + SUB + RDY + PUB + PUB + STEP + fin() + STEP + fin(ID[:-1] + b'1'),
    consume_finish_all=b'\0' + SUB + command('RDY 20') + 10 * PUB + STEP +
        b''.join(fin(ID[:-1] + bytes([48 + i])) for i in range(8)) + STEP,
    requeue=b'\0' + SUB + RDY + PUB + STEP + b'REQ ' + ID + b' 0\n' + STEP + b'TOUCH ' + ID +
        b'\n' + b'REQ ' + ID + b' 10\n' + STEP,
    requeue_limits=b'\0' + SUB + RDY + 3 * PUB + STEP + b'REQ ' + ID + b' 99999999\n' + STEP +
        b'REQ ' + ID[:-1] + b'1 -5\n' + STEP,
    close=b'\0' + SUB + RDY + PUB + STEP + command('CLS') + fin() + command('RDY 1'),
    close_twice=b'\0' + command('CLS') + SUB + command('CLS') + command('CLS'),
    bad_fin=b'\0' + SUB + command('FIN x') + b'FIN ' + 16 * b'0' + b'\n' + b'TOUCH ' + 16 * b'0' +
        b'\nREQ ' + 16 * b'0' + b' 0\n',
    bad_rdy=b'\0' + SUB + command('RDY -1'),
    bad_rdy_text=b'\0' + SUB + command('RDY x'),
    bad_state=b'\0' + RDY + fin(),
    bad_sub=b'\0' + command('SUB t'),
    bad_sub_name=b'\0' + command('SUB t c!'),
    sub_twice=b'\0' + SUB + SUB,
    ephemeral=b'\0' + command('SUB e#ephemeral c#ephemeral') + RDY +
        command('PUB e#ephemeral', b'm') + STEP + fin(),
    two_consumers=b'\0' + SUB + RDY + TO_1 + SUB + RDY + TO_2 + 6 * PUB + STEP + fin() + TO_1 +
        fin(),
    three_consumers=b'\0' + SUB + TO_1 + SUB + TO_2 + SUB + RDY + STEP + RDY + TO_2 + PUB,
    publisher_leaves=b'\0' + SUB + command('RDY 1') + TO_1 + 3 * PUB + STEP + fin() + STEP + fin(),
    consumer_threads=b'\1' + SUB + RDY + TO_1 + 3 * PUB + STEP + fin() + STEP,
    identify=b'\0' + identify(
        '"client_id":"i","heartbeat_interval":1000,"output_buffer_timeout":-1,'
        '"sample_rate":50,"topology_region":"r","topology_zone":"z"') +
        SUB + RDY + 5 * PUB + STEP,
    identify_buffers=b'\0' + identify(
        '"output_buffer_size":64,"output_buffer_timeout":25,'
        '"msg_timeout":1000,"topology_region":"r"') +
        SUB + RDY + 2 * command('PUB t', bytes(100)) + STEP + fin(),
    identify_short=b'\0' + command('IDENTIFY', b'{}') + SUB + RDY + PUB,
    identify_late=b'\0' + SUB + identify('"x":1'),
    bad_identify=b'\0' + command('IDENTIFY', b'{'),
    bad_identify_size=b'\0' + b'IDENTIFY\n' + be32(0),
    bad_identify_both=b'\0' + identify('"snappy":true,"deflate":true'),
    heartbeat_off=b'\0' + identify('"heartbeat_interval":-1,"output_buffer_size":-1') + SUB,
    snappy=b'\0' + identify('"snappy":true') + snappy(SUB + RDY + PUB) +
        snappy_chunk(1, command('NOP')) + STEP + snappy_chunk(1, fin()),
    deflate=b'\0' + identify('"deflate":true,"deflate_level":3') + deflate(SUB + RDY + PUB) + STEP,
    tls_fails=b'\0' + identify('"tls_v1":true') + b'\x16\x03\x01\0\5hello',
    auth_disabled=b'\0' + command('AUTH', b'secret'),
    bad_auth=b'\0' + command('AUTH x', b's'),
    auth_allows=b'\x08' + SUB + RDY + PUB + mpub(b'a') + STEP + fin() + command('PUB u', b'm'),
    auth_sub=b'\x08' + command('SUB u c'),
    auth_asked=b'\x08' + TO_1 + command('AUTH', b'secret'),
    auth_missing=b'\x08' + TO_1 + PUB,
    auth_twice=b'\x08' + command('AUTH', b'secret'),
    auth_empty=b'\x08' + TO_1 + b'AUTH\n' + be32(0),
    tls_required=b'\x10' + PUB,
    logged=b'\2' + SUB + RDY + PUB + STEP + fin() + command('X'),
    listener=b'\4  V2' + SUB + RDY + PUB + command('CLS'),
    listener_bad=b'\4  V9PUB t\n',
    listener_bulk=b'\4  V2' + 70 * PUB + TO_1 + b'  V2' + SUB + command('RDY 100') + STEP +
        20 * PUB,
    listener_dormant=b'\6  V2' + SUB + RDY + TO_1 + b'  V2' + PUB + STEP + b'FIN x\n',
    listener_cut=b'\4  V',
    listener_deflate=b'\4  V2' + identify('"deflate":true') + deflate(PUB),
    listener_empty=b'\4' + TO_1 + b'\xff')

add('identify',
    all='\0{"client_id":"a","hostname":"h","heartbeat_interval":1000,"output_buffer_size":64,'
        '"output_buffer_timeout":25,"feature_negotiation":true,"tls_v1":false,"deflate":false,'
        '"deflate_level":3,"snappy":false,"sample_rate":10,"user_agent":"u/1","msg_timeout":1000,'
        '"topology_region":"r","topology_zone":"z"}',
    old='\0{"short_id":"s","long_id":"l"}',
    empty='\0{}',
    null='\0null',
    escapes='\0{"client_id":"\\u0000\\ud83d\\ude00\\ud83d\\"","HOSTNAME":"<&>"}',
    wrong='\0{"client_id":1}',
    wrong_number='\0{"msg_timeout":1.5}',
    wrong_bool='\0{"snappy":"x"}',
    beyond='\0{"sample_rate":100}',
    beyond_size='\0{"output_buffer_size":1}',
    snappy=b'\1{"feature_negotiation":true,"snappy":true}\n' + snappy(PUB),
    deflate=b'\1{"feature_negotiation":true,"deflate":true}\n' + deflate(PUB),
    plain=b'\1{"client_id":"x"}\n' + PUB + SUB,
    tls=b'\1{"feature_negotiation":true,"tls_v1":true}\n')

# --- TLS -----------------------------------------------------------------------------------------

SEND = b'\x07'


def record(data):
    return b'\0' + bytes([len(data)]) + data


GET = b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n'
for version in range(4):
    v = version << 2
    add('tls', **{
        f'publish{version}': bytes([v]) + record(PUB + SUB + RDY) + SEND + record(command('NOP')),
        f'https{version}': bytes([v | 1]) + record(GET) + SEND + record(GET),
        f'flip{version}': bytes([v]) + record(PUB) + b'\1\0\7\1' + SEND,
        f'keys{version}': bytes([v]) + b'\6\1' + SEND + record(PUB) + b'\6\0' + record(PUB) + SEND,
        f'alert{version}': bytes([v]) + record(PUB) + b'\5\1\x0a' + SEND + b'\5\0\0' + SEND,
    })
add('tls',
    certificate=b'\x70' + record(PUB),
    certificate_https=b'\x71' + record(GET),
    certificate_12=b'\x74' + record(PUB),
    certificate_missing=b'\x10',
    certificate_missing_12=b'\x24',
    stranger=b'\xe0' + record(PUB),
    shown=b'\0' + record(SUB + RDY) + b'\x08' + record(PUB) + b'\x08' + record(PUB),
    shown_12=b'\4' + record(SUB + RDY) + b'\x08' + record(PUB),
    aborted=b'\0' + record(SUB + RDY) + b'\x09' + record(PUB) + SEND,
    aborted_12=b'\4' + record(SUB + RDY) + b'\x09' + record(PUB) + SEND,
    stranger_verified=b'\xe0',
    stranger_verified_12=b'\xe4',
    stranger_12=b'\xe4',
    stranger_may=b'\xd0' + record(PUB) + SEND + record(command('X')),
    cut=b'\0' + record(PUB) + b'\2\0\7' + SEND,
    repeat=b'\0' + record(PUB) + b'\3' + SEND,
    raw=b'\0\4\x05\x17\x03\x03\0\1' + SEND,
    raw_alert=b'\4\4\7\x15\x03\x03\0\2\2\x28' + SEND,
    hello=b'\2\x16\x03\x01\0\5\1\0\0\1\3',
    https_hello=b'\3\x16\x03\x01\0\5\1\0\0\1\3',
    https_plain=b'\3' + GET,
    not_tls=b'\2' + PUB,
    https_cut=b'\3\x16\x03\x01',
    nothing=b'\2',
    https_post=b'\1' +
        record(b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n') + SEND +
        record(b'abc') + SEND)

# --- HTTP ----------------------------------------------------------------------------------------


def request(line, body='', headers=''):
    if isinstance(body, str):
        body = body.encode()
    length = f'Content-Length: {len(body)}\r\n' if body else ''
    return f'{line} HTTP/1.1\r\nHost: x\r\n{length}{headers}\r\n'.encode() + body


def chunked(line, *chunks, trailer=b'', headers=''):
    head = f'{line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n'.encode()
    body = b''.join(b'%x\r\n%s\r\n' % (len(c), c) for c in chunks)
    return head + body + b'0\r\n' + trailer + b'\r\n'


def requests(*lines):
    return b''.join(request(line) for line in lines)


ON_T = '?topic=t&channel=c'
# The daemon takes steps; then a consumer comes, or what was published reaches its channels.
CONSUMER, ARRIVE = b'\xff\xfe', b'\xff\xfd'
AN_ID = ID[:-1].decode()
IN_FLIGHT = request('POST /mpub?topic=t', 'abc\nb\nc\nd') + CONSUMER
DEAD = '{"dead_letter_topic":"dead","message_ttl":"1ns"}'
add('http',
    settings=b'\x10' + request('PUT /topic/config?topic=t', '{"max_depth":5}') +
        request('PUT /channel/config?topic=t&channel=c', '{"rate":5,"no_channel":"drop"}') +
        requests('GET /topic/config?topic=t', 'GET /channel/config?topic=t&channel=c'),
    settings_bad=b'\x10' + request('PUT /topic/config?topic=t', '{') +
        request('PUT /topic/config?topic=u', '{}') +
        b'PUT /topic/config?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\nx',
    ping=b'\0' + request('GET /ping'),
    close=b'\0' + request('GET /ping', headers='Connection: close\r\n'),
    old=b'\0GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /info HTTP/1.0\r\n\r\n',
    info=b'\0' + requests('GET /info', 'HEAD /info', 'GET /ping'),
    pub=b'\x10' + request('POST /pub?topic=t', 'hello') +
        request('POST /pub?topic=t&defer=1', 'x'),
    pub_new=b'\0' + request('POST /pub?topic=t', 'hello'),
    pub_empty=b'\0' + request('POST /pub?topic=t'),
    pub_bad=b'\x10' + request('POST /pub', 'x') + request('POST /pub?topic=t!', 'x') +
        request('POST /pub?topic=t&defer=x', 'x') + request('POST /pub?topic=%zz', 'x'),
    pub_chunked=b'\x10' + chunked('POST /pub?topic=t', b'ab', b'cde') + request('GET /ping'),
    pub_chunked_trailer=b'\x10' +
        chunked('POST /pub?topic=t', b'abc', trailer=b'A: b\r\n', headers='Trailer: A\r\n'),
    pub_chunked_bad=b'\x10' + chunked('POST /pub?topic=t')[:-5] + b'x\r\n',
    pub_chunked_extension=b'\x10' + chunked('POST /pub?topic=t')[:-5] +
        b'2 ;a=b\r\nab\r\n0\r\n\r\n',
    pub_pieces=b'\x10' + request('POST /pub?topic=t', 'hello')[:-3] + b'\xffll\xffo' +
        request('GET /ping'),
    pub_cut=b'\x10' + request('POST /pub?topic=t', 'hello')[:-3],
    pub_large=b'\x10POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\nx',
    pub_huge=b'\x10POST /mpub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\nx',
    pub_expect=b'\x10' + request('POST /pub?topic=t', 'hello', 'Expect: 100-continue\r\n'),
    pub_expect_other=b'\x10' + request('POST /pub?topic=t', 'hello', 'Expect: x\r\n'),
    pub_many=b'\x10' + 12 * request('POST /pub?topic=t', 'hello'),
    mpub=b'\x10' + request('POST /mpub?topic=t', 'a\nb\n\nc') +
        request('POST /mpub?topic=t', '\n'),
    mpub_binary=b'\x10' +
        request('POST /mpub?topic=t&binary=true', be32(2) + sized(b'a') + sized(b'bb')),
    mpub_binary_bad=b'\x10' + request('POST /mpub?topic=t&binary=1', be32(2) + sized(b'a')) +
        request('POST /mpub?topic=t&binary=x', 'a'),
    mpub_chunked=b'\x10' + chunked('POST /mpub?topic=t', b'a\nb', b'b\nc'),
    stats=b'\x10' + requests('GET /stats', 'GET /stats?format=json',
        'GET /stats?format=json&topic=t&channel=c&include_clients=false&include_mem=0'),
    metrics=b'\x10' + request('POST /pub?topic=t', 'hello') + requests('POST /channel/create' + ON_T,
        'GET /metrics', 'GET /metrics?topic=t&channel=c&include_clients=true&include_exporter=0') +
        request('GET /metrics', headers='Accept: application/openmetrics-text; version=1.0.0;'
        'q=0.75, text/plain;q=0.5\r\nAccept: */*;q=0.1\r\n') +
        requests('GET /health/live', 'GET /health/ready', 'GET /metrics?x=%zz'),
    stats_body=b'\x10' + request('GET /stats', 'x') + chunked('GET /stats', b'abc'),
    topics=b'\0' + requests('POST /topic/create?topic=t', 'POST /channel/create' + ON_T,
        'POST /topic/pause?topic=t', 'POST /channel/pause' + ON_T, 'POST /topic/unpause?topic=t',
        'POST /channel/unpause' + ON_T, 'POST /channel/empty' + ON_T,
        'POST /topic/empty?topic=t', 'POST /channel/delete' + ON_T, 'POST /topic/delete?topic=t'),
    topics_missing=b'\0' + requests('POST /topic/delete?topic=t', 'POST /channel/delete' + ON_T,
        'POST /topic/empty?topic=t', 'POST /channel/pause' + ON_T, 'POST /topic/create',
        'POST /channel/create?topic=t', 'POST /channel/delete?topic=t&channel=c!'),
    config=b'\0' + requests('GET /config/log_level', 'GET /config/nsqlookupd_tcp_addresses',
        'GET /config/x', 'GET /config/', 'GET /config/tls_required'),
    config_put=b'\0' + request('PUT /config/log_level', 'warn') +
        request('PUT /config/log_level', 'x') +
        request('PUT /config/nsqlookupd_tcp_addresses', '["127.0.0.1:1"]') +
        request('PUT /config/nsqlookupd_tcp_addresses', '[]') +
        request('PUT /config/max_msg_size', '1'),
    drain=b'\0' + request('PUT /config/drain', 'true') + request('PUT /config/drain', '') +
        requests('GET /config/drain', 'POST /topic/create?topic=new') +
        request('POST /pub?topic=t', 'x') + request('POST /pub?topic=newer', 'x') +
        request('PUT /config/drain', 'maybe') + request('PUT /config/drain', 'false'),
    inspect=b'\0' + request('POST /pub?topic=t', 'x') +
        requests('GET /topic/peek?topic=t', 'POST /channel/create' + ON_T,
        'GET /channel/peek' + ON_T + '&n=1000&body=1', 'GET /channel/peek' + ON_T + '&n=1001',
        'GET /channel/peek' + ON_T + '&state=in_flight', 'GET /channel/peek' + ON_T +
        '&state=deferred&from=disk', 'POST /channel/message/finish' + ON_T +
        '&id=0123456789abcdef', 'POST /channel/message/requeue' + ON_T +
        '&id=0123456789abcdef&delay=1s', 'POST /channel/message/requeue' + ON_T + '&id=1'),
    inspect_in_flight=b'\x10' + IN_FLIGHT +
        requests('GET /channel/peek' + ON_T + '&state=in_flight&body=2', 'GET /topic/peek?topic=t',
        'POST /channel/message/finish' + ON_T + '&id=' + AN_ID + '0',
        'POST /channel/message/requeue' + ON_T + '&id=' + AN_ID + '1&delay=1h',
        'GET /channel/peek' + ON_T + '&state=deferred'),
    inspect_deferred=b'\x10' + request('POST /pub?topic=t&defer=60000', 'x') + ARRIVE +
        requests('GET /channel/peek' + ON_T + '&state=deferred',
        'POST /channel/message/requeue' + ON_T + '&id=' + AN_ID + '0&delay=1s') + b'\xff' +
        request('POST /channel/message/finish' + ON_T + '&id=' + AN_ID + '0'),
    inspect_ready=b'\x10' + request('POST /mpub?topic=t', 'a\nb\nc\nd\ne\nf\ng\nh\ni') + ARRIVE +
        requests('GET /channel/peek' + ON_T + '&state=ready&n=20', 'GET /channel/peek' + ON_T +
        '&from=disk', 'GET /channel/peek' + ON_T + '&from=memory&n=1',
        'POST /channel/message/requeue' + ON_T + '&id=' + AN_ID + '0') + b'\xff' +
        requests('POST /channel/message/finish' + ON_T + '&id=' + AN_ID + '1',
        'POST /channel/message/finish' + ON_T + '&id=' + AN_ID + '7'),
    inspect_topic=b'\0' + request('POST /mpub?topic=t', 'a\nb\nc\nd\ne\nf\ng') +
        requests('GET /topic/peek?topic=t&n=20', 'GET /topic/peek?topic=t&from=disk',
        'GET /topic/peek?topic=t&state=deferred', 'GET /topic/peek?topic=u', 'GET /topic/peek'),
    inspect_bad=b'\x10' + requests(*('GET /channel/peek' + ON_T + a for a in ('&n=x',
        '&body=99999999', '&state=x', '&from=x', '&n=1000&body=8000000')),
        'POST /channel/message/finish' + ON_T, 'POST /channel/message/finish' + ON_T + '&id=1',
        *('POST /channel/message/requeue' + ON_T + '&id=0123456789abcdef&delay=' + d
          for d in ('x', '-1s', '99h', '99999999999999999999', ''))),
    inspect_threads=b'\x11' + IN_FLIGHT + request('GET /channel/peek' + ON_T + '&state=in_flight'),
    dead_letters=b'\x10' + request('PUT /channel/config' + ON_T, DEAD) +
        request('POST /mpub?topic=t', 'a\nb\nc') + CONSUMER +
        requests('GET /topic/peek?topic=dead', 'POST /channel/create?topic=dead&channel=c',
        'GET /channel/peek?topic=dead&channel=c', 'GET /stats', 'GET /metrics') + ARRIVE +
        requests('POST /channel/redrive?topic=dead&channel=c&n=2') + ARRIVE +
        requests('POST /channel/redrive?topic=dead&channel=c&n=9',
        'GET /channel/peek?topic=dead&channel=c', 'GET /channel/peek' + ON_T),
    dead_letters_envelope=b'\x10' +
        request('PUT /channel/config' + ON_T, DEAD[:-1] + ',"dead_letter_envelope":true}') +
        request('POST /mpub?topic=t', 'a\nb\nc') + CONSUMER +
        requests('POST /channel/create?topic=dead&channel=c',
        'GET /channel/peek?topic=dead&channel=c') + ARRIVE +
        requests('POST /channel/redrive?topic=dead&channel=c&n=10000'),
    dead_letters_gone=b'\x10' + request('PUT /channel/config' + ON_T, DEAD) +
        request('POST /pub?topic=t', 'a') + CONSUMER +
        requests('POST /channel/create?topic=dead&channel=c', 'POST /channel/delete' + ON_T) +
        ARRIVE + requests('POST /channel/redrive?topic=dead&channel=c', 'POST /topic/delete?topic=dead',
        'POST /channel/redrive?topic=dead&channel=c'),
    redrive_nothing=b'\x10' + request('POST /mpub?topic=t', 'a\nb\nc\nd\ne\nf\ng') + ARRIVE +
        requests('POST /channel/redrive' + ON_T, 'POST /channel/redrive' + ON_T + '&n=10000',
        'POST /channel/redrive' + ON_T + '&n=0', 'POST /channel/redrive' + ON_T + '&n=x',
        'POST /channel/redrive' + ON_T + '&n=10001'),
    full=b'\x10' + request('PUT /channel/config' + ON_T, '{"max_depth":2,"max_bytes":9}') +
        12 * request('POST /pub?topic=t', 'x') + request('POST /mpub?topic=t', 'a\nb') +
        request('POST /pub?topic=t&defer=1', 'x') + request('GET /metrics'),
    drop_no_channel=b'\0' + request('POST /topic/create?topic=t') +
        request('PUT /topic/config?topic=t', '{"no_channel":"drop"}') +
        request('POST /mpub?topic=t', 'a\nb') + request('POST /pub?topic=t', 'x'),
    full_no_channel=b'\0' + request('POST /topic/create?topic=t') +
        request('PUT /topic/config?topic=t', '{"no_channel":"reject"}') +
        request('POST /pub?topic=t', 'x') + request('POST /mpub?topic=t', 'a\nb'),
    drops=b'\x10' + request('PUT /channel/config' + ON_T, '{"max_depth":2,"overflow":"drop-head",'
        '"dead_letter_topic":"dead"}') + 9 * request('POST /pub?topic=t', 'x') + ARRIVE +
        requests('GET /channel/peek' + ON_T, 'GET /topic/peek?topic=dead', 'GET /stats'),
    drops_for_good=b'\x10' +
        request('PUT /channel/config' + ON_T, '{"max_depth":2,"overflow":"drop-head"}') +
        9 * request('POST /pub?topic=t', 'x') + ARRIVE + requests('GET /channel/peek' + ON_T,
        'GET /metrics'),
    debug=b'\0' + requests('GET /debug/', 'PUT /debug/setblockrate?rate=1',
        'PUT /debug/setblockrate?rate=x', 'POST /debug/freememory', 'GET /debug/pprof/',
        'POST /debug/pprof/symbol'),
    routes=b'\0' + requests('GET /nothing', 'POST /ping', 'OPTIONS /ping', 'OPTIONS *',
        'GET /PING', 'GET /ping/', 'GET //ping', 'GET /stats/../ping', 'DELETE /pub',
        'GET /Stat%73', 'GET /config/log_level/', 'POST /TOPIC/create?topic=t',
        'GET /a%3Cb/../<x>'),
    redirect=b'\0' + requests('GET /debug', 'GET /Config/log_level?x=1', 'POST /topic//create'),
    absolute=b'\0' + requests('GET http://x/ping?a=b', 'GET http://[::1]:1/ping', 'GET mailto:x',
        'GET http://a%41b:x/', 'GET x', 'GET /%', 'CONNECT x:1'),
    bad_head=b'\0GET /ping HTTP/1.1\r\nHost : x\r\n\r\n',
    bad_host=b'\0GET /ping HTTP/1.1\r\n\r\n',
    bad_line=b'\0GET\r\n\r\n',
    bad_version=b'\0GET / HTTP/9.9\r\n\r\n',
    bad_bytes=b'\0\1\2\3\r\n\r\n',
    bad_length=b'\0POST /pub HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n',
    two_lengths=b'\0POST /pub HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n'
        b'Content-Length: 2\r\n\r\n',
    bad_coding=b'\0POST /pub HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n',
    threads=b'\1' + request('POST /pub?topic=t', 'hello') + requests('GET /stats', 'GET /debug/'),
    logged=b'\2' + requests('GET /info', 'POST /pub?topic=t!'),
    tls_required=b'\x20' + request('GET /info'),
    bearer=b'\x40' + request('GET /stats', headers='Authorization: Bearer reader-0123456789\r\n') +
        request('POST /pub?topic=t', 'x', headers='Authorization: Bearer publisher-0123456789\r\n'),
    basic=b'\x40' +
        request('GET /info', headers='Authorization: Basic eDpyZWFkZXItMDEyMzQ1Njc4OQ==\r\n'),
    too_low=b'\x40' + request('POST /topic/create?topic=t', 'x',
                              headers='Authorization: Bearer reader-0123456789\r\n'),
    no_token=b'\x40' + requests('GET /ping', 'GET /stats', 'POST /mpub?topic=t'),
    readonly=b'\x80' + requests('GET /ping', 'GET /stats', 'POST /mpub?topic=t'),
    https_plain=b'\x08' + GET,
    https_hello=b'\x08\x16\x03\x01\0\5\1\0\0\1\3',
    https_pieces=b'\x08\x16\x03\xff\x01\0\5\1\xff\0\0\1\3',
    listener=b'\x14' + request('POST /pub?topic=t', 'hello') + requests('GET /stats', 'GET /info'),
    listener_new=b'\4' + request('POST /pub?topic=t', 'hello') +
        chunked('POST /mpub?topic=t', b'a\nb'),
    listener_bad=b'\4GET\r\n\r\n')
add('http_head',
    get=b'\x05' + GET,
    pipeline=b'\x07' + request('POST /a', 'x') + GET + request('HEAD /b'),
    headers=b'\3' +
        request('GET /', headers='Connection: keep-alive, close\r\nExpect: 100-continue\r\n'),
    accept=b'\3' + request('GET /', headers='Accept: application/openmetrics-text;'
        'version=1.0.0;q=0.751, */*; q=0.1\r\n'),
    bearer=b'\3' + request('GET /', headers='Authorization: Bearer 0123456789abcdef\r\n'),
    basic=b'\3' + request('GET /', headers='Authorization: Basic eDowMTIzNDU2Nzg5YWJjZGVm\r\n'),
    chunked=b'\5' +
        chunked('POST /a', b'ab', b'cdef', trailer=b'A: b\r\n', headers='Trailer: A\r\n') + GET,
    chunk_extension=b'\x08POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n'
        b'\r\n1 ;x\r\na\r\n0\r\n\r\n',
    folded=b'\4GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n',
    line_ends=b'\4\r\n\r\nGET / HTTP/1.1\nHost: x\n\n',
    absolute=b'\x09GET http://[::1]:80/a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n',
    old=b'\4GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
    authority=b'\4CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n')

# --- answers of others ---------------------------------------------------------------------------

AUTH = ('{"ttl":60,"identity":"i","identity_url":"u","authorizations":[{"topic":"^t.*$",'
        '"channels":["^c$","^$"],"permissions":["publish","subscribe"]},{"topic":"x",'
        '"channels":[],"permissions":[]}]}')
INFO = b'{"tcp_port":4160,"http_port":4161,"version":"1.3.0","broadcast_address":"127.0.0.1"}'
OK = sized(b'OK')
add('auth',
    some_topics='\0t\nc\n{"ttl":9,"authorizations":[{"topic":"^t[0-39]","channels":[""],'
        '"permissions":["publish"]}]}',
    answer='\0t\nc\n' + AUTH,
    other='\0u\nd\n' + AUTH,
    nothing='\0t\nc\n{"ttl":5}',
    no_ttl='\0t\nc\n{"ttl":0,"authorizations":[]}',
    nulls='\0t\nc\n{"ttl":5,"authorizations":[null]}',
    unknown='\0t\nc\n{"ttl":5,"authorizations":[{"permissions":["x"]}]}',
    bad_pattern='\0t\nc\n{"ttl":5,"authorizations":[{"topic":"("}]}',
    wrong='\0t\nc\n{"ttl":"5"}',
    wrong_list='\0t\nc\n{"ttl":5,"authorizations":[{"channels":[1]}]}',
    plain='\1\nabc\nab+c?',
    groups='\1\nabab\n^(?:ab|(?P<n>c)){1,3}$',
    classes='\1\nx9\n[^a-c[:digit:]]\\d',
    escapes='\1\na.b\n\\Qa.b\\E\\x{41}\\pL\\b',
    flags='\1\nABC\n(?i)abc',
    repeat='\1\naaa\na{1,3}?a{2}',
    possessive='\1\na\na++',
    look='\1\na\n(?=a)',
    deep='\1\na\n' + 70 * '(',
    braces='\1\na\na{,2}{1',
    many='\1\naaaaaaaaaaaaaaaaaaaaaaaa\n(a*)*b',
    utf8='\1\n\u00e9\n.[\u00e0-\u00ff]?')
add('lookup',
    registered=b'\0' + sized(INFO) + 6 * OK,
    invalid=b'\0' + sized(b'E_INVALID'),
    text=b'\0' + sized(b'{'),
    no_address=b'\0' + sized(b'{"tcp_port":1}') + 4 * OK,
    negative=b'\0' + be32(-1),
    huge=b'\0' + be32(1 << 30),
    cut=b'\0' + sized(INFO)[:30],
    v6=b'\0' + sized(b'{"broadcast_address":"::1","http_port":1}') + 4 * OK,
    error=b'\0' + sized(INFO) + sized(b'E_BAD_TOPIC') + OK,
    null=b'\0' + sized(b'null') + OK,
    channels='\1{"channels":["a","b","a","x!","e#ephemeral"]}',
    no_channels='\1{}',
    bad_channels='\1{"channels":1}',
    no_json='\1x',
    raw=b'\5HTTP/1.1 200 OK\r\n\r\n{"channels":["a"]}',
    raw_500=b'\5HTTP/1.1 500 x\r\n\r\nno',
    raw_403=b'\5HTTP/1.1 403 x\r\n\r\n{"https_port":4152}',
    raw_403_bad=b'\5HTTP/1.1 403 x\r\n\r\n{}x',
    raw_redirect=b'\5HTTP/1.1 302 x\r\nLocation: http://192.0.2.1/\r\n\r\n',
    raw_chunked=b'\5' +
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
    dial='\x03[::1%lo]:1',
    dial_v6='\x03[::1]:1',
    dial_v4='\x03127.0.0.1:1',
    dial_name='\x03localhost:1',
    dial_bad='\x03a:b:c',
    dial_port='\x03a:what',
    auth='\2' + AUTH,
    auth_post='\x0a' + AUTH,
    auth_refused=b'\6HTTP/1.1 401 x\r\n\r\n',
    auth_bad='\2{')

# --- connections ---------------------------------------------------------------------------------

add('listener',
    any=b'\0:0\n',
    any_v4=b'\x000.0.0.0:1\n',
    any_v6=b'\0[::]:1\n\0\0',
    v4=b'\x00127.0.0.1:99\n\0\0\0',
    v6=b'\0[::1%lo]:http\n',
    name=b'\0localhost:1\n',
    service=b'\0:what\n',
    no_port=b'\0abc\n',
    colons=b'\0a:b:c\n',
    abstract=b'\0\n\0',
    long=b'\1' + 200 * b'x' + b'\n',
    path=b'\1\n\0\0',
    path_abandoned=b'\3\n\0',
    path_file=b'\5\n',
    path_other=b'\7\n',
    path_v4=b'\1a:1\n',
    few=b'\x09\n\0',
    few_v4=b'\x08:0\n\0\0',
    no_room=b'\x21\n\0',
    again=b'\1\n\1\0\2\2\0\1\0',
    makes_room=b'\x11\n\3\0\4\0',
    **{f'failure{i}': b'\1\n\0' + bytes([i]) for i in range(3, 11)})


def write(when, *parts):
    return bytes([0, len(parts) - 1, when, *parts])


EVER, NOW, LONG_PAST, PAST, LATER = range(5)
FULL, INTERRUPTED, RESET, TIMED_OUT, PIPE = b'\xff', b'\xfe', b'\xfb', b'\xfa', b'\xf9'
SENDS = b'\5'
add('stream',
    write=write(EVER, 9) + b'\1\0\0' + write(LATER, 60, 70) + b'\0\1\1\0',
    write_many=write(EVER, *[40] * 8) + b'\x20\0',
    write_parts=write(LATER, 100) + b'\1\2\3' + FULL + INTERRUPTED + b'\x40',
    keep=write(NOW, 100) + FULL + b'\1\1' + FULL + b'\1\1\5' + FULL + b'\1\1\0',
    keep_more=write(NOW, 100) + b'\5' + FULL + write(NOW, 70) + b'\3' + FULL + write(EVER, 80) + b'\0',
    past=write(PAST, 100) + b'\5' + FULL,
    standstill=write(LONG_PAST, 100) + FULL + FULL + b'\0',
    fails=write(EVER, 100) + RESET + write(EVER, 100) + b'\1\1',
    fails_later=write(NOW, 100) + b'\5' + FULL + b'\1\0' + TIMED_OUT + b'\1\0',
    fails_kept=write(NOW, 100) + b'\5' + FULL + b'\1\1' + PIPE,
    read=SENDS + b'\x40\2\x10\0\2\x30\7' + INTERRUPTED + FULL + b'\0',
    read_large=SENDS + b'\xff\2\x80\x20\x30\x30',
    read_line=SENDS + b'\x0b\3\0',
    read_lines=SENDS + b'\xff\3\0\3\0',
    read_fails=SENDS + b'\x10\2\x40\0' + RESET,
    read_end=SENDS + b'\x10\6\2\x40\0\0',
    read_nothing=b'\2\1\0',
    step=SENDS + b'\x40\4\x20\0\0\x10\4\x20\0\1',
    step_idle=b'\4\x20\0' + FULL + SENDS + b'\5\4\x20\0\0\x10\0\0',
    end_reading=SENDS + b'\5\7\2\1\0',
    end_writing=write(EVER, 9) + b'\x08' + write(EVER, 99) + b'\0\1\0',
    end=SENDS + b'\5\x09\2\1\0' + write(EVER, 99) + b'\0')

# --- files ---------------------------------------------------------------------------------------

add('config',
    flags='--tcp-address=127.0.0.1:1\n-http-address\n:2\n--mem-queue-size=0x10\n--verbose\n'
        '--tls-required\n'
        '--tls-min-version=tls1.2\n--max-rdy-count=1_0\n--msg-timeout=1m30.5s\n'
        '--statsd-mem-stats=false\n'
        '--e2e-processing-latency-percentile=0.5,0.99\n--lookupd-tcp-address=a:1\n'
        '--log-level=DEBUG\n'
        '--statsd-prefix=x.%s\nrest\n\n',
    help='--help\n',
    version='--version\n',
    inspect='--inspect-data\n--format=json\n',
    unknown='--what\n',
    value='--mem-queue-size=x\n',
    range='--mem-queue-size=99999999999999999999\n',
    duration='--msg-timeout=5x\n',
    boolean='--deflate=x\n',
    missing='--tcp-address\n',
    level='--log-level=x\n',
    versions='--tls-min-version=x\n',
    required='--tls-required=x\n',
    ints='--max-deflate-level=5\n--broadcast-tcp-port=1\n--max-channel-consumers=-1\n',
    roots='--tls-client-auth-policy=require-verify\n--tls-required=1\n\n'
        '-----BEGIN CERTIFICATE-----\nMAA=\n'
        '-----END CERTIFICATE-----\n',
    file_floats_good='\ne2e_processing_latency_percentiles = [0.5, 0.9, 1]\n',
    file_floats_text='\ne2e_processing_latency_percentiles = "0.5, 0.9"\n',
    file_lists='\nnsqlookupd_tcp_addresses = ["a:1", "b:2"]\n',
    percentiles='--e2e-processing-latency-percentile=x\n',
    deprecated='--worker-id=5\n',
    dashes='---x\n',
    end='--\nx\n',
    file='\ntcp_address = "127.0.0.1:1"\nmem_queue_size = 1_000\nmsg_timeout = "60s"\n'
        'deflate = false\n'
        'snappy = 1\nlog_level = "info"\ntls_required = "tcp-https"\ntls_min_version = "tls1.1"\n'
        'nsqlookupd_tcp_addresses = ["a:1", "b:2"]\n'
        'e2e_processing_latency_percentiles = [0.9, 1.0]\n'
        'max_deflate_level = 6\nmax_rdy_count = 5\nid = 5\ntls-cert = "x"\nwhat = 1\n'
        'auth_http_addresses = "x:1"\n',
    file_level='\nlog_level = "x"\n',
    file_required='\ntls_required = true\ntls_min_version = ""\n',
    file_types='\nmem_queue_size = "5"\nmax_msg_size = -0x1F\nid = 1.5\n',
    file_bool='\ndeflate = "true"\n',
    file_list='\nnsqlookupd_tcp_addresses = [1]\n',
    file_floats='\ne2e_processing_latency_percentiles = ["x"]\n',
    both='--id=7\n--log-level=warn\n--tls-required=true\n\nid = 8\nlog_level = "info"\n'
        'tls_required = "x"\n',
    toml='\n# c\n[a.b]\n"k y" = \'lit\\\'\n[[c]]\nd = [ 1, 2,\n 3 ]\nx = 0o17\ny = 0b11\n'
        'z = +1_0.5e-3\n[[c]]\nd = inf\n'
        'e = "\\u00e9\\t\\"\\\\\\U0001F600"\nf.g = nan\nt = []\n',
    toml_twice='\na = 1\na = 2\n',
    toml_table='\n[a]\n[a]\n',
    toml_date='\na = 1979-05-27\n',
    toml_inline='\na = {}\n',
    toml_multi='\na = """x"""\n',
    toml_bad='\na = 01\n',
    toml_nested='\na = [[1]]\n',
    toml_escape='\na = "\\x"\n',
    toml_line='\na = 1 b\n',
    toml_utf8=b'\na = "\xff"\n',
    toml_cut='\na = "x',
    toml_key='\n = 1\n',
    toml_dots='\na..b = 1\n',
    pem='\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n')
add('metadata',
    some='{"topics":[{"name":"t","paused":true,"channels":[{"name":"c","paused":true},'
        '{"name":"d"}]},'
        '{"name":"u","paused":false,"channels":null}],"version":"1.3.0"}',
    names='{"topics":[{"name":"a!"},{"name":"e#ephemeral","channels":[{"name":"c#ephemeral"},'
        '{"name":""}]}]}',
    null='null',
    empty='{}',
    nothing='',
    wrong='{"topics":{}}',
    wrong_name='{"topics":[{"name":1}]}',
    text='x',
    twice='{"topics":[{"name":"t"},{"name":"t","channels":[{"name":"c"},{"name":"c"}]}]}',
    case='{"TOPICS":[{"NAME":"t","Channels":[{"Name":"c"}]}]}')


# The first byte: 0, nsqd.settings.json; 1, a topic's PUT; 2, a channel's; 3, the config file.
add('settings',
    file='\0{"topics":[{"name":"t","settings":{"max_depth":5,"backoff":["1s","5s"]},"channels":['
         '{"name":"c","settings":{"dead_letter_topic":"{topic}.{channel}"}}]}],"version":1}',
    ephemeral='\0{"topics":[{"name":"a#ephemeral","settings":{"rate":1}}],"version":1}',
    newer='\0{"topics":[],"version":2}',
    no_topics='\0{"version":1}',
    wrong_name='\0{"topics":[{"name":"a!"}],"version":1}',
    no_name='\0{"topics":[{}],"version":1}',
    no_list='\0{"topics":{},"version":1}',
    wrong='\0{"topics":[{"name":"t","settings":{"max_deep":5}}],"version":1}',
    torn='\0{"topics":[{"name":"t"',
    topic='\1{"max_depth":5,"max_bytes":6,"overflow":"drop-head","message_ttl":"1h",'
          '"max_attempts":5,"dead_letter_envelope":true,"no_channel":"reject"}',
    channel='\2{"requeue_on_disconnect":true,"count_disconnect_as_attempt":false,'
            '"backoff":["1s"],"msg_timeout":"1s","max_in_flight":1,"rate":1,"channel_expire":"1h"}',
    back='\2{"rate":null}',
    none='\1{"dead_letter_topic":"","backoff":[],"message_ttl":"0"}',
    twice='\1{"rate":1,"rate":2}',
    loop='\1{"dead_letter_topic":"t"}',
    long='\1{"dead_letter_topic":"{topic}' + 'a' * 70 + '#ephemeral"}',
    too_long='\1{"msg_timeout":"1h"}',
    ttl='\1{"message_ttl":"-1s"}',
    number='\1{"rate":1e3}',
    nested='\1{"backoff":[["1s"]]}',
    scope='\2{"no_channel":"drop"}',
    list='\1[1]',
    policies='\3[[policy]]\nmatch = "t*"\nrate = 1\n[[policy]]\nmatch = "[a-t]/?"\nmax_depth = 5\n',
    no_match='\3[[policy]]\nrate = 1\n',
    bad_match='\3[[policy]]\nmatch = "[a"\n',
    policy_scope='\3[[policy]]\nmatch = "a/b"\nno_channel = "drop"\n',
    policy_time='\3[[policy]]\nmatch = "t"\nmsg_timeout = "1h"\n',
    policy_value='\3[[policy]]\nmatch = "t"\nbackoff = ["1s", 5]\n')


def message(number, body=b'body', length=None):
    data = struct.pack('>qH', 1700000000000000000 + number, 1) + b'%016x' % number + body
    return be32(len(data) if length is None else length) + data


def part(name, data):
    return b'\xff\xfe' + name.encode() + data


def meta(depth, read, write):
    return f'{depth}\n{read[0]},{read[1]}\n{write[0]},{write[1]}\n'.encode()



def record(kind=1, flags=7, body=b'body', wrong=0, skip=0, due=0, attempts=0):
    """A record for log_files_build."""
    return bytes([0, kind, flags, skip & 255, attempts, due, 23, wrong & 255, len(body)]) + body


def raw(data):
    return bytes([4 * len(data) + 2]) + data


COPY = record(2, 7, struct.pack('>QB', 1, 6) + b'ordersbody', attempts=3)
SEGMENT = b'\3'
END = record(3, 0, b'')
HEAD = bytes.fromhex(
    '4e5351206c6f670a 00000001 00000100 0000000000000002 0000000000000000 1122334455667788')
add('log',
    sound=b'\1' + record() + record(flags=3) + record(flags=0) + record(flags=4, due=24) + COPY,
    closed=b'\3' + record() + SEGMENT + record() + END,
    forgets=b'\5' + record() + SEGMENT + record() + SEGMENT + record(),
    torn=b'\3' + record() + record(flags=3) + record(flags=0),
    torn_raw=b'\1' + record() + raw(b'\0\0\1'),
    hole=b'\3' + record() + record(flags=3) + raw(b'x' * 20) + record(flags=4) + record(flags=6),
    hole_before=b'\3' + record() + raw(b'x' * 20) + record() + record(),
    body=b'\1' + record(wrong=1) + record() + SEGMENT + record() + record(wrong=1),
    sizes=b'\1' + record(wrong=-4) + record(wrong=100) + record(wrong=-128) + record(),
    numbers=b'\1' + record(skip=5) + record(skip=-3) + record(skip=100) + SEGMENT + record(skip=-1),
    end_within=b'\1' + record() + END + record() + SEGMENT + record(),
    copies=b'\1' + record(2, 7, b'\0' * 9) + record(2, 7, b'\0' * 8 + b'\x41x') + COPY,
    kinds=b'\1' + record(kind=0) + record(kind=4) + record(),
    nothing=b'\0',
    short=b'\0' + HEAD[:20],
    no_head=b'\2' + b'x' * 300,
    zeros=b'\2' + b'\0' * 300,
    files=b'\0' + HEAD + b'\xff\xfe\4' + HEAD,
    directory=b'\0' + HEAD + b'\xff\xfe\17')

M = message(1)
L = len(M)
add('diskqueue',
    name=b'\0q.diskqueue.meta.dat.7.tmp',
    name_bad=b'\0q.diskqueue.000001.dat.bad',
    sound=b'\0' + meta(2, (0, 0), (0, 2 * L)) + part('0', M + message(2)),
    sound_done=b'\x12' + meta(2, (0, 0), (0, 2 * L)) + part('0', M + message(2)),
    files=b'\0' + meta(3, (0, L), (2, 0)) + part('0', M + M) + part('1', M + M) + part('2', b''),
    no_meta=b'\0' + part('0', M + M) + part('1', M),
    crash=b'\4' + meta(1, (0, 0), (0, L)) + part('0', 3 * M),
    crash_torn=b'\0' + meta(1, (0, 0), (0, L)) + part('0', 2 * M + M[:9]),
    crash_next=b'\x10' + meta(1, (0, 0), (0, L)) + part('0', M + M) + part('1', M),
    shorter=b'\0' + meta(3, (0, 0), (0, 3 * L)) + part('0', M + M[:7]),
    gone=b'\0' + meta(3, (0, 0), (1, 50)),
    missing=b'\0' + meta(3, (0, 0), (3, 0)) + part('0', M) + part('2', M),
    reading=b'\0' + meta(1, (0, 5), (0, 2 * L)) + part('0', M + M),
    behind=b'\0' + meta(1, (3, 5), (1, 2)) + part('1', M),
    negative=b'\0' + meta(-1, (0, -5), (0, L)) + part('0', M),
    depth=b'\0' + meta(99, (0, 0), (0, L)) + part('0', M),
    nonsense=b'\0x' + part('0', M),
    huge=b'\0' + meta(1, (9 * 10**15, 0), (9 * 10**15, 9)) + part('0', M),
    noise=b'\0' + part('0', M + bytes(200) + M + M) + part('1', b'\xff' * 99),
    noise_only=b'\0' + part('0', bytes(99)),
    length=b'\0' + part('0',
        M + message(2, length=9) + message(3) + message(4, length=1 << 30) + message(5)),
    length_bit=b'\0' + part('0', message(1, length=31) + M + M),
    text=b'\0' + part('0', M + b'hello, world' * 20),
    tail=b'\0' + meta(2, (0, 0), (0, 2 * L)) + part('0', M + bytes(L)),
    empty_files=b'\0' + part('0', b'') + part('1', M),
    directory=b'\0' + meta(2, (0, 0), (2, 0)) + part('k', b'') + part('1', M),
    directory_meta=b'\0' + part('M', b'') + part('0', M),
    directory_next=b'\0' + meta(1, (0, 0), (0, L)) + part('0', M) + part('l', b''),
    repeated=b'\0' + part('a', M + bytes(40)),
    repeated_bad=b'\0' + meta(9, (0, 0), (1, 0)) + part('a', M + bytes(250)),
    emptied=b'\x08' + meta(2, (0, 0), (0, 2 * L)) + part('0', 2 * M),
    none=b'\0',
    none_synced=b'\x10',
    damage_nothing=b'\1\0',
    damage_header=b'\1\1\x40\4\4\xff\xff\xff\xff',
    damage_cut=b'\1\1\x50\x3f\0',
    damage_insert=b'\3\2\x80\0\3abc',
    damage_first=b'\5\0\0\x08\x08xxxxxxxx',
    damage_length=b'\x11\1\x43\1\1\x3d',
    damage_twice=b'\1\1\x40\1\1x\x80\1\1y',
    look=b'\x20' + meta(5, (0, 0), (2, L)) + part('0', M + M) + part('1', M + M) + part('2', M),
    look_done=b'\x32' + meta(3, (0, L), (1, 2 * L)) + part('0', M + M) + part('1', M + message(2)),
    look_missing=b'\x20' + meta(4, (0, 0), (3, L)) + part('0', 2 * M) + part('3', M),
    look_short=b'\x20' + meta(4, (0, 0), (1, L)) + part('0', 2 * M + M[:9]) + part('1', M),
    look_noise=b'\x20' + part('0', M + bytes(200) + M) + part('1', b'\xff' * 99) + part('2', M),
    look_length=b'\x20' + part('0', M + message(2, length=9) + message(3)),
    look_repeated=b'\x20' + part('a', M) + part('b', M + bytes(40)) + part('2', M),
    look_damage=b'\x21\1\x40\1\1x\x80\1\1y',
    damage_last=b'\1\2\xc0\x3f\0\xc0\x3f\0')
def uvarint(n):
    out = b''
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def event(op, x, step, *more):
    """Of a cursor: x is n - 1 or the attempts; step leads to the message from behind the last one."""
    return b''.join(uvarint(n) for n in (op + 8 * x, 2 * step if step >= 0 else -2 * step - 1, *more))


def frame(*events):
    return bytes([sum(map(len, events))]) + b''.join(events)


FINISHED, SEEN, TAKEN, TRIED, WAITING = range(1, 6)

add('cursor',
    kinds=b'\4' + frame(event(FINISHED, 9, 0), event(SEEN, 99, 0), event(TRIED, 3, -50),
                        event(WAITING, 2, 5, 1234, 2 * 10**18)) +
          frame(event(TAKEN, 1, 60), event(TAKEN, 1023, 0), event(FINISHED, 0, 7)),
    again=b'\4' + frame(event(WAITING, 0, 20, 5, 10), event(TAKEN, 0, -1),
                        event(WAITING, 1, -1, 5, 20), event(TRIED, 2, -1), event(TRIED, 1, -1),
                        event(WAITING, 2, -1, 5, 30), event(FINISHED, 0, -1)),
    all=b'\0' + frame(event(FINISHED, 2**58 - 1, 0)),
    all_but_one=b'\0' + frame(event(FINISHED, 2**58 - 3, 2), event(TAKEN, 0, -2**58 + 1)),
    too_many=b'\0' + frame(event(FINISHED, 2**60, 0)),
    around=b'\0' + frame(event(FINISHED, 0, 2**40), event(FINISHED, 2**45 - 1, -2**40 - 1)),
    waits_first=b'\4' + frame(event(WAITING, 1, 1, 0, 0)),
    scattered=b'\0' + frame(*(event(FINISHED, 0, 2**50) for _ in range(20))),
    beyond=b'\4' + frame(event(FINISHED, 1999, 0), event(WAITING, 1, 5, 0, 0)),
    late=b'\14' + frame(event(WAITING, 1, 5, 0, 0), event(TRIED, 7, 3), event(FINISHED, 400, 0)),
    no_event=b'\4' + frame(b'\0\0'), no_end=b'\4' + frame(b'\x81'),
    overflow=b'\4' + frame(b'\xff' * 9 + b'\2\0'),
    taken_too_many=b'\4' + frame(event(TAKEN, 1024, 0)),
    attempts=b'\4' + frame(event(TRIED, 65536, 0)),
    offset=b'\4' + frame(event(WAITING, 0, 0, 2**32, 0)),
    raw=b'\1NSQ cur\n' + be32(1) + be32(384),
    damage=b'\6\1\x80\xff\1\x90\0', damage_head=b'\6\0\3\0\0\xc3\0', damage_late=b'\16\1\x9b\0')


def golden(name):
    """A file of test/unit/golden, which has the bytes as hexadecimal digits."""
    text = (HERE.parent / 'unit' / 'golden' / name).read_text()
    return bytes.fromhex(' '.join(line.split('#')[0] for line in text.splitlines()))


def parts(flags, *parts):
    return bytes([flags]) + b'\xff\xfe'.join(parts)


def records(*what):
    return b'r\n' + b''.join(what)


def cursor(name, *frames):
    return b'c' + name.encode() + b'\n' + b''.join(frames)


def file(name, content=b''):
    return b'f' + name.encode() + b'\n' + content


def copy(origin, channel='a', **more):
    return record(2, 7, struct.pack('>QB', origin, len(channel)) + channel.encode() + b'x', **more)


SEGMENT_1, SEGMENT_5 = '00000000000000000001.seg', '00000000000000000005.seg'
GOLDEN = file(SEGMENT_1, golden('log-1/' + SEGMENT_1 + '.hex'))
FIVE = records(*5 * [record()])
HANDED_3 = cursor(':topic', frame(event(FINISHED, 2, 1)))
# The channel has 1 finished, 2 waits, 3 has been tried twice.
A = cursor('a', frame(event(FINISHED, 0, 1), event(WAITING, 1, 0, 300, 2 * 10**18),
                      event(TRIED, 2, 0)))
add('log_view',
    golden=parts(0, GOLDEN, cursor(':topic', frame(event(FINISHED, 3, 1))),
                 cursor('orders', frame(event(FINISHED, 1, 1), event(TRIED, 3, 2)))),
    golden_cursor=parts(1, GOLDEN, HANDED_3,
                        file('mail.cursor', golden('cursor-1/c.cursor.hex'))),
    another_channel=parts(0, GOLDEN, file('mail.cursor', golden('cursor-1/c.cursor.hex'))),
    sound=parts(0, FIVE, HANDED_3, A, cursor('b', frame(event(FINISHED, 2, 1)))),
    channels_first=parts(2, FIVE, HANDED_3, A),
    knows_better=parts(0, FIVE, HANDED_3, cursor('a', frame(event(TAKEN, 3, 1)))),
    finished=parts(0, FIVE, cursor(':topic', frame(event(FINISHED, 4, 1))),
                   cursor('a', frame(event(FINISHED, 4, 1)))),
    no_cursor=parts(0, FIVE),
    names=parts(0, FIVE, cursor('c#ephemeral'), cursor('a b'), cursor(''), cursor('x' * 64),
                cursor('x' * 65), cursor('.'), cursor('a.cursor'), cursor('y' * 64 + '#ephemeral'),
                file('a.cursor.tmp')),
    copies=parts(0, records(record(), record(), copy(1), copy(2, 'b'), record()),
                 cursor(':topic', frame(event(FINISHED, 1, 1))),
                 cursor('a', frame(event(FINISHED, 0, 1), event(TRIED, 3, 1))), cursor('b')),
    copies_of_the_gone=parts(
        2, records(record(), SEGMENT, record(), copy(1), copy(2)), b'x' + SEGMENT_1.encode(),
        cursor('a'), cursor('b')),
    damage=parts(0, records(record(), record(wrong=1), raw(b'x' * 20), record(flags=4), record(),
                            record(wrong=1), record()), HANDED_3, A),
    damage_channels_first=parts(
        2, records(record(), record(), record(wrong=1), record()),
        cursor(':topic', frame(event(FINISHED, 0, 1))), cursor('a', frame(event(TAKEN, 2, 1)))),
    damage_behind=parts(
        0, records(record(), record(), record(wrong=1), record()),
        cursor(':topic', frame(event(FINISHED, 0, 1))), cursor('a', frame(event(TAKEN, 2, 1)))),
    segment_gone=parts(
        0, records(record(), SEGMENT, record(), SEGMENT, record(), b'\x83', record(), record(), END),
        b'x00000000000000000002.seg', HANDED_3, A),
    segment_directory=parts(0, records(record(), SEGMENT, record()), b'x' + SEGMENT_1.encode(),
                            b'd' + SEGMENT_1.encode()),
    segment_far=parts(0, FIVE, A, file('00144115188075855872.seg')),
    # 1, and the second one behind the gap, are not finished.
    seek=parts(0, records(record(), record(), b'\xff', record(), record(), record()),
               cursor(':topic', frame(event(FINISHED, 200004, 1))),
               cursor('a', frame(event(FINISHED, 200001, 2)))),
    finished_between=parts(0, FIVE, cursor(':topic', frame(event(FINISHED, 4, 1))),
                           cursor('a', frame(event(FINISHED, 0, 2), event(FINISHED, 0, 1)))),
    segment_too_far=parts(0, FIVE, A, file('04611686018427387904.seg')),
    no_head=parts(0, file(SEGMENT_1, b'x' * 600), A),
    beyond=parts(0, FIVE, cursor('a', frame(event(TAKEN, 2, 4), event(FINISHED, 99, 0)))),
    torn=parts(0, FIVE, file('a.cursor', golden('cursor-1/c.cursor.hex')[:300])),
    cursor_directory=parts(0, FIVE, b'da.cursor'),
    cursor_far=parts(0, FIVE, file('00144115188075855872.seg'),
                     cursor('a', frame(event(SEEN, 2**58 - 3, 2)))),
    # With its end at the end it opens without being read.
    bad_head=parts(32, b'\x10' + records(*20 * [record()], END), HANDED_3, A),
    bad_body=parts(32, b'\x08' + records(record(), record(body=b'x' * 250), record(), record(),
                                         record(body=b'x' * 250), END), HANDED_3, A),
    bad_behind=parts(34, b'\x10' + records(*20 * [record()], END),
                     cursor('a', frame(event(TAKEN, 19, 1)))),
    bad_end=parts(32, b'\x10' + records(*9 * [record()]), A),
    is_file=b'\4x',
    is_link=b'\x08',
    is_nothing=b'\x0c',
    aside=parts(16, FIVE),
    others=parts(0, FIVE, b'Tu', b'Tv\n' + HEAD, b'Ta b\n' + HEAD, b'To\n' + HEAD, b'Tq\n' + HEAD),
    others_few=parts(0, b'Tu\n' + HEAD))

add('text',
    json='\0{"a":[1,-2.5e3,true,false,null,"\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/"],'
        '"b":{"channels":[]}}',
    json_bad='\0{"a":}',
    json_numbers='\0[0,-0,1e5,01,9223372036854775807]',
    json_utf8=b'\0"\xc3\xa9\xff\xed\xa0\x80"',
    json_deep='\0' + 40 * '[' + 40 * ']',
    url='\1/a%20b//../c?x=1&y=%41+z&&=;',
    url_absolute='\1http://[::1]:80/x?topic=t',
    url_opaque='\1mailto:x',
    url_star='\1*',
    url_host='\1http://a-b.c%41:99/<x>',
    url_bad='\1/%zz',
    address='\2localhost:http\n127.0.0.1 localhost # x\n::1 localhost\n',
    address_service='\2x:what',
    address_unix='\2/tmp/x\0',
    address_family='\2xyz',
    address_ip6='\2abcdefghi12345678',
    address_v6='\2[::1%lo]:99999\n',
    address_name='\2a.b.:1\n10.0.0.1 A.B\n',
    address_bad='\2a:b:c',
    address_port='\2x:\n',
    number='\3\0\1-0x1F_f',
    number_float='\3\1\0' + '0x1.8p3',
    number_inf='\3\1\1inf',
    number_octal='\3\0\0' + '0o17',
    name='\3abcde#ephemeral',
    quoted=b'\3\1\1\x07\t"\\\xff\xc3\xa9\xe2\x80\xa8',
    boolean='\3\1\1TRUE',
    decimal='\3\0\x0012e5',
    tokens='\x040123456789abcdef read,publish # x\n\n# y\nfedcba9876543210 admin\r\n',
    tokens_certificate='\4cert:nsqadmin admin\n',
    tokens_twice='\x040123456789abcdef read\n0123456789abcdef admin\n',
    tokens_bad='\x040123456789abcdef write\n')


def files():
    return {HERE / 'corpus' / target / name: data for (target, name), data in CORPUS.items()}


def main():
    wanted = files()
    there = {p for p in (HERE / 'corpus').rglob('*') if p.is_file()}
    if sys.argv[1:] == ['--check']:
        wrong = [p for p, data in wanted.items() if p not in there or p.read_bytes() != data]
        wrong += sorted(there - set(wanted))
        sys.exit('make_corpus.py would change ' + ' '.join(map(str, wrong)) if wrong else 0)
    for path in there - set(wanted):
        path.unlink()
    for path, data in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f'{len(wanted)} inputs, {sum(map(len, wanted.values()))} bytes')


if __name__ == '__main__':
    main()
