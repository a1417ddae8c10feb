// A pool made of a chan: it keeps up to four free buffers, and neither get nor put ever waits.
package main

import (
	"bytes"
	"fmt"
)

const (
	keep   = 4
	wanted = 6
)

type pool struct {
	free chan *bytes.Buffer
	made int // only main gets buffers
}

func (p *pool) get() *bytes.Buffer {
	select {
	case buf := <-p.free:
		return buf
	default:
		p.made++
		return new(bytes.Buffer)
	}
}

func (p *pool) put(buf *bytes.Buffer) {
	select {
	case p.free <- buf:
	default: // enough of them: the collector takes it
	}
}

func main() {
	p := &pool{free: make(chan *bytes.Buffer, keep)}
	for round := 1; round <= 2; round++ {
		used, done := make(chan *bytes.Buffer, wanted), make(chan struct{})
		for i := 0; i < wanted; i++ {
			used <- p.get()
		}
		close(used)
		go func() {
			for buf := range used {
				p.put(buf)
			}
			close(done)
		}()
		<-done
		fmt.Printf("round %d: made %d, kept %d\n", round, p.made, len(p.free))
	}
}
