// The nsqjs side of the interop tests: one of three programs that all speak
// the same language with the runner. README.md beside run.py describes it.
'use strict'

const crypto = require('crypto')
const { once } = require('events')
const fs = require('fs')
const readline = require('readline')
const util = require('util')

const nsq = require('nsqjs')

function emit(event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

// What nsqjs is told about the layers of its connections.
function layers({ tlsCa, tlsCert, tlsKey, compression }) {
  const chosen = {}
  if (tlsCa) Object.assign(chosen, { tls: true, ca: fs.readFileSync(tlsCa) })
  if (tlsCert) {
    Object.assign(chosen, { cert: fs.readFileSync(tlsCert), key: fs.readFileSync(tlsKey) })
  }
  if (compression) chosen[compression] = true
  return chosen
}

function publish(options) {
  const [host, port] = options.nsqd.split(':')
  const writer = new nsq.Writer(host, Number(port), layers(options))
  writer.on(nsq.Writer.ERROR, (err) => emit('error', { consumer: 0, error: String(err) }))

  let open = false
  writer.on(nsq.Writer.READY, () => (open = true))
  writer.on(nsq.Writer.CLOSED, () => {
    open = false
    emit('closed')
  })

  // A Writer does not connect again by itself.
  async function connected() {
    if (open) return
    const ready = once(writer, nsq.Writer.READY)
    writer.connect()
    await ready
  }

  const call = (method, ...args) => util.promisify(method).apply(writer, args)

  function calls({ op, topic, bodies, delay }) {
    bodies = bodies.map((body) => Buffer.from(body, 'base64'))
    switch (op) {
      case 'pub':
        return bodies.map((body) => call(writer.publish, topic, body))
      case 'mpub':
        return [call(writer.publish, topic, bodies)]
      case 'dpub':
        // nsqjs 0.13 takes a list of one message here.
        return bodies.map((body) => call(writer.deferPublish, topic, [body], delay))
    }
    throw new Error(`${op}: no such order`)
  }

  async function carryOut(order) {
    const done = await Promise.allSettled(await connected().then(() => calls(order)))
    done.forEach(({ reason }, index) => {
      if (reason) emit('failed', { index, error: String(reason) })
    })
  }

  writer.once(nsq.Writer.READY, async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      const order = JSON.parse(line)
      try {
        await carryOut(order)
      } catch (err) {
        // It is not connected, so nothing has been published.
        const done = order.op === 'mpub' ? [order.bodies] : order.bodies
        done.forEach((_, index) => emit('failed', { index, error: String(err) }))
      }
      emit('published')
    }
    if (open) writer.close()
  })
  writer.connect()
}

// Answers the messages of one consumer as the runner asked for.
class Handler {
  constructor(consumer, options) {
    this.consumer = consumer
    this.options = options
    this.held = []
  }

  handle(message) {
    emit('message', {
      consumer: this.consumer,
      id: message.id,
      attempts: message.attempts,
      timestamp: String(message.timestamp),
      size: message.body.length,
      sha256: crypto.createHash('sha256').update(message.body).digest('hex'),
      at: Date.now() / 1000,
    })
    const { mode, attempts, delay } = this.options
    if (mode === 'touch') {
      this.touch(message)
    } else if (message.attempts >= attempts) {
      this.finish(message)
    } else if (mode === 'hold') {
      this.held.push(message)
    } else {
      message.requeue(delay, mode === 'backoff')
    }
  }

  finish(message) {
    emit('finish', { consumer: this.consumer, id: message.id })
    message.finish()
  }

  touch(message) {
    const end = Date.now() + this.options.hold
    message.touch()
    const timer = setInterval(() => {
      if (Date.now() < end) return message.touch()
      clearInterval(timer)
      this.finish(message)
    }, this.options.msgTimeout / 4)
  }

  // Finishes, too late, the messages that were held.
  release() {
    this.held.forEach((message) => message.finish())
    this.held = []
  }
}

function consume(options) {
  const handlers = []
  const readers = []
  for (let i = 0; i < options.consumers; i++) {
    const handler = new Handler(i, options)
    const reader = new nsq.Reader(options.topic, options.channel, {
      nsqdTCPAddresses: [options.nsqd],
      maxInFlight: options.maxInFlight,
      messageTimeout: options.msgTimeout || null,
      maxAttempts: options.maxAttempts,
      maxBackoffDuration: 1,
      lookupdPollInterval: 1, // also that of a reconnect
      ...layers(options),
    })
    reader.on(nsq.Reader.MESSAGE, (message) => handler.handle(message))
    reader.on(nsq.Reader.ERROR, (err) => emit('error', { consumer: i, error: String(err) }))
    reader.connect()
    handlers.push(handler)
    readers.push(reader)
  }

  readline
    .createInterface({ input: process.stdin })
    .on('line', (line) => {
      if (line === 'release') handlers.forEach((handler) => handler.release())
    })
    .on('close', () => readers.forEach((reader) => reader.close()))
}

const string = (fallback) => ({ type: 'string', default: fallback })
const { values, positionals } = util.parseArgs({
  allowPositionals: true,
  options: {
    nsqd: string(),
    'tls-ca': string(), // use TLS; who signed the certificate of nsqd
    'tls-cert': string(), // certificate of the client
    'tls-key': string(), // its key
    compression: string(), // snappy or deflate
    topic: string(),
    channel: string(),
    consumers: string('1'),
    'max-in-flight': string('1'), // of each consumer
    'msg-timeout': string('0'), // in milliseconds; 0 for nsqd's default
    mode: string('finish'), // finish, requeue, backoff, hold or touch
    attempts: string('1'), // the attempt on which a message is finished
    delay: string('0'), // of a requeue, in milliseconds
    hold: string('0'), // how long a touched message is held, in milliseconds
    'max-attempts': string('0'), // the library gives up after so many; 0: never
  },
})
const commands = { publish, consume }
commands[positionals[0]]({
  nsqd: values.nsqd,
  tlsCa: values['tls-ca'],
  tlsCert: values['tls-cert'],
  tlsKey: values['tls-key'],
  compression: values.compression,
  topic: values.topic,
  channel: values.channel,
  consumers: Number(values.consumers),
  maxInFlight: Number(values['max-in-flight']),
  msgTimeout: Number(values['msg-timeout']),
  mode: values.mode,
  attempts: Number(values.attempts),
  delay: Number(values.delay),
  hold: Number(values.hold),
  maxAttempts: Number(values['max-attempts']),
})
