// One goroutine makes messages, and main writes each of them out of a buffer of a pool.
package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

type message struct {
	id   int
	text string
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func publish(messages chan *message) {
	for i := 1; i <= 3; i++ {
		messages <- &message{i, fmt.Sprintf("text %d", i)}
	}
	close(messages)
}

func write(m *message) {
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset() // it holds what its last user wrote
	fmt.Fprintf(buf, "message %d: %s\n", m.id, m.text)
	os.Stdout.Write(buf.Bytes())
}

func main() {
	messages := make(chan *message)
	go publish(messages)
	for m := range messages {
		write(m)
	}
}
